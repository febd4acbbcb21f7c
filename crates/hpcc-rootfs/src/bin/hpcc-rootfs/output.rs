//! The one place that writes to stdout and stderr.
//!
//! Others choose much of the printed text: an image, a registry, a file in the store, or the environment. Two layers
//! keep it from a terminal's interpreter. A line is made printable as a whole, so that no value in it can begin another
//! line. All output then passes through [`Output`], which lets only newlines, tabs and printable characters through.
//! Only the lines of the progress stand between control sequences, which `screen` writes around text that was made
//! printable before. A path that is a result is written as its bytes, unless stdout is a terminal, because a script opens
//! the file of this name.

mod screen;

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ociget::printable;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use serde::Serialize;

use crate::stop;
use screen::Screen;

/// How [`Output`] writes a character that must not reach a terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Notation {
    /// `\u{1b}`, for people.
    Text,
    /// `\u001b`, which decodes to the same string. It is needed for characters that JSON allows unescaped, such as
    /// bidirectional controls.
    Json,
}

/// The lines that are drawn on stderr. The lock also keeps lines of several threads apart.
static SCREEN: Mutex<Screen> = Mutex::new(Screen::new());
/// Whether the last line was written. Nothing is drawn after it.
static IS_OVER: AtomicBool = AtomicBool::new(false);
/// Whether stdout or stderr was closed by its reader.
static IS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Writes one line to stderr, above the progress. If stderr was closed by its reader, the program ends.
pub(crate) fn say(line: &str) {
    let written = write_line_to_stderr(line);
    end_if_closed(&written);
}

/// Writes a record to stderr, above the progress: a line of text, or an object of JSON that is serialized.
pub(crate) fn say_record(record: &str, is_json: bool) {
    let written = match is_json {
        true => write_above(Notation::Json, |output| writeln!(output, "{record}")),
        false => write_line_to_stderr(record),
    };
    end_if_closed(&written);
}

/// Writes one line to stderr, as the last of the program. A closed stderr changes nothing.
pub(crate) fn say_at_the_end(line: &str) {
    IS_OVER.store(true, Ordering::Relaxed);
    erase();
    let _ = write_line_to_stderr(line);
}

/// Writes one object to stderr, as a line of JSON. If stderr was closed by its reader, the program ends.
pub(crate) fn say_json(value: &impl Serialize) {
    let written = write_json_to_stderr(value);
    end_if_closed(&written);
}

/// Writes one object to stderr, as the last of the program. A closed stderr changes nothing.
pub(crate) fn say_json_at_the_end(value: &impl Serialize) {
    IS_OVER.store(true, Ordering::Relaxed);
    erase();
    let _ = write_json_to_stderr(value);
}

/// Removes the lines that are drawn on stderr.
pub(crate) fn erase() {
    let erased = screen().erase();
    let _ = write_to_stderr(erased.as_bytes());
}

/// Replaces the lines that are drawn on stderr, which must fit the window. In the background nothing is drawn: a shell
/// and its user write to the terminal then.
pub(crate) fn draw(lines: &[String]) {
    let mut screen = screen();
    if IS_OVER.load(Ordering::Relaxed) || !is_in_front() {
        return;
    }
    let drawn = screen.draw(lines.iter().map(printable::text).collect());
    let written = write_to_stderr(drawn.as_bytes());
    drop(screen);
    end_if_closed(&written);
}

/// Returns whether stdout or stderr was closed by its reader, as far as that was noticed.
pub(crate) fn is_closed() -> bool {
    IS_CLOSED.load(Ordering::Relaxed)
}

/// Returns columns and rows of the terminal on stderr, if it is one and reports them.
pub(crate) fn window() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(io::stderr()).ok()?;
    let is_known = size.ws_col > 0 && size.ws_row > 0;
    is_known.then(|| (size.ws_col.into(), size.ws_row.into()))
}

/// Returns the lines that are drawn. Those from before the program went to the background are the shell's now.
fn screen() -> MutexGuard<'static, Screen> {
    let mut screen = SCREEN.lock().unwrap_or_else(PoisonError::into_inner);
    if !is_in_front() {
        screen.forget();
    }
    screen
}

/// Returns whether the program is in the foreground of the terminal on stderr, or stderr is no terminal of its session.
fn is_in_front() -> bool {
    let group = rustix::termios::tcgetpgrp(io::stderr());
    group.is_err() || group == Ok(rustix::process::getpgrp())
}

