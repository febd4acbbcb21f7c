//! Hard links: made immediately if their targets exist, otherwise at the end of the layer.

use sqfs_writer::NodeId;

use super::Applier;
use crate::flatten::cost;
use crate::flatten::error::{EntryProblem, Halt, Problem};
use crate::flatten::marker::split;
use crate::flatten::resolve::{Place, Spot, resolve};
use crate::flatten::waiting::WaitingLink;

/// Steps for each further name that can wake a waiting link. All but one of these names come after a `..` that follows
/// a missing name, which no tool writes.
const REGISTERED_STEPS: u64 = 16;

/// The result of looking up the target of a hard link.
enum Target {
    /// The target is reserved, or a link that was dropped because its target was.
    Ours,
    /// The target exists.
    Node(NodeId),
    /// The target does not exist. This is the place of its directory, which may not exist either.
    Missing(Place),
}

/// The result of trying a waiting link.
enum Attempt {
    /// The link was made, dropped, or replaced by something newer.
    Settled,
    /// The target is missing for as long as all of these names are empty.
    Waits(Vec<Spot>),
}

impl<H> Applier<'_, H> {
    pub(super) fn link(&mut self, path: &[u8], target: Box<[u8]>) -> Result<(), Halt> {
        if self.is_ours(&target)? {
            return self.drop_link(path);
        }
        if path.is_empty() {
            return Err(EntryProblem::LinkToDirectory(target.into()).into());
        }
        let (directory, name) = split(path);
        let Some(parent) = self.parent(directory, name)? else {
            return Ok(());
        };
        // The name is emptied before the target is looked up, as on a file system. A link to itself therefore finds
        // nothing.
        self.tree.remove(parent, name)?;
        match self.find(&target)? {
            Some(node) if self.is_directory(node) => {
                return Err(EntryProblem::LinkToDirectory(target.into()).into());
            }
            Some(node) => self.link_to(parent, name, node)?,
            None => {
                let cost = cost::waiting(path, &target, name);
                self.budget.take_metadata(cost)?;
                self.waiting.push(WaitingLink {
                    path: path.into(),
                    target,
                    directory: parent,
                    name: name.into(),
                })?;
            }
        }
        Ok(())
    }

    fn link_to(&mut self, directory: NodeId, name: &[u8], node: NodeId) -> Result<(), Halt> {
        self.tree.link(directory, name, node)?;
        if node <= self.floor {
            self.relinked.try_reserve(1)?;
            self.relinked.insert((directory, name.into()));
        }
        Ok(())
    }

    /// Makes the links of the layer whose targets came after them, at its end, in the order in which repeated passes
    /// over all of them would make them.
    pub(super) fn link_waiting(&mut self) -> Result<(), Problem> {
        self.last = None;
        let mut rounds = std::mem::take(&mut self.waiting).into_rounds();
        while let Some((turn, link)) = rounds.next() {
            match self.try_link(&link).map_err(|halt| halt.of(&link.path))? {
                Attempt::Settled => rounds.wake((link.directory, link.name)),
                Attempt::Waits(absent) => {
                    let back = rounds.put_back(turn, link, absent);
                    back.map_err(|error| Halt::from(error).of(b""))?;
                }
            }
        }
        match rounds.into_first() {
            None => Ok(()),
            Some(WaitingLink { path, target, .. }) => {
                Err(EntryProblem::LinkToNothing(target.into()).of(&path))
            }
        }
    }

    /// Makes a link that waited, or returns what it still waits for.
    fn try_link(&mut self, link: &WaitingLink) -> Result<Attempt, Halt> {
        // The link's directory was replaced, or something newer has its name.
        if self.tree.get(link.directory).is_none()
            || self.tree.lookup(link.directory, &link.name)?.is_some()
        {
            return Ok(Attempt::Settled);
        }
        match self.seek(&link.target)? {
            Target::Ours => {
                self.reserved += 1;
                let spot = (link.directory, link.name.clone());
                self.budget.take_metadata(cost::dropped_link(&spot.1))?;
                self.dropped.try_reserve(1)?;
                self.dropped.insert(spot, self.layers);
            }
            Target::Node(node) if self.is_directory(node) => {
                return Err(EntryProblem::LinkToDirectory(link.target.clone().into()).into());
            }
            Target::Node(node) => self.link_to(link.directory, &link.name, node)?,
            Target::Missing(place) => {
                let absent: Vec<_> = place.absent(split(&link.target).1).collect();
                // The link's own charge pays for the first of them.
                for (_, name) in absent.iter().skip(1) {
                    self.steps.take(REGISTERED_STEPS)?;
                    self.budget.take_metadata(cost::registered(name))?;
                }
                return Ok(Attempt::Waits(absent));
            }
        }
        Ok(Attempt::Settled)
    }

    /// Returns the node that has this path now. A symlink at its end is not followed.
    fn find(&mut self, path: &[u8]) -> Result<Option<NodeId>, Halt> {
        Ok(match self.seek(path)? {
            Target::Node(node) => Some(node),
            Target::Ours | Target::Missing(_) => None,
        })
    }

    /// Returns whether a link's target is reserved, or a link that was dropped because its target was.
    fn is_ours(&mut self, target: &[u8]) -> Result<bool, Halt> {
        match self.seek(target) {
            Ok(found) => Ok(matches!(found, Target::Ours)),
            // The path leads nowhere. Whether that is an error is decided by `find`, after the link's own name was
            // removed.
            Err(Halt::Problem(EntryProblem::SymlinkLoop)) => Ok(false),
            Err(other) => Err(other),
        }
    }

    /// Looks up the target of a link.
    fn seek(&mut self, path: &[u8]) -> Result<Target, Halt> {
        self.steps.take(1)?;
        let (directory, name) = split(path);
        let place = resolve(&self.tree, directory, &mut self.steps)?;
        if place.is_reserved(name) {
            return Ok(Target::Ours);
        }
        let there = match place.missing.is_empty() {
            true => self.tree.lookup(place.directory, name)?,
            false => None,
        };
        Ok(match there {
            Some(node) => Target::Node(node),
            None if self.is_dropped(&place, name) => Target::Ours,
            None if path.is_empty() => Target::Node(NodeId::ROOT),
            None => Target::Missing(place),
        })
    }

    fn is_dropped(&self, place: &Place, name: &[u8]) -> bool {
        !self.dropped.is_empty() && self.dropped.contains_key(&place.spot(name))
    }

    /// Drops a link, and remembers its name.
    fn drop_link(&mut self, path: &[u8]) -> Result<(), Halt> {
        self.reserved += 1;
        let (directory, name) = split(path);
        match resolve(&self.tree, directory, &mut self.steps) {
            Ok(place) => {
                let spot = place.spot(name);
                self.budget.take_metadata(cost::dropped_link(&spot.1))?;
                self.dropped.try_reserve(1)?;
                self.dropped.insert(spot, self.layers);
                Ok(())
            }
            // The name cannot exist, so nothing can lead there.
            Err(Halt::Problem(EntryProblem::SymlinkLoop)) => Ok(()),
            Err(other) => Err(other),
        }
    }
}
