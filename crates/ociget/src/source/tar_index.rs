//! Where the members of a tar file are, so that they can be read in any order and in place.
//!
//! A header of 512 bytes and the body, padded to 512, again and again. Names and sizes that do not
//! fit the header are in a member before it: POSIX's `x`, GNU's `L` and `K`. Bodies are skipped.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use crate::source::section::Piece;
use crate::source::tar_fields::{BLOCK, broken, number};
use crate::source::tar_sparse::{self, Sparse};

/// Most members that are looked at. An image of 127 layers has some 400.
const MAX_MEMBERS: usize = 65_536;
/// Most headers that are read: those of long names, directories and devices are no members.
const MAX_HEADERS: usize = 8 * MAX_MEMBERS;
/// Most pieces that all members together have; one that is not sparse is one piece.
const MAX_PIECES: usize = 4 * MAX_MEMBERS;
/// Most bytes of all names together, and of what links lead to.
const MAX_NAMES: usize = 64 << 20;
/// Most bytes of a long name, or of a POSIX header.
const MAX_EXTENSION: u64 = 1 << 20;
/// Links that lead to links.
const MAX_LINKS: usize = 8;
/// Bytes that are compared at a time.
const COMPARED: usize = 64 << 10;

/// The members of an archive by name, without a leading `./`.
#[derive(Debug, Default)]
pub(crate) struct Members {
    by_name: HashMap<String, Member>,
    pieces: usize,
    /// Bytes of names.
    names: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Member {
    File(Box<[Piece]>),
    /// The name that it leads to.
    Link(String),
}

impl Members {
    /// Reads the headers of `file`, for as long as `wanted` returns `true`.
    pub(crate) fn read(file: &File, wanted: impl Fn() -> bool) -> io::Result<Self> {
        Self::read_up_to(file, MAX_HEADERS, wanted)
    }

    fn read_up_to(file: &File, max: usize, wanted: impl Fn() -> bool) -> io::Result<Self> {
        let mut members = Self::default();
        let mut headers = Headers::of(file, max)?;
        while let Some(Found { at, name, member }) = headers.next(&wanted)? {
            if let (Some(name), Some(member)) = (name, member) {
                members.add(file, name, member, at, &wanted)?;
            }
        }
        Ok(members)
    }

    /// The pieces of the body of `name`. Links are followed.
    pub(crate) fn find(&self, name: &str) -> Option<&[Piece]> {
        let mut name = name;
        for _ in 0..MAX_LINKS {
            match self.by_name.get(name)? {
                Member::File(pieces) => return Some(pieces),
                Member::Link(target) => name = target,
            }
        }
        None
    }

    /// The names of all members, in no order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    fn add(
        &mut self,
        file: &File,
        name: String,
        member: Member,
        at: u64,
        wanted: impl Fn() -> bool,
    ) -> io::Result<()> {
        if let Some(there) = self.by_name.get(&name) {
            // Some writers repeat a layer that an image has twice. Of two that differ readers take
            // different ones.
            return match is_same(file, there, &member, wanted)? {
                true => Ok(()),
                false => Err(broken(at, "a name that was there before")),
            };
        }
        self.names = self.names.saturating_add(name.len());
        match &member {
            Member::File(pieces) => self.pieces = self.pieces.saturating_add(pieces.len()),
            Member::Link(target) => self.names = self.names.saturating_add(target.len()),
        }
        if self.by_name.len() >= MAX_MEMBERS || self.pieces > MAX_PIECES {
            return Err(broken(at, "too many members"));
        }
        if self.names > MAX_NAMES {
            return Err(broken(at, "names of more than 64 MiB"));
        }
        self.by_name.insert(name, member);
        Ok(())
    }
}

/// Whether two members of one name are the same: links to the same name, or bodies without holes of
/// the same bytes.
fn is_same(
    file: &File,
    one: &Member,
    other: &Member,
    wanted: impl Fn() -> bool,
) -> io::Result<bool> {
    let (Member::File(one), Member::File(other)) = (one, other) else {
        return Ok(one == other);
    };
    let (
        &[
            Piece::Data {
                offset: mut one,
                length,
            },
        ],
        &[
            Piece::Data {
                offset: mut other,
                length: mut left,
            },
        ],
    ) = (&**one, &**other)
    else {
        return Ok(false);
    };
    if length != left {
        return Ok(false);
    }
    let mut buffers = [vec![0; COMPARED], vec![0; COMPARED]];
    while left > 0 {
        if !wanted() {
            return Err(unwanted());
        }
        let count = usize::try_from(left).map_or(COMPARED, |left| left.min(COMPARED));
        let [first, second] = &mut buffers;
        let (first, second) = (&mut first[..count], &mut second[..count]);
        file.read_exact_at(first, one)?;
        file.read_exact_at(second, other)?;
        if first != second {
            return Ok(false);
        }
        let count = u64::try_from(count).unwrap_or(left);
        (one, other, left) = (one + count, other + count, left - count);
    }
    Ok(true)
}