fn write_line_to_stderr(line: &str) -> io::Result<()> {
    write_above(Notation::Text, |output| write_line(output, line))
}

fn write_json_to_stderr(value: &impl Serialize) -> io::Result<()> {
    write_above(Notation::Json, |output| {
        serde_json::to_writer(&mut *output, value)?;
        writeln!(output)
    })
}

/// Writes above the lines that are drawn, in one step.
fn write_above(
    notation: Notation,
    write: impl FnOnce(&mut Output<&mut Vec<u8>>) -> io::Result<()>,
) -> io::Result<()> {
    let mut text = Vec::new();
    write(&mut Output::new(&mut text, notation))?;
    let screen = screen();
    let (before, after) = screen.around();
    let all = [before.as_bytes(), &text, after.as_bytes()].concat();
    write_to_stderr(&all)
}

fn write_to_stderr(bytes: &[u8]) -> io::Result<()> {
    let mut stderr = io::stderr().lock();
    note_closed(write_all(&mut stderr, bytes, io::stderr()))
}

/// Remembers that the reader of a stream closed it.
fn note_closed<T>(written: io::Result<T>) -> io::Result<T> {
    if let Err(error) = &written
        && error.kind() == io::ErrorKind::BrokenPipe
    {
        IS_CLOSED.store(true, Ordering::Relaxed);
    }
    written
}

fn end_if_closed(written: &io::Result<()>) {
    if let Err(error) = written
        && error.kind() == io::ErrorKind::BrokenPipe
    {
        IS_CLOSED.store(true, Ordering::Relaxed);
        stop::unread();
    }
}

/// Returns stdout.
pub(crate) fn stdout(notation: Notation) -> Output<io::StdoutLock<'static>> {
    Output::new(io::stdout().lock(), notation)
}

/// Returns the columns of the window on stdout, or `None` if it is not a terminal.
pub(crate) fn width() -> Option<usize> {
    let stdout = io::stdout();
    if !io::IsTerminal::is_terminal(&stdout) {
        return None;
    }
    // Some terminals do not know their size.
    let size = rustix::termios::tcgetwinsize(&stdout).ok();
    let columns = size.map_or(0, |size| usize::from(size.ws_col));
    Some(if columns == 0 { 80 } else { columns })
}

/// Returns whether progress can be drawn on stderr.
pub(crate) fn is_terminal() -> bool {
    io::IsTerminal::is_terminal(&io::stderr())
}

/// Writes a path to stdout as one line: to a terminal like all text, elsewhere as its bytes.
pub(crate) fn print_path(path: &Path) -> io::Result<()> {
    if io::IsTerminal::is_terminal(&io::stdout()) {
        let mut stdout = stdout(Notation::Text);
        return write_line(&mut stdout, &self::path(path)).and_then(|()| stdout.flush());
    }
    let mut line = path.as_os_str().as_encoded_bytes().to_vec();
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    let written = write_all(&mut stdout, &line, io::stdout());
    note_closed(written.and_then(|()| flush(&mut stdout)))
}

/// Writes all bytes to a stream that may be non-blocking, because another process that has it made it so. `end` is what
/// the bytes reach in the end, and takes more of them at some time.
fn write_all(inner: &mut impl Write, mut bytes: &[u8], end: impl AsFd) -> io::Result<()> {
    while !bytes.is_empty() {
        match inner.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) => wait_after(error, &end)?,
        }
    }
    Ok(())
}

/// Flushes stdout, which may be non-blocking.
fn flush(inner: &mut impl Write) -> io::Result<()> {
    // The standard library takes bytes for a stream that is open for reading alone as written (rust-lang/rust#57931).
    let flags = rustix::fs::fcntl_getfl(io::stdout());
    if flags.is_ok_and(|flags| flags & OFlags::RWMODE == OFlags::RDONLY) {
        return Err(Errno::BADF.into());
    }
    loop {
        match inner.flush() {
            Err(error) => wait_after(error, io::stdout())?,
            flushed => return flushed,
        }
    }
}

/// Waits until a stream takes more bytes, if the error is that it took none.
fn wait_after(error: io::Error, stream: impl AsFd) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::Interrupted => Ok(()),
        io::ErrorKind::WouldBlock => {
            match poll(&mut [PollFd::new(&stream, PollFlags::OUT)], None) {
                Ok(_) | Err(Errno::INTR) => Ok(()),
                Err(error) => Err(error.into()),
            }
        }
        _ => Err(error),
    }
}

