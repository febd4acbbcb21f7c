//! One build for all callers in a process that request the same image at the same time.
//!
//! The build is a task of the store's [drivers](super::drivers) that owns nothing of its callers; they own it. Each
//! waiter holds the same reference-counted handle, and when the last one is dropped, finished or not, the task is
//! aborted. Waiters in other processes, or with another handle of the store, are excluded by the
//! [lock file](super::lock) instead.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ociget::Request;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tracing::instrument::WithSubscriber as _;

use super::drivers::Drivers;
use super::pulled::Pulled;
use crate::caught::caught;
use crate::error::Error;

/// A request and its spelling, which goes into the note. Only callers with the same pin share a build. Another spelling
/// may refer to another registry, which may succeed where this one fails.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ask {
    pub(crate) text: String,
    pub(crate) request: Request,
}

type Outcome = Result<Pulled, Error>;

/// The builds that run.
#[derive(Debug)]
pub(crate) struct SharedBuilds {
    running: Mutex<HashMap<Ask, Weak<Build>>>,
    drivers: Arc<Drivers>,
}

#[derive(Debug)]
struct Build {
    task: AbortHandle,
    outcome: watch::Receiver<Option<Outcome>>,
    /// Whether a waiter has its outcome.
    is_answered: AtomicBool,
}

impl Drop for Build {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a waiter gets.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) outcome: Outcome,
    /// Whether the build began before this waiter came.
    pub(crate) is_joined: bool,
    /// Whether this waiter is the first one that gets it.
    pub(crate) is_first: bool,
}

impl SharedBuilds {
    pub(crate) fn new() -> Self {
        Self {
            running: Mutex::default(),
            drivers: Arc::new(Drivers::new()),
        }
    }

    /// Returns the threads of the builds, for other work of the store.
    pub(super) fn drivers(&self) -> &Arc<Drivers> {
        &self.drivers
    }

    /// Joins the build for `ask`, or starts one with `work`. Every waiter gets the same outcome.
    ///
    /// # Errors
    /// Returns an error if no build can be started.
    pub(crate) async fn join<F>(&self, ask: Ask, work: impl FnOnce() -> F) -> Result<Answer, Error>
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let (build, is_joined) = self.find_or_start(ask, work)?;
        let mut outcome = build.outcome.clone();
        let answer = outcome.wait_for(Option::is_some).await;
        let answer = answer.ok().and_then(|answer| answer.clone());
        Ok(Answer {
            outcome: answer.unwrap_or_else(|| {
                Err(Error::Internal {
                    what: "the build",
                    source: Arc::new(io::Error::other("its thread ended")),
                })
            }),
            is_joined,
            is_first: !build.is_answered.swap(true, Ordering::Relaxed),
        })
    }

    fn find_or_start<F>(
        &self,
        ask: Ask,
        work: impl FnOnce() -> F,
    ) -> Result<(Arc<Build>, bool), Error>
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|_, build| build.strong_count() > 0);
        // A finished build may have been untagged since.
        let runs = |build: &Arc<Build>| {
            build.outcome.borrow().is_none() && build.outcome.has_changed().is_ok()
        };
        if let Some(build) = running.get(&ask).and_then(Weak::upgrade)
            && runs(&build)
        {
            return Ok((build, true));
        }
        let (sender, outcome) = watch::channel(None);
        let work = work();
        let task = async move {
            let outcome = caught(work).await;
            // If no caller waits any more, the outcome is dropped.
            let _ = sender.send(Some(outcome));
        };
        let task = self.drivers.spawn(task.with_current_subscriber());
        let build = Arc::new(Build {
            task: task.map_err(Error::worker)?,
            outcome,
            is_answered: AtomicBool::new(false),
        });
        running.insert(ask, Arc::downgrade(&build));
        Ok((build, false))
    }
}
