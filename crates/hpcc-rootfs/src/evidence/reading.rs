//! One reading of an artifact, so that a statement is about the very bytes that were verified.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;

use sha2::{Digest as _, Sha256};

use crate::artifact::{self, CHUNK, Record, RecordError};
use crate::tables::ReadAt;

/// An image whose bytes are read before they are verified. It keeps the hashes of what it read.
#[derive(Debug)]
pub(super) struct Reading<'s> {
    source: &'s dyn ReadAt,
    /// What was read of each chunk, by the number of the chunk.
    read: RefCell<BTreeMap<u64, Vec<Part>>>,
}

/// A part of a chunk.
#[derive(Debug)]
struct Part {
    offset: usize,
    length: usize,
    hash: blake3::Hash,
}

impl Part {
    fn is_of(&self, chunk: &[u8]) -> bool {
        let rest = chunk.get(self.offset..);
        let part = rest.and_then(|rest| rest.get(..self.length));
        part.is_some_and(|part| blake3::hash(part) == self.hash)
    }
}

impl ReadAt for Reading<'_> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.source.read_exact_at(buffer, offset)?;
        let mut read = self.read.borrow_mut();
        let (mut rest, mut offset) = (&*buffer, offset);
        while !rest.is_empty() {
            let (number, within) = (offset / CHUNK as u64, offset % CHUNK as u64);
            let within = usize::try_from(within).map_err(io::Error::other)?;
            let (part, others) = rest.split_at(rest.len().min(CHUNK - within));
            read.entry(number).or_default().push(Part {
                offset: within,
                length: part.len(),
                hash: blake3::hash(part),
            });
            offset += part.len() as u64;
            rest = others;
        }
        Ok(())
    }
}

impl<'s> Reading<'s> {
    pub(super) fn new(source: &'s dyn ReadAt) -> Self {
        Self {
            source,
            read: RefCell::default(),
        }
    }

    /// Reads the whole artifact and returns its SHA-256. Returns `None` if it is not the one of `record`, or not the one
    /// of which parts were read before. `file` has the record.
    pub(super) fn verify(
        self,
        file: &File,
        record: &Record,
    ) -> Result<Option<String>, RecordError> {
        let (mut hasher, mut parts) = (Sha256::new(), self.read.into_inner());
        let mut are_same = true;
        let read = |buffer: &mut [u8], offset| self.source.read_exact_at(buffer, offset);
        let is_intact = artifact::read_whole(file, record, read, |bytes, offset| {
            hasher.update(bytes);
            if offset < record.image_length {
                let parts = parts.remove(&(offset / CHUNK as u64)).unwrap_or_default();
                are_same &= parts.iter().all(|part| part.is_of(bytes));
            }
        })?;
        if !is_intact || !are_same || !parts.is_empty() {
            return Ok(None);
        }
        let digest = hasher.finalize();
        let hex = digest.iter().map(|byte| format!("{byte:02x}"));
        Ok(Some(hex.collect()))
    }
}

#[cfg(test)]
mod tests;
