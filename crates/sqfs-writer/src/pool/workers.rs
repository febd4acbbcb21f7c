//! Threads that compress. They know nothing of files, order or the image.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread::{self, JoinHandle};

use super::job::{Answer, Job, gone};
use super::jobs::Jobs;
use crate::compress::{Codec, Codecs};
use crate::error::Error;

/// The work of a thread from its start to its end.
pub(super) type Work = Box<dyn FnOnce() + Send>;

/// Starts a thread.
pub(super) fn spawn(work: Work) -> io::Result<JoinHandle<()>> {
    let thread = thread::Builder::new().name("sqfs-compress".into());
    thread.spawn(work)
}

/// All but one of the threads that compress; the last one is the caller's, where it would have to wait
/// otherwise. So there are never more threads than cores were asked for, and none of them sleeps while another
/// has too much to do.
pub(super) struct Workers {
    jobs: Arc<Jobs>,
    answers: Receiver<Answer>,
    /// The codec of the calling thread.
    codec: Box<dyn Codec>,
    workers: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts up to `threads - 1` threads with `spawn`; the calling thread is the last one. A thread that cannot be
    /// started is left out, and so are those after it. Returns `None` if there is none at all.
    ///
    /// # Errors
    /// Returns [`Error::Codec`] if a codec cannot be made.
    pub(super) fn new(
        threads: usize,
        codecs: &Codecs,
        mut spawn: impl FnMut(Work) -> io::Result<JoinHandle<()>>,
    ) -> Result<Option<Self>, Error> {
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
            // A limit on processes or memory was reached. It costs speed, and must not cost the image.
            let Ok(handle) = spawn(Box::new(move || worker.run())) else {
                break;
            };
            pool.workers.push(handle);
        }
        // Without a worker the other end of `answers` would be closed.
        Ok((!pool.workers.is_empty()).then_some(pool))
    }

    /// Returns how many threads compress, the calling one included.
    pub(super) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    pub(super) fn submit(&self, job: Job) {
        self.jobs.put(job);
    }

    /// Returns an answer if there is one already.
    pub(super) fn poll(&self) -> Result<Option<Answer>, Error> {
        match self.answers.try_recv() {
            Ok(answer) => Ok(Some(answer)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(gone()),
        }
    }

    /// Runs a job that no thread has taken yet, if there is one.
    pub(super) fn help(&mut self) -> Option<Answer> {
        let job = self.jobs.try_take()?;
        Some(Answer::to(job, &mut *self.codec).0)
    }

    /// Sleeps until there is an answer.
    pub(super) fn wait(&self) -> Result<Answer, Error> {
        self.answers.recv().map_err(|_| gone())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // Jobs that are still waiting are dropped.
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
            let (answer, panicked) = Answer::to(job, &mut *self.codec);
            if self.answer.send(answer).is_err() || panicked {
                return;
            }
        }
    }
}
