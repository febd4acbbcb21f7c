//! How a build on its own thread learns that nobody waits for it any more.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Asked at every write of a build, before its file gets a name, at every piece of a layer, and now
/// and then by every loop whose length an image chooses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Returns an error if the build is to stop.
    pub(crate) fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::Relaxed) {
            // Not `Interrupted`, which means "try that again" everywhere else.
            return Err(io::Error::other("the build was cancelled"));
        }
        Ok(())
    }

    /// Whether the build is to stop.
    pub(crate) fn is_requested(&self) -> bool {
        self.check().is_err()
    }

    /// A guard that stops the build when it is dropped, as the future it is in will be.
    pub(crate) fn on_drop(&self) -> StopOnDrop {
        StopOnDrop(self.clone())
    }
}

/// Stops the build when dropped; of no consequence when the build is over.
#[derive(Debug)]
pub(crate) struct StopOnDrop(Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}
