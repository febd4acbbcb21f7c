//! The rules: the effect of each change on the tree, in the order in which a file system would see them.

mod links;

use std::collections::{HashMap, HashSet};

use sqfs_writer::{Kind, Metadata, NodeId, Tree};

use super::change::{Action, Changes, Content};
use super::cost;
use super::error::{EntryProblem, Halt, Problem};
use super::marker::{
    RESERVED, is_link_target, opaque_name, remove_link_targets, split, whiteout_name,
};
use super::options::{Options, Report};
use super::resolve::{Place, Spot, parent, resolve};
use super::steps::{Steps, Ticks};
use super::waiting::Waiting;
use crate::growth;
use crate::layer::{self, Budget, Limits};

/// Applies layers to a tree, oldest first.
pub(super) struct Applier<'c, H> {
    tree: Tree<Content<H>>,
    steps: Steps<'c>,
    limits: Limits,
    /// The memory that is left for the tree.
    budget: Budget,
    /// The part of it that the names of directories take while these are emptied.
    listed: u64,
    /// Metadata of directories that no layer describes.
    implied: Metadata,
    reserved: u64,
    data: u64,
    /// Names whose hard links were dropped because they led to a reserved path, with the layer that had the link. A
    /// link to one of these names is dropped as well, as long as nothing else has the name.
    dropped: HashMap<Spot, u32>,
    /// Number of layers applied so far, the current one included.
    layers: u32,
    /// The newest node before the current layer. The layer's own nodes come after it.
    floor: NodeId,
    newest: NodeId,
    /// Older directories that the current layer described or added an entry to.
    touched: HashSet<NodeId>,
    /// Names that the current layer gave to older files.
    relinked: HashSet<(NodeId, Box<[u8]>)>,
    /// Older directories from which the current layer removed everything older. Nothing older comes back into them, so
    /// repeated removals cost nothing.
    swept: HashSet<NodeId>,
    waiting: Waiting,
    last: Option<Last>,
}

/// The parent of the previous change, because most changes have the same one. Kept only if no symlink led to it, so
/// that nothing added to it can change where its path leads.
struct Last {
    path: Vec<u8>,
    directory: NodeId,
}

impl<'c, H> Applier<'c, H> {
    pub(super) fn new(options: &Options, budget: Budget, ticks: Ticks<'c>) -> Self {
        let implied = Metadata::new(0o755).with_mtime(options.time);
        Self {
            tree: Tree::new(implied.clone()),
            steps: Steps::new(options.limits.link_steps, ticks),
            limits: options.limits.clone(),
            budget,
            listed: 0,
            implied,
            reserved: 0,
            data: 0,
            dropped: HashMap::new(),
            layers: 0,
            floor: NodeId::ROOT,
            newest: NodeId::ROOT,
            touched: HashSet::new(),
            relinked: HashSet::new(),
            swept: HashSet::new(),
            waiting: Waiting::default(),
            last: None,
        }
    }

    /// Applies all changes of the next newer layer.
    pub(super) fn layer(&mut self, changes: Changes<H>) -> Result<(), Problem> {
        self.layers = self.layers.saturating_add(1);
        self.floor = self.newest;
        self.touched.clear();
        self.relinked.clear();
        self.swept.clear();
        self.last = None;
        let mut has_targets = false;
        changes.consume(|path, action| {
            has_targets |= is_link_target(path);
            self.steps.tick().map_err(|halt| halt.of(path))?;
            match action {
                Action::Place(metadata, kind) => {
                    let done = self.place(path, metadata, kind);
                    done.map_err(|halt| halt.of(path))
                }
                Action::Link(target) => {
                    let done = self.link(path, target);
                    done.map_err(|halt| halt.of(path))
                }
                // The message names the marker as the layer does.
                Action::Whiteout => {
                    let done = self.whiteout(path);
                    done.map_err(|halt| halt.of(&whiteout_name(path)))
                }
                Action::Opaque => {
                    let done = self.opaque(path);
                    done.map_err(|halt| halt.of(&opaque_name(path)))
                }
            }
        })?;
        self.link_waiting()?;
        if has_targets {
            let removed = remove_link_targets(&mut self.tree);
            removed.map_err(|error| Halt::from(error).of(b""))?;
        }
        Ok(())
    }

