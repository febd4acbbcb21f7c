//! Threads that compress. They know nothing of files, order or the image.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::{Answer, Job, gone, run};
use crate::compress::{Codec, Codecs};
use crate::error::Error;

pub(super) struct Workers {
    /// `None` only while it is being dropped.
    jobs: Option<Sender<Job>>,
    answers: Receiver<Answer>,
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
}

impl Workers {
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

impl Drop for Workers {
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
            let mut panicked = false;
            // A ticket without an answer would make the writer wait for ever.
            let answer = Answer::new(ticket, || {
                let result = catch_unwind(AssertUnwindSafe(|| run(&mut *self.codec, job)));
                panicked = result.is_err();
                result.unwrap_or_else(|_| {
                    Err(Error::Codec {
                        codec: self.codec.name(),
                        source: io::Error::other("it panicked"),
                    })
                })
            });
            if self.answer.send(answer).is_err() || panicked {
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
