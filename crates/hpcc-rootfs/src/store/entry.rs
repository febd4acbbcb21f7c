//! Names in a directory: checking that a file still has one, and removing one.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD};
use rustix::io::Errno;

/// Returns whether an open file is still the one that the path names.
pub(crate) fn has_name(file: impl AsFd, path: &Path) -> io::Result<bool> {
    let open = rustix::fs::fstat(file)?;
    match rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(named) => Ok((named.st_dev, named.st_ino) == (open.st_dev, open.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Removes a file, or a symlink itself. A missing file is not an error, and a directory is left alone. Returns whether
/// something was removed.
pub(crate) fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => Ok(false),
        // On a read-only file system, a missing file fails in this way as well.
        Err(error) => match gone(path) {
            Ok(true) => Ok(false),
            _ => Err(error),
        },
    }
}

pub(crate) fn gone(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}
