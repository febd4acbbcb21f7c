//! Files of the store that exist to be locked: which of them count as a lock, and how one is taken.
//!
//! The lock is an `flock`. It belongs to the open file, so the kernel releases it when its owner closes it, exits or is
//! killed, and two handles of one process exclude each other as two processes do. The lock is tried, and never awaited
//! in the kernel, because a thread that waits there would keep a runtime from shutting down.
//!
//! Only the owner of the store can open a lock file, because `flock` requires no permission to write: any user who can
//! open a file can hold it forever. For the same reason no file that leaves the store, such as an artifact in a jail,
//! is ever a lock file. A lock file of a user that the store does not trust was created while others could write to the
//! directory. It is removed.
//!
//! Lock files are empty, and they stay, because removing one is a race: another process may have opened it and be about
//! to lock it. Only `gc` removes them, while it holds the lock, and a process that has locked a file checks afterwards
//! whether the file still has the name.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, FlockOperation, Mode};
use rustix::io::Errno;

use super::entry::{has_name, remove};
use super::trust::Trust;
use crate::regular_file;
use crate::staging::NoLocks;

/// Returns the permissions of a lock file, whatever the umask. If every user is trusted with a store, every user can
/// use it.
fn mode(trust: Trust) -> Mode {
    match trust {
        Trust::Owner(_) | Trust::Shared(_) => Mode::from_raw_mode(0o600),
        Trust::Everyone => Mode::from_raw_mode(0o644),
    }
}

/// A lock on a file, until the process that took it drops this.
#[derive(Debug)]
pub(super) struct Held {
    file: OwnedFd,
    /// The process that took the lock. A forked child has a copy of this value, and its parent still holds the lock.
    process: Process,
}

/// Tells a process and its forked children apart.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    id: u32,
    /// The first process of each PID namespace has the number 1.
    namespace: Option<(u64, u64)>,
}

impl Process {
    fn current() -> Self {
        let namespace = rustix::fs::stat("/proc/self/ns/pid").ok();
        Self {
            id: std::process::id(),
            namespace: namespace.map(|found| (found.st_dev, found.st_ino)),
        }
    }
}

impl Held {
    fn new(file: OwnedFd) -> Self {
        Self {
            file,
            process: Process::current(),
        }
    }
}

/// Closing the file would not do: a process that another thread forked meanwhile shares it until it starts its program.
impl Drop for Held {
    fn drop(&mut self) {
        if self.process == Process::current() {
            // Where this fails, the kernel releases the lock with the last descriptor.
            let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
        }
    }
}

/// The outcome of one try.
#[derive(Debug)]
pub(super) enum Tried {
    Locked(Held),
    /// Another process has it. `mode` is that of the file.
    Busy {
        mode: u32,
    },
}

/// Tries to lock a file, which is created if it does not exist.
pub(super) fn try_lock(path: &Path, operation: FlockOperation, trust: Trust) -> io::Result<Tried> {
    let mode = mode(trust);
    loop {
        remove_foreign(path, trust)?;
        let file: OwnedFd = regular_file::open_or_make(path, mode)?.into();
        let stat = rustix::fs::fstat(&file)?;
        if trust.is_foreign(&stat) {
            // Created since the check; the next try removes it.
            return Ok(Tried::Busy { mode: 0 });
        }
        match rustix::fs::flock(&file, operation) {
            Ok(()) => {}
            // The process with the lock may have corrected the mode since.
            Err(Errno::WOULDBLOCK) => {
                let mode = rustix::fs::fstat(&file)?.st_mode;
                return Ok(Tried::Busy { mode });
            }
            Err(error) => return Err(NoLocks::named(error)),
        }
        let held = Held::new(file);
        if Mode::from_raw_mode(stat.st_mode) != mode {
            // The umask took bits from it, or another program created it. Only the owner may change it; the lock holds
            // without the change.
            let _ = rustix::fs::fchmod(&held.file, mode);
        }
        if has_name(&held.file, path)? {
            return Ok(Tried::Locked(held));
        }
    }
}

/// Returns whether a lock file exists and is one that `try_lock` would leave as it is. Opens nothing.
pub(super) fn is_made(path: &Path, trust: Trust) -> bool {
    rustix::fs::lstat(path).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && Mode::from_raw_mode(stat.st_mode) == mode(trust)
            && !trust.is_foreign(&stat)
    })
}