/// Writes `line`, in which newlines are escaped as well.
pub(crate) fn write_line(output: &mut impl Write, line: &str) -> io::Result<()> {
    writeln!(output, "{}", printable::text(line))
}

/// Returns a path for output: as it is, or with escapes if it is not UTF-8.
pub(crate) fn path(path: &Path) -> String {
    path.to_str()
        .map_or_else(|| printable::path(path), str::to_owned)
}

/// A stream to a terminal, a file or a pipe that gets no other characters than newlines, tabs and
/// printable ones.
#[derive(Debug)]
pub(crate) struct Output<W: Write> {
    inner: W,
    notation: Notation,
    /// The start of a character whose other bytes have not been written yet.
    held: Vec<u8>,
}

impl<W: Write> Output<W> {
    fn new(inner: W, notation: Notation) -> Self {
        Self {
            inner,
            notation,
            held: Vec::new(),
        }
    }

    fn escape(&self, safe: &mut String, c: char) {
        match (c, self.notation) {
            ('\n' | '\t', _) => safe.push(c),
            (c, _) if printable::is_printable(c) => safe.push(c),
            (c, Notation::Text) => safe.extend(c.escape_unicode()),
            (c, Notation::Json) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    safe.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Listings of millions of names contain nothing else.
        let is_plain = |byte: &u8| matches!(byte, b'\n' | b'\t' | b' '..=b'~');
        if self.held.is_empty() && bytes.iter().all(is_plain) {
            note_closed(write_all(&mut self.inner, bytes, io::stdout()))?;
            return Ok(bytes.len());
        }
        let mut all = std::mem::take(&mut self.held);
        all.extend_from_slice(bytes);
        let mut safe = String::with_capacity(all.len());
        let mut chunks = all.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            for c in chunk.valid().chars() {
                self.escape(&mut safe, c);
            }
            let invalid = chunk.invalid();
            let may_go_on = chunks.peek().is_none()
                && std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
            if may_go_on {
                self.held = invalid.to_vec();
            } else {
                safe.push_str(&printable::bytes(invalid));
            }
        }
        note_closed(write_all(&mut self.inner, safe.as_bytes(), io::stdout()))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        note_closed(flush(&mut self.inner))
    }
}

impl<W: Write> Drop for Output<W> {
    fn drop(&mut self) {
        let _ = self
            .inner
            .write_all(printable::bytes(&self.held).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(notation: Notation, pieces: &[&[u8]]) -> String {
        let mut written = Vec::new();
        let mut output = Output::new(&mut written, notation);
        for piece in pieces {
            output.write_all(piece).unwrap();
        }
        drop(output);
        String::from_utf8(written).unwrap()
    }

    #[test]
    fn output_escapes_all_but_newlines_tabs_and_printable_text() {
        for (raw, expected) in [
            (&b"a\tb\nc"[..], "a\tb\nc"),
            (b"\x1b[31m\r\x07\x7f", "\\u{1b}[31m\\u{d}\\u{7}\\u{7f}"),
            (
                "ä\u{9b}\u{202e}\u{2028}".as_bytes(),
                "ä\\u{9b}\\u{202e}\\u{2028}",
            ),
            (b"\x9b31m\xff", "\\x9b31m\\xff"),
            (b"cut \xe2\x80", "cut \\xe2\\x80"),
        ] {
            assert_eq!(through(Notation::Text, &[raw]), expected);
            let pieces: Vec<_> = raw.chunks(1).collect();
            assert_eq!(through(Notation::Text, &pieces), expected);
        }
    }

    #[test]
    fn json_decodes_to_the_same_text() {
        let every: String = (0..0x3100)
            .chain(0xfe00..0x11000)
            .chain(0xe0000..0xe0200)
            .filter_map(char::from_u32)
            .collect();
        let json = serde_json::to_vec(&every).unwrap();
        let written = through(Notation::Json, &[&json]);
        assert!(written.chars().all(printable::is_printable));
        assert_eq!(serde_json::from_str::<String>(&written).unwrap(), every);
    }

    #[test]
    fn lines_stay_one_line() {
        let mut written = Vec::new();
        write_line(&mut written, "a\nsha256:00  sound\tb").unwrap();
        assert_eq!(written, b"a\\nsha256:00  sound\\tb\n");
    }
}
