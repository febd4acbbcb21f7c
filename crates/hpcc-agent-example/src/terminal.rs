//! The terminal of the command: a pseudoterminal, whose output a thread copies to the console.
//!
//! The command's user owns its terminal. With the console itself, that user could set another line discipline, loop the
//! bytes back or stop the line, and then forge the last line or hide it. No system call undoes all of that.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::{Errno, read};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, OutputModes, tcgetattr, tcsetattr, tcsetwinsize};

use crate::console;

/// How often the thread looks whether the machine ends.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};

/// How far the copying is. There is one command, and its end must be found after a panic too.
static STARTED: AtomicBool = AtomicBool::new(false);
/// No process writes any more, so the copying ends where the output does.
static ENDING: AtomicBool = AtomicBool::new(false);
/// The console takes too long, so the rest of the output is lost.
static CANCELLED: AtomicBool = AtomicBool::new(false);
static OVER: AtomicBool = AtomicBool::new(false);

/// Opens the terminal and starts to copy its output. Before the command starts, because the command may leave no memory
/// for a thread.
pub(crate) fn open() -> Result<OwnedFd, String> {
    let failed = |error: Errno| format!("cannot open a terminal for the command: {error}");
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).map_err(failed)?;
    let terminal = unlockpt(&master)
        .and_then(|()| ioctl_tiocgptpeer(&master, flags))
        .map_err(failed)?;
    let prepared = || -> Result<OwnedFd, Errno> {
        fcntl_setfl(&master, OFlags::NONBLOCK)?;
        // The console adds the carriage returns.
        let mut settings = tcgetattr(&terminal)?;
        settings.output_modes.remove(OutputModes::OPOST);
        tcsetattr(&terminal, OptionalActions::Now, &settings)?;
        if let Some(window) = console::window() {
            tcsetwinsize(&terminal, window)?;
        }
        terminal.try_clone().map_err(|_| Errno::MFILE)
    };
    // Held open, so that a command that closes its terminal does not end the copying.
    let held = prepared().map_err(failed)?;
    thread::Builder::new()
        .spawn(move || copy(&master, held))
        .map_err(|error| format!("cannot start a thread: {error}"))?;
    STARTED.store(true, Ordering::SeqCst);
    Ok(terminal)
}

/// Copies what is left, when no other process runs, and returns once nothing is written to the console any more.
pub(crate) fn finish() {
    if !STARTED.load(Ordering::SeqCst) {
        return;
    }
    ENDING.store(true, Ordering::SeqCst);
    let begin = Instant::now();
    let over = || OVER.load(Ordering::SeqCst);
    while !over() && begin.elapsed() < console::LAST_LINE {
        thread::sleep(Duration::from_millis(5));
    }
    CANCELLED.store(true, Ordering::SeqCst);
    // The thread looks at the flag after each of its waits, which are short.
    while !over() && begin.elapsed() < 2 * console::LAST_LINE {
        thread::sleep(Duration::from_millis(5));
    }
}

fn copy(master: &OwnedFd, _held: OwnedFd) {
    let cancelled = || CANCELLED.load(Ordering::SeqCst);
    let mut buffer = vec![0; 4096];
    while !cancelled() {
        // Before the read: what was written before the end must be found by it.
        let ending = ENDING.load(Ordering::SeqCst);
        match read(master, &mut *buffer) {
            Ok(length @ 1..) => {
                console::copy(buffer.get(..length).unwrap_or_default(), cancelled);
            }
            Err(Errno::INTR) => {}
            _ if ending => break,
            Err(Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::new(master, PollFlags::IN)], Some(&LOOK));
            }
            // A command that is root has hung the terminal up. Another process can open it again.
            _ => thread::sleep(Duration::from_millis(100)),
        }
    }
    OVER.store(true, Ordering::SeqCst);
}
