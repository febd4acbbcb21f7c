//! The lock on all notes of a store, held while one is read, changed and written.
//!
//! It is a lock on one file, by the rules of [`lock_file`](super::lock_file), so that no other user can hold it. It is
//! held for some milliseconds of disk work. A note is a convenience, so a thread waits for it only briefly: the process
//! with the lock may have been stopped.

use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::entry;
use super::lock_file::{Held, Tried, others_can_open, try_lock};
use super::name::{self, Beside, NOTES_LOCK};
use super::trust::Trust;
use crate::regular_file;

/// The first pause between two tries; each one is twice as long as the one before.
const PAUSE_MIN: Duration = Duration::from_micros(200);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_millis(20);
/// How long the lock is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// The right to change the notes, until it is dropped.
#[derive(Debug)]
pub(super) struct NoteLock {
    /// `None` where there are no locks, or where another process kept it.
    _held: Option<Held>,
}

impl NoteLock {
    /// Waits for the lock, on a thread that may block. A thread that has it must not take it again.
    pub(super) fn take(directory: &Path, trust: Trust) -> Self {
        let taken = take(&directory.join(NOTES_LOCK), trust).inspect_err(|error| {
            tracing::debug!(%error, "notes are written without a lock");
        });
        Self { _held: taken.ok() }
    }
}

/// Removes the file of the lock from a store without notes, unless the lock is held.
pub(super) fn remove_file(directory: &Path, trust: Trust) -> io::Result<()> {
    let path = directory.join(NOTES_LOCK);
    if entry::gone(&path)? {
        return Ok(());
    }
    match try_lock(&path, FlockOperation::NonBlockingLockExclusive, trust) {
        Ok(Tried::Locked(held)) => {
            if !has_notes(directory)? {
                entry::remove(&path)?;
            }
            drop(held);
            Ok(())
        }
        Ok(Tried::Busy { .. }) => Ok(()),
        Err(error) if regular_file::is_other_type(&error) => entry::remove(&path).map(drop),
        Err(error) => Err(error),
    }
}

fn has_notes(directory: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_note = matches!(
            name.to_str().and_then(name::classify),
            Some(Beside::Note(_))
        );
        if is_note && !entry.file_type()?.is_dir() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn take(path: &Path, trust: Trust) -> io::Result<Held> {
    let (start, mut pause) = (Instant::now(), PAUSE_MIN);
    loop {
        match try_lock(path, FlockOperation::NonBlockingLockExclusive, trust)? {
            Tried::Locked(held) => return Ok(held),
            _ if start.elapsed() >= PATIENCE => return Err(Errno::WOULDBLOCK.into()),
            Tried::Busy { mode } if others_can_open(mode, trust) => {
                super::notice::replaced(path, "what held it may change the same note");
                entry::remove(path)?;
                continue;
            }
            Tried::Busy { .. } => {}
        }
        thread::sleep(pause);
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use super::*;

    fn owner() -> Trust {
        Trust::Owner(rustix::process::geteuid().as_raw())
    }

    fn is_taken(directory: &Path) -> bool {
        NoteLock::take(directory, owner())._held.is_some()
    }

    #[test]
    fn lock_of_notes_is_file_that_others_cannot_open() {
        let directory = tempfile::tempdir().unwrap();
        let held = NoteLock::take(directory.path(), owner());
        assert!(held._held.is_some());
        let file = fs::metadata(directory.path().join(NOTES_LOCK)).unwrap();
        assert_eq!(file.permissions().mode() & 0o7777, 0o600);
        drop(held);
        assert!(is_taken(directory.path()));
    }

    /// systemd/systemd#23043: any user who can open a directory can hold an `flock` on it.
    #[test]
    fn lock_on_directory_delays_no_change_of_notes() {
        let directory = tempfile::tempdir().unwrap();
        let other = File::open(directory.path()).unwrap();
        rustix::fs::flock(&other, FlockOperation::LockExclusive).unwrap();
        assert!(is_taken(directory.path()));
    }

    #[test]
    fn held_lock_of_notes_that_others_can_open_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(NOTES_LOCK);
        let other = File::create(&path).unwrap();
        other
            .set_permissions(Permissions::from_mode(0o644))
            .unwrap();
        rustix::fs::flock(&other, FlockOperation::LockExclusive).unwrap();
        assert!(is_taken(directory.path()));
    }

    /// Only root can give a file to another user.
    #[test]
    fn lock_of_notes_of_another_user_is_replaced() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(NOTES_LOCK);
        let other = File::create(&path).unwrap();
        chown(&path, Some(12345), Some(12345)).unwrap();
        rustix::fs::flock(&other, FlockOperation::LockExclusive).unwrap();
        assert!(is_taken(directory.path()));
    }

    #[test]
    fn lock_of_notes_goes_when_no_note_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(NOTES_LOCK);
        let note = name::note(&ociget::Digest::of(b"image"));
        let note = directory.path().join(note);
        let is_removed = || {
            remove_file(directory.path(), owner()).unwrap();
            !path.exists()
        };
        assert!(is_removed());
        fs::write(&note, "").unwrap();
        let held = NoteLock::take(directory.path(), owner());
        assert!(!is_removed());
        drop(held);
        assert!(!is_removed());
        fs::remove_file(&note).unwrap();
        let held = NoteLock::take(directory.path(), owner());
        assert!(!is_removed());
        drop(held);
        assert!(is_removed());
        symlink(&note, &path).unwrap();
        assert!(is_removed());
    }

    /// What stands there and is no file leaves the notes without a lock, and is not followed.
    #[test]
    fn lock_of_notes_that_is_no_file_stops_no_change() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(NOTES_LOCK);
        let victim = directory.path().join("victim");
        symlink(&victim, &path).unwrap();
        assert!(!is_taken(directory.path()));
        assert!(!victim.exists());
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(!is_taken(directory.path()));
    }
}