/// The headers of an archive, one behind the other.
pub(crate) struct Headers<'a> {
    file: &'a File,
    end: u64,
    at: u64,
    left: usize,
}

/// A header that is not one of those that describe the next.
pub(crate) struct Found {
    at: u64,
    /// `None` if it leaves the archive.
    pub(crate) name: Option<String>,
    member: Option<Member>,
}

impl<'a> Headers<'a> {
    /// At most `max` headers of `file`, from its start.
    pub(crate) fn of(file: &'a File, max: usize) -> io::Result<Self> {
        Ok(Self {
            file,
            end: file.metadata()?.len(),
            at: 0,
            left: max,
        })
    }

    /// The next header; `None` at the end of the archive.
    pub(crate) fn next(&mut self, wanted: impl Fn() -> bool) -> io::Result<Option<Found>> {
        let mut long = Long::default();
        // Two zero blocks end an archive; some writers leave them out.
        while self.end - self.at >= BLOCK {
            if !wanted() {
                return Err(unwanted());
            }
            let at = self.at;
            self.left = self
                .left
                .checked_sub(1)
                .ok_or_else(|| broken(at, "too many headers"))?;
            let mut block = [0; 512];
            self.file.read_exact_at(&mut block, at)?;
            if block.iter().all(|byte| *byte == 0) {
                break;
            }
            let header = Header::parse(&block).ok_or_else(|| broken(at, "no tar header"))?;
            let length = long.size.unwrap_or(header.size);
            let mut body = at + BLOCK;
            let beyond = || broken(at, "a member that goes on beyond the end");
            let mut sparse = long.sparse.take();
            if header.kind == b'S' {
                let (map, behind) = tar_sparse::old_gnu(self.file, &block, at, self.end)?;
                (sparse, body) = (Some(map), behind);
            }
            if length > self.end.checked_sub(body).ok_or_else(beyond)? {
                return Err(beyond());
            }
            // A member that ends in the last block needs no padding.
            let padded = length.div_ceil(BLOCK).saturating_mul(BLOCK);
            self.at = body.saturating_add(padded).min(self.end);
            if matches!(header.kind, b'x' | b'L' | b'K') {
                if length > MAX_EXTENSION {
                    return Err(broken(at, "a name that is too long"));
                }
                let mut text = vec![0; usize::try_from(length).map_err(io::Error::other)?];
                self.file.read_exact_at(&mut text, body)?;
                long.sparse = sparse;
                long.take(header.kind, &text);
                continue;
            }
            let Long { path, link, .. } = std::mem::take(&mut long);
            let path = sparse.as_mut().and_then(|map| map.name.take()).or(path);
            let name = clean("", &path.unwrap_or(header.path));
            let member = match header.kind {
                b'0' | 0 | b'7' | b'S' => Some(Member::File(match sparse {
                    Some(map) => map.pieces(self.file, at, body, length)?.into(),
                    None => Box::new([Piece::Data {
                        offset: body,
                        length,
                    }]),
                })),
                b'1' => clean("", &link.unwrap_or(header.link)).map(Member::Link),
                b'2' => {
                    let name = name.as_deref().unwrap_or_default();
                    let dir = name.rsplit_once('/').map_or("", |(dir, _)| dir);
                    clean(dir, &link.unwrap_or(header.link)).map(Member::Link)
                }
                _ => None,
            };
            return Ok(Some(Found { at, name, member }));
        }
        Ok(None)
    }
}

fn unwanted() -> io::Error {
    io::Error::other("nobody waits for the archive any more")
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
    sparse: Option<Sparse>,
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
            match record.strip_suffix('\n').unwrap_or(&record).split_once('=') {
                Some((key, value)) if key.starts_with("GNU.sparse.") => {
                    self.sparse.get_or_insert_default().take(key, value);
                }
                Some(("path", path)) => self.path = Some(path.to_owned()),
                Some(("linkpath", link)) => self.link = Some(link.to_owned()),
                Some(("size", size)) => self.size = size.parse().ok(),
                _ => {}
            }
            body = &body[length..];
        }
    }
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
    fn records_give_names_and_sizes() {
        let mut long = Long::default();
        long.take(b'x', b"12 path=a/b\n14 size=12345\n99 linkpath=cut\n");
        assert_eq!(long.path.as_deref(), Some("a/b"));
        assert_eq!(long.size, Some(12345));
        assert_eq!(long.link, None);
    }
}
