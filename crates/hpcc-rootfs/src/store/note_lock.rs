//! The lock on all notes of a store, held while one is read, changed and written.
//!
//! It is an `flock` on the directory, so that it needs no file. It is held for some milliseconds of disk work. A note is
//! a convenience, so a thread waits for it only briefly: another user who can read the directory could hold it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

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
    _directory: Option<OwnedFd>,
}

impl NoteLock {
    /// Waits for the lock, on a thread that may block. A thread that has it must not take it again.
    pub(super) fn take(directory: &Path) -> Self {
        let taken = take(directory).inspect_err(|error| {
            tracing::debug!(%error, "notes are written without a lock");
        });
        Self {
            _directory: taken.ok(),
        }
    }
}

fn take(directory: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, directory, flags, Mode::empty())?;
    let (start, mut pause) = (Instant::now(), PAUSE_MIN);
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) if start.elapsed() < PATIENCE => {}
            Err(error) => return Err(error.into()),
        }
        thread::sleep(pause);
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
