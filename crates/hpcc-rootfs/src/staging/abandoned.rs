//! Staged files that a killed process left in a directory that is not a store's.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags};

use super::name::is_staged;

/// Removes the staged files of this user whose owner is gone. Each of them is one of a process that worked in this
/// directory before. A failure has no remedy: the file stays, as it would without this.
pub(super) fn remove(directory: &OwnedFd) {
    let Ok(entries) = Dir::read_from(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let is_candidate = entry.file_name().to_str().is_ok_and(is_staged);
        if is_candidate && is_abandoned(directory, entry.file_name()) == Ok(true) {
            let _ = rustix::fs::unlinkat(directory, entry.file_name(), AtFlags::empty());
        }
    }
}

/// Returns whether a file belongs to this user and no process holds its lock, which its owner has from the beginning.
fn is_abandoned(directory: &OwnedFd, name: &std::ffi::CStr) -> rustix::io::Result<bool> {
    // NFS gives no exclusive lock on a file that is open for reading alone.
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let found = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let own = rustix::process::geteuid().as_raw();
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile || found.st_uid != own {
        return Ok(false);
    }
    let file = rustix::fs::openat(directory, name, flags, Mode::empty())?;
    let open = rustix::fs::fstat(&file)?;
    let same = (found.st_dev, found.st_ino) == (open.st_dev, open.st_ino);
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(same)
}
