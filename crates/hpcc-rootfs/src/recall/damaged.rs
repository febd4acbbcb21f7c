//! The error of every reader here.

use std::io;

/// What a file has that was not written so.
pub(super) fn damaged(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
