//! The layers of an image, and where they come from.

use std::io::{self, Read};

use ociget::{DiffId, Digest};

use super::known::KnownLayer;
use crate::layer::{self, Limits, Stream};

/// What is known about a layer before it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerSpec {
    /// Size of the blob, compressed.
    pub size: u64,
    /// What it decompresses to, as the image config has it.
    pub diff_id: DiffId,
    /// Digest of the blob, for messages; `None` if nobody knows it.
    pub blob: Option<Digest>,
}

/// The layers of an image, oldest first, and what they may cost.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'a> {
    /// What is known about each.
    pub specs: &'a [LayerSpec],
    /// The caps.
    pub limits: &'a Limits,
}

impl Layers<'_> {
    /// `blob` as that layer, decompressed as it is read.
    ///
    /// # Errors
    /// As [`Stream::open`]; [`layer::Error::Source`] if there is no such layer.
    pub fn stream<'b>(
        &self,
        layer: usize,
        blob: impl Read + 'b,
    ) -> Result<Stream<'b>, layer::Error> {
        let Some(LayerSpec { size, diff_id, .. }) = self.specs.get(layer) else {
            return Err(layer::Error::Source(io::ErrorKind::NotFound.into()));
        };
        Stream::open(blob, *size, diff_id.clone(), self.limits)
    }
}

/// Where the layers come from.
pub trait LayerSource {
    /// A layer, from its start; 0 is the oldest. Layers are asked for newest first, one at a time,
    /// each once; rarely, some of them once more after that.
    ///
    /// `layers` is what was given to [`flatten`](super::flatten()). Who has a blob and nothing else to do returns
    /// [`layers.stream(layer, blob)`](Layers::stream).
    ///
    /// # Errors
    /// [`layer::Error`], handed on as [`Error::Layer`](super::Error::Layer).
    fn open(&mut self, layer: usize, layers: Layers<'_>) -> Result<Stream<'_>, layer::Error>;

    /// Returns the entries of a layer from an earlier build, from their start. There may be several of them, `choice`
    /// counts from 0; the one that [`flatten`](super::flatten()) decides for is asked for twice. The default knows none.
    fn known(&mut self, layer: usize, choice: usize) -> Option<Box<dyn KnownLayer>> {
        let _ = (layer, choice);
        None
    }

    /// Returns an error if nobody needs the image any more. [`flatten`](super::flatten()) calls it between two layers
    /// and, while no layer is open, after at most 1024 entries, names or path components, so it
    /// should be quick. An open [`Stream`] answers for itself. The default goes on.
    ///
    /// # Errors
    /// [`layer::Error`], handed on as [`Error::Stopped`](super::Error::Stopped).
    fn check(&self) -> Result<(), layer::Error> {
        Ok(())
    }
}
