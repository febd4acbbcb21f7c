//! Parallel compression whose results come out in the order in which the blocks went in.
//!
//! ```text
//!  submit ──► slots: [ waiting | ready | waiting ]  ──► next: the oldest, and only when it is ready
//!               │ job            ▲ answer
//!               └──► worker … ───┘
//! ```
//!
//! The order of the image is fixed when a block is submitted, not when it is done. That makes the
//! bytes independent of the number of threads, and it is why only one thread writes. What is on its
//! way is bounded in bytes: past the bound `next` waits for the oldest block.

use std::collections::VecDeque;

use super::block::Block;
use super::pool::{Compressed, Job, Pool, run};
use crate::compress::{Codec, Codecs};
use crate::error::Error;

/// How long [`Ordered::next`] may wait.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// Only while more is on its way than the bound allows.
    OverBudget,
    /// Until everything is through.
    Always,
}

pub(super) struct Ordered<P> {
    engine: Engine,
    /// What each submitted block is for, and the result once it is there.
    slots: VecDeque<(P, Option<Result<Compressed, Error>>)>,
    /// Ticket of the first slot.
    first: u64,
    /// How many slots there may be.
    limit: usize,
    block_size: usize,
    spare_blocks: Vec<Block>,
    spare_outputs: Vec<Vec<u8>>,
}

enum Engine {
    Inline(Box<dyn Codec>),
    Pool(Pool),
}

impl<P> Ordered<P> {
    pub(super) fn new(threads: usize, block_size: usize, codecs: &Codecs) -> Result<Self, Error> {
        Ok(Self {
            engine: if threads > 1 {
                Engine::Pool(Pool::new(threads, codecs)?)
            } else {
                Engine::Inline(codecs.make()?)
            },
            slots: VecDeque::new(),
            first: 0,
            // One block in each worker, one waiting for it, and one done behind a slower one.
            limit: if threads > 1 { 3 * threads } else { 0 },
            block_size,
            spare_blocks: Vec::new(),
            spare_outputs: Vec::new(),
        })
    }

    /// An empty block, used before or not.
    pub(super) fn block(&mut self) -> Block {
        self.spare_blocks
            .pop()
            .unwrap_or_else(|| Block::new(self.block_size))
    }

    /// Takes a block back.
    pub(super) fn recycle(&mut self, mut block: Block) {
        block.clear();
        self.spare_blocks.push(block);
    }

    /// Gives a block its place in the order, and starts on it.
    pub(super) fn submit(&mut self, purpose: P, input: Block) -> Result<(), Error> {
        let job = Job {
            ticket: self.first + self.slots.len() as u64,
            input,
            output: self.spare_outputs.pop().unwrap_or_default(),
        };
        let result = match &mut self.engine {
            Engine::Inline(codec) => Some(run(&mut **codec, job)),
            Engine::Pool(pool) => {
                pool.submit(job)?;
                None
            }
        };
        self.slots.push_back((purpose, result));
        Ok(())
    }

    /// The oldest block, if it is done or has to be waited for. To be called until there is none,
    /// after each [`submit`](Self::submit).
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
            let Engine::Pool(pool) = &self.engine else {
                return Ok(None);
            };
            let answer = if wait == Wait::Always || self.slots.len() > self.limit {
                Some(pool.wait()?)
            } else {
                pool.poll()?
            };
            let Some((ticket, result)) = answer else {
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
        self.spare_outputs.push(compressed.output);
    }
}

#[cfg(test)]
mod tests;
