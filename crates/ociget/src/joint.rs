//! Work that several callers wait for, driven by each of them.
//!
//! A caller may poll its future once and keep it. If the work were a part of that future, all others would wait for a
//! caller that rests. Here the work belongs to everyone who waits for it: each of them drives it when it is polled, and it
//! ends with the last of them.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError, Weak};
use std::task::{Context, Poll, Wake, Waker};

use tokio::runtime::{self, Handle};

use crate::error::Error;
use crate::future::BoxFuture;

/// Whose waiters may drive one piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drivers {
    /// Those of any runtime: the work waits for threads alone.
    All,
    /// Those of the runtime that it began on, because that one drives its connections and timers.
    OfRuntime,
}

/// Work that runs at most once at a time, for all callers that want its result meanwhile.
#[derive(Debug)]
pub(crate) struct Joint<T> {
    drivers: Drivers,
    running: Mutex<Vec<Weak<Run<T>>>>,
}

/// A value that is made when it is first needed, and kept.
#[derive(Debug)]
pub(crate) struct Once<T> {
    value: OnceLock<T>,
    joint: Joint<T>,
}

/// One piece of work.
struct Run<T> {
    runtime: Option<runtime::Id>,
    /// `None` once it has ended.
    work: Mutex<Option<BoxFuture<'static, Result<T, Error>>>>,
    /// Its value, or `None` if it has failed; empty while it runs.
    ended: OnceLock<Option<T>>,
    waiters: Arc<Waiters>,
}

impl<T> std::fmt::Debug for Run<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").finish_non_exhaustive()
    }
}

/// The callers that wait for one piece of work.
#[derive(Default)]
struct Waiters {
    next: AtomicU64,
    wakers: Mutex<HashMap<u64, Waker>>,
    /// Whether a waiter was polled while another one drove the work.
    missed: AtomicBool,
}

impl<T: Clone> Joint<T> {
    pub(crate) fn new(drivers: Drivers) -> Self {
        Self {
            drivers,
            running: Mutex::default(),
        }
    }

    /// Waits for the work that runs, or begins it with `work`. An error goes to one of the callers, and the others begin
    /// again.
    pub(crate) async fn join<F>(&self, work: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        loop {
            let run = self.find_or_begin(&mut self.running(), &work);
            if let Some(outcome) = run.wait().await {
                return outcome;
            }
        }
    }

    fn running(&self) -> MutexGuard<'_, Vec<Weak<Run<T>>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find_or_begin<F>(&self, running: &mut Vec<Weak<Run<T>>>, work: impl Fn() -> F) -> Arc<Run<T>>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let runtime = match self.drivers {
            Drivers::All => None,
            Drivers::OfRuntime => Handle::try_current().ok().map(|handle| handle.id()),
        };
        running.retain(|run| run.strong_count() > 0);
        let mut found = running.iter().filter_map(Weak::upgrade);
        let is_open = |run: &Arc<Run<T>>| {
            let has_failed = matches!(run.ended.get(), Some(None));
            run.runtime == runtime && !has_failed
        };
        if let Some(run) = found.find(is_open) {
            return run;
        }
        let run = Arc::new(Run {
            runtime,
            work: Mutex::new(Some(Box::pin(work()))),
            ended: OnceLock::new(),
            waiters: Arc::default(),
        });
        running.push(Arc::downgrade(&run));
        run
    }
}

impl<T: Clone> Once<T> {
    pub(crate) fn new(drivers: Drivers) -> Self {
        Self {
            value: OnceLock::new(),
            joint: Joint::new(drivers),
        }
    }

    /// Returns the value if it was made.
    pub(crate) fn get(&self) -> Option<&T> {
        self.value.get()
    }

    /// Returns the value, and makes it with `work` if it was not made yet. If callers of several runtimes make it at the
    /// same time, all get the value of the first one that is done.
    pub(crate) async fn get_or_make<F>(&self, work: impl Fn() -> F) -> Result<&T, Error>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        loop {
            let run = {
                let mut running = self.joint.running();
                // No caller begins again between the end of the work and the moment at which its value is kept.
                if let Some(value) = self.value.get() {
                    return Ok(value);
                }
                self.joint.find_or_begin(&mut running, &work)
            };
            if let Some(outcome) = run.wait().await {
                let value = outcome?;
                let _running = self.joint.running();
                return Ok(self.value.get_or_init(|| value));
            }
        }
    }
}

