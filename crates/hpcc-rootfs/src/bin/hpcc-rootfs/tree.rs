//! The names in an artifact, for `inspect --tree`. Each is printed when it is found, because an artifact may have
//! millions, and one that an attacker made has as many as the tables' limits allow.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::Context as _;
use hpcc_rootfs::tables::{Entry, EntryKind, Tables};
use ociget::printable;
use serde_json::Value;

use crate::output::{self, Notation};
use crate::terminal;

/// Prints a line for every name, after the lines of `head`.
pub(crate) fn print_text(path: &Path, file: &File, head: &[String]) -> anyhow::Result<()> {
    let mut out = BufWriter::new(output::stdout(Notation::Text));
    let mut line = Line::default();
    let walked = head
        .iter()
        .try_for_each(|line| output::write_line(&mut out, line))
        .and_then(|()| walk(file, |entry| out.write_all(line.text(entry))))
        .and_then(|walked| out.flush().map(|()| walked));
    walked
        .context("cannot write to stdout")?
        .with_context(|| unreadable(path))
}

/// Prints an object with the members of `head` and all names as `tree`. If the tables can't be read to
/// their end, or something else `failed`, the object ends with an `error`.
pub(crate) fn print_json(
    path: &Path,
    file: &File,
    head: &Value,
    failed: Option<&anyhow::Error>,
) -> anyhow::Result<()> {
    let mut out = BufWriter::new(output::stdout(Notation::Json));
    let walked = json(&mut out, path, file, head, failed).context("cannot write to stdout")?;
    walked.with_context(|| unreadable(path))
}

fn json(
    out: &mut impl Write,
    path: &Path,
    file: &File,
    head: &Value,
    failed: Option<&anyhow::Error>,
) -> io::Result<Result<(), hpcc_rootfs::tables::Error>> {
    writeln!(out, "{{")?;
    for (name, value) in head.as_object().into_iter().flatten() {
        writeln!(out, "  {}: {value},", Value::from(name.as_str()))?;
    }
    write!(out, "  \"tree\": [")?;
    let (mut separator, mut line) = ("\n    ", Line::default());
    let walked = walk(file, |entry| {
        out.write_all(separator.as_bytes())?;
        separator = ",\n    ";
        out.write_all(line.json(entry))
    })?;
    write!(out, "\n  ]")?;
    let error = match &walked {
        Err(error) => Some(format!("{}: {error}", unreadable(path))),
        Ok(()) => failed.map(terminal::one_line),
    };
    if let Some(error) = error {
        write!(out, ",\n  \"error\": {}", Value::from(error))?;
    }
    writeln!(out, "\n}}")?;
    out.flush()?;
    Ok(walked)
}

/// What failed, if the tables of an artifact can't be read.
pub(crate) fn unreadable(path: &Path) -> String {
    format!("cannot read the tables of {}", output::path(path))
}

/// Calls `visit` for every name until it fails. An error of the tables is in the inner result.
fn walk(
    file: &File,
    mut visit: impl FnMut(&Entry<'_>) -> io::Result<()>,
) -> io::Result<Result<(), hpcc_rootfs::tables::Error>> {
    let walked = Tables::open(file).and_then(|mut tables| {
        tables.walk_until(|entry| match visit(entry) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        })
    });
    match walked {
        Ok(ControlFlow::Continue(())) => Ok(Ok(())),
        Ok(ControlFlow::Break(error)) => Err(error),
        Err(error) => Ok(Err(error)),
    }
}

/// A line of text or an element of JSON, whose memory is reused for the next one.
#[derive(Default)]
struct Line {
    text: String,
    path: EscapedPath,
    target: String,
}

impl Line {
    /// Returns a line like that of `ls`, with owners and times as numbers: `-rwxr-xr-x 0:0 4711 0 /bin/sh`. Unprintable
    /// characters are escaped.
    fn text(&mut self, entry: &Entry<'_>) -> &[u8] {
        let (letter, size, target) = match entry.kind {
            EntryKind::Directory => ('d', String::new(), None),
            EntryKind::File { size } => ('-', size.to_string(), None),
            EntryKind::Symlink { target } => ('l', target.len().to_string(), Some(target)),
            EntryKind::BlockDevice { major, minor } => ('b', format!("{major}:{minor}"), None),
            EntryKind::CharDevice { major, minor } => ('c', format!("{major}:{minor}"), None),
            EntryKind::Fifo => ('p', String::new(), None),
            EntryKind::Socket => ('s', String::new(), None),
            _ => ('?', String::new(), None),
        };
        let owner = format!("{}:{}", entry.uid, entry.gid);
        self.text.clear();
        // Writing to a string can't fail.
        let _ = write!(
            self.text,
            "{letter}{} {owner:<11} {size:>12} {:>10} ",
            permissions(entry.mode),
            entry.mtime,
        );
        self.text.push_str(self.path.escape(entry.path, ""));
        if let Some(target) = target {
            self.text.push_str(" -> ");
            escape(&mut self.text, target, "");
        }
        self.text.push('\n');
        self.text.as_bytes()
    }

