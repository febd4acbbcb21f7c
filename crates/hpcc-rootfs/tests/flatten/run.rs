//! Flattening in memory.

use std::convert::Infallible;

use bytes::Bytes;
use hpcc_rootfs::flatten::{
    Body, BodySink, Error, Flattened, LayerSource, LayerSpec, Layers, Options, flatten,
};
use hpcc_rootfs::layer::{self, Stream};
use ociget::{DiffId, Digest};

use crate::archive::{Item, tar};

/// Blobs in memory, and how often each was asked for.
pub(crate) struct Blobs {
    pub(crate) blobs: Vec<Vec<u8>>,
    pub(crate) opened: Vec<usize>,
}

impl LayerSource for Blobs {
    fn open(&mut self, layer: usize, layers: Layers<'_>) -> Result<Stream<'_>, layer::Error> {
        self.opened.push(layer);
        layers.stream(layer, self.blobs[layer].as_slice())
    }
}

/// Bodies in memory; a handle is the body itself.
pub(crate) struct Collector {
    pub(crate) written: u64,
}

pub(crate) struct Collected<'a> {
    sink: &'a mut Collector,
    announced: u64,
    body: Vec<u8>,
}

impl BodySink for Collector {
    type Handle = Vec<u8>;
    type Error = Infallible;
    type Body<'a> = Collected<'a>;

    fn begin(&mut self, size: u64) -> Result<Collected<'_>, Infallible> {
        Ok(Collected {
            sink: self,
            announced: size,
            body: Vec::new(),
        })
    }
}

impl Body for Collected<'_> {
    type Handle = Vec<u8>;
    type Error = Infallible;

    fn data(&mut self, bytes: Bytes) -> Result<(), Infallible> {
        assert!(!bytes.is_empty());
        self.sink.written += bytes.len() as u64;
        self.body.extend(bytes);
        Ok(())
    }

    fn hole(&mut self, length: u64) -> Result<(), Infallible> {
        assert!(length > 0);
        let length = usize::try_from(length).unwrap();
        self.body.resize(self.body.len() + length, 0);
        Ok(())
    }

    fn finish(self) -> Result<Vec<u8>, Infallible> {
        assert_eq!(self.body.len() as u64, self.announced);
        Ok(self.body)
    }
}

/// What a manifest and a config say about a plain archive.
pub(crate) fn spec(blob: &[u8]) -> LayerSpec {
    LayerSpec::new(blob.len() as u64, DiffId(Digest::of(blob)))
}

/// Plain archives as an image.
pub(crate) fn flatten_blobs(
    blobs: Vec<Vec<u8>>,
    options: &Options,
) -> (Result<Flattened<Vec<u8>>, Error>, Blobs, Collector) {
    let specs: Vec<LayerSpec> = blobs.iter().map(|blob| spec(blob)).collect();
    let mut source = Blobs {
        blobs,
        opened: Vec::new(),
    };
    let mut bodies = Collector { written: 0 };
    let result = flatten(&specs, &mut source, &mut bodies, options);
    (result, source, bodies)
}

pub(crate) fn flatten_items(layers: &[Vec<Item>]) -> Result<Flattened<Vec<u8>>, Error> {
    let blobs = layers.iter().map(|items| tar(items)).collect();
    flatten_blobs(blobs, &Options::default()).0
}

/// Returns an error and all its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
