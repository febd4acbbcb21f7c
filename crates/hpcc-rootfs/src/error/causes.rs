//! What the chain of causes of an error tells.

use std::io;
use std::path::Path;
use std::sync::Arc;

use ociget::background::is_shortage;

/// Inodes below which a file system has too few for a build: those of an artifact, the files beside it and a directory.
const INODES: u64 = 6;

/// Advice for a write beyond the size that a file may have.
pub(super) const FILE_LIMIT: &str =
    "raise the limit of file sizes (ulimit -f), or choose a file system that holds larger files";

/// Adds the advice to an error of the system whose own text has no remedy.
pub(super) fn advised(path: &Path, error: io::Error) -> io::Error {
    match error.kind() {
        // The system has one error for both.
        kind @ io::ErrorKind::StorageFull => match inodes_left(path) {
            Some(left) if left < INODES => {
                let text = format!("{error}; inodes left on the file system: {left}; remove files");
                io::Error::new(kind, text)
            }
            Some(_) | None => error,
        },
        kind @ io::ErrorKind::FileTooLarge => {
            io::Error::new(kind, format!("{error}; {FILE_LIMIT}"))
        }
        _ => error,
    }
}

/// Returns how many further files the file system of a path can have, if it counts them. The path itself need not exist.
fn inodes_left(path: &Path) -> Option<u64> {
    let existing = path.ancestors().find(|path| path.exists());
    let existing = existing.unwrap_or(Path::new("."));
    let status = rustix::fs::statvfs(existing).ok()?;
    // File systems without a table of inodes report none in total.
    (status.f_files > 0).then_some(status.f_favail)
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
