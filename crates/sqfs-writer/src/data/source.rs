//! Sources of stored bytes.

use std::io;

use bytes::Bytes;

use crate::known::Fingerprint;

/// Reads from earlier images. A writer requests the blocks and tails of a [`Recipe`](super::Recipe) if it needs them.
///
/// The caller defines positions. A source of several images can encode the number of the image in them.
pub trait Source: Send {
    /// Returns the `len` bytes that are stored at `at`: a block of a body, compressed or not. `at` is
    /// [`Recipe::start`](super::Recipe::start), and that plus the lengths of the blocks before it.
    ///
    /// # Errors
    /// Returns an error if the bytes cannot be read. The image cannot be finished then.
    fn block(&mut self, at: u64, len: u32) -> io::Result<Bytes>;

    /// Returns a fragment that holds exactly the tails with this [fingerprint](super::FragmentPlace::tails), if an image
    /// has one.
    ///
    /// # Errors
    /// As [`block`](Self::block).
    fn fragment(&mut self, tails: &Fingerprint) -> io::Result<Option<StoredFragment>>;

    /// Returns the `len` bytes of a tail, not compressed. `at` is [`Recipe::tail`](super::Recipe::tail).
    ///
    /// # Errors
    /// As [`block`](Self::block).
    fn tail(&mut self, at: u64, len: u32) -> io::Result<Bytes>;
}

/// A fragment as an image stores it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoredFragment {
    /// The stored bytes.
    pub bytes: Bytes,
    /// Whether they are not compressed.
    pub raw: bool,
}

impl StoredFragment {
    /// Returns a fragment with these stored bytes; `raw` if they are not compressed.
    #[must_use]
    pub const fn new(bytes: Bytes, raw: bool) -> Self {
        Self { bytes, raw }
    }
}
