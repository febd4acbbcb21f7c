//! Where the members of a tar file are, so that they can be read in any order and in place.
//!
//! A header of 512 bytes and the body, padded to 512, again and again. Names and sizes that do not
//! fit the header are in a member before it: POSIX's `x`, GNU's `L` and `K`. Bodies are skipped.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

const BLOCK: u64 = 512;
/// Most members that are looked at. An image of 127 layers has some 400.
const MAX_MEMBERS: usize = 65_536;
/// Most headers that are read: those of long names, directories and devices are no members.
const MAX_HEADERS: usize = 8 * MAX_MEMBERS;
/// Most bytes of a long name, or of a POSIX header.
const MAX_EXTENSION: u64 = 64 << 10;
/// Links that lead to links.
const MAX_LINKS: usize = 8;

/// The members of an archive by name, without a leading `./`.
#[derive(Debug, Default)]
pub(crate) struct Members(HashMap<String, Member>);

#[derive(Debug, PartialEq, Eq)]
enum Member {
    File {
        offset: u64,
        length: u64,
    },
    /// The name that it leads to.
    Link(String),
}

impl Members {
    /// Reads the headers of `file`, for as long as `wanted` returns `true`.
    pub(crate) fn read(file: &File, wanted: impl Fn() -> bool) -> io::Result<Self> {
        Self::read_up_to(file, MAX_HEADERS, wanted)
    }

    fn read_up_to(file: &File, max: usize, wanted: impl Fn() -> bool) -> io::Result<Self> {
        let end = file.metadata()?.len();
        let mut members = Self::default();
        let mut long = Long::default();
        let mut at = 0;
        let mut headers = 0;
        // Two zero blocks end an archive; some writers leave them out.
        while end - at >= BLOCK {
            if !wanted() {
                return Err(io::Error::other("nobody waits for the archive any more"));
            }
            headers += 1;
            if headers > max {
                return Err(broken(at, "too many headers"));
            }
            let mut block = [0; 512];
            file.read_exact_at(&mut block, at)?;
            if block.iter().all(|byte| *byte == 0) {
                break;
            }
            let header = Header::parse(&block).ok_or_else(|| broken(at, "no tar header"))?;
            let length = long.size.unwrap_or(header.size);
            let body = at + BLOCK;
            if length > end - body {
                return Err(broken(at, "a member that goes on beyond the end"));
            }
            if matches!(header.kind, b'x' | b'L' | b'K') {
                if length > MAX_EXTENSION {
                    return Err(broken(at, "a name that is too long"));
                }
                let mut text = vec![0; usize::try_from(length).map_err(io::Error::other)?];
                file.read_exact_at(&mut text, body)?;
                long.take(header.kind, &text);
            } else {
                let Long { path, link, .. } = std::mem::take(&mut long);
                let name = clean("", &path.unwrap_or(header.path));
                let member = match header.kind {
                    b'0' | 0 | b'7' => Some(Member::File {
                        offset: body,
                        length,
                    }),
                    b'1' => clean("", &link.unwrap_or(header.link)).map(Member::Link),
                    b'2' => {
                        let name = name.as_deref().unwrap_or_default();
                        let dir = name.rsplit_once('/').map_or("", |(dir, _)| dir);
                        clean(dir, &link.unwrap_or(header.link)).map(Member::Link)
                    }
                    _ => None,
                };
                if let (Some(name), Some(member)) = (name, member) {
                    members.add(name, member, at)?;
                }
            }
            // A member that ends in the last block needs no padding.
            let padded = length.div_ceil(BLOCK).saturating_mul(BLOCK);
            at = body.saturating_add(padded).min(end);
        }
        Ok(members)
    }

    /// Where the body of `name` is: its offset and length. Links are followed.
    pub(crate) fn find(&self, name: &str) -> Option<(u64, u64)> {
        let mut name = name.to_owned();
        for _ in 0..MAX_LINKS {
            match self.0.get(&name)? {
                Member::File { offset, length } => return Some((*offset, *length)),
                Member::Link(target) => name.clone_from(target),
            }
        }
        None
    }

    fn add(&mut self, name: String, member: Member, at: u64) -> io::Result<()> {
        if self.0.len() >= MAX_MEMBERS {
            return Err(broken(at, "too many members"));
        }
        // Which of the two counts is a question that readers answer differently.
        if self.0.insert(name, member).is_some() {
            return Err(broken(at, "a name that was there before"));
        }
        Ok(())
    }
}

struct Header {
    kind: u8,
    size: u64,
    path: String,
    link: String,
}

