//! Threads that compress. They know nothing of files, order or the image.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread::{self, JoinHandle};

use super::jobs::Jobs;
use super::{Answer, Job, gone, run};
use crate::compress::{Codec, Codecs};
use crate::error::Error;

/// All but one of the threads that compress; the last one is the caller's, where it would have to wait
/// otherwise. So there are never more threads than cores were asked for, and none of them sleeps while another
/// has too much to do.
pub(super) struct Workers {
    jobs: Arc<Jobs>,
    answers: Receiver<Answer>,
    /// What the calling thread compresses with.
    codec: Box<dyn Codec>,
    workers: Vec<JoinHandle<()>>,
}

impl Workers {
    /// For that many threads, the calling one included.
    pub(super) fn new(threads: usize, codecs: &Codecs) -> Result<Self, Error> {
        let (answer, answers) = mpsc::channel();
        let mut pool = Self {
            jobs: Arc::default(),
            answers,
            codec: codecs.make()?,
            workers: Vec::new(),
        };
        for _ in 1..threads {
            let worker = Worker {
                jobs: Arc::clone(&pool.jobs),
                answer: answer.clone(),
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

    pub(super) fn submit(&self, job: Job) {
        self.jobs.put(job);
    }

    /// An answer, if there is one already.
    pub(super) fn poll(&self) -> Result<Option<Answer>, Error> {
        match self.answers.try_recv() {
            Ok(answer) => Ok(Some(answer)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(gone()),
        }
    }

    /// Does a job that nobody has taken yet, if there is one.
    pub(super) fn help(&mut self) -> Option<Answer> {
        let job = self.jobs.try_take()?;
        Some(answer(&mut *self.codec, job).0)
    }

    /// Sleeps until there is an answer.
    pub(super) fn wait(&self) -> Result<Answer, Error> {
        self.answers.recv().map_err(|_| gone())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // What is still there is not wanted any more.
        self.jobs.close();
        for worker in self.workers.drain(..) {
            // A panic was caught and reported where it happened.
            let _ = worker.join();
        }
    }
}

struct Worker {
    jobs: Arc<Jobs>,
    answer: Sender<Answer>,
    codec: Box<dyn Codec>,
}

impl Worker {
    fn run(mut self) {
        while let Some(job) = self.jobs.take() {
            let (answer, panicked) = answer(&mut *self.codec, job);
            if self.answer.send(answer).is_err() || panicked {
                return;
            }
        }
    }
}

/// What becomes of a job, and whether the codec panicked over it. A ticket without an answer would make the writer
/// wait for ever.
fn answer(codec: &mut dyn Codec, job: Job) -> (Answer, bool) {
    let mut panicked = false;
    let answer = Answer::new(job.ticket, || {
        let result = catch_unwind(AssertUnwindSafe(|| run(codec, job)));
        panicked = result.is_err();
        result.unwrap_or_else(|_| {
            Err(Error::Codec {
                codec: codec.name(),
                source: io::Error::other("it panicked"),
            })
        })
    });
    (answer, panicked)
}
