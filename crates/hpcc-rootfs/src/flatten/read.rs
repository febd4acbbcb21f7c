//! Reads layers: bodies go to the sink, everything else to change lists.

use sqfs_writer::{Kind, Metadata};

use super::change::{Action, Changes, Content};
use super::context::Context;
use super::cost;
use super::error::{Error, Halt};
use super::known::{Counts, KnownBody, KnownLayer, Proof};
use super::layers::{LayerSource, Layers};
use super::marker::{Role, is_link_target, join, role};
use super::options::Report;
use super::shadow::Shadow;
use super::sink::BodySink;
use super::steps::Ticks;
use crate::layer::{Budget, Entry, EntryKind, Limit, TarReader};

/// The first pass over an image's layers, newest first.
pub(super) struct Reading<'a> {
    layers: Layers<'a>,
    budget: Budget,
    shadow: Shadow,
    /// Bytes of memory that the shadow index is charged with.
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

    /// Reads one layer: from an earlier build if that has everything that is needed, otherwise from its archive, to its
    /// end.
    pub(super) fn layer<S: BodySink>(
        &mut self,
        index: usize,
        source: &mut dyn LayerSource,
        bodies: &mut S,
    ) -> Result<(Changes<S::Handle>, Proof), Error> {
        let context = Context::new(index, self.layers)?;
        let before = Self::counts(&self.budget);
        bodies.begin_layer(context.spec);
        let (changes, proof) = match self.known(index, source) {
            Some(known) => {
                let input = Known::new(known, &mut self.budget, &context)?;
                let (report, shadow) = (&mut self.report, &self.shadow);
                read(input, &context, report, shadow, bodies)?
            }
            None => {
                let input = Archive(context.open(source, &mut self.budget)?);
                let (report, shadow) = (&mut self.report, &self.shadow);
                read(input, &context, report, shadow, bodies)?
            }
        };
        let after = Self::counts(&self.budget);
        let counts = Counts {
            entries: after.entries - before.entries,
            logical_bytes: after.logical_bytes - before.logical_bytes,
            unpacked_bytes: after.unpacked_bytes - before.unpacked_bytes,
        };
        bodies.end_layer(counts, &proof);
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

    fn counts(budget: &Budget) -> Counts {
        Counts {
            entries: budget.entries(),
            logical_bytes: budget.logical_bytes(),
            unpacked_bytes: budget.unpacked_bytes(),
        }
    }

    /// Returns a layer of an earlier build that has every body that is needed, and fits the limits.
    fn known(&self, index: usize, source: &mut dyn LayerSource) -> Option<Box<dyn KnownLayer>> {
        let mut choice = 0;
        while let Some(known) = source.known(index, choice) {
            if self.is_complete(known, source).unwrap_or(false) {
                return source.known(index, choice);
            }
            choice += 1;
        }
        None
    }

    fn is_complete(
        &self,
        mut known: Box<dyn KnownLayer>,
        source: &dyn LayerSource,
    ) -> Result<bool, Unusable> {
        let mut budget = self.budget.clone();
        take_counts(&mut budget, known.counts()).map_err(|_| Unusable)?;
        let check = || source.check();
        let mut ticks = Ticks::new(&check);
        let mut entry = Entry::default();
        while let Some(body) = known.next(&mut entry).map_err(|_| Unusable)? {
            ticks.tick().map_err(|_| Unusable)?;
            let needed = matches!(entry.kind, EntryKind::File { .. })
                && matches!(role(&entry.path), Ok(Role::File | Role::LinkTarget))
                && !self.skips(&entry);
            if needed && body.is_none() {
                return Ok(false);
            }
        }
        known.finish().map_err(|_| Unusable)?;
        Ok(true)
    }

    /// Returns whether the body of a file is most likely not needed.
    fn skips(&self, entry: &Entry) -> bool {
        skips(entry, &self.shadow)
    }

    /// Returns the counts, and the budget that is left for the tree.
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

/// The recorded entries of an earlier build cannot be used.
struct Unusable;

/// Returns whether the body of a file is skipped. An empty body is not, because it costs nothing to write, and a second
/// pass to get back. Files that aufs shares are not, because each layer has its own, so no newer layer replaces them.
fn skips(entry: &Entry, shadow: &Shadow) -> bool {
    matches!(entry.kind, EntryKind::File { size } if size > 0)
        && !is_link_target(&entry.path)
        && shadow.is_dead(&entry.path)
}

fn take_counts(budget: &mut Budget, counts: Counts) -> Result<(), Limit> {
    let Counts {
        entries,
        logical_bytes,
        unpacked_bytes,
    } = counts;
    budget.take_known(entries, logical_bytes, unpacked_bytes)
}

/// A source of the entries of a layer.
trait Input<S: BodySink> {
    fn next(&mut self, entry: &mut Entry, context: &Context<'_>) -> Result<bool, Error>;
    fn charge(&mut self, bytes: u64, path: &[u8], context: &Context<'_>) -> Result<(), Error>;
    fn body(
        &mut self,
        path: &[u8],
        size: u64,
        bodies: &mut S,
        context: &Context<'_>,
    ) -> Result<Content<S::Handle>, Error>;
    fn finish(self, context: &Context<'_>) -> Result<Proof, Error>;
}

/// Entries from the layer's archive.
struct Archive<'s>(TarReader<'s>);

impl<S: BodySink> Input<S> for Archive<'_> {
    fn next(&mut self, entry: &mut Entry, context: &Context<'_>) -> Result<bool, Error> {
        self.0.read_entry(entry).map_err(|e| context.layer(e))
    }

    fn charge(&mut self, bytes: u64, _path: &[u8], context: &Context<'_>) -> Result<(), Error> {
        self.0.charge(bytes).map_err(|e| context.layer(e))
    }

    fn body(
        &mut self,
        path: &[u8],
        size: u64,
        bodies: &mut S,
        context: &Context<'_>,
    ) -> Result<Content<S::Handle>, Error> {
        context.body(&mut self.0, path, size, bodies)
    }

    fn finish(self, context: &Context<'_>) -> Result<Proof, Error> {
        let proof = self.0.finish().map_err(|e| context.layer(e))?;
        Ok(Proof::Read(proof))
    }
}

/// Entries from an earlier build.
struct Known<'s> {
    layer: Box<dyn KnownLayer>,
    budget: &'s mut Budget,
    body: Option<KnownBody>,
}

impl<'s> Known<'s> {
    fn new(
        layer: Box<dyn KnownLayer>,
        budget: &'s mut Budget,
        context: &Context<'_>,
    ) -> Result<Self, Error> {
        let taken = take_counts(budget, layer.counts());
        taken.map_err(|limit| Halt::from(limit).of(b"").at(context.name()))?;
        Ok(Self {
            layer,
            budget,
            body: None,
        })
    }
}

impl<S: BodySink> Input<S> for Known<'_> {
    fn next(&mut self, entry: &mut Entry, context: &Context<'_>) -> Result<bool, Error> {
        match self.layer.next(entry) {
            Ok(Some(body)) => {
                self.body = body;
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(source) => Err(context.known(source)),
        }
    }

    fn charge(&mut self, bytes: u64, path: &[u8], context: &Context<'_>) -> Result<(), Error> {
        let charged = self.budget.take_metadata(bytes);
        charged.map_err(|limit| Halt::from(limit).of(path).at(context.name()))
    }

    fn body(
        &mut self,
        path: &[u8],
        _size: u64,
        bodies: &mut S,
        context: &Context<'_>,
    ) -> Result<Content<S::Handle>, Error> {
        let lost = || Error::Lost {
            layer: context.name(),
        };
        let body = self.body.take().ok_or_else(lost)?;
        let replayed = bodies.replay(&body).map_err(|source| Error::Sink {
            layer: context.name(),
            entry: path.into(),
            source: Box::new(source),
        });
        let handle = replayed?.ok_or_else(lost)?;
        let data = body.data;
        Ok(Content::Written { handle, data })
    }

    fn finish(self, context: &Context<'_>) -> Result<Proof, Error> {
        let remembered = self.layer.finish().map_err(|e| context.known(e))?;
        Ok(Proof::Remembered(remembered))
    }
}

/// Turns the entries of a layer into changes.
fn read<S: BodySink>(
    mut input: impl Input<S>,
    context: &Context<'_>,
    report: &mut Report,
    shadow: &Shadow,
    bodies: &mut S,
) -> Result<(Changes<S::Handle>, Proof), Error> {
    let mut changes = Changes::new();
    let mut entry = Entry::default();
    let mut ordinal = 0;
    while input.next(&mut entry, context)? {
        report.acls += u64::from(entry.acls);
        report.unstorable_xattrs += u64::from(entry.unstorable_xattrs);
        report.overlay_xattrs += u64::from(entry.overlay_xattrs);
        let role =
            role(&entry.path).map_err(|problem| problem.of(&entry.path).at(context.name()))?;
        let is_file = match role {
            Role::Reserved => {
                report.reserved += 1;
                false
            }
            Role::Hidden => {
                report.hidden += 1;
                false
            }
            Role::Opaque { directory } => {
                report.whiteouts += 1;
                let cost = cost::marker(changes.suffix(directory));
                input.charge(cost, directory, context)?;
                changes.push(directory, Action::Opaque)?;
                false
            }
            Role::Whiteout { directory, name } => {
                report.whiteouts += 1;
                let path = join(directory, name);
                input.charge(cost::marker(changes.suffix(&path)), &path, context)?;
                changes.push(&path, Action::Whiteout)?;
                false
            }
            Role::LinkTarget => {
                report.hidden += 1;
                // aufs puts neither directories nor other links there.
                !matches!(entry.kind, EntryKind::Directory | EntryKind::HardLink(_))
            }
            Role::File => true,
        };
        if !is_file {
            // Only the path of the entry matters, so nothing else of it is kept.
            entry.kind = EntryKind::Directory;
            entry.metadata = Metadata::default();
            entry.clamped_time = false;
            bodies.entry(&entry);
            ordinal += 1;
            continue;
        }
        let skipped = skips(&entry, shadow);
        let suffix = changes.suffix(&entry.path);
        let cost = match &entry.kind {
            EntryKind::HardLink(target) => {
                entry.metadata = Metadata::default();
                cost::link(&entry.path, suffix, target)
            }
            kind => cost::place(&entry.path, suffix, &entry.metadata, kind, skipped),
        };
        input.charge(cost, &entry.path, context)?;
        bodies.entry(&entry);
        let metadata = std::mem::take(&mut entry.metadata);
        let kind = match std::mem::take(&mut entry.kind) {
            EntryKind::HardLink(target) => {
                changes.push(&entry.path, Action::Link(target))?;
                ordinal += 1;
                continue;
            }
            EntryKind::File { size } if skipped => {
                report.skipped_bytes += size;
                let layer = context.index;
                Kind::File(Content::Skipped { layer, ordinal })
            }
            EntryKind::File { size } => {
                Kind::File(input.body(&entry.path, size, bodies, context)?)
            }
            EntryKind::Directory => Kind::directory(),
            EntryKind::Symlink(target) => Kind::Symlink(target),
            EntryKind::CharDevice(device) => Kind::CharDevice(device),
            EntryKind::BlockDevice(device) => Kind::BlockDevice(device),
            EntryKind::Fifo => Kind::Fifo,
        };
        // Not of markers and of what is dropped, whose times are in no image.
        report.clamped_times += u64::from(entry.clamped_time);
        changes.push(&entry.path, Action::Place(metadata, kind))?;
        ordinal += 1;
    }
    let proof = input.finish(context)?;
    Ok((changes.finish(), proof))
}
