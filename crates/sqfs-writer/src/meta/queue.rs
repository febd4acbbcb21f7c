//! Metadata tables under construction: bytes in, metadata blocks out, compressed by all threads.
//!
//! ```text
//!  write ──► block being filled ──► pending ──► pool ──► results, in order ──► the table's bytes
//!             with its links          │ until every link's          │
//!                                     └ target has a place ◄────────┘
//! ```
//!
//! Inodes and listings refer to each other by the *stored* position of a metadata block, and that
//! is known when all blocks in front of it are compressed. So a place is a number of a block here,
//! what is written says which of its fields are such places ([`Link`]), and they are filled in just
//! before the block is compressed. What a block is made of depends on the order of writing alone,
//! so the bytes do too.
//!
//! It never gets stuck: a place always points to a block that was begun before. All blocks in front
//! of that one were ended before, so the oldest block that is pending has nothing to wait for but
//! blocks that are in the pool.

use std::collections::VecDeque;
use std::io;

use super::stored::StoredBytes;
use crate::cancel::Cancel;
use crate::error::Error;
use crate::format::{BlockStart, Field, InodeRef, METADATA_SIZE, MetadataHeader};
use crate::growth::Growth as _;
use crate::pool::{Answer, Block, Compressed, Effort, Pool};

/// The tables that grow at the same time, and one for those that come afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    Inodes,
    Listings,
    Xattrs,
    /// Of fragments, exports, ids, xattr sets: one after the other.
    Entries,
}

const TABLES: usize = 4;

/// A place in a table whose position in the image is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Number of the metadata block.
    pub(crate) block: u32,
    /// Offset in its uncompressed bytes: below [`METADATA_SIZE`].
    pub(crate) offset: u16,
}

/// Four bytes that will be the stored position of a metadata block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    /// Offset of the field in the written bytes.
    pub(crate) at: usize,
    pub(crate) table: Table,
    pub(crate) block: u32,
}

/// A link, or the part of it that is in one block.
struct Patch {
    at: usize,
    /// Number of the four bytes that are in the block before.
    skip: usize,
    table: Table,
    block: u32,
}

/// A metadata table whose blocks are all compressed.
pub(crate) struct MetadataBlocks {
    name: &'static str,
    /// All blocks with their headers, without gaps, but for what was taken before.
    pub(crate) bytes: StoredBytes,
    /// Start of each block in the table.
    pub(crate) starts: Vec<u64>,
}

impl MetadataBlocks {
    /// Returns the position of a place in the stored table.
    pub(crate) fn resolve(&self, place: Place) -> Result<InodeRef, Error> {
        let start = self.starts.get(place.block as usize);
        let start = block_start(self.name, *start.ok_or_else(stuck)?)?;
        Ok(InodeRef::new(start, place.offset))
    }
}

pub(crate) struct MetadataQueue {
    pool: Pool,
    cancel: Cancel,
    tables: [State; TABLES],
    /// Blocks that are full and not in the pool yet, oldest first.
    pending: VecDeque<Pending>,
    in_flight: usize,
    /// Number of compressed blocks that wait for an earlier one that is not compressed.
    early: usize,
    /// Largest number of blocks that are pending, in the pool, or early.
    limit: usize,
    spare: Vec<Block>,
}

/// One table.
struct State {
    name: &'static str,
    effort: Effort,
    raw: Block,
    patches: Vec<Patch>,
    /// Number of blocks that were ended.
    ended: u32,
    /// Start of each block before which all blocks are compressed: one more than there are compressed ones.
    starts: Vec<u64>,
    /// From the first block that is not in `bytes` on.
    results: VecDeque<Option<Compressed>>,
    bytes: StoredBytes,
}

struct Pending {
    table: Table,
    number: u32,
    block: Block,
    patches: Vec<Patch>,
}

impl MetadataQueue {
    /// Returns a queue of empty tables whose blocks in flight may take `memory` bytes, with the efforts for inodes and
    /// listings, and for extended attributes.
    pub(crate) fn new(
        pool: Pool,
        cancel: Cancel,
        memory: usize,
        inodes: Effort,
        xattrs: Effort,
    ) -> Self {
        let state = |name, effort| State {
            name,
            effort,
            raw: Block::new(METADATA_SIZE),
            patches: Vec::new(),
            ended: 0,
            starts: vec![0],
            results: VecDeque::new(),
            bytes: StoredBytes::default(),
        };
        Self {
            tables: [
                state("the inode table", inodes),
                state("the directory table", inodes),
                state("the xattr table", xattrs),
                state("a table", inodes),
            ],
            pending: VecDeque::new(),
            in_flight: 0,
            early: 0,
            // Small blocks, some of which wait for others: enough that all threads find one. Each
            // has a buffer for its result.
            limit: (16 + 8 * pool.threads()).min(memory / (2 * METADATA_SIZE)),
            spare: Vec::new(),
            pool,
            cancel,
        }
    }

