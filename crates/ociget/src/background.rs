//! Work that may block, on threads of its own.
//!
//! A runtime that gets no thread keeps such work in a queue until one of its threads is free. That is never if all of
//! them wait for the work, and a runtime without any thread panics. Here work runs, or fails at once.

use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tokio::sync::oneshot;

/// How long a thread without work is kept.
const IDLE_LIFE: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

static STATE: Mutex<State> = Mutex::new(State {
    jobs: VecDeque::new(),
    idle: 0,
    busy: 0,
});
/// Wakes an idle thread for a job.
static GIVEN: Condvar = Condvar::new();
/// Wakes a caller of [`wait`].
static DONE: Condvar = Condvar::new();

struct State {
    /// Jobs, for each of which an idle thread was woken.
    jobs: VecDeque<Job>,
    /// Number of sleeping threads, less those that were woken for a job.
    idle: usize,
    /// Number of jobs that have not ended.
    busy: usize,
}

/// No thread could be started.
#[derive(Debug, thiserror::Error)]
#[error(
    "no thread can be started ({cause}); try again later, or raise the limits on processes and memory (ulimit -u, ulimit -v)"
)]
struct NoThread {
    cause: io::Error,
}

/// Runs `work` on a thread that may block, and returns its result. If the future is dropped, the work goes on.
///
/// # Errors
/// Returns an error that [`is_shortage`] if no thread can be started, and another one if `work` panics.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (sender, receiver) = oneshot::channel();
    // If the receiver was dropped, no result is needed.
    let job = move || drop(sender.send(work()));
    start(Box::new(job)).map_err(no_thread)?;
    let panicked = |_| io::Error::other("internal error: a thread panicked");
    receiver.await.map_err(panicked)
}

/// Returns the error of a thread that could not be started.
#[must_use]
pub fn no_thread(cause: io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, NoThread { cause })
}

/// Returns whether this process, or the system, had no thread, descriptor or memory left, which other work uses at the
/// moment.
#[must_use]
pub fn is_shortage(error: &io::Error) -> bool {
    let codes = [Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(Errno::raw_os_error);
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let Some(error) = error.downcast_ref::<io::Error>() else {
            cause = error.source();
            continue;
        };
        let inner = error.get_ref();
        if error
            .raw_os_error()
            .is_some_and(|code| codes.contains(&code))
            || error.kind() == io::ErrorKind::OutOfMemory
            || inner.is_some_and(|inner| inner.is::<NoThread>())
        {
            return true;
        }
        cause = inner.map(|inner| inner as &(dyn Error + 'static));
    }
    false
}

/// Waits until no work is running, for at most `limit`. Returns whether none is.
pub fn wait(limit: Duration) -> bool {
    let end = Instant::now() + limit;
    let mut state = lock();
    while state.busy > 0 {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        let waited = DONE.wait_timeout(state, left);
        (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
    }
    true
}

/// Gives the job to an idle thread, or to a new one.
fn start(job: Job) -> io::Result<()> {
    let mut state = lock();
    state.busy += 1;
    if state.idle > 0 {
        state.idle -= 1;
        state.jobs.push_back(job);
        drop(state);
        GIVEN.notify_one();
        return Ok(());
    }
    drop(state);
    let thread = thread::Builder::new().name("background".to_owned());
    let started = thread.spawn(move || work(job));
    if started.is_err() {
        end();
    }
    started.map(drop)
}

/// The work of a thread.
fn work(first: Job) {
    let mut next = Some(first);
    while let Some(job) = next {
        // The panic was reported where it happened, and the one that waits sees it as a result that does not come.
        let _ = catch_unwind(AssertUnwindSafe(job));
        next = after();
    }
}

/// Ends a job, and returns the next one, if it comes soon.
fn after() -> Option<Job> {
    end();
    let mut state = lock();
    state.idle += 1;
    let until = Instant::now() + IDLE_LIFE;
    loop {
        if let Some(job) = state.jobs.pop_front() {
            return Some(job);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            state.idle -= 1;
            return None;
        }
        let waited = GIVEN.wait_timeout(state, left);
        (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
    }
}

fn end() {
    let mut state = lock();
    state.busy -= 1;
    if state.busy == 0 {
        DONE.notify_all();
    }
}

/// Takes the lock, under which nothing can panic.
fn lock() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn work_that_waits_for_other_work_ends() {
        let (sender, receiver) = mpsc::channel();
        let waiting = tokio::spawn(run(move || receiver.recv().unwrap()));
        for number in 0..100 {
            assert_eq!(run(move || number).await.unwrap(), number);
        }
        run(move || sender.send(7).unwrap()).await.unwrap();
        assert_eq!(waiting.await.unwrap().unwrap(), 7);
    }

    #[tokio::test]
    async fn panic_of_the_work_is_an_error() {
        let error = run::<()>(|| panic!("no")).await.unwrap_err();
        assert!(error.to_string().contains("panicked") && !is_shortage(&error));
        assert_eq!(run(|| 1).await.unwrap(), 1);
    }

    #[test]
    fn shortage_is_seen_through_its_wrappings() {
        let again = io::Error::from_raw_os_error(Errno::AGAIN.raw_os_error());
        assert!(!is_shortage(&again));
        let error = no_thread(again);
        assert!(error.to_string().contains("no thread can be started"));
        assert!(is_shortage(&error));
        assert!(is_shortage(&io::Error::other(error)));
        let files = io::Error::from_raw_os_error(Errno::MFILE.raw_os_error());
        assert!(is_shortage(&files) && is_shortage(&io::Error::other(files)));
        assert!(!is_shortage(&io::Error::other("no")));
    }
}
