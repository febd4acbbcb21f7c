//! Tells a build on its own thread that no caller waits for it any more.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Checked at every write of a build, before its file gets a name, at every piece of a layer, and now and then by every
/// loop whose length an image chooses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Returns an error if the build is to stop.
    pub(crate) fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::Relaxed) {
            // Not `Interrupted`, which means that the call should be repeated everywhere else.
            return Err(io::Error::other("the build was cancelled"));
        }
        Ok(())
    }

    /// Returns whether the build is to stop.
    pub(crate) fn is_requested(&self) -> bool {
        self.check().is_err()
    }

    /// Returns a guard that stops the build when it is dropped, as happens if its future is dropped.
    pub(crate) fn on_drop(&self) -> StopOnDrop {
        StopOnDrop(self.clone())
    }
}

/// Stops the build when dropped. After the end of the build this has no effect.
#[derive(Debug)]
pub(crate) struct StopOnDrop(Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}
