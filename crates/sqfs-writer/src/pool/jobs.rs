//! The jobs that nobody has taken yet.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::job::Job;

/// Taken in the order in which they were put in, by any thread.
#[derive(Default)]
pub(super) struct Jobs {
    state: Mutex<State>,
    /// Somebody sleeps in [`take`](Self::take) and there is something for him.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    /// How many threads sleep: waking nobody costs a system call all the same.
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

    /// The oldest job; sleeps while there is none. `None` once it is closed.
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

    /// The oldest job, if there is one.
    pub(super) fn try_take(&self) -> Option<Job> {
        self.lock().waiting.pop_front()
    }

    /// Nothing more is taken, not even what is there.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Nothing that can panic happens under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
