//! What the modules of [`source`](crate::source) need of ociget's module of this name.

use std::io;

/// Returns the error of an archive that is no longer needed.
pub(crate) fn unwanted() -> io::Error {
    io::Error::other("the archive is no longer needed")
}
