//! The error of every reader in this module.

use std::io;

/// Makes the error for contents of a file that were not written so.
pub(super) fn damaged(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
