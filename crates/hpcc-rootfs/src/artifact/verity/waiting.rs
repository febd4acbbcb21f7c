//! Digests of a level that wait until their position in the file is written: up to 4 MiB in memory, the others in a
//! file without a name.

use std::fmt;
use std::io;

use super::block::PIECE;

/// Bytes of a level in memory; a multiple of [`PIECE`].
pub(super) const MEMORY: usize = 4 << 20;

/// A file for digests that exceed the limit on memory.
pub(crate) trait Spill: fmt::Debug {
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// Returns the error of the system.
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Fills `buffer` with the bytes at `offset`.
    ///
    /// # Errors
    /// Returns the error of the system.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

/// Opens files for digests.
pub(crate) trait Spills: fmt::Debug {
    /// Opens an empty file.
    ///
    /// # Errors
    /// Returns the error of the system.
    fn open(&self) -> io::Result<Box<dyn Spill>>;
}

/// The digests of one level, in order.
#[derive(Debug)]
pub(super) struct Waiting {
    memory: Vec<u8>,
    /// Length of `memory` in bytes at which it is spilled.
    limit: usize,
    spill: Option<Box<dyn Spill>>,
    spilled: u64,
}

impl Waiting {
    /// Returns a level that keeps `limit` bytes in memory, a multiple of the length of a block.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            memory: Vec::new(),
            limit,
            spill: None,
            spilled: 0,
        }
    }

    /// Appends digests. Spilled digests end at a block, however many arrive at a time.
    pub(super) fn push(&mut self, mut digests: &[u8], spills: &dyn Spills) -> io::Result<()> {
        while let Some((fitting, rest)) = digests
            .split_at_checked(self.limit.saturating_sub(self.memory.len()))
            .filter(|(_, rest)| !rest.is_empty())
        {
            self.memory.extend_from_slice(fitting);
            digests = rest;
            let spill = match &mut self.spill {
                Some(spill) => spill,
                None => self.spill.insert(spills.open()?),
            };
            spill.write_all_at(&self.memory, self.spilled)?;
            self.spilled += self.memory.len() as u64;
            self.memory.clear();
        }
        self.memory.extend_from_slice(digests);
        Ok(())
    }

    /// Calls `visit` for all digests in order, with at most [`PIECE`] bytes at a time.
    pub(super) fn visit(&self, mut visit: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        if let Some(spill) = &self.spill {
            let mut buffer = vec![0; PIECE];
            let mut offset = 0;
            while offset < self.spilled {
                let left = usize::try_from(self.spilled - offset).unwrap_or(PIECE);
                let piece = buffer.get_mut(..left.min(PIECE)).unwrap_or_default();
                spill.read_exact_at(piece, offset)?;
                visit(piece)?;
                offset += piece.len() as u64;
            }
        }
        self.memory.chunks(PIECE).try_for_each(visit)
    }
}
