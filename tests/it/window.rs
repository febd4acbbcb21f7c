//! A window: a pseudo-terminal that gets what a user would see, and an independent model of a screen that interprets
//! it.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::cli::{Place, program};

/// Rows that may scroll away before they are lost to the test.
const SCROLLBACK: usize = 1000;
/// How long a window keeps being drawn as it was: the program looks at it ten times a second.
const SETTLED: Duration = Duration::from_millis(400);
/// More than any run here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A window: columns and rows.
pub(crate) type Size = (u16, u16);

/// A window in which the program runs.
pub(crate) struct Window {
    master: File,
    screen: vt100::Parser,
    child: Child,
    size: Size,
    /// Whether what is shown must fit the window.
    must_fit: bool,
    /// Every screen that was seen, as text.
    pub(crate) seen: Vec<String>,
    /// Every byte that was written.
    pub(crate) written: Vec<u8>,
    deadline: Instant,
}

impl Window {
    /// Runs the program with its progress in the window.
    pub(crate) fn open(place: &Place, arguments: &[&str], size: Size) -> Self {
        let mut command = place.command(program());
        command.env("TERM", "xterm").args(arguments);
        Self::run(command.stdout(Stdio::null()), size)
    }

    /// Runs the program with its results in the window, of which a user scrolls the beginning away.
    pub(crate) fn of_results(place: &Place, arguments: &[&str], size: Size) -> Self {
        let mut command = place.command(program());
        Self::of_results_of(command.env("TERM", "xterm").args(arguments), size)
    }

    /// Runs a command with its results in the window.
    pub(crate) fn of_results_of(command: &mut Command, size: Size) -> Self {
        let (master, slave) = pair(size);
        let child = command.stdout(slave).stderr(Stdio::null()).spawn().unwrap();
        // The command has the other end as well.
        command.stdout(Stdio::null());
        Self::new(master, child, size)
    }

    /// Runs the program with stdout and stderr in the window, of which a user scrolls the beginning away.
    pub(crate) fn of_everything(place: &Place, arguments: &[&str], size: Size) -> Self {
        let (master, slave) = pair(size);
        let mut command = place.command(program());
        command.env("TERM", "xterm").args(arguments);
        command.stdout(slave.try_clone().unwrap()).stderr(slave);
        Self::new(master, command.spawn().unwrap(), size)
    }

    /// Runs a command with stderr in the window.
    pub(crate) fn run(command: &mut Command, size: Size) -> Self {
        let (master, slave) = pair(size);
        let child = command.stderr(slave).spawn().unwrap();
        // The command has the other end as well.
        command.stderr(Stdio::null());
        let mut window = Self::new(master, child, size);
        window.must_fit = true;
        window
    }

    fn new(master: OwnedFd, child: Child, size: Size) -> Self {
        // The model has no window without a column or a row.
        let (columns, rows) = (size.0.max(1), size.1.max(1));
        Self {
            screen: vt100::Parser::new(number(rows), number(columns), SCROLLBACK),
            master: master.into(),
            child,
            size,
            must_fit: false,
            seen: Vec::new(),
            written: Vec::new(),
            deadline: Instant::now() + PATIENCE,
        }
    }

    /// Takes a window as it is, however small.
    pub(crate) fn may_overflow(mut self) -> Self {
        self.must_fit = false;
        self
    }

    /// Reads once, and checks what the screen looks like. `false` at the end.
    fn step(&mut self) -> bool {
        assert!(Instant::now() < self.deadline, "{:#?}", self.seen.last());
        let mut bytes = [0; 4096];
        let mut read = self.master.read(&mut bytes);
        // Linux may say so while it still has what was written just before. Nothing is written any more now, so that
        // another read gets it (open-webui/open-terminal#158).
        if is_closed(&read) {
            read = self.master.read(&mut bytes);
        }
        match read {
            Ok(0) => false,
            Ok(count) => {
                self.screen.process(&bytes[..count]);
                self.written.extend(&bytes[..count]);
                self.check();
                true
            }
            read if is_closed(&read) => false,
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(error) => panic!("{error}"),
        }
    }

    fn check(&mut self) {
        let screen = self.screen.screen();
        let text = screen.contents();
        if self.must_fit {
            for row in 0..self.size.1 {
                assert!(
                    !screen.row_wrapped(row),
                    "row {row} of {:?}:\n{text}",
                    self.size
                );
            }
            assert_eq!(screen.scrollback_len(), 0, "{:?}:\n{text}", self.size);
        }
        if self.seen.last() != Some(&text) {
            self.seen.push(text);
        }
    }

    /// Reads until the screen has the words.
    pub(crate) fn wait_for(&mut self, words: &str) {
        while !self.screen.screen().contents().contains(words) {
            assert!(self.step(), "it ended before {words:?}: {:#?}", self.seen);
        }
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end && self.step() {}
    }

    /// Changes the size of the window. What is drawn for the old one may still be on its way, so the model becomes
    /// smaller a moment later, and larger a moment earlier.
    pub(crate) fn resize(&mut self, size: Size) {
        let smaller = (self.size.0.min(size.0), self.size.1.min(size.1));
        set_size(&self.master, smaller);
        self.run_for(SETTLED);
        self.size = size;
        self.screen.set_size(number(size.1), number(size.0));
        set_size(&self.master, size);
        self.run_for(SETTLED);
    }

    /// Reads to the end; returns the exit code and the last screen.
    pub(crate) fn end(&mut self) -> (Option<i32>, String) {
        while self.step() {}
        let status = self.child.wait().unwrap();
        (status.code(), self.screen.screen().contents())
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns whether all ends of the other side are closed.
fn is_closed(read: &std::io::Result<usize>) -> bool {
    let error = read.as_ref().err();
    error.and_then(Errno::from_io_error) == Some(Errno::IO)
}

/// Returns both ends of a pseudo-terminal.
fn pair(size: Size) -> (OwnedFd, OwnedFd) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let mut both = File::options();
    let slave = both.read(true).write(true).open(name.to_str().unwrap());
    set_size(&master, size);
    (master, slave.unwrap().into())
}

fn number(value: u16) -> NonZeroU16 {
    NonZeroU16::new(value).unwrap()
}

fn set_size(master: impl std::os::fd::AsFd, (columns, rows): Size) {
    let size = Winsize {
        ws_col: columns,
        ws_row: rows,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(master, size).unwrap();
}
