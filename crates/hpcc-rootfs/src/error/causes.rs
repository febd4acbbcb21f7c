//! What the chain of causes of an error tells.

use std::io;
use std::sync::Arc;

use ociget::background::is_shortage;

/// Advice for a write beyond the size that a file may have.
pub(super) const FILE_LIMIT: &str =
    "raise the limit of file sizes (ulimit -f), or choose a file system that holds larger files";

/// Adds the advice to an error of the system whose own text has no remedy.
pub(super) fn advised(error: io::Error) -> io::Error {
    match error.kind() {
        kind @ io::ErrorKind::FileTooLarge => {
            io::Error::new(kind, format!("{error}; {FILE_LIMIT}"))
        }
        _ => error,
    }
}

/// Returns the error of the writer's sink, found in the chain of causes. An [`io::Error`] cannot be cloned; for an
/// error of the system its code is equivalent.
pub(super) fn sink_error(error: &(dyn std::error::Error + 'static)) -> Option<io::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(sqfs_writer::Error::Sink(error)) = error.downcast_ref() {
            return Some(match error.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => io::Error::new(error.kind(), error.to_string()),
            });
        }
        cause = error.source();
    }
    None
}

/// Returns whether some cause is that a process, or the system, has no thread, descriptor or memory left.
pub(crate) fn lacks_resources(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let plain = error.downcast_ref::<io::Error>();
        let shared = error.downcast_ref::<Arc<io::Error>>().map(|error| &**error);
        if plain.or(shared).is_some_and(is_shortage) {
            return true;
        }
        cause = error.source();
    }
    false
}
