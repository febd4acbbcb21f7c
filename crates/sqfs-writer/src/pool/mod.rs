//! Compression on a pool of threads, the caller's among them.
//!
//! A job enters with a ticket and leaves with it, in any order; the submitter restores the order. Blocks of files,
//! fragments and metadata blocks pass through the pool.

mod block;
mod job;
mod jobs;
#[cfg(test)]
mod tests;
mod workers;

use std::collections::VecDeque;
use std::io;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub(crate) use block::Block;
pub(crate) use job::{Answer, Compressed, Effort};

use crate::compress::{Codec, Codecs};
use crate::error::Error;
use crate::summary::Stage;
use job::{Job, gone};
use workers::{Work, Workers};

/// Takes jobs, and returns answers.
pub(crate) struct Pool {
    engine: Engine,
    threads: usize,
    started: Instant,
    busy: Duration,
    /// The part of it on the calling thread.
    own: Duration,
    /// Time for which the calling thread slept for answers.
    waited: Duration,
    spare_outputs: Vec<Vec<u8>>,
}

enum Engine {
    /// The calling thread compresses while it submits.
    Caller {
        codec: Box<dyn Codec>,
        answers: VecDeque<Answer>,
    },
    Workers(Workers),
}

impl Pool {
    /// Compresses on up to `threads` threads, and on fewer if the system does not give that many.
    pub(crate) fn new(threads: usize, codecs: &Codecs) -> Result<Self, Error> {
        Self::with_spawn(threads, codecs, workers::spawn)
    }

    fn with_spawn(
        threads: usize,
        codecs: &Codecs,
        spawn: impl FnMut(Work) -> io::Result<JoinHandle<()>>,
    ) -> Result<Self, Error> {
        let workers = match threads {
            0 | 1 => None,
            _ => Workers::new(threads, codecs, spawn)?,
        };
        Ok(Self {
            threads: workers.as_ref().map_or(1, Workers::threads),
            engine: match workers {
                Some(workers) => Engine::Workers(workers),
                None => Engine::Caller {
                    codec: codecs.make()?,
                    answers: VecDeque::new(),
                },
            },
            started: Instant::now(),
            busy: Duration::ZERO,
            own: Duration::ZERO,
            waited: Duration::ZERO,
            spare_outputs: Vec::new(),
        })
    }

    /// Returns the number of threads that compress, the calling one included.
    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    pub(crate) fn submit(&mut self, ticket: u64, input: Block, effort: Effort) {
        let job = Job {
            ticket,
            input,
            output: self.spare_outputs.pop().unwrap_or_default(),
            effort,
        };
        match &mut self.engine {
            Engine::Caller { codec, answers } => {
                let (answer, _) = Answer::to(job, &mut **codec);
                self.own += answer.busy;
                answers.push_back(answer);
            }
            Engine::Workers(workers) => workers.submit(job),
        }
    }

    /// Returns an answer if there is one already.
    pub(crate) fn poll(&mut self) -> Result<Option<Answer>, Error> {
        let answer = match &mut self.engine {
            Engine::Caller { answers, .. } => answers.pop_front(),
            Engine::Workers(workers) => workers.poll()?,
        };
        self.busy += answer.as_ref().map_or(Duration::ZERO, |answer| answer.busy);
        Ok(answer)
    }

    /// Returns an answer. If there is none yet, it compresses a job that no other thread has taken, or sleeps. Returns an
    /// error if nothing seems to be in flight.
    pub(crate) fn wait(&mut self) -> Result<Answer, Error> {
        if let Some(answer) = self.poll()? {
            return Ok(answer);
        }
        if let Engine::Workers(workers) = &mut self.engine
            && let Some(answer) = workers.help()
        {
            self.busy += answer.busy;
            self.own += answer.busy;
            return Ok(answer);
        }
        let start = Instant::now();
        let answer = match &mut self.engine {
            Engine::Caller { .. } => Err(gone()),
            Engine::Workers(workers) => workers.wait(),
        };
        self.waited += start.elapsed();
        self.busy += answer.as_ref().map_or(Duration::ZERO, |answer| answer.busy);
        answer
    }

    /// Takes an output buffer back.
    pub(crate) fn recycle(&mut self, output: Vec<u8>) {
        // What came compressed had none.
        if output.capacity() > 0 {
            self.spare_outputs.push(output);
        }
    }

    /// Gives the memory of used buffers back.
    pub(crate) fn drop_buffers(&mut self) {
        self.spare_outputs = Vec::new();
    }

    /// Returns the times so far.
    pub(crate) fn times(&self) -> PoolTimes {
        let others = u32::try_from(self.threads - 1).unwrap_or(u32::MAX);
        let there = self.started.elapsed().saturating_mul(others) + self.own;
        PoolTimes {
            compressing: Stage {
                busy: self.busy,
                waiting: there.saturating_sub(self.busy),
            },
            own: self.own,
            waited: self.waited,
        }
    }
}

/// Times of a pool.
pub(crate) struct PoolTimes {
    /// Times of all threads together. The calling thread is never counted as waiting.
    pub(crate) compressing: Stage,
    /// The part of it for which the calling thread compressed.
    pub(crate) own: Duration,
    /// Time for which the calling thread slept for answers.
    pub(crate) waited: Duration,
}