impl Header {
    fn parse(block: &[u8; 512]) -> Option<Self> {
        let field = |from: usize, to: usize| block.get(from..to).unwrap_or_default();
        let sum: u64 = block
            .iter()
            .enumerate()
            .map(|(index, byte)| match index {
                // The checksum counts itself as spaces.
                148..156 => u64::from(b' '),
                _ => u64::from(*byte),
            })
            .sum();
        if number(field(148, 156))? != sum {
            return None;
        }
        let name = text(field(0, 100));
        let prefix = text(field(345, 500));
        let is_posix = field(257, 263) == b"ustar\0";
        Some(Self {
            kind: block[156],
            size: number(field(124, 136))?,
            path: match prefix.is_empty() || !is_posix {
                true => name,
                false => format!("{prefix}/{name}"),
            },
            link: text(field(157, 257)),
        })
    }
}

/// What the members before a member say about it.
#[derive(Default)]
struct Long {
    path: Option<String>,
    link: Option<String>,
    size: Option<u64>,
}

impl Long {
    fn take(&mut self, kind: u8, body: &[u8]) {
        match kind {
            b'L' => self.path = Some(text(body)),
            b'K' => self.link = Some(text(body)),
            _ => self.take_records(body),
        }
    }

    /// `30 path=some/name\n`, the number being the record's length.
    fn take_records(&mut self, mut body: &[u8]) {
        while let Some(space) = body.iter().position(|byte| *byte == b' ') {
            let length = std::str::from_utf8(&body[..space])
                .ok()
                .and_then(|text| text.parse::<usize>().ok());
            let record = length.and_then(|length| body.get(space + 1..length));
            let (Some(length), Some(record)) = (length, record) else {
                return;
            };
            let record = String::from_utf8_lossy(record);
            match record.trim_end_matches('\n').split_once('=') {
                Some(("path", path)) => self.path = Some(path.to_owned()),
                Some(("linkpath", link)) => self.link = Some(link.to_owned()),
                Some(("size", size)) => self.size = size.parse().ok(),
                _ => {}
            }
            body = &body[length..];
        }
    }
}

/// Octal digits, or a binary number with the highest bit set.
fn number(field: &[u8]) -> Option<u64> {
    if let Some((0x80, rest)) = field.split_first() {
        return rest.iter().try_fold(0u64, |number, byte| {
            number.checked_mul(256)?.checked_add(u64::from(*byte))
        });
    }
    let text = std::str::from_utf8(field).ok()?;
    let digits = text.trim_matches([' ', '\0']);
    if digits.is_empty() {
        return Some(0);
    }
    u64::from_str_radix(digits, 8).ok()
}

/// Up to the first NUL. Names that matter here are ASCII; others must only not collide with them.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&field[..end.unwrap_or(field.len())]).into_owned()
}

/// `name` as seen from `dir`, without `.` and `..`; `None` if it leaves the archive.
pub(crate) fn clean(dir: &str, name: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    if name.starts_with('/') {
        return None;
    }
    for part in dir.split('/').chain(name.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

fn broken(at: u64, what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the archive has {what} at byte {at}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_the_archive() {
        for (dir, name, expected) in [
            ("", "./a/b", Some("a/b")),
            ("x", "../y.tar", Some("y.tar")),
            ("x/y", "../../z", Some("z")),
            ("", "../z", None),
            ("x", "../../z", None),
            ("", "/etc/passwd", None),
            ("", "./", None),
        ] {
            assert_eq!(clean(dir, name).as_deref(), expected, "{dir} {name}");
        }
    }

    /// `count` headers of directories without a name.
    fn headers(count: usize) -> File {
        use std::io::Write as _;
        let mut block = [0; 512];
        block[148..156].fill(b' ');
        block[156] = b'5';
        let sum: u32 = block.iter().copied().map(u32::from).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&block.repeat(count)).unwrap();
        file
    }

    #[test]
    fn headers_of_an_archive_are_limited() {
        let read = |count| Members::read_up_to(&headers(count), 100, || true);
        assert!(read(100).is_ok());
        let error = read(101).unwrap_err().to_string();
        assert!(error.contains("too many headers"), "{error}");
    }

    #[test]
    fn reading_an_archive_ends_when_it_is_not_wanted() {
        let left = std::cell::Cell::new(3);
        let wanted = || {
            left.set(left.get() - 1);
            left.get() > 0
        };
        assert!(Members::read(&headers(100), wanted).is_err());
        assert_eq!(left.get(), 0);
    }

    #[test]
    fn numbers_are_octal_or_binary() {
        for (field, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b" 12 \0", Some(0o12)),
            (b"\0\0\0", Some(0)),
            (b"\x80\0\0\0\0\0\0\0\0\0\x01\x02", Some(258)),
            (b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"\xff\xff\xff", None),
            (b"-1", None),
            (b"9", None),
        ] {
            assert_eq!(number(field), expected, "{field:?}");
        }
    }

    #[test]
    fn records_give_names_and_sizes() {
        let mut long = Long::default();
        long.take(b'x', b"12 path=a/b\n14 size=12345\n99 linkpath=cut\n");
        assert_eq!(long.path.as_deref(), Some("a/b"));
        assert_eq!(long.size, Some(12345));
        assert_eq!(long.link, None);
    }
}
