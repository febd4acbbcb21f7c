//! Bodies of files: many different ones, cut from one text.

use test_support::text::text;

/// Long enough that no window of a compressor sees the same twice.
const LENGTH: usize = 16 << 20;

/// A text that bodies are cut from.
pub(super) struct Text(Vec<u8>);

impl Text {
    /// Returns the text, which is the same every time.
    pub(super) fn new() -> Self {
        Self(text(LENGTH))
    }

    /// `length` bytes, others for every `index`; at most a quarter of the whole.
    pub(super) fn body(&self, index: u64, length: usize) -> &[u8] {
        let most = LENGTH - length.min(LENGTH / 4);
        let start = usize::try_from(next(index) >> 24).unwrap_or_default() % most;
        self.0.get(start..start + length).unwrap_or(&self.0)
    }
}

/// Returns a permutation of all numbers that leaves no order in them (splitmix64).
pub(super) fn next(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
