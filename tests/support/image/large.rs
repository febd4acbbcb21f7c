//! A layer that is larger than memory, or whose entries are so numerous that it is compressed as it grows.
//!
//! It is one gzip file of many members. A member that was made once can be put in again and again;
//! what the layer decompresses to is hashed as if every one of them were another.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::layer::gzip;
use super::store::hex;
use super::{Content, Entry, Layer, Pieces};

/// Bytes of tar in a member.
const MEMBER: usize = 1 << 20;

/// Some of a tar, and the same compressed.
#[derive(Clone, Debug)]
pub struct Member {
    tar: Arc<[u8]>,
    gzip: Arc<[u8]>,
}

impl Member {
    /// Compresses.
    #[must_use]
    pub fn of(tar: &[u8]) -> Self {
        Self {
            tar: tar.into(),
            gzip: gzip(tar).into(),
        }
    }
}

/// A large layer under construction.
#[derive(Clone, Default)]
pub struct LargeLayer {
    blob: Pieces,
    blob_hash: Sha256,
    tar_hash: Sha256,
    /// Tar that is in no member yet.
    rest: Vec<u8>,
}

impl LargeLayer {
    /// Returns an empty layer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry.
    pub fn entry(&mut self, entry: &Entry) {
        self.rest.extend_from_slice(&entry.encode());
        if self.rest.len() >= MEMBER {
            self.flush();
        }
    }

    /// Adds bytes of the tar that were compressed before, such as the rest of a body of which an
    /// [entry](Self::entry) was the header.
    pub fn member(&mut self, member: &Member) {
        self.flush();
        self.put(member);
    }

    /// Ends the archive.
    #[must_use]
    pub fn finish(mut self) -> Layer {
        self.rest.extend_from_slice(&[0; 1024]);
        self.flush();
        Layer::of_content(
            Content::Pieces(Arc::new(self.blob)),
            hex(&self.blob_hash.finalize()),
            hex(&self.tar_hash.finalize()),
        )
    }

    fn flush(&mut self) {
        let rest = std::mem::take(&mut self.rest);
        if !rest.is_empty() {
            self.put(&Member::of(&rest));
        }
    }

    fn put(&mut self, member: &Member) {
        self.tar_hash.update(&member.tar);
        self.blob_hash.update(&member.gzip);
        self.blob.push(&member.gzip);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::image::sha256;

    #[test]
    fn large_layer_is_the_gzip_file_that_its_digests_say() {
        let mut layer = LargeLayer::new();
        let repeated = Member::of(&Entry::dir("d").encode());
        layer.member(&repeated);
        layer.entry(&Entry::file("d/f", "content"));
        layer.member(&repeated);
        let layer = layer.finish();

        let mut tar = Vec::new();
        let blob = layer.blob();
        let mut decoder = flate2::read::MultiGzDecoder::new(&*blob);
        decoder.read_to_end(&mut tar).unwrap();
        let expected = Layer::new().dir("d").file("d/f", "content").dir("d").tar();
        assert!(tar == expected);
        assert_eq!(layer.diff_id(), sha256(&expected));
        assert_eq!(layer.blob_digest(), sha256(&blob));
    }
}
