//! The console: the place of a last line that must arrive.
//!
//! The command has a terminal of its own ([`crate::terminal`]), but as root it can open the console as well, stop its
//! output, change its settings or replace `/dev/console`. So this program keeps a descriptor of its own, opened before
//! the command starts, writes to it with a time limit, and undoes what the command did before the last line.

use std::fs::{metadata, read_to_string};
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, fcntl_setfl, open};
use rustix::io::{Errno, write};
use rustix::termios::{
    Action, OptionalActions, Termios, Winsize, tcdrain, tcflow, tcgetattr, tcgetwinsize, tcsetattr,
};

/// How long a message waits for a console that takes no bytes. Meanwhile PID 1 reaps nothing.
const MESSAGE: Duration = Duration::from_secs(1);
/// How long the last line waits, and then the bytes of it that the device has not sent.
pub(crate) const LAST_LINE: Duration = Duration::from_secs(10);
/// How often a write of the command's output looks whether it is still wanted.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

static CONSOLE: OnceLock<Console> = OnceLock::new();

/// The descriptor of this program alone.
struct Console {
    terminal: OwnedFd,
    /// The terminal's settings before the command could change them.
    settings: Option<Termios>,
}

/// Opens the kernel's console as standard output and error, because those of the program that started this one may lead
/// elsewhere, and opens it a second time for this program alone.
pub(crate) fn open_both() -> Result<(), String> {
    let failed = |error| format!("cannot open /dev/console: {error}");
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    match open("/dev/console", flags, Mode::empty()) {
        Ok(console) => rustix::stdio::dup2_stdout(&console)
            .and_then(|()| rustix::stdio::dup2_stderr(&console))
            .map_err(failed)?,
        // The machine has no console, so no output can be seen.
        Err(Errno::NODEV | Errno::NXIO | Errno::NOENT | Errno::IO) => return Ok(()),
        Err(error) => return Err(failed(error)),
    }
    let active = read_to_string("/sys/class/tty/console/active").unwrap_or_default();
    let opened = Console::open(Path::new(&device(&active)))
        .or_else(|_| Console::open(Path::new("/dev/console")));
    if let Ok(console) = opened {
        let _ = CONSOLE.set(console);
    }
    Ok(())
}

/// Opens the console after a failure that came before [`open_both`], because the standard streams may lead nowhere. `/dev`
/// has to be a mount: a device node of the image could be any device.
pub(crate) fn open_unless_open() {
    if CONSOLE.get().is_none() && is_mounted(Path::new("/dev"), Path::new("/")) {
        // Without a console, no output can be seen.
        let _ = open_both();
    }
}

/// Returns whether another file system than that of `root` is at `point`, which may be a symlink of the image.
fn is_mounted(point: &Path, root: &Path) -> bool {
    let device = |path| metadata(path).map(|found| found.dev());
    device(point).is_ok_and(|found| device(root).is_ok_and(|root| found != root))
}

