//! The one place that writes to stdout and stderr.
//!
//! Much of what is printed was chosen by others: by an image, a registry, a file in the store, or the
//! environment. Two layers keep it from a terminal's interpreter. A line is made printable as a whole, so
//! that no value in it can begin another line. Whatever is written then passes through [`Output`], which
//! lets only newlines, tabs and printable characters through. Progress bars alone are drawn by their
//! library, from text that is made printable before.

use std::io::{self, Write};
use std::path::Path;

use ociget::printable;

/// How [`Output`] writes a character that must not reach a terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Notation {
    /// `\u{1b}`, for people.
    Text,
    /// `\u001b`, which decodes to the same string. It is needed for what JSON allows unescaped, such as
    /// bidirectional controls.
    Json,
}

/// Writes one line to stderr. A closed stderr is no reason to fail.
pub(crate) fn say(line: &str) {
    let _ = write_line(&mut Output::new(io::stderr().lock(), Notation::Text), line);
}

/// Returns stdout.
pub(crate) fn stdout(notation: Notation) -> Output<io::StdoutLock<'static>> {
    Output::new(io::stdout().lock(), notation)
}

/// Returns the columns of the window that stdout is, or `None` if it is not a terminal.
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

/// Whether progress can be drawn on stderr.
pub(crate) fn is_terminal() -> bool {
    io::IsTerminal::is_terminal(&io::stderr())
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
        // Listings of millions of names are of nothing else.
        let is_plain = |byte: &u8| matches!(byte, b'\n' | b'\t' | b' '..=b'~');
        if self.held.is_empty() && bytes.iter().all(is_plain) {
            self.inner.write_all(bytes)?;
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
        self.inner.write_all(safe.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
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
