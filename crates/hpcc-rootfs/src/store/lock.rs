//! One lock file a digest: whoever builds or removes an artifact holds it.
//!
//! The lock is `flock`'s: it belongs to the open file, so it is given back when its owner closes it,
//! exits or is killed, and two handles of one process exclude each other as two processes do. It is
//! only ever tried, never waited for in the kernel, because a thread that waits there would keep a
//! runtime from shutting down.
//!
//! Only the owner of the store can open a lock file, because `flock` asks for no permission to write:
//! any user who can open a file can hold it for ever. A lock file of a user that the store does not
//! trust was put there while others could write to the directory. It is removed. One that others can open
//! is of an older version, or of `--trust-store`. It is replaced if somebody holds it.
//!
//! Lock files are small, empty, and stay, because removing one is a race: somebody may have opened
//! it and be about to lock it. Only `gc` does that, holding the lock, and whoever locks a file looks
//! afterwards whether it is still the one with the name.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use ociget::Digest;
use rustix::fs::{FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::entry::{has_name, remove};
use super::name;
use super::trust::Trust;
use crate::regular_file;

/// Permissions of a lock file, whatever the umask: a store that every user is trusted with can be used
/// by every user.
fn mode(trust: Trust) -> Mode {
    match trust {
        Trust::Owner(_) => Mode::from_raw_mode(0o600),
        Trust::Everyone => Mode::from_raw_mode(0o644),
    }
}

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
    pub(crate) fn try_take(
        directory: &Path,
        digest: &Digest,
        trust: Trust,
    ) -> io::Result<Option<Self>> {
        let (path, mode) = (directory.join(name::lock(digest)), mode(trust));
        loop {
            remove_foreign(&path, trust)?;
            let file: OwnedFd = regular_file::open_or_make(&path, mode)?.into();
            let stat = rustix::fs::fstat(&file)?;
            if trust.is_foreign(&stat) {
                // Put there since it was looked for; removed by the next try.
                return Ok(None);
            }
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) if others_can_open(stat.st_mode, trust) => {
                    tracing::warn!(path = %path.display(), "a lock file that every user can hold is replaced");
                    remove(&path)?;
                    continue;
                }
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            if Mode::from_raw_mode(stat.st_mode) != mode {
                // The umask took bits from it, or an older version made it. Only the owner may change
                // it; the lock holds without.
                let _ = rustix::fs::fchmod(&file, mode);
            }
            if has_name(&file, &path)? {
                return Ok(Some(Self { _file: file }));
            }
        }
    }

    /// Whether the lock could be taken. Makes and removes no file.
    pub(crate) fn is_free(directory: &Path, digest: &Digest, trust: Trust) -> io::Result<bool> {
        let path = directory.join(name::lock(digest));
        let file = match regular_file::open(&path, OFlags::NOFOLLOW) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(error),
        };
        if trust.is_foreign(&rustix::fs::fstat(&file)?) {
            return Ok(true);
        }
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the lock as soon as it is free. `busy` is called once if it is not free at once.
    pub(crate) async fn take(
        directory: &Path,
        digest: &Digest,
        trust: Trust,
        busy: impl FnOnce(),
    ) -> io::Result<Self> {
        let (mut pause, mut busy) = (PAUSE_MIN, Some(busy));
        loop {
            if let Some(lock) = Self::try_take(directory, digest, trust)? {
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

/// Removes a lock file of a user that the store does not trust, so that neither its permissions nor
/// a lock on it keep a build waiting. Directories stay: they cannot be locked, which is an error.
///
/// Two processes that do this at the same time may end up with a lock each. Then both build, and the
/// second one replaces the artifact of the first by the same bytes.
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

/// Whether a user that the store does not trust can hold a lock file of this mode, as those of older
/// versions. Whoever holds it may be an older version at work; then both build, as with a foreign lock.
fn others_can_open(mode: u32, trust: Trust) -> bool {
    matches!(trust, Trust::Owner(_)) && mode & 0o077 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time_also_within_a_process() {
        let directory = tempfile::tempdir().unwrap();
        let take = |digest: &Digest| {
            BuildLock::try_take(directory.path(), digest, Trust::Everyone).unwrap()
        };
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
        let held = BuildLock::try_take(directory.path(), &digest, Trust::Everyone)
            .unwrap()
            .unwrap();
        held.remove(directory.path(), &digest).unwrap();
        assert!(!path.exists());
        let stale: OwnedFd = tempfile::tempfile().unwrap().into();
        assert!(!has_name(&stale, &path).unwrap());
        assert!(
            BuildLock::try_take(directory.path(), &digest, Trust::Everyone)
                .unwrap()
                .is_some()
        );
    }

    #[test]
    fn held_lock_file_that_others_can_open_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let digest = Digest::of(b"image");
        let path = directory.path().join(name::lock(&digest));
        let owner = Trust::Owner(rustix::process::geteuid().as_raw());
        let take = || BuildLock::try_take(directory.path(), &digest, owner).unwrap();
        for (mode, is_taken) in [(0o644, true), (0o640, true), (0o600, false)] {
            let held = std::fs::File::create(&path).unwrap();
            rustix::fs::fchmod(&held, Mode::from_raw_mode(mode)).unwrap();
            rustix::fs::flock(&held, FlockOperation::LockExclusive).unwrap();
            let taken = take();
            assert_eq!(taken.is_some(), is_taken, "{mode:o}");
            assert_eq!(has_name(&held, &path).unwrap(), !is_taken);
            // The one that is taken is nobody else's.
            assert!(take().is_none());
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn a_symlink_in_its_place_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (digest, victim) = (Digest::of(b"image"), directory.path().join("victim"));
        std::os::unix::fs::symlink(&victim, directory.path().join(name::lock(&digest))).unwrap();
        assert!(BuildLock::try_take(directory.path(), &digest, Trust::Everyone).is_err());
        assert!(!victim.exists());
    }
}
