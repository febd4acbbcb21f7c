//! The layers of an image, and their source.

use std::io::{self, Read};

use ociget::{DiffId, Digest};

use super::known::KnownLayer;
use crate::layer::{self, Limits, Stream};

/// Facts about a layer that are known before it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayerSpec {
    /// Size of the blob, compressed.
    pub size: u64,
    /// Digest of what it decompresses to, from the image config.
    pub diff_id: DiffId,
    /// Digest of the blob, for messages; `None` if it is unknown.
    pub blob: Option<Digest>,
}

impl LayerSpec {
    /// Returns the facts about a layer whose blob has `size` bytes and an unknown digest.
    #[must_use]
    pub const fn new(size: u64, diff_id: DiffId) -> Self {
        Self {
            size,
            diff_id,
            blob: None,
        }
    }

    /// Returns the facts with the digest of the blob.
    #[must_use]
    pub fn with_blob(mut self, blob: Digest) -> Self {
        self.blob = Some(blob);
        self
    }
}

/// The layers of an image, oldest first, and their limits.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Layers<'a> {
    /// The properties of each layer.
    pub specs: &'a [LayerSpec],
    /// The limits.
    pub limits: &'a Limits,
}

impl<'a> Layers<'a> {
    /// Returns layers with these properties and limits.
    #[must_use]
    pub const fn new(specs: &'a [LayerSpec], limits: &'a Limits) -> Self {
        Self { specs, limits }
    }

    /// Opens `blob` as that layer, which is decompressed as it is read.
    ///
    /// # Errors
    /// Returns the errors of [`Stream::open`], and [`layer::Error::Source`] if there is no such layer.
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

/// A source of the layers of an image.
pub trait LayerSource {
    /// Opens a layer for reading from its first byte; layer 0 is the oldest. [`flatten`](super::flatten()) opens the
    /// layers one at a time, newest first, each once. In rare cases it opens some of them once more after that.
    ///
    /// `layers` is the argument of [`flatten`](super::flatten()). An implementation that only has a blob returns
    /// [`layers.stream(layer, blob)`](Layers::stream).
    ///
    /// # Errors
    /// Returns [`layer::Error`], which [`flatten`](super::flatten()) returns as [`Error::Layer`](super::Error::Layer).
    fn open(&mut self, layer: usize, layers: Layers<'_>) -> Result<Stream<'_>, layer::Error>;

    /// Returns the entries of a layer from an earlier build, from their start. There may be several sets of them, which
    /// `choice` counts from 0. [`flatten`](super::flatten()) calls this twice for the set that it chooses. The default
    /// implementation returns none.
    fn known(&mut self, layer: usize, choice: usize) -> Option<Box<dyn KnownLayer>> {
        let _ = (layer, choice);
        None
    }

    /// Returns an error if the image is no longer needed. [`flatten`](super::flatten()) calls it between two layers
    /// and, while no layer is open, after at most 1024 entries, names or path components, so it should be quick. An
    /// open [`Stream`] does its own check. The default implementation returns `Ok`.
    ///
    /// # Errors
    /// Returns [`layer::Error`], which [`flatten`](super::flatten()) returns as
    /// [`Error::Stopped`](super::Error::Stopped).
    fn check(&self) -> Result<(), layer::Error> {
        Ok(())
    }
}
