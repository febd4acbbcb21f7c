//! Reading layers: bodies to the sink, everything else to change lists.

use std::collections::{BTreeMap, BTreeSet};

use ociget::{DiffId, Verified};
use sqfs_writer::{Kind, Tree};

use super::change::{Action, Changes, Content};
use super::cost;
use super::error::{Error, LayerName};
use super::marker::{Role, join, role};
use super::options::Report;
use super::shadow::Shadow;
use super::sink::{Body, BodySink};
use super::steps::Ticks;
use super::{LayerSource, LayerSpec, Layers};
use crate::layer::{Budget, Entry, EntryKind, Segment, TarReader};

/// The first reading of an image's layers, newest first.
pub(super) struct Reading<'a> {
    layers: Layers<'a>,
    budget: Budget,
    shadow: Shadow,
    /// What the shadow index is charged with.
    shadow_bytes: u64,
    report: Report,
}

impl<'a> Reading<'a> {
    pub(super) fn new(layers: Layers<'a>) -> Self {
        Self {
            layers,
            budget: Budget::new(layers.limits.clone()),
            shadow: Shadow::default(),
            shadow_bytes: 0,
            report: Report::default(),
        }
    }

    /// Reads one layer to its end.
    pub(super) fn layer<S: BodySink>(
        &mut self,
        index: usize,
        source: &mut dyn LayerSource,
        bodies: &mut S,
    ) -> Result<(Changes<S::Handle>, Verified<DiffId>), Error> {
        let context = Context::new(index, self.layers)?;
        let mut tar = context.open(source, &mut self.budget)?;
        let mut changes = Changes::new();
        let charge = |tar: &mut TarReader<'_>, bytes| {
            let charged = tar.charge(bytes);
            charged.map_err(|e| context.layer(e))
        };
        let mut entry = Entry::default();
        let mut ordinal = 0;
        while tar.read_entry(&mut entry).map_err(|e| context.layer(e))? {
            self.report.acls += u64::from(entry.acls);
            self.report.unstorable_xattrs += u64::from(entry.unstorable_xattrs);
            self.report.overlay_xattrs += u64::from(entry.overlay_xattrs);
            let role =
                role(&entry.path).map_err(|problem| problem.of(&entry.path).at(context.name()))?;
            match role {
                Role::Reserved => self.report.reserved += 1,
                Role::Hidden => self.report.hidden += 1,
                Role::Opaque { directory } => {
                    self.report.whiteouts += 1;
                    charge(&mut tar, cost::marker(changes.suffix(directory)))?;
                    changes.push(directory, Action::Opaque);
                }
                Role::Whiteout { directory, name } => {
                    self.report.whiteouts += 1;
                    let path = join(directory, name);
                    charge(&mut tar, cost::marker(changes.suffix(&path)))?;
                    changes.push(&path, Action::Whiteout);
                }
                Role::File => {
                    let metadata = std::mem::take(&mut entry.metadata);
                    let kind = match std::mem::take(&mut entry.kind) {
                        EntryKind::HardLink(target) => {
                            let suffix = changes.suffix(&entry.path);
                            charge(&mut tar, cost::link(&entry.path, suffix, &target))?;
                            changes.push(&entry.path, Action::Link(target));
                            ordinal += 1;
                            continue;
                        }
                        // An empty body costs nothing to write, and a reading to get back.
                        EntryKind::File { size }
                            if size > 0 && self.shadow.is_dead(&entry.path) =>
                        {
                            self.report.skipped_bytes += size;
                            let layer = index;
                            Kind::File(Content::Skipped { layer, ordinal })
                        }
                        EntryKind::File { size } => {
                            Kind::File(context.body(&mut tar, &entry.path, size, bodies)?)
                        }
                        EntryKind::Directory => Kind::directory(),
                        EntryKind::Symlink(target) => Kind::Symlink(target),
                        EntryKind::CharDevice(device) => Kind::CharDevice(device),
                        EntryKind::BlockDevice(device) => Kind::BlockDevice(device),
                        EntryKind::Fifo => Kind::Fifo,
                    };
                    let suffix = changes.suffix(&entry.path);
                    charge(&mut tar, cost::place(&entry.path, suffix, &metadata, &kind))?;
                    changes.push(&entry.path, Action::Place(metadata, kind));
                }
            }
            ordinal += 1;
        }
        let proof = tar.finish().map_err(|e| context.layer(e))?;
        let changes = changes.finish();
        if index > 0 {
            let (budget, sum) = (&mut self.budget, &mut self.shadow_bytes);
            let charge = |bytes| {
                *sum += bytes;
                Ok(budget.take_metadata(bytes)?)
            };
            let check = || source.check();
            let added = self.shadow.add(&changes, charge, &mut Ticks::new(&check));
            added.map_err(|problem| problem.at(context.name()))?;
        }
        Ok((changes, proof))
    }

    /// What was counted, and what is left of the budget for the tree.
    pub(super) fn finish(self) -> (Report, Budget) {
        let Self {
            mut budget,
            shadow,
            shadow_bytes,
            report,
            ..
        } = self;
        drop(shadow);
        budget.return_metadata(shadow_bytes);
        let report = Report {
            entries: budget.entries(),
            logical_bytes: budget.logical_bytes(),
            ..report
        };
        (report, budget)
    }
}