    /// Returns the tree, and adds the counts of applying to `report`.
    pub(super) fn finish(mut self, report: &mut Report) -> Result<Tree<Content<H>>, layer::Error> {
        report.reserved += self.reserved;
        report.metadata_bytes = self.budget.metadata_peak();
        let mut live = 0;
        for (_, node) in self.tree.nodes() {
            self.steps.ticks().tick()?;
            if let Kind::File(Content::Written { data, .. }) = node.kind() {
                live += *data;
            }
        }
        report.dead_bytes = self.data.saturating_sub(live);
        Ok(self.tree)
    }

    fn place(
        &mut self,
        path: &[u8],
        mut metadata: Metadata,
        kind: Kind<Content<H>>,
    ) -> Result<(), Halt> {
        match &kind {
            Kind::File(Content::Written { data, .. }) => {
                self.data = self.data.saturating_add(*data);
            }
            // Linux has no other mode for symlinks: the mode in an archive is lost on every file system.
            Kind::Symlink(_) => metadata.mode = 0o777,
            _ => {}
        }
        if path.is_empty() {
            return Ok(self.tree.set_metadata(NodeId::ROOT, metadata)?);
        }
        let (directory, name) = split(path);
        let Some(parent) = self.parent(directory, name)? else {
            return Ok(());
        };
        let old = self.tree.lookup(parent, name)?;
        match old {
            Some(old) if kind.is_directory() && self.is_directory(old) => {
                self.tree.set_metadata(old, metadata)?;
                self.touch(old)?;
            }
            _ => {
                self.insert(parent, name, metadata, kind)?;
            }
        }
        Ok(())
    }

    /// Removes what older layers have put at this path. Entries of this layer at or below the path stay, whether they
    /// come before or after.
    fn whiteout(&mut self, path: &[u8]) -> Result<(), Halt> {
        let (directory, name) = split(path);
        let place = resolve(&self.tree, directory, &mut self.steps)?;
        if place.is_reserved(name) {
            self.reserved += 1;
        } else if place.missing.is_empty() {
            // Only links of older layers, because a whiteout removes nothing newer.
            let spot = (place.directory, Box::from(name));
            if self
                .dropped
                .get(&spot)
                .is_some_and(|layer| *layer < self.layers)
            {
                self.dropped.remove(&spot);
            }
            self.sweep(vec![spot])?;
        }
        Ok(())
    }

    fn opaque(&mut self, path: &[u8]) -> Result<(), Halt> {
        let place = resolve(&self.tree, path, &mut self.steps)?;
        if place.is_reserved(b"") {
            self.reserved += 1;
        } else if place.missing.is_empty() {
            let names = self.older_names(place.directory)?;
            self.sweep(names)?;
        }
        Ok(())
    }

    /// Removes each of these names, or what is older below it. A loop and not a recursion, because images choose the
    /// depth.
    fn sweep(&mut self, mut pending: Vec<(NodeId, Box<[u8]>)>) -> Result<(), Halt> {
        self.last = None;
        while let Some((directory, name)) = pending.pop() {
            self.steps.tick()?;
            let Some(node) = self.tree.lookup(directory, &name)? else {
                continue;
            };
            if node > self.floor {
                continue;
            }
            if !self.is_directory(node) {
                if !self.relinked.contains(&(directory, name.clone())) {
                    self.tree.remove(directory, &name)?;
                }
            } else if self.touched.contains(&node) {
                let mut older = self.older_names(node)?;
                pending.try_reserve(older.len())?;
                pending.append(&mut older);
            } else {
                self.tree.remove(directory, &name)?;
            }
        }
        self.budget
            .return_metadata(std::mem::take(&mut self.listed));
        Ok(())
    }

