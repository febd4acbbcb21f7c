//! Threads that drive the builds of a store.
//!
//! A runtime of a caller may rest for any time while it exists, with all that was given to it: locks, turns, files,
//! connections. Other callers would wait for it. So builds run on threads of the store. A thread starts when a build
//! needs it and ends with its last build, so that a store at rest has none. It waits a moment for the next one, because
//! a pull of an existing artifact takes less than to start a thread with a runtime.

use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;
use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ociget::background;
use rustix::io::Errno;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;
use tracing::instrument::WithSubscriber as _;

use crate::caught::caught;
use crate::error::Error;

/// How long a thread without a task waits for another task.
const IDLE_LIFE: Duration = Duration::from_millis(200);

/// Number of tasks in this process that are not dropped yet.
static TASKS: Mutex<usize> = Mutex::new(0);
/// Wakes a caller of [`wait_for_builds`].
static DROPPED: Condvar = Condvar::new();

/// Threads for builds without a store.
static WITHOUT_STORE: LazyLock<Arc<Drivers>> = LazyLock::new(|| Arc::new(Drivers::new()));

/// The threads, at most as many as this process has CPUs. Each drives any number of tasks.
pub(super) struct Drivers {
    most: usize,
    running: Mutex<Vec<Arc<Driver>>>,
}

/// A thread with its runtime.
struct Driver {
    handle: Handle,
    /// Number of its tasks. Grows only under the lock of [`Drivers::running`].
    tasks: AtomicUsize,
    /// A task was dropped.
    dropped: Notify,
}

/// A task of a driver, until its future is dropped.
struct Present(Arc<Driver>);

impl Present {
    fn new(driver: &Arc<Driver>) -> Self {
        driver.tasks.fetch_add(1, Ordering::Relaxed);
        *tasks() += 1;
        Self(Arc::clone(driver))
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.tasks.fetch_sub(1, Ordering::Release);
        self.0.dropped.notify_one();
        let mut tasks = tasks();
        *tasks -= 1;
        if *tasks == 0 {
            DROPPED.notify_all();
        }
    }
}

/// A runtime that is dropped without waiting, because one that waits panics in an asynchronous context.
struct OwnRuntime(Option<Runtime>);

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Ends a task when it is dropped.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Drivers {
    pub(super) fn new() -> Self {
        Self {
            most: thread::available_parallelism().map_or(1, usize::from),
            running: Mutex::default(),
        }
    }

    /// Starts a task on the thread that has the fewest of them. The task ends when it is aborted; the future is then
    /// dropped on that thread.
    ///
    /// # Errors
    /// Returns an error that [`is_shortage`](background::is_shortage) if no thread runs and none can be started.
    pub(super) fn spawn(
        self: &Arc<Self>,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<AbortHandle> {
        let mut running = self.running();
        let tasks = |driver: &&Arc<Driver>| driver.tasks.load(Ordering::Relaxed);
        let idlest = running.iter().min_by_key(tasks).cloned();
        let driver = match idlest {
            Some(driver) if tasks(&&driver) == 0 || running.len() >= self.most => driver,
            idlest => match self.start() {
                Ok(driver) => {
                    running.push(Arc::clone(&driver));
                    driver
                }
                Err(error) => idlest.ok_or(error)?,
            },
        };
        let present = Present::new(&driver);
        let task = driver.handle.spawn(async move {
            let _present = present;
            work.await;
        });
        Ok(task.abort_handle())
    }

    /// Does work on one of the threads, so that any executor may poll the future. The work ends when the future is
    /// dropped.
    ///
    /// # Errors
    /// Returns the error of the work, and an error if it panics or if no thread can be started.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let (sender, outcome) = oneshot::channel();
        let task = async move {
            // If no caller waits any more, the outcome is dropped.
            let _ = sender.send(caught(work).await);
        };
        let task = self.spawn(task.with_current_subscriber());
        let _end = AbortOnDrop(task.map_err(Error::worker)?);
        let ended = |_| Error::Internal {
            what: "the build",
            source: Arc::new(io::Error::other("its thread ended")),
        };
        outcome.await.map_err(ended)?
    }

    fn start(self: &Arc<Self>) -> io::Result<Arc<Driver>> {
        let runtime = runtime()?;
        let handle = runtime.handle().clone();
        // If no thread starts, it is dropped where a caller is polled.
        let runtime = OwnRuntime(Some(runtime));
        let driver = Arc::new(Driver {
            handle,
            tasks: AtomicUsize::new(0),
            dropped: Notify::new(),
        });
        let (drivers, own) = (Arc::clone(self), Arc::clone(&driver));
        let thread = thread::Builder::new().name("builds".to_owned());
        let started = thread.spawn(move || {
            let runtime = runtime;
            let Some(inner) = &runtime.0 else { return };
            inner.block_on(async {
                loop {
                    own.dropped.notified().await;
                    if own.tasks.load(Ordering::Acquire) > 0 {
                        continue;
                    }
                    tokio::time::sleep(IDLE_LIFE).await;
                    if drivers.end(&own) {
                        break;
                    }
                }
            });
        });
        started.map_err(background::no_thread)?;
        Ok(driver)
    }

    /// Takes a driver without a task out of the list, so that it gets no more. Returns whether it is out.
    fn end(&self, driver: &Arc<Driver>) -> bool {
        let mut running = self.running();
        if driver.tasks.load(Ordering::Acquire) > 0 {
            return false;
        }
        running.retain(|other| !Arc::ptr_eq(other, driver));
        true
    }

    fn running(&self) -> MutexGuard<'_, Vec<Arc<Driver>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Drivers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let running = self.running();
        let tasks = running
            .iter()
            .map(|driver| driver.tasks.load(Ordering::Relaxed));
        f.debug_list().entries(tasks).finish()
    }
}

