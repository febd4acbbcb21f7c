//! Decompressed bytes, some at a time, on their way from the decoder to whoever reads the archive.

use ociget::{DiffId, Verified};

use super::error::{Error, Limit};

/// Room in front of a chunk's bytes, for what the reader had not taken of the one before.
pub(super) const HEADROOM: usize = 512;

/// Some decompressed bytes, and the memory they are in, which is handed back and forth.
pub(crate) struct Chunk {
    /// `[HEADROOM..end]` are the bytes.
    pub(super) memory: Box<[u8]>,
    pub(super) end: usize,
}

impl Chunk {
    /// The most bytes in one. Bodies are lent from it without a copy, so it is also the longest
    /// slice that a body comes in.
    pub(crate) const SIZE: usize = 128 << 10;

    /// An empty one.
    pub(crate) fn new() -> Self {
        Self {
            memory: vec![0; HEADROOM + Self::SIZE].into(),
            end: HEADROOM,
        }
    }

    /// Takes its bytes out of it.
    pub(crate) fn clear(&mut self) {
        self.end = HEADROOM;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.end - HEADROOM
    }
}

/// Where the decompressed bytes of a layer come from.
pub(crate) trait Inflated {
    /// Replaces a chunk that was used up by the next one, which is full unless the layer ends there
    /// and empty at its end.
    fn next(&mut self, chunk: &mut Chunk) -> Result<(), Stopped>;

    /// The proof, once all bytes were had.
    fn finish(self: Box<Self>) -> Result<Verified<DiffId>, Error>;
}

/// Why there are no more bytes.
pub(crate) enum Stopped {
    Layer(Error),
    /// A cap was exceeded; where, only the reader knows.
    Limit(Limit),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Layer(error)
    }
}

impl From<Limit> for Stopped {
    fn from(limit: Limit) -> Self {
        Self::Limit(limit)
    }
}
