//! Work that may block, on threads of its own.
//!
//! A runtime that gets no thread keeps such work in a queue until one of its threads is free. That is never if all of
//! them wait for the work, and a runtime without any thread panics. Here work runs, or fails at once.
//!
//! There are up to 512 threads. Further work waits until one of them is free. If none becomes free for a second, the work
//! that runs may be waiting for the one that does not, and one more thread starts.

use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tokio::sync::oneshot;

/// Number of threads that are started for work that comes. tokio has as many; a test reaches fewer.
const MAX_THREADS: usize = if cfg!(test) { 16 } else { 512 };

/// How long work waits for one of them to become free, before one more is started.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a thread without work is kept.
const IDLE_LIFE: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

static STATE: Mutex<State> = Mutex::new(State {
    jobs: VecDeque::new(),
    idle: 0,
    threads: 0,
    busy: 0,
    taken: 0,
    overseen: false,
});
/// Wakes an idle thread for a job.
static GIVEN: Condvar = Condvar::new();
/// Wakes a caller of [`wait`].
static DONE: Condvar = Condvar::new();

struct State {
    /// Jobs that no thread has taken yet.
    jobs: VecDeque<Job>,
    /// Number of threads without a job.
    idle: usize,
    /// Number of all threads.
    threads: usize,
    /// Number of jobs that have not ended.
    busy: usize,
    /// Number of jobs that were ever taken from the queue.
    taken: u64,
    /// Whether a thread sees to it that the queue moves.
    overseen: bool,
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
    // A limit beyond the clock's end is none.
    let end = Instant::now().checked_add(limit);
    let mut state = lock();
    while state.busy > 0 {
        let left = end.map_or(Duration::from_secs(3600), |end| {
            end.saturating_duration_since(Instant::now())
        });
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
    if state.idle > state.jobs.len() {
        state.jobs.push_back(job);
        drop(state);
        GIVEN.notify_one();
        return Ok(());
    }
    if state.threads >= MAX_THREADS {
        state.jobs.push_back(job);
        let overseen = std::mem::replace(&mut state.overseen, true);
        drop(state);
        // Without it the job still runs when a thread becomes free.
        if !overseen && named("overseer").spawn(oversee).is_err() {
            lock().overseen = false;
        }
        return Ok(());
    }
    state.threads += 1;
    drop(state);
    let started = spawn(Some(job));
    if started.is_err() {
        end();
    }
    started
}

fn named(name: &str) -> thread::Builder {
    thread::Builder::new().name(name.to_owned())
}

/// Starts a thread, which is counted already, with a job or with the first one that waits.
fn spawn(job: Option<Job>) -> io::Result<()> {
    let thread = named("background").spawn(move || work(job.or_else(|| take(&mut lock()))));
    if thread.is_err() {
        lock().threads -= 1;
    }
    thread.map(drop)
}

/// Starts one more thread whenever no job was taken for a while, until none waits.
fn oversee() {
    let mut before = lock().taken;
    loop {
        thread::sleep(PATIENCE);
        let mut state = lock();
        if state.jobs.is_empty() {
            state.overseen = false;
            return;
        }
        if state.taken == before {
            state.threads += 1;
            let (waiting, threads) = (state.jobs.len(), state.threads);
            drop(state);
            tracing::warn!(
                waiting,
                threads,
                "work waits for a thread; one more is started"
            );
            // If there is none to be had, the next round tries again.
            let _ = spawn(None);
            state = lock();
        }
        before = state.taken;
    }
}

/// Takes a job from the queue.
fn take(state: &mut State) -> Option<Job> {
    let job = state.jobs.pop_front()?;
    state.taken += 1;
    Some(job)
}

/// The work of a thread.
fn work(first: Option<Job>) {
    let mut next = first;
    if next.is_none() {
        lock().threads -= 1;
    }
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
        if let Some(job) = take(&mut state) {
            state.idle -= 1;
            return Some(job);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            state.idle -= 1;
            state.threads -= 1;
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
    use std::sync::{Arc, Barrier, mpsc};

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
    async fn more_work_than_threads_waits_and_never_for_ever() {
        // Work that needs more threads than there are before it ends.
        let together = Arc::new(Barrier::new(MAX_THREADS + 2));
        let running: Vec<_> = (0..MAX_THREADS + 2)
            .map(|_| {
                let together = Arc::clone(&together);
                tokio::spawn(run(move || together.wait().is_leader()))
            })
            .collect();
        for job in running {
            job.await.unwrap().unwrap();
        }
        // Work that does not.
        let most = Arc::new(Mutex::new((0, 0)));
        let short = || {
            let most = Arc::clone(&most);
            tokio::spawn(run(move || {
                let count = |change: i32| {
                    let mut most = most.lock().unwrap();
                    most.0 += change;
                    most.1 = most.1.max(most.0);
                };
                count(1);
                thread::sleep(Duration::from_millis(5));
                count(-1);
            }))
        };
        let running: Vec<_> = (0..500).map(|_| short()).collect();
        for job in running {
            job.await.unwrap().unwrap();
        }
        let most = usize::try_from(most.lock().unwrap().1).unwrap();
        assert!(most <= MAX_THREADS + 3, "{most}");
    }

    #[test]
    fn longest_wait_that_can_be_asked_for_is_no_panic() {
        wait(Duration::MAX);
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
