//! When an artifact was used last: the time of last access of its file.
//!
//! On overlayfs, setting a time of a file in a lower layer copies all of the file to the upper one. There the lease file
//! beside the artifact, which is empty, takes the time, and the later of the two counts.

use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use ociget::Digest;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use super::name;
use crate::error::Error;

/// The type of overlayfs in the answer of `statfs`.
const OVERLAYFS: rustix::fs::FsWord = 0x794c_7630;

/// The time of last access is the time of last use; the time of writing stays.
const USED_NOW: Timestamps = Timestamps {
    last_access: Timespec {
        tv_sec: 0,
        tv_nsec: rustix::fs::UTIME_NOW,
    },
    last_modification: Timespec {
        tv_sec: 0,
        tv_nsec: rustix::fs::UTIME_OMIT,
    },
};

/// Sets the time of last use of an artifact, whose lease file exists if it could be made.
pub(super) fn set(directory: &Path, digest: &Digest) {
    let name = match is_overlay(directory) {
        Ok(true) => name::lease(digest),
        Ok(false) | Err(_) => name::artifact(digest),
    };
    // This fails on a read-only file system and for users who do not own the file. The time of last use is then
    // unknown.
    let path = directory.join(name);
    let _ = rustix::fs::utimensat(CWD, path, &USED_NOW, AtFlags::SYMLINK_NOFOLLOW);
}

/// Returns the time of last use of an artifact that was last accessed at `accessed`. A time that cannot be read is an
/// error, because without it the artifact would seem to be older than it is.
pub(super) fn of(
    directory: &Path,
    digest: &Digest,
    accessed: SystemTime,
) -> Result<SystemTime, Error> {
    let of = |path: &Path, error| Error::store("look at", path, error);
    if !is_overlay(directory).map_err(|error| of(directory, error))? {
        return Ok(accessed);
    }
    let lease = directory.join(name::lease(digest));
    match fs::symlink_metadata(&lease).and_then(|metadata| metadata.accessed()) {
        Ok(beside) => Ok(beside.max(accessed)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(accessed),
        Err(error) => Err(of(&lease, error)),
    }
}

fn is_overlay(directory: &Path) -> io::Result<bool> {
    Ok(rustix::fs::statfs(directory)?.f_type == OVERLAYFS)
}