    /// Returns the names in a directory, some of which may be older than the layer; none if no name can be. They are
    /// charged until [`sweep`](Self::sweep) has finished.
    fn older_names(&mut self, directory: NodeId) -> Result<Vec<Spot>, Halt> {
        self.swept.try_reserve(1)?;
        if directory > self.floor || !self.swept.insert(directory) {
            return Ok(Vec::new());
        }
        let Some(entries) = self
            .tree
            .get(directory)
            .and_then(|node| node.as_directory())
        else {
            return Ok(Vec::new());
        };
        let bytes: usize = entries.iter().map(|(name, _)| name.len()).sum();
        let cost = cost::SWEPT * entries.len() as u64 + bytes as u64;
        self.listed += cost;
        self.budget.take_metadata(cost)?;
        let mut names = growth::with_capacity(entries.len())?;
        names.extend(entries.iter().map(|(name, _)| (directory, name.into())));
        Ok(names)
    }

    /// Returns the directory for a new name, made if it does not exist, or `None` if the name would be reserved.
    fn parent(&mut self, path: &[u8], name: &[u8]) -> Result<Option<NodeId>, Halt> {
        if let Some(last) = self.last.as_ref().filter(|last| last.path == path) {
            if last.directory == NodeId::ROOT && name == RESERVED {
                self.reserved += 1;
                return Ok(None);
            }
            return Ok(Some(last.directory));
        }
        let place = resolve(&self.tree, path, &mut self.steps)?;
        if place.is_reserved(name) {
            self.reserved += 1;
            return Ok(None);
        }
        let followed = place.followed;
        if followed {
            self.check_limits(&place, name)?;
        }
        let directory = self.make(place)?;
        self.touch(directory)?;
        let mut kept = self.last.take().map_or_else(Vec::new, |last| last.path);
        kept.clear();
        kept.extend_from_slice(path);
        self.last = (!followed).then_some(Last {
            path: kept,
            directory,
        });
        Ok(Some(directory))
    }

    /// Checks the limits on a path after symlinks are followed. The path as spelled was within them.
    fn check_limits(&self, place: &Place, name: &[u8]) -> Result<(), Halt> {
        let (depth, max) = (place.depth(), self.limits.depth);
        if depth > max {
            return Err(EntryProblem::Depth { depth, max }.into());
        }
        let (length, max) = (place.length(name), self.limits.path);
        if length > max {
            return Err(EntryProblem::Length { length, max }.into());
        }
        Ok(())
    }

    /// Makes the missing directories. Anything else in their place is replaced.
    fn make(&mut self, place: Place) -> Result<NodeId, Halt> {
        let mut directory = place.directory;
        for name in &place.missing {
            self.budget.take_metadata(cost::implied(name))?;
            let metadata = self.implied.clone();
            directory = self.insert(directory, name, metadata, Kind::directory())?;
        }
        Ok(directory)
    }

    fn insert(
        &mut self,
        directory: NodeId,
        name: &[u8],
        metadata: Metadata,
        kind: Kind<Content<H>>,
    ) -> Result<NodeId, Halt> {
        self.newest = self.tree.insert(directory, name, metadata, kind)?;
        Ok(self.newest)
    }

    fn is_directory(&self, node: NodeId) -> bool {
        self.tree
            .get(node)
            .is_some_and(|node| node.kind().is_directory())
    }

    /// Marks an older directory and all its parents. Directories of this layer need no mark, and the parents of a
    /// marked directory are marked.
    fn touch(&mut self, mut directory: NodeId) -> Result<(), Halt> {
        loop {
            if directory <= self.floor {
                self.touched.try_reserve(1)?;
                if !self.touched.insert(directory) {
                    return Ok(());
                }
            }
            if directory == NodeId::ROOT {
                return Ok(());
            }
            directory = parent(&self.tree, directory);
        }
    }
}
