//! Parallel compression whose results come out in the order in which the blocks went in.
//!
//! ```text
//!  submit ──► slots: [ waiting | ready | waiting ]  ──► next: the oldest, and only when it is ready
//!               │ job            ▲ answer
//!               └──► worker … ───┘
//! ```
//!
//! The order of the image is fixed when a block is submitted, not when it is done. So the bytes do not depend on the number
//! of threads, and only one thread writes. The bytes in flight are bounded: beyond the bound `next` waits for the oldest
//! block.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::error::Error;
use crate::pool::{Answer, Block, Compressed, Effort, Pool};

/// How long [`Ordered::next`] may wait.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// Only while more is in flight than the bound allows.
    OverBudget,
    /// Until nothing is in flight.
    Always,
}

pub(super) struct Ordered<P> {
    pool: Pool,
    /// The purpose of each submitted block, and the result once it exists.
    slots: VecDeque<(P, Option<Result<Compressed, Error>>)>,
    /// Ticket of the first slot.
    first: u64,
    /// Largest number of slots.
    limit: usize,
    pub(super) block_size: usize,
    spare_blocks: Vec<Block>,
}

impl<P> Ordered<P> {
    /// Returns a queue of at most `limit` blocks in flight, each with a buffer for its result.
    pub(super) fn new(pool: Pool, block_size: usize, limit: usize) -> Self {
        Self {
            // The calling thread has nothing to gain from waiting for itself.
            limit: if pool.threads() > 1 { limit } else { 0 },
            pool,
            slots: VecDeque::new(),
            first: 0,
            block_size,
            spare_blocks: Vec::new(),
        }
    }

    /// Returns an empty block, new or reused.
    pub(super) fn block(&mut self) -> Result<Block, Error> {
        match self.spare_blocks.pop() {
            Some(block) => Ok(block),
            None => Block::try_new(self.block_size),
        }
    }

    /// Takes a block back for reuse. Dropping a shared one releases its bytes.
    pub(super) fn recycle(&mut self, mut block: Block) {
        if !block.is_lent() {
            block.clear();
            self.spare_blocks.push(block);
        }
    }

    /// Gives a block its place in the order, and starts on it.
    pub(super) fn submit(&mut self, purpose: P, input: Block, effort: Effort) {
        let ticket = self.first + self.slots.len() as u64;
        self.pool.submit(ticket, input, effort);
        self.slots.push_back((purpose, None));
    }

    /// Gives a block that needs no compression its place in the order.
    pub(super) fn submit_stored(&mut self, purpose: P, bytes: Bytes, raw: bool) {
        self.slots
            .push_back((purpose, Some(Ok(Compressed::ready(bytes, raw)))));
    }

    /// Returns the oldest block if it is done, or waits for it. Call it after each [`submit`](Self::submit) until it
    /// returns none.
    pub(super) fn next(&mut self, wait: Wait) -> Result<Option<(P, Compressed)>, Error> {
        loop {
            match self.slots.pop_front() {
                None => return Ok(None),
                Some((purpose, Some(result))) => {
                    self.first += 1;
                    return Ok(Some((purpose, result?)));
                }
                Some(waiting) => self.slots.push_front(waiting),
            }
            let answer = if wait == Wait::Always || self.slots.len() > self.limit {
                Some(self.pool.wait()?)
            } else {
                self.pool.poll()?
            };
            let Some(Answer { ticket, result, .. }) = answer else {
                return Ok(None);
            };
            let slot = usize::try_from(ticket - self.first)
                .ok()
                .and_then(|index| self.slots.get_mut(index));
            if let Some((_, slot)) = slot {
                *slot = Some(result);
            }
        }
    }

    /// Takes the buffers of a result back.
    pub(super) fn done(&mut self, compressed: Compressed) {
        self.recycle(compressed.input);
        self.pool.recycle(compressed.output);
    }

    /// Returns the threads for further work. Nothing may be in flight.
    pub(super) fn into_pool(mut self) -> Pool {
        // Their blocks may be much smaller.
        self.pool.drop_buffers();
        self.pool
    }
}

#[cfg(test)]
mod tests;
