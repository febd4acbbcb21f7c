//! Where stored bytes come from.

use std::io;

use bytes::Bytes;

use crate::known::Fingerprint;

/// Gives what earlier images store. A writer asks it for what a [`Recipe`](super::Recipe) leads to, if it needs it.
///
/// Positions are the caller's: a source of several images puts the number of the image into them.
pub trait Source: Send {
    /// Returns the `len` bytes that are stored at `at`: a block of a body, compressed or not. `at` is
    /// [`Recipe::start`](super::Recipe::start), and that plus the lengths of the blocks before it.
    ///
    /// # Errors
    /// Whatever prevents it. The image cannot be finished then.
    fn block(&mut self, at: u64, len: u32) -> io::Result<Bytes>;

    /// Returns a fragment that holds exactly the tails with this [fingerprint](super::FragmentPlace::tails), if an image
    /// has one.
    ///
    /// # Errors
    /// As for [`block`](Self::block).
    fn fragment(&mut self, tails: &Fingerprint) -> io::Result<Option<StoredFragment>>;

    /// Returns the `len` bytes of a tail, not compressed. `at` is [`Recipe::tail`](super::Recipe::tail).
    ///
    /// # Errors
    /// As for [`block`](Self::block).
    fn tail(&mut self, at: u64, len: u32) -> io::Result<Bytes>;
}

/// A fragment as an image stores it.
#[derive(Clone, Debug)]
pub struct StoredFragment {
    /// What is stored.
    pub bytes: Bytes,
    /// Whether that is not compressed.
    pub raw: bool,
}
