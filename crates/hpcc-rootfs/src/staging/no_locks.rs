//! File systems without locks.

use std::io;

use rustix::io::Errno;

/// The error of a file system that cannot lock a file.
#[derive(Debug, thiserror::Error)]
#[error("the file system cannot lock a file (flock): {0}")]
pub(crate) struct NoLocks(Errno);

impl NoLocks {
    /// Returns whether a file system without locks has this error.
    pub(super) fn means(error: Errno) -> bool {
        matches!(
            error,
            Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL
        )
    }

    /// Returns the error of a lock with its cause named, because the system names neither a lock nor a file system.
    pub(crate) fn named(error: Errno) -> io::Error {
        let plain = io::Error::from(error);
        match Self::means(error) {
            true => io::Error::new(plain.kind(), Self(error)),
            false => plain,
        }
    }

    /// Returns whether this is the cause of an error.
    pub(crate) fn caused(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|cause| cause.is::<Self>())
    }
}
