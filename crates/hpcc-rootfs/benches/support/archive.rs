//! Layers to read, and where they come from.

use hpcc_rootfs::flatten::{LayerSource, LayerSpec, Layers};
use hpcc_rootfs::layer::{self, Stream};
use ociget::{DiffId, Digest};
use tar::{Builder, Header};

/// Blobs, and what they decompress to.
#[derive(Default)]
pub(crate) struct Archive {
    blobs: Vec<Vec<u8>>,
    pub(crate) specs: Vec<LayerSpec>,
}

impl Archive {
    /// Adds a layer: its blob, and what that decompresses to.
    pub(crate) fn push(&mut self, blob: Vec<u8>, tar: &[u8]) {
        let diff_id = DiffId(Digest::of(tar));
        self.specs.push(LayerSpec::new(blob.len() as u64, diff_id));
        self.blobs.push(blob);
    }
}

impl LayerSource for &Archive {
    fn open(&mut self, layer: usize, layers: Layers<'_>) -> Result<Stream<'_>, layer::Error> {
        let blob = self.blobs.get(layer).map_or(&[][..], |blob| blob);
        layers.stream(layer, blob)
    }
}

/// Returns a tar of files, named by their numbers from `first` on.
pub(crate) fn files<'a>(first: usize, bodies: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (index, body) in bodies.enumerate() {
        let number = first + index;
        let mut header = Header::new_ustar();
        header
            .set_path(format!("{}/{number}", number / 100))
            .unwrap();
        header.set_mode(0o644);
        header.set_size(body.len() as u64);
        header.set_cksum();
        builder.append(&header, body).unwrap();
    }
    builder.into_inner().unwrap()
}