/// Returns the terminal of `/dev/console`, which is the last one of the kernel's list. A root command can redirect
/// output written to `/dev/console` (`TIOCCONS`), but not output written to the terminal.
fn device(active: &str) -> String {
    let last = active.split_ascii_whitespace().next_back();
    let last = last.filter(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    format!("/dev/{}", last.unwrap_or("console"))
}

/// Writes a message. A console that takes none for [`MESSAGE`] loses the rest.
pub(crate) fn say(text: &str) {
    match CONSOLE.get() {
        Some(console) => {
            console.write(text.as_bytes(), MESSAGE);
        }
        // Before the console is opened, and in the process that becomes the command.
        None => {
            let mut error = std::io::stderr();
            let _ = error
                .write_all(text.as_bytes())
                .and_then(|()| error.flush());
        }
    }
}

/// Returns the size of the console's window, if there is a console that has one.
pub(crate) fn window() -> Option<Winsize> {
    tcgetwinsize(&CONSOLE.get()?.terminal).ok()
}

/// Writes output of the command, however long the console takes, until all is written or `cancelled` returns true. A
/// console that fails loses the output.
pub(crate) fn copy(output: &[u8], cancelled: impl Fn() -> bool) {
    let Some(Console { terminal, .. }) = CONSOLE.get() else {
        return;
    };
    let mut rest = output;
    while !rest.is_empty() && !cancelled() {
        match write(terminal, rest) {
            Ok(length @ 1..) => rest = rest.get(length..).unwrap_or_default(),
            Ok(0) | Err(Errno::AGAIN | Errno::INTR) => {
                let _ = poll(&mut [PollFd::new(terminal, PollFlags::OUT)], Some(&LOOK));
            }
            Err(_) => return,
        }
    }
}

/// Writes the last line, when no other process is left, and waits until the device has sent it.
pub(crate) fn finish(text: &str) {
    let Some(console) = CONSOLE.get() else {
        return say(text);
    };
    console.restore();
    if console.write(text.as_bytes(), LAST_LINE) {
        return drain(&console.terminal);
    }
    // A hang-up makes a descriptor useless, and a new one of the same device is not affected.
    let again = format!("/proc/self/fd/{}", console.terminal.as_raw_fd());
    if let Ok(mut again) = Console::open(Path::new(&again)) {
        again.settings.clone_from(&console.settings);
        again.restore();
        if again.write(text.as_bytes(), LAST_LINE) {
            return drain(&again.terminal);
        }
    }
    let mut error = std::io::stderr();
    let _ = error
        .write_all(text.as_bytes())
        .and_then(|()| error.flush());
}

impl Console {
    fn open(path: &Path) -> Result<Self, Errno> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let terminal = open(path, flags, Mode::empty())?;
        let settings = tcgetattr(&terminal).ok();
        Ok(Self { terminal, settings })
    }

    /// Undoes the command's changes to the terminal. A change that cannot be undone delays the write, which has a
    /// limit.
    fn restore(&self) {
        // A root command can copy this very descriptor (`pidfd_getfd`) and change its flags.
        let _ = fcntl_setfl(&self.terminal, OFlags::NONBLOCK);
        if let Some(settings) = &self.settings {
            let _ = tcsetattr(&self.terminal, OptionalActions::Now, settings);
        }
        // The kernel starts an output again only if it was stopped in the same way. A stop by `TCOOFF` on top of a stop
        // by the character XOFF makes both one, which `TCOON` ends.
        let _ = tcflow(&self.terminal, Action::OOff);
        let _ = tcflow(&self.terminal, Action::OOn);
    }

    /// Writes all of `text`, or returns false if the terminal fails or takes no bytes for `limit`.
    fn write(&self, text: &[u8], limit: Duration) -> bool {
        let mut rest = text;
        let mut last = Instant::now();
        while !rest.is_empty() {
            match write(&self.terminal, rest) {
                Ok(length @ 1..) => {
                    rest = rest.get(length..).unwrap_or_default();
                    last = Instant::now();
                }
                Ok(0) | Err(Errno::AGAIN | Errno::INTR) if last.elapsed() < limit => {
                    thread::sleep(Duration::from_millis(5));
                }
                _ => return false,
            }
        }
        true
    }
}

/// Waits until the device has sent all that was written, at most [`LAST_LINE`]: the machine loses its memory next.
fn drain(terminal: &OwnedFd) {
    let Ok(terminal) = terminal.try_clone() else {
        return;
    };
    let (done, wait) = channel();
    // The command may have left no memory for a thread. The machine has to end all the same.
    let drains = thread::Builder::new().spawn(move || {
        let _ = tcdrain(&terminal);
        let _ = done.send(());
    });
    if drains.is_ok() {
        let _ = wait.recv_timeout(LAST_LINE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn console_device_is_the_last_active_one() {
        for (active, expected) in [
            ("ttyS0\n", "/dev/ttyS0"),
            ("tty0 ttyS0 hvc0\n", "/dev/hvc0"),
            ("", "/dev/console"),
            ("../null\n", "/dev/console"),
        ] {
            assert_eq!(device(active), expected, "{active:?}");
        }
    }

    #[test]
    fn mount_is_seen_through_a_symlink_of_the_image() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        std::fs::create_dir(at("lib")).unwrap();
        for (target, expected) in [("/proc", true), ("lib", false), ("nowhere", false)] {
            let link = at(&format!("to-{}", target.trim_start_matches('/')));
            std::os::unix::fs::symlink(target, &link).unwrap();
            assert_eq!(is_mounted(&link, root.path()), expected, "{target}");
        }
        assert!(!is_mounted(&at("lib"), root.path()));
    }

    #[test]
    fn terminal_that_takes_no_bytes_does_not_block() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        let mode = Mode::from_raw_mode(0o600);
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).unwrap();
        let console = Console::open(&path).unwrap();
        // More than a pipe holds, without a reader.
        let text = vec![b'x'; 1 << 21];
        assert!(!console.write(&text, Duration::from_millis(20)));
    }
}
