//! A block to compress, and what becomes of it.

use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::block::Block;
use crate::compress::{Codec, compress, is_worth_trying};
use crate::error::Error;

/// A block to be compressed.
pub(crate) struct Job {
    pub(crate) ticket: u64,
    pub(crate) input: Block,
    /// Where the result goes; a used buffer is welcome.
    pub(crate) output: Vec<u8>,
    pub(crate) effort: Effort,
}

/// What is to be tried on a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Nothing: it is stored as it is.
    Store,
    /// Compression, unless a short look at it says that it would be in vain.
    Probe,
    /// Compression.
    Compress,
}

/// A block that was.
pub(crate) struct Compressed {
    /// Given back already if it was lent and is not needed any more.
    pub(crate) input: Block,
    pub(crate) output: Vec<u8>,
    pub(crate) outcome: Outcome,
}

/// What is to be stored of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The output, which is shorter.
    Shrank,
    /// The input: the output is of no use.
    Raw,
    /// The input, which came compressed.
    Ready,
}

impl Compressed {
    /// These bytes as they are, `raw` if they are not compressed.
    pub(crate) fn ready(bytes: Bytes, raw: bool) -> Self {
        Self {
            input: Block::lent(bytes),
            output: Vec::new(),
            outcome: if raw { Outcome::Raw } else { Outcome::Ready },
        }
    }

    /// What is to be stored.
    pub(crate) fn stored(&self) -> &[u8] {
        match self.outcome {
            Outcome::Shrank => &self.output,
            Outcome::Raw | Outcome::Ready => self.input.filled(),
        }
    }

    /// Returns whether that is not compressed.
    pub(crate) fn is_raw(&self) -> bool {
        self.outcome == Outcome::Raw
    }
}

/// What became of a job.
pub(crate) struct Answer {
    pub(crate) ticket: u64,
    pub(crate) result: Result<Compressed, Error>,
    /// How long it took.
    pub(super) busy: Duration,
}

impl Answer {
    pub(super) fn new(ticket: u64, work: impl FnOnce() -> Result<Compressed, Error>) -> Self {
        let start = Instant::now();
        let result = work();
        Self {
            ticket,
            result,
            busy: start.elapsed(),
        }
    }
}

/// Compresses one block, wherever that happens.
pub(super) fn run(codec: &mut dyn Codec, job: Job) -> Result<Compressed, Error> {
    let Job {
        mut input,
        mut output,
        effort,
        ..
    } = job;
    let shrank = match effort {
        Effort::Store => false,
        Effort::Probe if !is_worth_trying(input.filled()) => false,
        Effort::Probe | Effort::Compress => compress(codec, input.filled(), &mut output)?,
    };
    if shrank && input.is_lent() {
        // It may be long until it is this block's turn to be written.
        input = Block::lent(Bytes::new());
    }
    Ok(Compressed {
        input,
        output,
        outcome: if shrank {
            Outcome::Shrank
        } else {
            Outcome::Raw
        },
    })
}

pub(super) fn gone() -> Error {
    Error::Thread(io::Error::other("all compression threads have ended"))
}