/// Checks whether a file could be locked, and returns its mode if it could not. Creates and removes no file.
pub(super) fn busy(
    path: &Path,
    operation: FlockOperation,
    trust: Trust,
) -> io::Result<Option<u32>> {
    let file = match regular_file::open_to_lock(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let stat = rustix::fs::fstat(&file)?;
    if trust.is_foreign(&stat) {
        return Ok(None);
    }
    match rustix::fs::flock(&file, operation) {
        Ok(()) => {
            drop(Held::new(file.into()));
            Ok(None)
        }
        Err(Errno::WOULDBLOCK) => Ok(Some(stat.st_mode)),
        Err(error) => Err(NoLocks::named(error)),
    }
}

/// Removes a lock file of a user that the store does not trust, so that neither its permissions nor a lock on it block
/// any process. Directories stay: they cannot be locked, which is an error.
///
/// Two processes that do this at the same time may end up with a lock each. Then both build, and the second one
/// replaces the artifact of the first by the same bytes.
fn remove_foreign(path: &Path, trust: Trust) -> io::Result<()> {
    match rustix::fs::lstat(path) {
        Ok(stat)
            if trust.is_foreign(&stat)
                && FileType::from_raw_mode(stat.st_mode) != FileType::Directory =>
        {
            remove(path).map(drop)
        }
        Ok(_) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Returns whether users that the store does not trust can open a file of this mode, if they can reach it.
pub(super) fn others_can_open(mode: u32, trust: Trust) -> bool {
    !matches!(trust, Trust::Everyone) && mode & 0o077 != 0
}

#[cfg(test)]
mod tests {
    use rustix::fs::OFlags;

    use super::*;

    /// What a child has between fork and exec, and a lock that it would keep.
    #[test]
    fn lock_ends_with_its_holder_whatever_a_fork_shares() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let exclusive = FlockOperation::NonBlockingLockExclusive;
        let take = || match try_lock(&path, exclusive, Trust::Everyone).unwrap() {
            Tried::Locked(held) => Some(held),
            Tried::Busy { .. } => None,
        };
        let held = take().unwrap();
        let _shared = held.file.try_clone().unwrap();
        assert!(take().is_none());
        drop(held);
        assert!(take().is_some());
    }

    /// tox-dev/filelock#634: a forked child dropped its copy and so released the lock of its parent.
    #[test]
    fn copy_in_a_forked_child_releases_nothing_when_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let exclusive = FlockOperation::NonBlockingLockExclusive;
        let take = || match try_lock(&path, exclusive, Trust::Everyone).unwrap() {
            Tried::Locked(held) => Some(held),
            Tried::Busy { .. } => None,
        };
        let held = take().unwrap();
        let own = &held.process;
        let other_id = Process {
            id: own.id.wrapping_add(1),
            ..own.clone()
        };
        let other_namespace = Process {
            namespace: Some((0, 0)),
            ..own.clone()
        };
        for process in [other_id, other_namespace] {
            let copy = Held {
                file: held.file.try_clone().unwrap(),
                process,
            };
            drop(copy);
            assert!(take().is_none());
        }
        drop(held);
        assert!(take().is_some());
    }

    /// docker-mailserver/docker-mailserver#1979, rancher/rancher#16644: NFS answers an exclusive `flock` on a file that is
    /// open for reading alone with EBADF.
    #[test]
    fn locked_file_is_open_for_writing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let exclusive = FlockOperation::NonBlockingLockExclusive;
        for _ in 0..2 {
            let tried = try_lock(&path, exclusive, Trust::Everyone).unwrap();
            let Tried::Locked(file) = tried else {
                panic!("{tried:?}")
            };
            let flags = rustix::fs::fcntl_getfl(&file.file).unwrap();
            assert_eq!(flags & OFlags::RWMODE, OFlags::RDWR);
        }
        // One that this user may only read is locked all the same, where the file system lets it.
        rustix::fs::chmod(&path, Mode::from_raw_mode(0o444)).unwrap();
        assert!(try_lock(&path, exclusive, Trust::Everyone).is_ok());
    }
}
