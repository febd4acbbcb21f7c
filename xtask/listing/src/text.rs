//! A listing as text.
//!
//! ```text
//! tree-listing 1
//! / directory mode=0755 uid=0 gid=0 size=4096 mtime=0 links=3
//! /bin directory mode=0755 uid=0 gid=0 size=4096 mtime=0 links=2
//! /bin/ping file mode=0755 uid=0 gid=0 size=5 mtime=9 links=2 shared=/bin/ping sha256=2cf2.. xattr:security.capability=01..
//! /bin/ping4 file mode=0755 uid=0 gid=0 size=5 mtime=9 links=2 shared=/bin/ping sha256=2cf2.. xattr:security.capability=01..
//! /bin/sh symlink mode=0777 uid=0 gid=0 size=4 mtime=0 links=1 target=bash
//! /null char-device mode=0666 uid=0 gid=0 size=0 mtime=0 links=1 device=1:3
//! ```
//!
//! Paths, targets and attribute names are escaped ([`escape`]), attribute values are hexadecimal, fields that an entry
//! has not are left out, and lines are in byte order of the paths. One tree has one text.

use std::collections::BTreeMap;
use std::fmt;

use crate::escape::{escape, from_hex, to_hex, unescape};
use crate::{Entry, Kind, Listing};

const HEADER: &str = "tree-listing 1";

/// A text that is no listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// Reason.
    pub what: &'static str,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of the listing: {}", self.line, self.what)
    }
}

impl std::error::Error for ParseError {}

impl Listing {
    /// Returns the listing as text; [`Listing::parse`] reads it back.
    pub fn to_text(&self) -> Vec<u8> {
        let mut text = format!("{HEADER}\n");
        for (path, entry) in &self.entries {
            text.push_str(&escape(path));
            text.push_str(&line(entry));
            text.push('\n');
        }
        text.into_bytes()
    }

    /// Reads what [`Listing::to_text`] wrote.
    ///
    /// # Errors
    ///
    /// Anything else is refused, with the line: a listing that lost half of itself must not pass for a small tree.
    pub fn parse(text: &[u8]) -> Result<Self, ParseError> {
        let at = |line, what| ParseError { line, what };
        let text = std::str::from_utf8(text).map_err(|_| at(1, "not text"))?;
        let body = text
            .strip_suffix('\n')
            .ok_or(at(1, "does not end in a newline"))?;
        let mut lines = body.split('\n').zip(1..);
        if lines.next().is_none_or(|(header, _)| header != HEADER) {
            return Err(at(1, "does not begin with `tree-listing 1`"));
        }
        let mut entries = BTreeMap::new();
        for (line, number) in lines {
            let (path, entry) = parse_line(line).map_err(|what| at(number, what))?;
            if entries
                .last_key_value()
                .is_some_and(|(last, _)| *last >= path)
            {
                return Err(at(number, "path twice or out of order"));
            }
            entries.insert(path, entry);
        }
        Ok(Self { entries })
    }
}

/// Returns all of an entry's line but the path, beginning with a space.
fn line(entry: &Entry) -> String {
    let Entry {
        kind,
        mode,
        uid,
        gid,
        size,
        mtime,
        links,
        shared,
        xattrs,
    } = entry;
    let name = kind.name();
    let mut line = format!(
        " {name} mode={mode:04o} uid={uid} gid={gid} size={size} mtime={mtime} links={links}"
    );
    if let Some(first) = shared {
        line.push_str(&format!(" shared={}", escape(first)));
    }
    match kind {
        Kind::File { sha256 } => line.push_str(&format!(" sha256={}", to_hex(sha256))),
        Kind::Symlink { target } => line.push_str(&format!(" target={}", escape(target))),
        Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
            line.push_str(&format!(" device={major}:{minor}"));
        }
        Kind::Directory | Kind::Fifo | Kind::Socket => {}
    }
    for (name, value) in xattrs {
        line.push_str(&format!(" xattr:{}={}", escape(name), to_hex(value)));
    }
    line
}