    /// Returns the place of the next byte.
    pub(crate) fn place(&self, table: Table) -> Place {
        let state = self.state(table);
        Place {
            block: state.ended,
            // Below 8192.
            offset: u16::try_from(state.raw.filled().len()).unwrap_or(u16::MAX),
        }
    }

    /// Returns the free bytes of the block that [`place`](Self::place) is in, which are never 0.
    pub(crate) fn room(&self, table: Table) -> usize {
        METADATA_SIZE - self.state(table).raw.filled().len()
    }

    /// Returns whether nothing was written.
    pub(crate) fn is_empty(&self, table: Table) -> bool {
        let state = self.state(table);
        state.ended == 0 && state.raw.is_empty()
    }

    pub(crate) fn write(
        &mut self,
        table: Table,
        bytes: &[u8],
        links: &[Link],
    ) -> Result<(), Error> {
        let mut from = 0;
        while let Some(rest) = bytes.get(from..).filter(|rest| !rest.is_empty()) {
            let state = self.state_mut(table);
            let at = state.raw.filled().len();
            let len = state.raw.push(rest);
            for link in links {
                let first = link.at.max(from);
                if first < (link.at + 4).min(from + len) {
                    state.patches.push(Patch {
                        at: at + first - from,
                        skip: first - link.at,
                        table: link.table,
                        block: link.block,
                    });
                }
            }
            from += len;
            if state.raw.is_full() {
                self.end_block(table)?;
            }
        }
        Ok(())
    }

    /// Returns the number of bytes that [`take`](Self::take) would return.
    pub(crate) fn len(&self, table: Table) -> usize {
        self.state(table).bytes.len()
    }

    /// Returns the compressed bytes of a table that are next in order.
    pub(crate) fn take(&mut self, table: Table) -> StoredBytes {
        std::mem::take(&mut self.state_mut(table).bytes)
    }

    /// Ends tables that refer to each other, and waits until they are compressed.
    pub(crate) fn end(&mut self, tables: &[Table]) -> Result<(), Error> {
        for &table in tables {
            if !self.state(table).raw.is_empty() {
                self.end_block(table)?;
            }
        }
        while !self.pending.is_empty() || self.in_flight > 0 {
            self.submit_ready()?;
            let answer = self.wait()?;
            self.accept(answer)?;
        }
        Ok(())
    }

    /// Returns a table that is [ended](Self::end), and begins a new one in its place.
    pub(crate) fn finish(&mut self, table: Table) -> MetadataBlocks {
        let state = self.state_mut(table);
        let mut starts = std::mem::replace(&mut state.starts, vec![0]);
        // Nothing begins after the last block.
        starts.pop();
        state.ended = 0;
        MetadataBlocks {
            name: state.name,
            bytes: std::mem::take(&mut state.bytes),
            starts,
        }
    }