/// Does the work of a build without a store as [`Drivers::run`] does.
pub(crate) async fn run_without_store<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    WITHOUT_STORE.run(work).await
}

/// Makes the runtime of one driver. It takes three descriptors, and another two if it is the first one of the process.
fn runtime() -> io::Result<Runtime> {
    // Tokio panics if it gets no descriptors for its own pair of sockets.
    let free = [(); 3].map(|()| UnixStream::pair());
    for pair in free {
        drop(pair?);
    }
    let build = || Builder::new_current_thread().enable_all().build();
    // Other threads may have taken them meanwhile.
    let no_runtime = |_| io::Error::from(Errno::MFILE);
    panic::catch_unwind(build).map_err(no_runtime)?
}

/// Waits until all builds of this process have ended and have cleaned up, for at most `limit`. Returns whether they
/// have.
///
/// A program that gives up its pulls and ends calls this between the two, because a build ends some time after the
/// last future that waits for it is dropped: usually a few milliseconds. The call blocks its thread.
#[must_use]
pub fn wait_for_builds(limit: Duration) -> bool {
    let start = Instant::now();
    let mut tasks = tasks();
    while *tasks > 0 {
        let left = limit.saturating_sub(start.elapsed());
        if left.is_zero() {
            return false;
        }
        let waited = DROPPED.wait_timeout(tasks, left);
        (tasks, _) = waited.unwrap_or_else(PoisonError::into_inner);
    }
    drop(tasks);
    background::wait(limit.saturating_sub(start.elapsed()))
}

fn tasks() -> MutexGuard<'static, usize> {
    TASKS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::mpsc;
    use std::task::{Context, Poll, Wake, Waker};

    use super::*;
    use crate::error::kind::ErrorKind;
    use crate::options::Options;
    use crate::store::Store;

    const LONG: Duration = Duration::from_secs(20);

    /// Wakes the thread that polls.
    struct Unpark(thread::Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    /// Drives a future as an executor without timers and sockets does.
    fn block_on<T>(work: impl Future<Output = T>) -> T {
        let waker = Arc::new(Unpark(thread::current())).into();
        let mut work = pin!(work);
        loop {
            match work.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(done) => return done,
                Poll::Pending => thread::park_timeout(LONG),
            }
        }
    }

    #[test]
    fn any_executor_drives_builds_and_lookups() {
        let directory = tempfile::tempdir().unwrap();
        let mut options = Options::default();
        options.network.retries = 0;
        options.network.plain_http_on_loopback = true;
        let store = Store::open(directory.path(), options.clone()).unwrap();
        // No server listens there.
        let image = "127.0.0.1:1/image";
        let output = directory.path().join("output");
        let outcomes = [
            block_on(store.resolve(image, None)).map(drop),
            block_on(crate::build(image, None, &output, &options)).map(drop),
        ];
        for outcome in outcomes {
            let error = outcome.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Network, "{error}");
        }
    }

    /// Where the system gives no thread for it, as under `prlimit --nproc`.
    #[tokio::test]
    async fn runtime_without_a_thread_is_dropped_in_async_context() {
        drop(OwnRuntime(Some(runtime().unwrap())));
    }

    #[test]
    fn work_ends_when_its_future_is_dropped() {
        let drivers = Arc::new(Drivers::new());
        let (sender, receiver) = mpsc::channel::<()>();
        let work = async move {
            let _sender = sender;
            std::future::pending::<Result<(), Error>>().await
        };
        let mut run = Box::pin(drivers.run(work));
        let mut context = Context::from_waker(Waker::noop());
        assert!(run.as_mut().poll(&mut context).is_pending());
        drop(run);
        let ended = receiver.recv_timeout(LONG);
        assert_eq!(ended, Err(mpsc::RecvTimeoutError::Disconnected));
    }

    #[test]
    fn short_tasks_in_a_row_share_threads() {
        let drivers = Arc::new(Drivers::new());
        let (sender, receiver) = mpsc::channel();
        let mut threads = std::collections::HashSet::new();
        for _ in 0..100 {
            let sender = sender.clone();
            let work = async move { sender.send(thread::current().id()).unwrap() };
            drivers.spawn(work).unwrap();
            threads.insert(receiver.recv_timeout(LONG).unwrap());
        }
        // A machine that is busy may let the thread wait for too long.
        assert!(threads.len() < 50, "{}", threads.len());
    }

    #[test]
    fn tasks_spread_over_threads_that_end_with_them() {
        let drivers = Arc::new(Drivers {
            most: 2,
            running: Mutex::default(),
        });
        let (sender, receiver) = mpsc::channel();
        let tasks: Vec<_> = (0..4)
            .map(|_| {
                let sender = sender.clone();
                let work = async move {
                    sender.send(thread::current().id()).unwrap();
                    std::future::pending::<()>().await;
                };
                drivers.spawn(work).unwrap()
            })
            .collect();
        let mut threads: Vec<_> = (0..4)
            .map(|_| receiver.recv_timeout(LONG).unwrap())
            .collect();
        threads.sort_by_key(|id| format!("{id:?}"));
        assert!(threads[0] == threads[1] && threads[1] != threads[2] && threads[2] == threads[3]);
        tasks.iter().for_each(AbortHandle::abort);
        assert!(wait_for_builds(LONG));
        let end = Instant::now() + LONG;
        while !drivers.running().is_empty() {
            assert!(Instant::now() < end, "{drivers:?}");
            thread::sleep(Duration::from_millis(1));
        }
        // Another one starts a thread again.
        let (sender, receiver) = mpsc::channel();
        let work = async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            sender.send(()).unwrap();
        };
        drivers.spawn(work).unwrap();
        receiver.recv_timeout(LONG).unwrap();
    }
}
