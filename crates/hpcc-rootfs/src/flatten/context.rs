//! The layer being read: its name for errors, its archive, its bodies.

use super::change::Content;
use super::error::{Error, LayerName};
use super::layers::{LayerSource, LayerSpec, Layers};
use super::sink::{Body, BodySink};
use crate::layer::{Budget, Segment, TarReader};

/// The layer being read.
pub(super) struct Context<'a> {
    pub(super) index: usize,
    layers: Layers<'a>,
    pub(super) spec: &'a LayerSpec,
}

impl<'a> Context<'a> {
    pub(super) fn new(index: usize, layers: Layers<'a>) -> Result<Self, Error> {
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

    pub(super) fn name(&self) -> LayerName {
        LayerName::new(self.index, self.spec)
    }

    pub(super) fn known(&self, source: std::io::Error) -> Error {
        Error::Known {
            layer: self.name(),
            source,
        }
    }

    pub(super) fn layer(&self, source: crate::layer::Error) -> Error {
        Error::Layer {
            layer: self.name(),
            source,
        }
    }

    pub(super) fn open<'s>(
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
    pub(super) fn body<S: BodySink>(
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