    /// Returns a table of entries of equal size, which readers find by index.
    pub(crate) fn entries<const N: usize>(
        &mut self,
        name: &'static str,
        effort: Effort,
        entries: impl IntoIterator<Item = Result<[u8; N], Error>>,
    ) -> Result<MetadataBlocks, Error> {
        let state = self.state_mut(Table::Entries);
        state.name = name;
        state.effort = effort;
        for entry in entries {
            self.cancel.tick()?;
            self.write(Table::Entries, &entry?, &[])?;
        }
        self.end(&[Table::Entries])?;
        Ok(self.finish(Table::Entries))
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Returns the condition under which the image is given up. The queue checks it with every block; a loop over a tree or
    /// a table that writes nothing ticks it.
    pub(crate) fn cancel(&mut self) -> &mut Cancel {
        &mut self.cancel
    }

    fn end_block(&mut self, table: Table) -> Result<(), Error> {
        self.cancel.check()?;
        let empty = self
            .spare
            .pop()
            .unwrap_or_else(|| Block::new(METADATA_SIZE));
        let state = self.state_mut(table);
        let pending = Pending {
            table,
            number: state.ended,
            block: std::mem::replace(&mut state.raw, empty),
            patches: std::mem::take(&mut state.patches),
        };
        state.ended = state
            .ended
            .checked_add(1)
            .ok_or_else(|| state.too_large())?;
        self.pending.push_back(pending);
        loop {
            self.submit_ready()?;
            let answer = if self.pending.len() + self.in_flight + self.early > self.limit {
                Some(self.wait()?)
            } else {
                self.pool.poll()?
            };
            match answer {
                Some(answer) => self.accept(answer)?,
                None => return Ok(()),
            }
        }
    }

    /// Hands everything to the pool whose links lead to blocks that have a place.
    fn submit_ready(&mut self) -> Result<(), Error> {
        let mut waiting = VecDeque::with_capacity(self.pending.len());
        while let Some(mut pending) = self.pending.pop_front() {
            let known = |patch: &Patch| self.state(patch.table).starts.len() > patch.block as usize;
            if !pending.patches.iter().all(known) {
                waiting.push_back(pending);
                continue;
            }
            for patch in &pending.patches {
                let start = self.start(patch.table, patch.block)?.ok_or_else(stuck)?;
                let bytes = start.0.to_le_bytes();
                let bytes = bytes.get(patch.skip..).unwrap_or_default();
                pending.block.patch(patch.at, bytes);
            }
            let ticket = (pending.table as u64) << 32 | u64::from(pending.number);
            let effort = self.state(pending.table).effort;
            self.pool.submit(ticket, pending.block, effort);
            self.in_flight += 1;
        }
        self.pending = waiting;
        Ok(())
    }

    fn wait(&mut self) -> Result<Answer, Error> {
        if self.in_flight == 0 {
            return Err(stuck());
        }
        self.pool.wait()
    }

    /// Takes a block back, and moves what is next in the order to the bytes of its table.
    fn accept(&mut self, answer: Answer) -> Result<(), Error> {
        self.in_flight -= 1;
        let Some(state) = usize::try_from(answer.ticket >> 32)
            .ok()
            .and_then(|table| self.tables.get_mut(table))
        else {
            return Err(stuck());
        };
        let number = usize::try_from(answer.ticket & u64::from(u32::MAX)).map_err(|_| stuck())?;
        let slot = (number + 1)
            .checked_sub(state.starts.len())
            .ok_or_else(stuck)?;
        if state.results.len() <= slot {
            state.results.resize_with(slot + 1, || None);
        }
        if let Some(slot) = state.results.get_mut(slot) {
            *slot = Some(answer.result?);
            self.early += 1;
        }
        while let Some(Some(_)) = state.results.front() {
            if let Some(Some(compressed)) = state.results.pop_front() {
                self.early -= 1;
                state.append(&compressed)?;
                let Compressed {
                    mut input, output, ..
                } = compressed;
                input.clear();
                self.spare.push(input);
                self.pool.recycle(output);
            }
        }
        Ok(())
    }

    /// Returns the position of a block, if it is known.
    fn start(&self, table: Table, block: u32) -> Result<Option<BlockStart>, Error> {
        let state = self.state(table);
        let start = state.starts.get(block as usize);
        start
            .map(|&start| block_start(state.name, start))
            .transpose()
    }

    fn state(&self, table: Table) -> &State {
        let [inodes, listings, xattrs, entries] = &self.tables;
        match table {
            Table::Inodes => inodes,
            Table::Listings => listings,
            Table::Xattrs => xattrs,
            Table::Entries => entries,
        }
    }

    fn state_mut(&mut self, table: Table) -> &mut State {
        let [inodes, listings, xattrs, entries] = &mut self.tables;
        match table {
            Table::Inodes => inodes,
            Table::Listings => listings,
            Table::Xattrs => xattrs,
            Table::Entries => entries,
        }
    }
}

impl State {
    fn append(&mut self, compressed: &Compressed) -> Result<(), Error> {
        let stored = compressed.stored();
        let len = u16::try_from(stored.len()).map_err(|_| self.too_large())?;
        let flag = if compressed.is_raw() {
            MetadataHeader::RAW
        } else {
            0
        };
        self.bytes.push(&(len | flag).to_le_bytes())?;
        self.bytes.push(stored)?;
        let start = self.starts.last().copied().unwrap_or_default();
        let size = MetadataHeader::SIZE as u64 + u64::from(len);
        self.starts.try_push(start + size)?;
        Ok(())
    }

    fn too_large(&self) -> Error {
        too_large(self.name, self.starts.last().copied().unwrap_or(u64::MAX))
    }
}

/// Returns the position of a block, or an error if it exceeds 32 bits.
fn block_start(table: &'static str, start: u64) -> Result<BlockStart, Error> {
    BlockStart::new(start).ok_or_else(|| too_large(table, start))
}

fn too_large(table: &'static str, size: u64) -> Error {
    Error::Limit {
        what: "size",
        entry: table.into(),
        value: size,
        max: u32::MAX.into(),
    }
}

/// Returns the error of a queue without progress. It is not reached, as explained above, but better than waiting forever.
fn stuck() -> Error {
    Error::Thread(io::Error::other("a metadata block has no place"))
}

#[cfg(test)]
mod tests;
