//! Flattens the layers of an image into one tree: the tree that a file system would hold after unpacking them, oldest
//! first.
//!
//! ```text
//!   read, newest first                             apply, oldest first
//!   layer 2 ──► changes ─┐                         layer 0's changes ─┐
//!   layer 1 ──► changes ─┼─► Shadow: names that    layer 1's changes ─┼─► Tree
//!   layer 0 ──► changes ─┘   newer layers replace  layer 2's changes ─┘
//!        └──► bodies ──► BodySink ──► handles           read again: what was skipped and is there
//! ```
//!
//! Layers are read and applied in opposite orders.
//!
//! *Reading* goes newest first, so that a body which a newer layer replaces is never compressed or written: the shadow
//! index of the newer layers identifies it. That index knows only names. An older layer, not yet read, may turn a
//! parent into a symlink or give the file a second name, so the index is only a hint.
//!
//! *Applying* the changes goes oldest first, on inodes, and alone decides what the tree holds. Where the two disagree,
//! a layer is read a second time, only for the missing bodies.

// The rules are in `docs/flattening.md`.

mod apply;
mod change;
mod context;
mod cost;
mod error;
mod known;
mod layers;
mod lookup;
mod marker;
mod options;
mod read;
mod recover;
mod resolve;
mod shadow;
mod sink;
mod steps;
mod waiting;

use sqfs_writer::Tree;

use self::apply::Applier;
use self::read::Reading;
use self::steps::Ticks;

pub use error::{EntryProblem, Error, LayerName};
pub use known::{Counts, KnownBody, KnownLayer, Proof, Remembered};
pub use layers::{LayerSource, LayerSpec, Layers};
pub use marker::RESERVED;
pub use options::{Options, Report};
pub use sink::{Body, BodySink};

pub(crate) use lookup::{Walk, walk_to};

/// The result of flattening an image.
#[derive(Debug)]
pub struct Flattened<H> {
    /// The tree. Its root has no entry named [`RESERVED`].
    pub tree: Tree<H>,
    /// One proof for each layer, oldest first.
    pub proofs: Vec<Proof>,
    /// Counts of what happened.
    pub report: Report,
}

/// Reads the layers of an image, given oldest first, writes the bodies that it needs, and resolves their names.
///
/// The choice and the order of the written bodies are a function of the layers alone.
///
/// # Errors
/// Returns [`Error`], which names the layer and, if there is one, the entry.
pub fn flatten<S: BodySink>(
    layers: &[LayerSpec],
    source: &mut dyn LayerSource,
    bodies: &mut S,
    options: &Options,
) -> Result<Flattened<S::Handle>, Error> {
    if layers.len() > options.limits.layers {
        return Err(Error::TooManyLayers {
            value: layers.len(),
            max: options.limits.layers,
        });
    }
    let layers = Layers {
        specs: layers,
        limits: &options.limits,
    };
    let mut reading = Reading::new(layers);
    let mut lists = Vec::with_capacity(layers.specs.len());
    let mut proofs = Vec::with_capacity(layers.specs.len());
    for layer in (0..layers.specs.len()).rev() {
        let (changes, proof) = reading.layer(layer, source, bodies)?;
        lists.push(changes);
        proofs.push(proof);
    }
    proofs.reverse();
    let (mut report, budget) = reading.finish();

    let check = || source.check();
    let mut applier = Applier::new(options, budget, Ticks::new(&check));
    for (layer, spec) in layers.specs.iter().enumerate() {
        check().map_err(Error::Stopped)?;
        if let Some(changes) = lists.pop() {
            let name = || LayerName::new(layer, spec);
            applier
                .layer(changes)
                .map_err(|problem| problem.at(name()))?;
        }
    }
    let tree = applier.finish(&mut report).map_err(Error::Stopped)?;

    let tree = recover::recover(tree, layers, source, bodies, &mut report)?;
    Ok(Flattened {
        tree,
        proofs,
        report,
    })
}
