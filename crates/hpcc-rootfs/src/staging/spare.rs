//! A file that may be dropped, so that another one gets its disk space.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// A file of less value than the one beside which it is written. Clones share it.
#[derive(Debug)]
pub(crate) struct Spare<T>(Arc<Mutex<Option<T>>>);

impl<T> Clone for Spare<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Spare<T> {
    pub(crate) fn new(file: T) -> Self {
        Self(Arc::new(Mutex::new(Some(file))))
    }

    /// Calls `act` with the file.
    ///
    /// # Errors
    /// Returns an error if the file was given up, and the errors of `act`.
    pub(crate) fn with(&self, act: impl FnOnce(&mut T) -> io::Result<()>) -> io::Result<()> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = || io::Error::new(io::ErrorKind::StorageFull, "its disk space was needed");
        act(file.as_mut().ok_or_else(gone)?)
    }

    /// Returns the file, unless it was given up.
    pub(crate) fn take(&self) -> Option<T> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.take()
    }
}