    /// Returns an object on one line. Its strings are those of the text.
    fn json(&mut self, entry: &Entry<'_>) -> &[u8] {
        self.target.clear();
        let kind = match entry.kind {
            EntryKind::Directory => "directory",
            EntryKind::File { size } => {
                let _ = write!(self.target, ",\"size\":{size}");
                "file"
            }
            EntryKind::Symlink { target } => {
                self.target.push_str(",\"target\":\"");
                escape(&mut self.target, target, "\\");
                self.target.push('"');
                "symlink"
            }
            EntryKind::BlockDevice { major, minor } => {
                let _ = write!(self.target, ",\"device\":[{major},{minor}]");
                "block-device"
            }
            EntryKind::CharDevice { major, minor } => {
                let _ = write!(self.target, ",\"device\":[{major},{minor}]");
                "char-device"
            }
            EntryKind::Fifo => "fifo",
            EntryKind::Socket => "socket",
            _ => "unknown",
        };
        self.text.clear();
        self.text.push_str("{\"path\":\"");
        self.text.push_str(self.path.escape(entry.path, "\\"));
        let _ = write!(
            self.text,
            "\",\"type\":\"{kind}\",\"mode\":{},\"uid\":{},\"gid\":{},\"mtime\":{},\"inode\":{}{}}}",
            entry.mode, entry.uid, entry.gid, entry.mtime, entry.inode, self.target
        );
        self.text.as_bytes()
    }
}

/// The path that was escaped last. The next one usually begins as it does, and a path of megabytes is followed by many.
#[derive(Default)]
struct EscapedPath {
    raw: Vec<u8>,
    text: String,
}

impl EscapedPath {
    fn escape(&mut self, path: &[u8], backslash: &str) -> &str {
        let same = self.raw.iter().zip(path).take_while(|(a, b)| a == b);
        let same = path.get(..same.count()).unwrap_or_default();
        // Up to an ASCII character, so that no other character is cut.
        let same = same.iter().rposition(u8::is_ascii);
        let same = same.map_or(0, |last| last.saturating_add(1));
        let mut dropped = String::new();
        escape(
            &mut dropped,
            self.raw.get(same..).unwrap_or_default(),
            backslash,
        );
        self.text.truncate(self.text.len() - dropped.len());
        self.raw.truncate(same);
        let more = path.get(same..).unwrap_or_default();
        self.raw.extend_from_slice(more);
        escape(&mut self.text, more, backslash);
        &self.text
    }
}

/// Appends bytes in the form of [`printable::name`]. `backslash` comes before each backslash and each quotation mark:
/// nothing, or a backslash for a string of JSON.
fn escape(text: &mut String, bytes: &[u8], backslash: &str) {
    for c in printable::name(bytes).chars() {
        if matches!(c, '"' | '\\') {
            text.push_str(backslash);
        }
        text.push(c);
    }
}

/// Returns permissions in the form `rwsr-xr-t`.
fn permissions(mode: u16) -> String {
    let special = [(0o4000, 's', 'S'), (0o2000, 's', 'S'), (0o1000, 't', 'T')];
    let mut text = String::with_capacity(9);
    for (shift, (bit, with, without)) in [6, 3, 0].into_iter().zip(special) {
        let has = |flag: u16| mode >> shift & flag != 0;
        text.push(if has(4) { 'r' } else { '-' });
        text.push(if has(2) { 'w' } else { '-' });
        text.push(match (mode & bit != 0, has(1)) {
            (true, true) => with,
            (true, false) => without,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_escaped_alike_whatever_came_before() {
        let every: Vec<u8> = (0..=255).collect();
        let mut cached = [EscapedPath::default(), EscapedPath::default()];
        for path in [
            &b"/"[..],
            b"/a\"b\\c'd\xFF\n",
            b"/a\"b\\c'd\xFF\n/below",
            b"/a\"b\\",
            &every,
            b"/a\"b\\c'",
            b"",
            "/gr\u{f6}\u{df}e/\u{65e5}\u{672c}".as_bytes(),
            "/gr\u{f6}\u{df}e/\u{65e5}\u{6728}".as_bytes(),
            b"/gr\xc3\xb6\xc3\xff",
            "/gr\u{f6}\u{202e}e".as_bytes(),
            b"/last",
        ] {
            let expected = printable::name(path);
            assert_eq!(cached[0].escape(path, ""), expected);
            let json = format!("\"{}\"", cached[1].escape(path, "\\"));
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), expected);
        }
    }

    #[test]
    fn permissions_are_spelled_as_ls_does() {
        for (mode, text) in [
            (0o644, "rw-r--r--"),
            (0o4755, "rwsr-xr-x"),
            (0o6644, "rwSr-Sr--"),
            (0o1777, "rwxrwxrwt"),
            (0o1000, "--------T"),
        ] {
            assert_eq!(permissions(mode), text, "{mode:o}");
        }
    }
}
