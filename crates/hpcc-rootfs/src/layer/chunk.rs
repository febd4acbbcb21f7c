//! Decompressed bytes, some at a time, on their way from the decoder to whoever reads the archive, and on to whoever
//! compresses them again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use ociget::{DiffId, Verified};

use super::error::{Error, Limit};

/// Room in front of a chunk's bytes, for what the reader had not taken of the one before.
pub(super) const HEADROOM: usize = 512;

/// How much memory of chunks is kept for the next ones, in chunks. At times the writer has many, and seldom.
const FREE_MAX: usize = 8;

/// Some decompressed bytes. When it is dropped its memory goes back to where it came from.
pub(crate) struct Chunk {
    /// `[HEADROOM..end]` are the bytes.
    memory: Box<[u8]>,
    end: usize,
    home: Chunks,
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

    /// Its bytes behind those of `rest`, which are at most [`HEADROOM`]. Whoever has a part of them
    /// has the memory of all of them.
    pub(super) fn into_bytes(mut self, rest: &[u8]) -> Bytes {
        debug_assert!(rest.len() <= HEADROOM);
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
        self.home.put(std::mem::take(&mut self.memory));
    }
}

/// Where the memory of chunks comes from: what was used last and is free again, or new one.
#[derive(Clone)]
pub(super) struct Chunks {
    size: usize,
    free: Arc<Mutex<Vec<Box<[u8]>>>>,
}

impl Chunks {
    /// For so many bytes in each.
    pub(super) fn new(size: usize) -> Self {
        Self {
            size,
            free: Arc::default(),
        }
    }

    /// An empty one.
    pub(super) fn take(&self) -> Chunk {
        let free = self.free().pop();
        Chunk {
            memory: free.unwrap_or_else(|| vec![0; HEADROOM + self.size].into()),
            end: HEADROOM,
            home: self.clone(),
        }
    }

    fn put(&self, memory: Box<[u8]>) {
        let mut free = self.free();
        if free.len() < FREE_MAX {
            free.push(memory);
        }
    }

    /// Nothing that can panic happens under the lock.
    fn free(&self) -> MutexGuard<'_, Vec<Box<[u8]>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
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
