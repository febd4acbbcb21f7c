//! The headers of a tar file, one after the other, and where the bodies between them are.
//!
//! A header of 512 bytes and the body, padded to 512, again and again. Names and sizes that do not
//! fit the header are in a member before it: POSIX's `x`, GNU's `L` and `K`. Bodies are passed over.

use std::io;

use crate::open_archive::unwanted;
use crate::source::by_offset::ByOffset;
use crate::source::piece::Piece;
use crate::source::tar_fields::{BLOCK, broken, number};
use crate::source::tar_sparse::{self, Sparse};

/// Most bytes of a long name, or of a POSIX header.
const MAX_EXTENSION: u64 = 1 << 20;

/// Where the next header is.
#[derive(Debug)]
pub(crate) struct Headers {
    at: u64,
    left: usize,
}

/// A header that is not one of those that describe the next.
pub(crate) struct Found {
    /// Where the header is.
    pub(crate) at: u64,
    /// `None` if it leaves the archive.
    pub(crate) name: Option<String>,
    pub(crate) member: Option<Member>,
    /// Where the body ends, without its padding.
    pub(crate) end: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Member {
    File(Box<[Piece]>),
    /// The name that it leads to.
    Link(String),
}

impl Headers {
    /// At most `max` headers, from the start of an archive.
    pub(crate) fn new(max: usize) -> Self {
        Self { at: 0, left: max }
    }

    /// The next header; `None` at the end of the archive.
    pub(crate) fn next(&mut self, bytes: &mut dyn ByOffset) -> io::Result<Option<Found>> {
        let mut long = Long::default();
        // Two zero blocks end an archive; some writers leave them out.
        while bytes.end().saturating_sub(self.at) >= BLOCK {
            if !bytes.is_wanted() {
                return Err(unwanted());
            }
            let at = self.at;
            let mut block = [0; 512];
            if bytes.read_at(&mut block, at)? < block.len() {
                break;
            }
            self.left = self
                .left
                .checked_sub(1)
                .ok_or_else(|| broken(at, "too many headers"))?;
            if block.iter().all(|byte| *byte == 0) {
                break;
            }
            let header = Header::parse(&block).ok_or_else(|| broken(at, "no tar header"))?;
            let length = long.size.unwrap_or(header.size);
            let mut body = at + BLOCK;
            let beyond = || beyond(at);
            let mut sparse = long.sparse.take();
            if header.kind == b'S' {
                let (map, behind) = tar_sparse::old_gnu(bytes, &block, at)?;
                (sparse, body) = (Some(map), behind);
            }
            let end = body.checked_add(length).ok_or_else(beyond)?;
            if end > bytes.end() {
                return Err(beyond());
            }
            // A member that ends in the last block needs no padding.
            let padded = length.div_ceil(BLOCK).saturating_mul(BLOCK);
            self.at = body.saturating_add(padded).min(bytes.end());
            if matches!(header.kind, b'x' | b'L' | b'K') {
                if length > MAX_EXTENSION {
                    return Err(broken(at, "a name that is too long"));
                }
                let mut text = vec![0; usize::try_from(length).map_err(io::Error::other)?];
                if bytes.read_at(&mut text, body)? < text.len() {
                    return Err(beyond());
                }
                long.sparse = sparse;
                long.take(header.kind, &text);
                continue;
            }
            let Long { path, link, .. } = std::mem::take(&mut long);
            let path = sparse.as_mut().and_then(|map| map.name.take()).or(path);
            let name = clean("", &path.unwrap_or(header.path));
            let member = match header.kind {
                b'0' | 0 | b'7' | b'S' => Some(Member::File(match sparse {
                    Some(map) => map.pieces(bytes, at, body, length)?.into(),
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
            return Ok(Some(Found {
                at,
                name,
                member,
                end,
            }));
        }
        Ok(None)
    }
}

/// The error for a member whose body is longer than the rest of the archive.
pub(crate) fn beyond(at: u64) -> io::Error {
    broken(at, "a member that goes on beyond the end")
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

    #[test]
    fn records_give_names_and_sizes() {
        let mut long = Long::default();
        long.take(b'x', b"12 path=a/b\n14 size=12345\n99 linkpath=cut\n");
        assert_eq!(long.path.as_deref(), Some("a/b"));
        assert_eq!(long.size, Some(12345));
        assert_eq!(long.link, None);
    }
}