fn parse_line(line: &str) -> Result<(Vec<u8>, Entry), &'static str> {
    let mut words = line.split(' ');
    let path = words.next().and_then(unescape).ok_or("malformed path")?;
    if !path.starts_with(b"/") {
        return Err("path does not begin with `/`");
    }
    let kind = words.next().ok_or("no type")?;
    let mut fields = BTreeMap::new();
    let mut xattrs = BTreeMap::new();
    for word in words {
        let (name, value) = word.split_once('=').ok_or("field without `=`")?;
        let double = if let Some(name) = name.strip_prefix("xattr:") {
            let name = unescape(name).ok_or("malformed attribute name")?;
            xattrs
                .insert(name, from_hex(value).ok_or("malformed attribute value")?)
                .is_some()
        } else {
            fields.insert(name, value).is_some()
        };
        if double {
            return Err("field twice");
        }
    }
    let mut field = |name| fields.remove(name);
    let kind = match kind {
        "directory" => Kind::Directory,
        "file" => Kind::File {
            sha256: field("sha256").and_then(sha256).ok_or("malformed sha256")?,
        },
        "symlink" => Kind::Symlink {
            target: field("target")
                .and_then(unescape)
                .ok_or("malformed target")?,
        },
        "char-device" | "block-device" => {
            let (major, minor) = field("device").and_then(device).ok_or("malformed device")?;
            if kind == "char-device" {
                Kind::CharDevice { major, minor }
            } else {
                Kind::BlockDevice { major, minor }
            }
        }
        "fifo" => Kind::Fifo,
        "socket" => Kind::Socket,
        _ => return Err("unknown type"),
    };
    let mode = field("mode")
        .and_then(|text| u16::from_str_radix(text, 8).ok())
        .filter(|mode| *mode <= 0o7777);
    let entry = Entry {
        kind,
        mode: mode.ok_or("malformed mode")?,
        uid: field("uid").and_then(number).ok_or("malformed uid")?,
        gid: field("gid").and_then(number).ok_or("malformed gid")?,
        size: field("size").and_then(number).ok_or("malformed size")?,
        mtime: field("mtime").and_then(number).ok_or("malformed mtime")?,
        links: field("links").and_then(number).ok_or("malformed links")?,
        shared: field("shared")
            .map(|text| unescape(text).ok_or("malformed shared"))
            .transpose()?,
        xattrs,
    };
    if fields.is_empty() {
        Ok((path, entry))
    } else {
        Err("unknown field")
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn sha256(text: &str) -> Option<[u8; 32]> {
    from_hex(text)?.try_into().ok()
}

fn device(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((number(major)?, number(minor)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NULL: &str = "/null char-device mode=0666 uid=0 gid=5 size=0 mtime=-1 links=1 device=1:3";

    #[test]
    fn text_of_every_type_reads_back() {
        let sha256 = "ab".repeat(32);
        let text = format!(
            "tree-listing 1\n\
             / directory mode=0755 uid=0 gid=0 size=4096 mtime=0 links=3\n\
             /a\\x20b file mode=4755 uid=1 gid=4294967295 size=5 mtime=9 links=2 shared=/a\\x20b sha256={sha256} \
             xattr:user.e=\\x n\n"
        );
        assert_eq!(
            Listing::parse(text.as_bytes()).unwrap_err().line,
            3,
            "broken attribute value"
        );
        let text = format!(
            "tree-listing 1\n\
             / directory mode=0755 uid=0 gid=0 size=4096 mtime=0 links=3\n\
             /a\\x20b file mode=4755 uid=1 gid=4294967295 size=5 mtime=9 links=2 shared=/a\\x20b sha256={sha256} \
             xattr:user.\\x3d=00ff xattr:user.empty=\n\
             /b block-device mode=0660 uid=0 gid=6 size=0 mtime=0 links=1 device=4095:1048575\n\
             /f fifo mode=0600 uid=0 gid=0 size=0 mtime=0 links=1\n\
             /l symlink mode=0777 uid=0 gid=0 size=3 mtime=0 links=1 target=..\\x0a\n\
             {NULL}\n\
             /s socket mode=0755 uid=0 gid=0 size=0 mtime=0 links=1\n"
        );
        let listing = Listing::parse(text.as_bytes()).unwrap();
        assert_eq!(listing.entries.len(), 7);
        assert_eq!(
            listing.entries[b"/a b".as_slice()].xattrs[b"user.=".as_slice()],
            [0, 255]
        );
        assert_eq!(String::from_utf8(listing.to_text()).unwrap(), text);
    }

    #[test]
    fn damaged_text_is_refused() {
        let good = format!("tree-listing 1\n{NULL}\n");
        assert!(Listing::parse(good.as_bytes()).is_ok());
        let cases = [
            ("", "newline"),
            ("tree-listing 2\n", "begin"),
            (good.trim_end(), "newline"),
            (&good.replace("/null", "null"), "path"),
            (&good.replace("char-device", "device"), "type"),
            (&good.replace(" device=1:3", ""), "device"),
            (&good.replace(" uid=0", ""), "uid"),
            (&good.replace(" uid=0", " uid=4294967296"), "uid"),
            (&good.replace("0666", "10666"), "mode"),
            (&good.replace(" links=1", " links=1 links=1"), "twice"),
            (
                &good.replace(" links=1", " links=1 sha256=00"),
                "unknown field",
            ),
            (&good.replace(" links=1", " links"), "without"),
            (&format!("{good}{NULL}\n"), "out of order"),
        ];
        for (text, what) in cases {
            let error = Listing::parse(text.as_bytes()).unwrap_err();
            assert!(
                error.what.contains(what),
                "{error} where {what} was expected, of {text}"
            );
        }
    }
}
