//! One lock file a digest: whoever builds or removes an artifact holds it.
//!
//! The lock is `flock`'s: it belongs to the open file, so it is given back when its owner closes it,
//! exits or is killed, and two handles of one process exclude each other as two processes do. It is
//! only ever tried, never waited for in the kernel, because a thread that waits there would keep a
//! runtime from shutting down.
//!
//! Lock files are small, empty, and stay, because removing one is a race: somebody may have opened
//! it and be about to lock it. Only `gc` does that, holding the lock, and whoever locks a file looks
//! afterwards whether it is still the one with the name.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use ociget::Digest;
use rustix::fs::{AtFlags, CWD, FlockOperation, OFlags};
use rustix::io::Errno;

use super::name;
use crate::regular_file;

/// The first pause between two tries; each one is twice as long as the one before.
const PAUSE_MIN: Duration = Duration::from_millis(2);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// The right to build, replace or remove the artifact of one digest. Given back on drop.
#[derive(Debug)]
pub(crate) struct BuildLock {
    _file: OwnedFd,
}

impl BuildLock {
    /// Takes the lock, or says `None` if somebody else has it.
    pub(crate) fn try_take(directory: &Path, digest: &Digest) -> io::Result<Option<Self>> {
        let path = directory.join(name::lock(digest));
        loop {
            let file = regular_file::open(&path, OFlags::CREATE | OFlags::NOFOLLOW)?.into();
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            if has_name(&file, &path)? {
                return Ok(Some(Self { _file: file }));
            }
        }
    }

    /// Takes the lock as soon as it is free. `busy` is called once if it is not free at once.
    pub(crate) async fn take(
        directory: &Path,
        digest: &Digest,
        busy: impl FnOnce(),
    ) -> io::Result<Self> {
        let (mut pause, mut busy) = (PAUSE_MIN, Some(busy));
        loop {
            if let Some(lock) = Self::try_take(directory, digest)? {
                return Ok(lock);
            }
            if let Some(busy) = busy.take() {
                busy();
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Gives the lock back and removes its file.
    pub(crate) fn remove(self, directory: &Path, digest: &Digest) -> io::Result<()> {
        rustix::fs::unlink(directory.join(name::lock(digest)))?;
        Ok(())
    }
}

/// Whether an open file is still the one that the path names.
pub(crate) fn has_name(file: &OwnedFd, path: &Path) -> io::Result<bool> {
    let open = rustix::fs::fstat(file)?;
    match rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(named) => Ok((named.st_dev, named.st_ino) == (open.st_dev, open.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time_also_within_a_process() {
        let directory = tempfile::tempdir().unwrap();
        let take = |digest: &Digest| BuildLock::try_take(directory.path(), digest).unwrap();
        let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
        let held = take(&one).unwrap();
        assert!(take(&one).is_none());
        assert!(take(&other).is_some());
        drop(held);
        assert!(take(&one).is_some());
    }

    #[test]
    fn a_lock_file_that_was_removed_meanwhile_is_not_held() {
        let directory = tempfile::tempdir().unwrap();
        let digest = Digest::of(b"image");
        let path = directory.path().join(name::lock(&digest));
        let held = BuildLock::try_take(directory.path(), &digest)
            .unwrap()
            .unwrap();
        held.remove(directory.path(), &digest).unwrap();
        assert!(!path.exists());
        let stale: OwnedFd = tempfile::tempfile().unwrap().into();
        assert!(!has_name(&stale, &path).unwrap());
        assert!(
            BuildLock::try_take(directory.path(), &digest)
                .unwrap()
                .is_some()
        );
    }

    #[test]
    fn a_symlink_in_its_place_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (digest, victim) = (Digest::of(b"image"), directory.path().join("victim"));
        std::os::unix::fs::symlink(&victim, directory.path().join(name::lock(&digest))).unwrap();
        assert!(BuildLock::try_take(directory.path(), &digest).is_err());
        assert!(!victim.exists());
    }
}