/// Fetches the bodies that were skipped and are part of the tree after all, by reading their
/// layers once more, newest first.
pub(super) fn recover<S: BodySink>(
    tree: Tree<Content<S::Handle>>,
    layers: Layers<'_>,
    source: &mut dyn LayerSource,
    bodies: &mut S,
    report: &mut Report,
) -> Result<Tree<S::Handle>, Error> {
    let mut wanted: BTreeMap<usize, BTreeSet<u64>> = BTreeMap::new();
    let check = || source.check();
    let mut ticks = Ticks::new(&check);
    for (_, node) in tree.nodes() {
        ticks.tick().map_err(Error::Stopped)?;
        if let Kind::File(Content::Skipped { layer, ordinal }) = node.kind() {
            wanted.entry(*layer).or_default().insert(*ordinal);
        }
    }
    let mut recovered = BTreeMap::new();
    for (&layer, ordinals) in wanted.iter().rev() {
        let context = Context::new(layer, layers)?;
        // The same bytes against the same limits. They were counted the first time, and are not
        // counted against the limits of the whole image again.
        let mut budget = Budget::new(layers.limits.clone());
        let mut tar = context.open(source, &mut budget)?;
        let mut entry = Entry::default();
        let mut ordinal = 0;
        while tar.read_entry(&mut entry).map_err(|e| context.layer(e))? {
            if let EntryKind::File { size } = entry.kind
                && ordinals.contains(&ordinal)
            {
                let content = context.body(&mut tar, &entry.path, size, bodies)?;
                if let Content::Written { handle, .. } = content {
                    recovered.insert((layer, ordinal), handle);
                    report.skipped_bytes = report.skipped_bytes.saturating_sub(size);
                }
            }
            ordinal += 1;
        }
        // It has to be what it was the first time.
        let _same = tar.finish().map_err(|e| context.layer(e))?;
        report.layers_read_again.push(layer);
    }
    let check = || source.check();
    let mut ticks = Ticks::new(&check);
    tree.try_map(|_, content| {
        ticks.tick().map_err(Error::Stopped)?;
        match content {
            Content::Written { handle, .. } => Ok(handle),
            Content::Skipped { layer, ordinal } => match recovered.remove(&(layer, ordinal)) {
                Some(handle) => Ok(handle),
                None => Err(Error::Lost {
                    layer: Context::new(layer, layers)?.name(),
                }),
            },
        }
    })
}

/// The layer that is being read.
struct Context<'a> {
    index: usize,
    layers: Layers<'a>,
    spec: &'a LayerSpec,
}

impl<'a> Context<'a> {
    fn new(index: usize, layers: Layers<'a>) -> Result<Self, Error> {
        let spec = layers.specs.get(index).ok_or(Error::TooManyLayers {
            value: index,
            max: layers.specs.len(),
        })?;
        Ok(Self {
            index,
            layers,
            spec,
        })
    }

    fn name(&self) -> LayerName {
        LayerName::new(self.index, &self.spec.diff_id)
    }

    fn layer(&self, source: crate::layer::Error) -> Error {
        Error::Layer {
            layer: self.name(),
            source,
        }
    }

    fn open<'s>(
        &self,
        source: &'s mut dyn LayerSource,
        budget: &'s mut Budget,
    ) -> Result<TarReader<'s>, Error> {
        source
            .open(self.index, self.layers)
            .map(|stream| TarReader::new(stream, budget))
            .map_err(|e| self.layer(e))
    }

    /// Writes the body of the entry that was read last.
    fn body<S: BodySink>(
        &self,
        tar: &mut TarReader<'_>,
        path: &[u8],
        size: u64,
        bodies: &mut S,
    ) -> Result<Content<S::Handle>, Error> {
        let failed = |source: S::Error| Error::Sink {
            layer: self.name(),
            entry: path.into(),
            source: Box::new(source),
        };
        let mut body = bodies.begin(size).map_err(failed)?;
        let mut data = 0;
        while let Some(segment) = tar.segment().map_err(|e| self.layer(e))? {
            match segment {
                Segment::Data(bytes) => {
                    data += bytes.len() as u64;
                    body.data(bytes).map_err(failed)?;
                }
                Segment::Hole(length) => body.hole(length).map_err(failed)?,
            }
        }
        let handle = body.finish().map_err(failed)?;
        Ok(Content::Written { handle, data })
    }
}
