//! A file that may be given up, so that another one has its disk space.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// A file that is worth less than the file that it is written beside. Clones share it.
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

    /// Does something with the file.
    ///
    /// # Errors
    /// The file was given up, or those of `act`.
    pub(crate) fn with(&self, act: impl FnOnce(&mut T) -> io::Result<()>) -> io::Result<()> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = || io::Error::new(io::ErrorKind::StorageFull, "its disk space was needed");
        act(file.as_mut().ok_or_else(gone)?)
    }

    /// Returns the file if it was not given up.
    pub(crate) fn take(&self) -> Option<T> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.take()
    }
}
