//! A layer with a large file that no block of an image compresses, though the layer itself is small.

use std::io::Write;

use sha2::{Digest as _, Sha256};

use super::store::{hex, sha256};
use super::{Content, Entry, Layer};

/// Bytes after which the file repeats: more than a block of an image has by default, and less than the window of a
/// zstd frame. Two repetitions begin at different offsets in their blocks, because it is odd.
const PERIOD: usize = 200_003;

impl Layer {
    /// Returns a zstd layer with one file of `LENGTH` bytes, whose blocks of up to 128 KiB do not compress. The blob
    /// takes less than a thousandth of a large file.
    ///
    /// # Panics
    /// If memory cannot be written to.
    #[must_use]
    pub fn of_incompressible<const LENGTH: u64>(name: &str) -> Self {
        let header = Entry::file(name, "").patch(|header| {
            header[124..136].copy_from_slice(format!("{LENGTH:011o}\0").as_bytes());
        });
        let padding = LENGTH.next_multiple_of(512) - LENGTH;
        let padding = usize::try_from(padding).expect("less than a block");
        let mut state: u64 = 0x9E37_79B9_7F4A_7C15;
        let next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        let period: Vec<u8> = std::iter::repeat_with(next).take(PERIOD).collect();

        let written = "memory is written to";
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect(written);
        let mut hash = Sha256::new();
        let mut put = |bytes: &[u8]| {
            hash.update(bytes);
            encoder.write_all(bytes).expect(written);
        };
        put(&header.encode());
        let mut left = LENGTH;
        while left > 0 {
            let length = usize::try_from(left).map_or(PERIOD, |left| left.min(PERIOD));
            put(&period[..length]);
            left -= u64::try_from(length).expect("at most a period");
        }
        put(&vec![0; padding + 1024]);
        let blob = encoder.finish().expect(written);
        let digest = sha256(&blob);
        Self::of_content(Content::Memory(blob.into()), digest, hex(&hash.finalize()))
            .media_type_as("application/vnd.oci.image.layer.v1.tar+zstd")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incompressible_layer_is_small_and_matches_its_diff_id() {
        let layer = Layer::of_incompressible::<10_000_001>("noise");
        let blob = layer.blob();
        assert!(blob.len() < 300_000, "{} bytes", blob.len());
        let tar = zstd::decode_all(&*blob).unwrap();
        assert_eq!(layer.diff_id(), sha256(&tar));
        assert_eq!(
            tar.len(),
            512 + 10_000_001_usize.next_multiple_of(512) + 1024
        );
        let block = zstd::encode_all(&tar[512..][..128 << 10], 3).unwrap();
        assert!(block.len() > 128 << 10);
    }
}
