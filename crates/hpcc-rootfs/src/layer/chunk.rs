//! Chunks of decompressed bytes. The decoder fills them, the tar reader parses them, and the compressor reads file
//! contents from them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use ociget::{DiffId, Verified};

use super::error::{Error, Limit};
use crate::zeroed::zeroed;

/// Space before a chunk's bytes, for bytes of the previous chunk that the reader has not taken.
pub(super) const HEADROOM: usize = 512;

/// Number of free chunks whose memory is kept for the next ones. At rare times the writer holds many.
const FREE_MAX: usize = 8;

/// A chunk of decompressed bytes. When it is dropped, its memory goes back to where it came from.
pub(crate) struct Chunk {
    /// The bytes are in `[HEADROOM..end]`.
    memory: Box<[u8]>,
    end: usize,
    home: Chunks,
}

impl Chunk {
    /// The most bytes in one chunk, unless the caller chooses a larger size.
    pub(crate) const SIZE: usize = 128 << 10;

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.end - HEADROOM
    }

    /// Returns the free space in it. [`advance`](Self::advance) sets how much of that was filled.
    pub(super) fn space(&mut self) -> &mut [u8] {
        &mut self.memory[self.end..]
    }

    pub(super) fn advance(&mut self, count: usize) {
        self.end = (self.end + count).min(self.memory.len());
    }

    /// Returns `rest` followed by the chunk's bytes. `rest` is at most [`HEADROOM`] bytes long. Any slice of the result
    /// keeps the whole chunk allocated.
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

/// The source of memory for chunks: memory that was used last and is free again, or new memory.
#[derive(Clone)]
pub(super) struct Chunks {
    size: usize,
    free: Arc<Mutex<Vec<Box<[u8]>>>>,
}

impl Chunks {
    /// Makes a source of chunks of `size` bytes.
    pub(super) fn new(size: usize) -> Self {
        Self {
            size,
            free: Arc::default(),
        }
    }

    /// Returns an empty chunk.
    pub(super) fn take(&self) -> Result<Chunk, Error> {
        let free = self.free().pop();
        let memory = match free {
            Some(memory) => memory,
            None => {
                let memory = zeroed(HEADROOM.saturating_add(self.size));
                memory.map_err(Error::Shortage)?.into()
            }
        };
        Ok(Chunk {
            memory,
            end: HEADROOM,
            home: self.clone(),
        })
    }

    fn put(&self, memory: Box<[u8]>) {
        let mut free = self.free();
        if free.len() < FREE_MAX {
            free.push(memory);
        }
    }

    /// Locks the free chunks. Nothing can panic while the lock is held.
    fn free(&self) -> MutexGuard<'_, Vec<Box<[u8]>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A source of the decompressed bytes of a layer.
pub(crate) trait Inflated {
    /// Returns the next chunk, which is full unless the layer ends there; `None` at the end of the layer.
    fn next(&mut self) -> Result<Option<Chunk>, Stopped>;

    /// Returns the proof, after all bytes were read.
    fn finish(self: Box<Self>) -> Result<Verified<DiffId>, Error>;
}

/// The reason why no more bytes follow.
pub(crate) enum Stopped {
    Layer(Error),
    /// A limit was exceeded. Only the reader knows where.
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