impl<T: Clone> Run<T> {
    fn wait(&self) -> Wait<'_, T> {
        Wait {
            run: self,
            number: self.waiters.next.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Polls the work. Returns `None` if another thread does so at the moment.
    fn drive(&self) -> Option<Poll<Option<Result<T, Error>>>> {
        // Dropped after the lock.
        let mut leaving = Leaving(&self.waiters, None);
        let mut work = match self.work.try_lock() {
            Ok(work) => work,
            Err(TryLockError::Poisoned(work)) => work.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        if let Some(ended) = self.ended.get() {
            return Some(Poll::Ready(ended.clone().map(Ok)));
        }
        let Some(mut polled) = work.take() else {
            // The poll before this one panicked.
            let _ = self.ended.set(None);
            return Some(Poll::Ready(None));
        };
        leaving.1 = Some(Left::Ended);
        let waker = Waker::from(Arc::clone(&self.waiters));
        Some(
            match polled.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Pending => {
                    *work = Some(polled);
                    leaving.1 = Some(Left::Running);
                    Poll::Pending
                }
                Poll::Ready(outcome) => {
                    let _ = self.ended.set(outcome.as_ref().ok().cloned());
                    Poll::Ready(Some(outcome))
                }
            },
        )
    }
}

/// What a poll leaves to the other waiters.
enum Left {
    Running,
    /// It is done, or it has panicked.
    Ended,
}

/// The end of a poll, whose waiters are woken.
struct Leaving<'r>(&'r Waiters, Option<Left>);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let Self(waiters, left) = self;
        match left {
            Some(Left::Ended) => waiters.wake_all(),
            // A waiter that was polled meanwhile may be the only one that is polled again.
            Some(Left::Running) if waiters.missed.swap(false, Ordering::SeqCst) => {
                waiters.wake_all();
            }
            Some(Left::Running) | None => {}
        }
    }
}

/// The result of the work, or `None` if another waiter got its error.
struct Wait<'r, T> {
    run: &'r Run<T>,
    number: u64,
}

impl<T: Clone> Future for Wait<'_, T> {
    type Output = Option<Result<T, Error>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (run, waiters) = (self.run, &self.run.waiters);
        // Before the work is polled, so that it wakes this waiter as well.
        let waker = context.waker().clone();
        waiters.wakers().insert(self.number, waker);
        if let Some(polled) = run.drive() {
            return polled;
        }
        waiters.missed.store(true, Ordering::SeqCst);
        // The other one may have left before it could see that.
        run.drive().unwrap_or(Poll::Pending)
    }
}

impl<T> Drop for Wait<'_, T> {
    fn drop(&mut self) {
        self.run.waiters.wakers().remove(&self.number);
    }
}

impl Waiters {
    fn wakers(&self) -> MutexGuard<'_, HashMap<u64, Waker>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_all(&self) {
        let wakers = std::mem::take(&mut *self.wakers());
        wakers.into_values().for_each(Waker::wake);
    }
}

