//! The queue of jobs.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::job::Job;

/// Jobs that no thread has taken yet. Any thread takes them in the order of their arrival.
#[derive(Default)]
pub(super) struct Jobs {
    state: Mutex<State>,
    /// Wakes a thread that sleeps in [`take`](Self::take).
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    /// Number of sleeping threads. If there is none, no system call is needed to wake one.
    asleep: usize,
    closed: bool,
}

impl Jobs {
    pub(super) fn put(&self, job: Job) {
        let mut state = self.lock();
        state.waiting.push_back(job);
        let wake = state.asleep > 0;
        drop(state);
        if wake {
            self.changed.notify_one();
        }
    }

    /// Returns the oldest job, and sleeps while there is none. `None` after the queue was closed.
    pub(super) fn take(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.waiting.pop_front() {
                return Some(job);
            }
            state.asleep += 1;
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.asleep -= 1;
        }
    }

    /// Returns the oldest job, if there is one.
    pub(super) fn try_take(&self) -> Option<Job> {
        self.lock().waiting.pop_front()
    }

    /// Closes the queue: no further job is taken, not even a waiting one.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Takes the lock, under which nothing can panic.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
