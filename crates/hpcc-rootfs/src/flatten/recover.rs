//! Bodies that looked replaced and are needed after all.

use std::collections::{BTreeMap, BTreeSet};

use sqfs_writer::{Kind, Tree};

use super::change::Content;
use super::context::Context;
use super::error::Error;
use super::known::KnownLayer;
use super::layers::{LayerSource, Layers};
use super::options::Report;
use super::sink::BodySink;
use super::steps::Ticks;
use crate::layer::{Budget, Entry, EntryKind};

/// The recorded entries of an earlier build cannot be used.
struct Unusable;

/// Reads the bodies that were skipped and are part of the tree after all, in a second pass over their layers, newest
/// first.
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
        if let Some(known) = known_bodies(layer, ordinals, source) {
            for (ordinal, size, handle) in replay(known, ordinals, &context, bodies)? {
                recovered.insert((layer, ordinal), handle);
                report.skipped_bytes = report.skipped_bytes.saturating_sub(size);
            }
            continue;
        }
        // The same bytes count against the limits of one layer again. They do not count against the limits of the whole
        // image again.
        let mut budget = Budget::new(layers.limits.clone());
        let mut tar = context.open(source, &mut budget)?;
        let mut entry = Entry::default();
        let mut ordinal = 0;
        while tar.read_entry(&mut entry).map_err(|e| context.layer(e))? {
            if let EntryKind::File { size } = entry.kind
                && ordinals.contains(&ordinal)
            {
                bodies.recovers(layer, ordinal);
                let content = context.body(&mut tar, &entry.path, size, bodies)?;
                if let Content::Written { handle, .. } = content {
                    recovered.insert((layer, ordinal), handle);
                    report.skipped_bytes = report.skipped_bytes.saturating_sub(size);
                }
            }
            ordinal += 1;
        }
        // The layer must equal the one of the first pass.
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

/// Returns a layer of an earlier build that has all of these bodies.
fn known_bodies(
    layer: usize,
    ordinals: &BTreeSet<u64>,
    source: &mut dyn LayerSource,
) -> Option<Box<dyn KnownLayer>> {
    let has_all = |mut known: Box<dyn KnownLayer>, source: &dyn LayerSource| {
        let check = || source.check();
        let mut ticks = Ticks::new(&check);
        let (mut entry, mut found) = (Entry::default(), 0);
        let mut next = 0;
        while let Some(body) = known.next(&mut entry).map_err(|_| Unusable)? {
            ticks.tick().map_err(|_| Unusable)?;
            found += usize::from(body.is_some() && ordinals.contains(&next));
            next += 1;
        }
        known.finish().map_err(|_| Unusable)?;
        Ok::<_, Unusable>(found == ordinals.len())
    };
    let mut choice = 0;
    while let Some(known) = source.known(layer, choice) {
        if has_all(known, source).unwrap_or(false) {
            return source.known(layer, choice);
        }
        choice += 1;
    }
    None
}

/// Replays bodies of a known layer. Returns each with its ordinal and size.
fn replay<S: BodySink>(
    mut known: Box<dyn KnownLayer>,
    ordinals: &BTreeSet<u64>,
    context: &Context<'_>,
    bodies: &mut S,
) -> Result<Vec<(u64, u64, S::Handle)>, Error> {
    let lost = || Error::Lost {
        layer: context.name(),
    };
    let (mut entry, mut replayed) = (Entry::default(), Vec::new());
    let mut next = 0;
    while let Some(body) = known.next(&mut entry).map_err(|e| context.known(e))? {
        let ordinal = next;
        next += 1;
        let (EntryKind::File { size }, Some(body)) = (&entry.kind, body) else {
            continue;
        };
        if !ordinals.contains(&ordinal) {
            continue;
        }
        bodies.recovers(context.index, ordinal);
        let handle = bodies.replay(&body).map_err(|source| Error::Sink {
            layer: context.name(),
            entry: entry.path.as_slice().into(),
            source: Box::new(source),
        });
        replayed.push((ordinal, *size, handle?.ok_or_else(lost)?));
    }
    known.finish().map_err(|e| context.known(e))?;
    Ok(replayed)
}
