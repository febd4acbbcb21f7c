//! One lock file per digest. The process that builds or removes an artifact holds it.
//!
//! [`lock_file`](super::lock_file) has the rules. A lock file that other users can open was written by an older
//! version, or with `--trust-store`. If it is locked, it is replaced.

use std::io;
use std::path::Path;
use std::time::Duration;

use ociget::Digest;
use rustix::fs::FlockOperation;

use super::entry::remove;
use super::lock_file::{Held, Tried, busy, others_can_open, try_lock};
use super::name;
use super::trust::Trust;

/// The first pause between two tries; each one is twice as long as the one before.
const PAUSE_MIN: Duration = Duration::from_millis(2);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// The right to build, replace or remove the artifact of one digest. Released on drop.
#[derive(Debug)]
pub(crate) struct BuildLock {
    _held: Held,
}

impl BuildLock {
    /// Takes the lock, or returns `None` if another process or handle has it.
    pub(crate) fn try_take(
        directory: &Path,
        digest: &Digest,
        trust: Trust,
    ) -> io::Result<Option<Self>> {
        let path = directory.join(name::lock(digest));
        loop {
            match try_lock(&path, FlockOperation::NonBlockingLockExclusive, trust)? {
                Tried::Locked(held) => return Ok(Some(Self { _held: held })),
                // An older version may hold it; then both build the same bytes.
                Tried::Busy { mode } if others_can_open(mode, trust) => {
                    super::notice::replaced(&path, "what held it may build the same artifact");
                    remove(&path)?;
                }
                Tried::Busy { .. } => return Ok(None),
            }
        }
    }

    /// Returns whether the lock could be taken. Creates and removes no file.
    pub(crate) fn is_free(directory: &Path, digest: &Digest, trust: Trust) -> io::Result<bool> {
        let path = directory.join(name::lock(digest));
        let busy = busy(&path, FlockOperation::NonBlockingLockShared, trust)?;
        Ok(busy.is_none())
    }

    /// Takes the lock as soon as it is free. Calls `busy` once if it is not free immediately.
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

    /// Releases the lock and removes its file.
    pub(crate) fn remove(self, directory: &Path, digest: &Digest) -> io::Result<()> {
        rustix::fs::unlink(directory.join(name::lock(digest)))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use rustix::fs::Mode;

    use super::super::entry::has_name;
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
            // The lock that is taken belongs to no other handle.
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
