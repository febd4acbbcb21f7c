//! Decompressed bytes, some at a time, on their way from the decoder to whoever reads the archive, and on to whoever
//! compresses them again: nobody copies them.

use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;
use ociget::{DiffId, Verified};

use super::error::{Error, Limit};

/// Room in front of a chunk's bytes, for what the reader had not taken of the one before.
pub(super) const HEADROOM: usize = 512;

/// Some decompressed bytes. When it is dropped its memory goes back to where it came from.
pub(crate) struct Chunk {
    /// `[HEADROOM..end]` are the bytes.
    memory: Box<[u8]>,
    end: usize,
    home: Sender<Box<[u8]>>,
}

impl Chunk {
    /// The most bytes in one, unless somebody wants them larger.
    pub(crate) const SIZE: usize = 128 << 10;

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.end - HEADROOM
    }

    /// What is free in it. [`advance`](Self::advance) says how much of that was filled.
    pub(super) fn space(&mut self) -> &mut [u8] {
        &mut self.memory[self.end..]
    }

    pub(super) fn advance(&mut self, count: usize) {
        self.end = (self.end + count).min(self.memory.len());
    }

    /// Its bytes behind those of `rest`, of which at most [`HEADROOM`] are kept. Whoever has a part of them
    /// has the memory of all of them.
    pub(super) fn into_bytes(mut self, rest: &[u8]) -> Bytes {
        let start = HEADROOM - rest.len().min(HEADROOM);
        self.memory[start..HEADROOM].copy_from_slice(&rest[..HEADROOM - start]);
        let end = self.end;
        Bytes::from_owner(self).slice(start..end)
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.memory
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // At the end of a layer nobody takes it any more.
        let _ = self.home.send(std::mem::take(&mut self.memory));
    }
}

/// Where the memory of chunks comes from: those that were dropped, and new one while they are in use.
pub(super) struct Chunks {
    size: usize,
    home: Sender<Box<[u8]>>,
    returned: Receiver<Box<[u8]>>,
}

impl Chunks {
    /// For so many bytes in each.
    pub(super) fn new(size: usize) -> Self {
        let (home, returned) = channel();
        Self {
            size,
            home,
            returned,
        }
    }

    /// An empty one.
    pub(super) fn take(&self) -> Chunk {
        let memory = self.returned.try_recv();
        Chunk {
            memory: memory.unwrap_or_else(|_| vec![0; HEADROOM + self.size].into()),
            end: HEADROOM,
            home: self.home.clone(),
        }
    }
}

/// Where the decompressed bytes of a layer come from.
pub(crate) trait Inflated {
    /// The next chunk, which is full unless the layer ends there; `None` at its end.
    fn next(&mut self) -> Result<Option<Chunk>, Stopped>;

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
