//! Turns to build: the number of builds of one store that run concurrently in this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::options::Options;

/// The bound on concurrent builds. Builds beyond it wait, first in, first out.
#[derive(Debug)]
pub(super) struct Turns {
    permits: Arc<Semaphore>,
    /// Number of builds that run or wait.
    present: AtomicUsize,
}

/// The right to build, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    /// `None` if the semaphore was closed, which nothing here does.
    _permit: Option<OwnedSemaphorePermit>,
    _present: Present<'a>,
}

/// Counts one build as present. A build that is cancelled while it waits leaves as well.
#[derive(Debug)]
struct Present<'a>(&'a AtomicUsize);

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Turns {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(options.concurrent_builds())),
            present: AtomicUsize::new(0),
        }
    }

    /// Waits for a turn. Calls `queued` with the number of builds before this one if no turn is free.
    pub(super) async fn take(&self, queued: impl FnOnce(usize)) -> Turn<'_> {
        let ahead = self.present.fetch_add(1, Ordering::Relaxed);
        let present = Present(&self.present);
        let permit = match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => Some(permit),
            Err(_) => {
                queued(ahead);
                Arc::clone(&self.permits).acquire_owned().await.ok()
            }
        };
        Turn {
            _permit: permit,
            _present: present,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::num::NonZeroUsize;
    use std::path::Path;
    use std::pin::pin;
    use std::sync::mpsc;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use ociget::Digest;

    use super::*;
    use crate::options::Injection;
    use crate::progress::{Event, Progress};
    use crate::store::Store;

    fn turns(builds: usize, memory: u64) -> Turns {
        let mut options = Options::default();
        options.store.builds = NonZeroUsize::new(builds).unwrap();
        options.store.memory = memory;
        Turns::new(&options)
    }

    /// Polls once.
    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn builds_beyond_the_bound_wait_in_order() {
        for turns in [turns(1, u64::MAX), turns(8, 0)] {
            let ahead = [const { Cell::new(None) }; 3];
            let [first, second, third] = &ahead;
            let mut one = pin!(turns.take(|n| first.set(Some(n))));
            let Poll::Ready(one) = poll(one.as_mut()) else {
                panic!("the first one waits");
            };
            let mut two = pin!(turns.take(|n| second.set(Some(n))));
            let mut three = pin!(turns.take(|n| third.set(Some(n))));
            assert!(poll(two.as_mut()).is_pending());
            assert!(poll(three.as_mut()).is_pending());
            drop(one);
            assert!(poll(three.as_mut()).is_pending());
            let Poll::Ready(two) = poll(two.as_mut()) else {
                panic!("the second one waits for nothing");
            };
            drop(two);
            assert!(poll(three.as_mut()).is_ready());
            assert_eq!(ahead.each_ref().map(Cell::get), [None, Some(1), Some(2)]);
        }
    }

    /// Returns how often this process has a file open.
    fn descriptors(path: &Path) -> usize {
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        open.filter(|entry| {
            let target = std::fs::read_link(entry.as_ref().unwrap().path());
            target.is_ok_and(|target| target == path)
        })
        .count()
    }

    #[test]
    fn pulls_that_wait_keep_no_host_file_open() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().canonicalize().unwrap();
        let file = directory.join("file");
        std::fs::write(&file, "of the host").unwrap();
        let (sender, queued) = mpsc::channel();
        let mut options = Options {
            no_agent: true,
            injections: vec![Injection::new(&file, "/.hpcc/file")],
            ..Options::default()
        };
        options.store.builds = NonZeroUsize::MIN;
        options.progress = Progress::new(move |event| {
            if let Event::Queued { .. } = event {
                sender.send(()).unwrap();
            }
        });
        let store = Store::open(directory.join("store"), options).unwrap();
        let mut turn = pin!(store.inner.turns.take(|_| {}));
        let Poll::Ready(_turn) = poll(turn.as_mut()) else {
            panic!("the first one waits");
        };
        let image = format!("127.0.0.1:1/image@{}", Digest::of(b"image"));
        let mut pull = pin!(store.pull_image(&image, None));
        assert!(poll(pull.as_mut()).is_pending());
        queued.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(descriptors(&file), 0);
    }

    #[test]
    fn builds_cancelled_in_the_queue_leave_it() {
        let turns = turns(1, u64::MAX);
        let mut one = pin!(turns.take(|_| {}));
        let Poll::Ready(held) = poll(one.as_mut()) else {
            panic!("the first one waits");
        };
        {
            let mut two = pin!(turns.take(|_| {}));
            assert!(poll(two.as_mut()).is_pending());
        }
        drop(held);
        assert_eq!(turns.present.load(Ordering::Relaxed), 0);
    }
}
