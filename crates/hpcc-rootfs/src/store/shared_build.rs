//! One build for all callers in a process that request the same image at the same time.
//!
//! The build is a task of the runtime that owns nothing of its callers; they own it. Each waiter holds the same
//! reference-counted handle, and when the last one is dropped, finished or not, the task is aborted. Waiters in other
//! processes, or with another handle of the store, are excluded by the [lock file](super::lock) instead.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ociget::Request;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::pulled::Pulled;
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
#[derive(Debug, Default)]
pub(crate) struct SharedBuilds(Mutex<HashMap<Ask, Weak<Build>>>);

#[derive(Debug)]
struct Build {
    task: AbortHandle,
    outcome: watch::Receiver<Option<Outcome>>,
}

impl Drop for Build {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl SharedBuilds {
    /// Joins the build for `ask`, or starts one with `work`.
    ///
    /// # Errors
    /// Returns the error of the build; every waiter gets the same.
    pub(crate) async fn join<F>(&self, ask: Ask, work: impl Fn() -> F) -> Outcome
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        loop {
            let (build, ours) = self.find_or_start(&ask, &work);
            let mut outcome = build.outcome.clone();
            let answer = outcome.wait_for(Option::is_some).await;
            match answer.ok().and_then(|answer| answer.clone()) {
                Some(answer) => return answer,
                None if ours => {
                    return Err(Error::Internal {
                        what: "the build",
                        source: Arc::new(io::Error::other("it panicked or its runtime ended")),
                    });
                }
                // The build ran in the runtime of another caller, which has ended. This caller's runtime goes on.
                None => {}
            }
        }
    }

    fn find_or_start<F>(&self, ask: &Ask, work: impl Fn() -> F) -> (Arc<Build>, bool)
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let mut builds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        builds.retain(|_, build| build.strong_count() > 0);
        // A finished build may have been untagged since.
        let running = |build: &Arc<Build>| {
            build.outcome.borrow().is_none() && build.outcome.has_changed().is_ok()
        };
        if let Some(build) = builds.get(ask).and_then(Weak::upgrade)
            && running(&build)
        {
            return (build, false);
        }
        let (sender, outcome) = watch::channel(None);
        let work = work();
        let task = tokio::spawn(async move {
            let outcome = work.await;
            // If no caller waits any more, the outcome is dropped.
            let _ = sender.send(Some(outcome));
        });
        let build = Arc::new(Build {
            task: task.abort_handle(),
            outcome,
        });
        builds.insert(ask.clone(), Arc::downgrade(&build));
        (build, true)
    }
}
