//! A block to compress, and what becomes of it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::block::Block;
use crate::compress::{Codec, compress, is_worth_trying};
use crate::error::Error;

/// A block to be compressed.
pub(crate) struct Job {
    pub(crate) ticket: u64,
    pub(crate) input: Block,
    /// Buffer for the result, which may be a used one.
    pub(crate) output: Vec<u8>,
    pub(crate) effort: Effort,
}

/// Effort to spend on a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// None: it is stored uncompressed.
    Store,
    /// Compression, unless a sample shows that it would not help.
    Probe,
    /// Compression.
    Compress,
}

/// A compressed block.
pub(crate) struct Compressed {
    /// `None` if it was shared and is no longer needed.
    pub(crate) input: Block,
    pub(crate) output: Vec<u8>,
    pub(crate) outcome: Outcome,
}

/// The bytes of a block that are stored.
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
    /// Returns a job for bytes that need no compression; `raw` if they are not compressed.
    pub(crate) fn ready(bytes: Bytes, raw: bool) -> Self {
        Self {
            input: Block::lent(bytes),
            output: Vec::new(),
            outcome: if raw { Outcome::Raw } else { Outcome::Ready },
        }
    }

    /// Returns the bytes to store.
    pub(crate) fn stored(&self) -> &[u8] {
        match self.outcome {
            Outcome::Shrank => &self.output,
            Outcome::Raw | Outcome::Ready => self.input.filled(),
        }
    }

    /// Returns whether they are not compressed.
    pub(crate) fn is_raw(&self) -> bool {
        self.outcome == Outcome::Raw
    }
}

/// The answer to a job.
pub(crate) struct Answer {
    pub(crate) ticket: u64,
    pub(crate) result: Result<Compressed, Error>,
    /// Time that it took.
    pub(super) busy: Duration,
}

impl Answer {
    /// Runs a job, and returns its answer and whether the codec panicked. A ticket without an answer would make the writer
    /// wait forever, and a panic would have another end with one thread than with several.
    pub(super) fn to(job: Job, codec: &mut dyn Codec) -> (Self, bool) {
        let start = Instant::now();
        let ticket = job.ticket;
        let caught = catch_unwind(AssertUnwindSafe(|| run(codec, job)));
        let panicked = caught.is_err();
        let result = caught.unwrap_or_else(|_| {
            Err(Error::Codec {
                codec: codec.name(),
                source: io::Error::other("it panicked"),
            })
        });
        let answer = Self {
            ticket,
            result,
            busy: start.elapsed(),
        };
        (answer, panicked)
    }
}

/// Compresses one block, wherever that happens.
fn run(codec: &mut dyn Codec, job: Job) -> Result<Compressed, Error> {
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
        // The block may wait for a long time until it is written.
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
