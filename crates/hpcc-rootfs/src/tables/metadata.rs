//! Metadata blocks by their offsets. The last few of them are kept.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use super::codec::{Codec, METADATA_SIZE};
use super::error::Error;
use super::fields::stored_length;
use super::read_at::ReadAt;
use crate::zeroed::zeroed;

/// Number of blocks that are kept: 64 MiB, which hold the inodes of a million files. With fewer, hard links in another
/// order than the files decompress a block for each name.
const KEPT: usize = 8192;
/// Number of blocks that are kept where work is limited, as during a build: 8 MiB.
const FEW_KEPT: usize = 1024;
/// Steps of work for all tables of one image. A step takes at most a few nanoseconds: copying a byte is one, and
/// [`Codec::cost`] returns the steps of decompressing. The tables of a million files take less than a quarter of the
/// limit with any codec.
pub(super) const WORK_MAX: u64 = 4 << 30;
/// Steps of a read, however short it is.
const READ_COST: u64 = 32;
/// Flag in a block's header: the block is stored uncompressed.
const RAW: u16 = 0x8000;
/// Flag in the word of a data block or a fragment: it is stored uncompressed.
const RAW_DATA: u32 = 1 << 24;

/// The blocks of all tables of one image.
#[derive(Debug)]
pub(super) struct Metadata<'s> {
    source: &'s dyn ReadAt,
    codec: Codec,
    blocks: HashMap<u64, Block>,
    /// Number of blocks that are kept.
    kept: usize,
    /// Number of steps that are left.
    work: u64,
    /// Number of steps that there were.
    work_max: u64,
}

#[derive(Debug)]
struct Block {
    bytes: Vec<u8>,
    /// Offset of the next block.
    next: u64,
}

/// A position in a table, and the end of the table.
#[derive(Clone, Debug)]
pub(super) struct Cursor {
    block: u64,
    offset: usize,
    end: u64,
}

impl Cursor {
    /// Makes a cursor. `block` is the offset of a block in the table, `offset` one in the decompressed block.
    pub(super) fn new(table: &Range<u64>, block: u64, offset: u16) -> Self {
        Self {
            block: table.start.saturating_add(block),
            offset: offset.into(),
            end: table.end,
        }
    }

    /// Makes a cursor from a reference: the offset of a block in its upper bits, the offset in the block in the lower
    /// 16.
    pub(super) fn at(table: &Range<u64>, reference: u64) -> Self {
        let [low, high, ..] = reference.to_le_bytes();
        Self::new(table, reference >> 16, u16::from_le_bytes([low, high]))
    }
}

impl<'s> Metadata<'s> {
    pub(super) fn new(source: &'s dyn ReadAt, compression: u16) -> Result<Self, Error> {
        Ok(Self {
            source,
            codec: Codec::new(compression)?,
            blocks: HashMap::new(),
            kept: KEPT,
            work: WORK_MAX,
            work_max: WORK_MAX,
        })
    }

    /// Lets no more than `max` steps be taken from here on.
    pub(super) fn limit_work(&mut self, max: u64) {
        self.work = self.work.min(max);
        self.work_max = self.work;
        self.kept = FEW_KEPT;
    }

