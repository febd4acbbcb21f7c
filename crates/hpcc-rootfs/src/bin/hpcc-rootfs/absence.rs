//! The difference between a file that does not exist and one that cannot be looked at.

use std::io;

/// Returns whether an error says that there is no file, rather than that it could not be looked at.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}