impl Wake for Waiters {
    fn wake(self: Arc<Self>) {
        self.wake_all();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use tokio::sync::Notify;

    use super::*;

    /// Work that counts how often it began, and waits for a word.
    #[derive(Clone, Default)]
    struct Work {
        begun: Arc<AtomicUsize>,
        word: Arc<Notify>,
    }

    impl Work {
        fn begin(&self) -> impl Future<Output = Result<usize, Error>> + Send + use<> {
            let number = self.begun.fetch_add(1, Ordering::Relaxed);
            let word = Arc::clone(&self.word);
            async move {
                word.notified().await;
                Ok(number)
            }
        }
    }

    async fn in_time<T>(future: impl Future<Output = T>) -> T {
        let limit = Duration::from_secs(20);
        tokio::time::timeout(limit, future).await.unwrap()
    }

    fn poll_once<T>(future: Pin<&mut impl Future<Output = T>>) -> bool {
        future
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }

    #[tokio::test]
    async fn caller_that_rests_keeps_no_other_waiting() {
        for drivers in [Drivers::All, Drivers::OfRuntime] {
            let (once, work) = (Once::new(drivers), Work::default());
            let mut resting = Box::pin(once.get_or_make(|| work.begin()));
            assert!(!poll_once(resting.as_mut()));
            let mut other = Box::pin(once.get_or_make(|| work.begin()));
            assert!(!poll_once(other.as_mut()));
            work.word.notify_one();
            assert_eq!(in_time(other).await.unwrap(), &0);
            assert_eq!(in_time(resting).await.unwrap(), &0);
            assert_eq!(once.get(), Some(&0));
        }
    }

    #[test]
    fn other_runtime_begins_work_of_its_own() {
        let runtime = || {
            let mut builder = runtime::Builder::new_current_thread();
            builder.enable_all().build().unwrap()
        };
        let (once, work) = (Once::new(Drivers::OfRuntime), Work::default());
        let one = runtime();
        let mut resting = Box::pin(once.get_or_make(|| work.begin()));
        assert!(!one.block_on(async { poll_once(resting.as_mut()) }));
        let other = once.get_or_make(|| async { Ok(7) });
        assert_eq!(runtime().block_on(in_time(other)).unwrap(), &7);
        // All get the first value.
        work.word.notify_one();
        assert_eq!(one.block_on(in_time(resting)).unwrap(), &7);
    }

    #[tokio::test]
    async fn dropped_caller_leaves_the_work_to_the_others() {
        let (joint, work) = (Joint::new(Drivers::All), Work::default());
        let mut first = Box::pin(joint.join(|| work.begin()));
        let mut second = Box::pin(joint.join(|| work.begin()));
        assert!(!poll_once(first.as_mut()) && !poll_once(second.as_mut()));
        drop(first);
        work.word.notify_one();
        assert_eq!(in_time(second).await.unwrap(), 0);
        // With the last of them it ends.
        let mut third = Box::pin(joint.join(|| work.begin()));
        assert!(!poll_once(third.as_mut()));
        drop(third);
        assert_eq!(Arc::strong_count(&work.word), 1);
    }

    #[tokio::test]
    async fn error_goes_to_one_caller_and_others_begin_again() {
        let joint = Joint::new(Drivers::All);
        let begun = AtomicUsize::new(0);
        let work = || {
            let is_first = begun.fetch_add(1, Ordering::Relaxed) == 0;
            async move {
                tokio::task::yield_now().await;
                match is_first {
                    true => Err(Error::Usage("no".to_owned())),
                    false => Ok(2),
                }
            }
        };
        let (one, two) = in_time(async { tokio::join!(joint.join(work), joint.join(work)) }).await;
        assert!(one.is_err() != two.is_err());
        assert_eq!(begun.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn panic_of_one_caller_is_none_of_the_others() {
        let joint = Joint::new(Drivers::All);
        let begun = AtomicUsize::new(0);
        let work = || {
            let is_first = begun.fetch_add(1, Ordering::Relaxed) == 0;
            async move {
                tokio::task::yield_now().await;
                assert!(!is_first);
                Ok(())
            }
        };
        let (mut one, two) = (Box::pin(joint.join(work)), joint.join(work));
        assert!(!poll_once(one.as_mut()));
        let caught = std::panic::catch_unwind(AssertUnwindSafe(|| poll_once(one.as_mut())));
        assert!(caught.is_err());
        in_time(two).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn many_callers_on_many_threads_share_one_run() {
        for _ in 0..200 {
            let once = Arc::new(Once::new(Drivers::All));
            let begun = Arc::new(AtomicUsize::new(0));
            let callers: Vec<_> = (0..16)
                .map(|_| {
                    let (once, begun) = (Arc::clone(&once), Arc::clone(&begun));
                    tokio::spawn(async move {
                        let work = || {
                            let number = begun.fetch_add(1, Ordering::Relaxed);
                            async move {
                                for _ in 0..5 {
                                    tokio::task::yield_now().await;
                                }
                                Ok(number)
                            }
                        };
                        *once.get_or_make(work).await.unwrap()
                    })
                })
                .collect();
            for caller in callers {
                assert_eq!(in_time(caller).await.unwrap(), 0);
            }
        }
    }
}
