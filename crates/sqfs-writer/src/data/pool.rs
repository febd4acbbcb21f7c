//! Threads that compress. They know nothing of files, order or the image: a job goes in with a
//! ticket, and comes out with it, in any order.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::block::Block;
use crate::compress::{Codec, Codecs, compress};
use crate::error::Error;

/// A block to be compressed.
pub(super) struct Job {
    pub(super) ticket: u64,
    pub(super) input: Block,
    /// Where the result goes; a used buffer is welcome.
    pub(super) output: Vec<u8>,
}

/// A block that was.
pub(super) struct Compressed {
    pub(super) input: Block,
    pub(super) output: Vec<u8>,
    /// Whether `output` is shorter; if not, it is of no use.
    pub(super) shrank: bool,
}

impl Compressed {
    /// What is to be stored.
    pub(super) fn stored(&self) -> &[u8] {
        if self.shrank {
            &self.output
        } else {
            self.input.filled()
        }
    }
}

/// Compresses one block, wherever that happens.
pub(super) fn run(codec: &mut dyn Codec, job: Job) -> Result<Compressed, Error> {
    let Job {
        input, mut output, ..
    } = job;
    let shrank = compress(codec, input.filled(), &mut output)?;
    Ok(Compressed {
        input,
        output,
        shrank,
    })
}

type Answer = (u64, Result<Compressed, Error>);

pub(super) struct Pool {
    /// `None` only while it is being dropped.
    jobs: Option<Sender<Job>>,
    answers: Receiver<Answer>,
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
}

impl Pool {
    pub(super) fn new(threads: usize, codecs: &Codecs) -> Result<Self, Error> {
        let (jobs, queue) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        let (answer, answers) = mpsc::channel();
        let mut pool = Self {
            jobs: Some(jobs),
            answers,
            stop: Arc::default(),
            workers: Vec::with_capacity(threads),
        };
        for _ in 0..threads {
            let worker = Worker {
                queue: Arc::clone(&queue),
                answer: answer.clone(),
                stop: Arc::clone(&pool.stop),
                codec: codecs.make()?,
            };
            let handle = thread::Builder::new()
                .name("sqfs-compress".into())
                .spawn(move || worker.run())
                .map_err(Error::Thread)?;
            pool.workers.push(handle);
        }
        Ok(pool)
    }

    pub(super) fn submit(&self, job: Job) -> Result<(), Error> {
        self.jobs
            .as_ref()
            .and_then(|jobs| jobs.send(job).ok())
            .ok_or_else(gone)
    }

    /// An answer, if there is one already.
    pub(super) fn poll(&self) -> Result<Option<Answer>, Error> {
        match self.answers.try_recv() {
            Ok(answer) => Ok(Some(answer)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(gone()),
        }
    }

    /// Sleeps until there is an answer.
    pub(super) fn wait(&self) -> Result<Answer, Error> {
        self.answers.recv().map_err(|_| gone())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // What is still queued is not wanted any more. Without a sender the workers' `recv` ends.
        self.stop.store(true, Ordering::Relaxed);
        self.jobs = None;
        for worker in self.workers.drain(..) {
            // A panic was caught and reported where it happened.
            let _ = worker.join();
        }
    }
}

struct Worker {
    queue: Arc<Mutex<Receiver<Job>>>,
    answer: Sender<Answer>,
    stop: Arc<AtomicBool>,
    codec: Box<dyn Codec>,
}

impl Worker {
    fn run(mut self) {
        while let Some(job) = self.next() {
            let ticket = job.ticket;
            // A ticket without an answer would make the writer wait for ever.
            let result = catch_unwind(AssertUnwindSafe(|| run(&mut *self.codec, job)));
            let panicked = result.is_err();
            let result = result.unwrap_or_else(|_| {
                Err(Error::Codec {
                    codec: self.codec.name(),
                    source: io::Error::other("it panicked"),
                })
            });
            if self.answer.send((ticket, result)).is_err() || panicked {
                return;
            }
        }
    }

    fn next(&self) -> Option<Job> {
        // Held while waiting: the others wait for the lock instead of the channel. Nothing that
        // can panic happens under it.
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let job = queue.recv().ok()?;
        (!self.stop.load(Ordering::Relaxed)).then_some(job)
    }
}

fn gone() -> Error {
    Error::Thread(io::Error::other("all compression threads have ended"))
}