    /// Returns the next `N` bytes.
    pub(super) fn read<const N: usize>(&mut self, cursor: &mut Cursor) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.fill(cursor, &mut bytes)?;
        Ok(bytes)
    }

    /// Fills `buffer`, if necessary from several blocks.
    pub(super) fn fill(&mut self, cursor: &mut Cursor, buffer: &mut [u8]) -> Result<(), Error> {
        self.charge(READ_COST + buffer.len() as u64)?;
        let mut missing = buffer;
        while !missing.is_empty() {
            let block = self.block(cursor.block, cursor.end)?;
            let there = block.bytes.get(cursor.offset..).unwrap_or_default();
            let taken = there.len().min(missing.len());
            let (now, later) = missing.split_at_mut(taken);
            now.copy_from_slice(there.get(..taken).unwrap_or_default());
            missing = later;
            cursor.offset += taken;
            if missing.is_empty() {
                break;
            }
            // Only the last block of a table may be shorter, so an offset after its end is invalid.
            if cursor.offset != METADATA_SIZE {
                return Err(Error::Damaged("a reference leads past the end of a table"));
            }
            (cursor.block, cursor.offset) = (block.next, 0);
        }
        Ok(())
    }

    /// Returns an element of a table with an index: 64-bit offsets of blocks, each full of elements. Nothing of it lies
    /// at `end` or after it.
    pub(super) fn element<const N: usize>(
        &mut self,
        index: u64,
        number: u64,
        end: u64,
    ) -> Result<[u8; N], Error> {
        let per_block = (METADATA_SIZE / N) as u64;
        let at = index.checked_add(number / per_block * 8);
        let at = at.ok_or(Error::Damaged("a table is beyond the end of the image"))?;
        let mut place = [0; 8];
        // The cost of a system call.
        self.charge(16 * READ_COST)?;
        self.source.read_exact_at(&mut place, at)?;
        let offset = usize::try_from(number % per_block).unwrap_or_default() * N;
        let mut cursor = Cursor {
            block: u64::from_le_bytes(place),
            offset,
            end,
        };
        self.read(&mut cursor)
    }

    fn block(&mut self, at: u64, end: u64) -> Result<&Block, Error> {
        if at >= end {
            return Err(Error::Damaged("a reference leads out of its table"));
        }
        if self.blocks.len() >= self.kept && !self.blocks.contains_key(&at) {
            self.blocks.clear();
        }
        if !self.blocks.contains_key(&at) {
            // The cost of two system calls, and of as much memory as a block can take.
            self.charge(32 * READ_COST + METADATA_SIZE as u64)?;
        }
        match self.blocks.entry(at) {
            Entry::Occupied(block) => Ok(block.into_mut()),
            Entry::Vacant(place) => {
                let mut header = [0; 2];
                self.source.read_exact_at(&mut header, at)?;
                let header = u16::from_le_bytes(header);
                let length = usize::from(header & !RAW);
                if length == 0 || length > METADATA_SIZE {
                    return Err(Error::Damaged("a metadata block has no possible length"));
                }
                let next = at + 2 + length as u64;
                if next > end {
                    return Err(Error::Damaged("a metadata block ends after its table"));
                }
                if header & RAW == 0 {
                    let cost = self.codec.cost(length);
                    let too_much = too_much_work(self.work_max);
                    self.work = self.work.checked_sub(cost).ok_or(too_much)?;
                }
                let mut stored = zeroed(length)?;
                self.source.read_exact_at(&mut stored, at + 2)?;
                let bytes = if header & RAW == 0 {
                    self.codec.decompress(&stored, METADATA_SIZE)?
                } else {
                    stored
                };
                Ok(place.insert(Block { bytes, next }))
            }
        }
    }

    /// Reads a data block or a fragment of at most `room` bytes, by the word with its length.
    pub(super) fn data(&mut self, at: u64, word: u32, room: usize) -> Result<Vec<u8>, Error> {
        let length = usize::try_from(stored_length(word)).unwrap_or(usize::MAX);
        if length > room {
            return Err(Error::Damaged("a block is longer than the block size"));
        }
        self.charge(32 * READ_COST + room as u64)?;
        let mut stored = zeroed(length)?;
        self.source.read_exact_at(&mut stored, at)?;
        if word & RAW_DATA != 0 {
            return Ok(stored);
        }
        self.charge(self.codec.cost(length))?;
        self.codec.decompress(&stored, room)
    }

    /// Subtracts steps from those that are left.
    pub(super) fn charge(&mut self, steps: u64) -> Result<(), Error> {
        let too_much = too_much_work(self.work_max);
        self.work = self.work.checked_sub(steps).ok_or(too_much)?;
        Ok(())
    }
}

const fn too_much_work(max: u64) -> Error {
    let what = "steps of work";
    Error::TooMuch { what, max }
}

#[cfg(test)]
mod tests;
