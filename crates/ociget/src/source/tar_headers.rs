//! The headers of a tar file, one after the other, and where the bodies between them are.
//!
//! A header of 512 bytes and the body, padded to 512, again and again. Names and sizes that do not
//! fit the header are in a member before it: POSIX's `x`, GNU's `L` and `K`. Bodies are passed over.

use std::io;
use std::sync::Arc;

use crate::open_archive::unwanted;
use crate::source::by_offset::ByOffset;
use crate::source::piece::Piece;
use crate::source::tar_extensions::{Described, Extensions, Records};
use crate::source::tar_header::Header;
use crate::source::tar_sparse::{self, Sparse};
use crate::tar_fields::{BLOCK, broken};

/// Most bytes of a long name, or of a POSIX header.
const MAX_EXTENSION: u64 = 1 << 20;
/// Most zeros at the end of an archive whose last member claims contents.
const MAX_ZEROS: u64 = 1 << 20;

/// A walk from header to header.
#[derive(Debug)]
pub(crate) struct Headers {
    at: u64,
    left: usize,
    /// The last member, if it declares a size and has no contents.
    claims: Option<Claim>,
}

/// A size of a member that has no contents.
#[derive(Clone, Copy, Debug)]
struct Claim {
    at: u64,
    what: &'static str,
    size: u64,
}

/// A header that is not one of those that describe the next.
pub(crate) struct Found {
    /// Offset of the header.
    pub(crate) at: u64,
    /// `None` if it leaves the archive.
    pub(crate) name: Option<String>,
    pub(crate) member: Option<Member>,
    /// Offset of the end of the body, without its padding.
    pub(crate) end: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Member {
    File(Arc<[Piece]>),
    /// The name that it leads to.
    Link(String),
}

/// What a header's kind means.
enum Meaning {
    File,
    HardLink,
    Symlink,
    /// A kind without contents: its name, and whether all readers agree that it has none.
    Other(&'static str, bool),
}

impl Headers {
    /// At most `max` headers, from the start of an archive.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            at: 0,
            left: max,
            claims: None,
        }
    }

    /// The next header; `None` at the end of the archive.
    pub(crate) fn next(&mut self, bytes: &mut dyn ByOffset) -> io::Result<Option<Found>> {
        let mut ahead = Extensions::default();
        loop {
            if !bytes.is_wanted() {
                return Err(unwanted());
            }
            let at = self.at;
            let wrong = |what| broken(at, what);
            let Some(block) = self.block(bytes)? else {
                return match ahead.is_empty() {
                    true => Ok(None),
                    false => Err(wrong("the end after a header that describes the next")),
                };
            };
            let header = match Header::parse(&block) {
                Ok(header) => header,
                Err(what) => return Err(self.claimed().unwrap_or_else(|| wrong(what))),
            };
            self.claims = None;
            match header.kind {
                b'x' | b'L' | b'K' => {
                    let body = self.extension(bytes, at, header.size)?;
                    ahead.take(header.kind, &body).map_err(wrong)?;
                }
                // Readers of images apply no global header to members. They differ on what became
                // of an extension before it.
                b'g' if ahead.is_empty() => {
                    let body = self.extension(bytes, at, header.size)?;
                    Records::parse(&body).map_err(wrong)?;
                }
                b'g' => return Err(wrong("a global header between a member and its extensions")),
                // For GNU tar and Python it is another `x`, for Go a file.
                b'X' => return Err(wrong("an extended header of Solaris")),
                _ => {
                    let described = ahead.into_described().map_err(wrong)?;
                    return self.member(bytes, at, &block, header, described).map(Some);
                }
            }
        }
    }

    /// The next block, unless the archive ends.
    fn block(&mut self, bytes: &mut dyn ByOffset) -> io::Result<Option<[u8; 512]>> {
        let at = self.at;
        let mut block = [0; 512];
        // Some writers leave out the two zero blocks that end an archive.
        if bytes.end().saturating_sub(at) < BLOCK || bytes.read_at(&mut block, at)? < block.len() {
            return Ok(None);
        }
        self.left = self
            .left
            .checked_sub(1)
            .ok_or_else(|| broken(at, "too many headers"))?;
        if block.iter().any(|byte| *byte != 0) {
            return Ok(Some(block));
        }
        let behind = at + BLOCK;
        let count = bytes.read_at(&mut block, behind)?;
        if block.iter().take(count).any(|byte| *byte != 0) {
            let lone = || broken(at, "a single zero block before more of it");
            return Err(self.claimed().unwrap_or_else(lone));
        }
        if self.claims.is_some() && count == block.len() {
            self.only_zeros(bytes, behind + BLOCK)?;
        }
        Ok(None)
    }

    /// Checks that nothing but zeros follows, which a reader that takes them for contents skips.
    fn only_zeros(&self, bytes: &mut dyn ByOffset, from: u64) -> io::Result<()> {
        let mut buffer = vec![0; 16 << 10];
        let mut read = 0;
        loop {
            let count = bytes.read_at(&mut buffer, from + read)?;
            let more = buffer.iter().take(count).any(|byte| *byte != 0);
            read = read.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
            match self.claimed() {
                Some(error) if more || read > MAX_ZEROS => return Err(error),
                _ if count < buffer.len() => return Ok(()),
                _ => {}
            }
        }
    }

    /// The error for contents after a member that has none.
    fn claimed(&self) -> Option<io::Error> {
        let Claim { at, what, size } = self.claims?;
        Some(contents(at, what, size))
    }

    /// The body of a header that describes the next. Its length is its own: no record changes it.
    fn extension(&mut self, bytes: &mut dyn ByOffset, at: u64, length: u64) -> io::Result<Vec<u8>> {
        if length > MAX_EXTENSION {
            return Err(broken(at, "a name that is too long"));
        }
        let (body, _) = self.go_over(bytes, at, at + BLOCK, length)?;
        let mut text = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        match bytes.read_at(&mut text, body)? < text.len() {
            true => Err(beyond(at)),
            false => Ok(text),
        }
    }

    /// Goes on to the header after a body, and returns where the body is and ends.
    fn go_over(
        &mut self,
        bytes: &dyn ByOffset,
        at: u64,
        body: u64,
        length: u64,
    ) -> io::Result<(u64, u64)> {
        let end = body.checked_add(length).ok_or_else(|| beyond(at))?;
        if end > bytes.end() {
            return Err(beyond(at));
        }
        // A member that ends in the last block needs no padding.
        let padded = length.div_ceil(BLOCK).saturating_mul(BLOCK);
        self.at = body.saturating_add(padded).min(bytes.end());
        Ok((body, end))
    }

    /// A member whose header is at `at`.
    fn member(
        &mut self,
        bytes: &mut dyn ByOffset,
        at: u64,
        block: &[u8; 512],
        header: Header,
        described: Described,
    ) -> io::Result<Found> {
        let wrong = |what| broken(at, what);
        let Described {
            path,
            link,
            size,
            mut sparse,
        } = described;
        let path = sparse.as_mut().and_then(|map| map.name.take()).or(path);
        if path.is_none() && header.is_unclear {
            return Err(wrong("a name that has a prefix for some readers only"));
        }
        let path = path.unwrap_or(header.path);
        let is_directory = path.ends_with('/');
        if header.kind == 0 && header.has_slash != is_directory {
            return Err(wrong("a member that is a directory for some readers only"));
        }
        let name = clean("", &path);
        let link = link.unwrap_or(header.link);
        let meaning = match header.kind {
            0 if is_directory => Meaning::Other("directory of the oldest format", false),
            b'1' => Meaning::HardLink,
            b'2' => Meaning::Symlink,
            b'3' | b'4' => Meaning::Other("device", false),
            b'5' => Meaning::Other("directory", true),
            b'6' => Meaning::Other("fifo", false),
            // A kind that a reader does not know is a file, as POSIX demands.
            _ => Meaning::File,
        };
        let is_file = matches!(meaning, Meaning::File);
        if !is_file && sparse.is_some() {
            return Err(wrong("a sparse map of what is not a file"));
        }
        let stored = size.unwrap_or(header.size);
        let claimed = header.size.max(stored);
        let (what, is_agreed) = match meaning {
            Meaning::HardLink => ("hard link", true),
            Meaning::Symlink => ("symlink", false),
            Meaning::Other(what, is_agreed) => (what, is_agreed),
            Meaning::File => ("file", true),
        };
        let mut body = at + BLOCK;
        if !is_file && claimed > 0 {
            let size = claimed;
            // GNU tar skips contents of the kinds that may not have any.
            if !is_agreed {
                return Err(contents(at, what, size));
            }
            self.claims = Some(Claim { at, what, size });
        }
        if header.kind == b'S' {
            if sparse.is_some() || !header.is_gnu {
                return Err(wrong("a sparse member whose map makes no sense"));
            }
            let (map, behind) = tar_sparse::old_gnu(bytes, block, at)?;
            (sparse, body) = (Some(map), behind);
        }
        let length = if is_file { stored } else { 0 };
        let (body, end) = self.go_over(bytes, at, body, length)?;
        let member = match meaning {
            Meaning::File => Some(file(bytes, at, body, length, sparse)?),
            Meaning::HardLink => clean("", &link).map(Member::Link),
            // Docker takes the archive for the root, and containers/image the directory of the link. Kept for the error
            // alone: no name begins with a slash.
            Meaning::Symlink if link.starts_with('/') => Some(Member::Link(link)),
            Meaning::Symlink => {
                let name = name.as_deref().unwrap_or_default();
                let dir = name.rsplit_once('/').map_or("", |(dir, _)| dir);
                clean(dir, &link).map(Member::Link)
            }
            Meaning::Other(..) => None,
        };
        Ok(Found {
            at,
            name,
            member,
            end,
        })
    }
}

/// The pieces of a file whose `stored` bytes are at `body`.
fn file(
    bytes: &mut dyn ByOffset,
    at: u64,
    body: u64,
    stored: u64,
    sparse: Option<Sparse>,
) -> io::Result<Member> {
    Ok(Member::File(match sparse {
        Some(map) => map.pieces(bytes, at, body, stored)?.into(),
        None => Arc::new([Piece::Data {
            offset: body,
            length: stored,
        }]),
    }))
}

/// The error for a member whose body is longer than the rest of the archive.
pub(crate) fn beyond(at: u64) -> io::Error {
    broken(at, "a member that goes on beyond the end")
}

/// The error for a member that declares contents and has none for some readers, or for all.
fn contents(at: u64, what: &str, size: u64) -> io::Error {
    broken(
        at,
        &format!("a {what} with a size of {size}, whose contents readers disagree about,"),
    )
}

/// `name` as seen from `dir`, without `.` and `..`; `None` if it leaves the archive. The archive is the root, because
/// some writers begin names with a slash (Cloud Native Buildpacks), and readers strip it.
pub(crate) fn clean(dir: &str, name: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    let dir = if name.starts_with('/') { "" } else { dir };
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
    use std::fs::File;
    use std::io::Write as _;

    use super::*;
    use crate::source::by_offset::InFile;

    fn header(kind: u8, size: u64) -> Vec<u8> {
        let mut block = vec![0; 512];
        block[0] = b'a';
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        block[148..156].fill(b' ');
        block[156] = kind;
        let sum: u32 = block.iter().copied().map(u32::from).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        block
    }

    /// Reads an archive of these parts, and returns how many members it has.
    fn count(parts: &[&[u8]]) -> Result<usize, String> {
        let mut file: File = tempfile::tempfile().unwrap();
        for part in parts {
            file.write_all(part).unwrap();
        }
        let mut bytes = InFile::new(&file, || true).unwrap();
        let (mut headers, mut members) = (Headers::new(10), 0);
        while let Some(found) = headers.next(&mut bytes).map_err(|e| e.to_string())? {
            assert!(found.end <= bytes.end());
            members += 1;
        }
        Ok(members)
    }

    #[test]
    fn extensions_are_read_up_to_their_limit() {
        for (size, expected) in [
            (MAX_EXTENSION, None),
            (MAX_EXTENSION + 1, Some("a name that is too long")),
        ] {
            let mut name = vec![b'n'; usize::try_from(size).unwrap()];
            name.resize(name.len().next_multiple_of(512), 0);
            let found = count(&[&header(b'L', size), &name, &header(b'0', 0)]);
            match expected {
                None => assert_eq!(found, Ok(1)),
                Some(what) => assert!(found.as_ref().is_err_and(|e| e.contains(what)), "{found:?}"),
            }
        }
    }

    #[test]
    fn contents_end_within_the_archive() {
        let body = [b'x'; 513];
        assert_eq!(count(&[&header(b'0', 513), &body]), Ok(1));
        assert!(count(&[&header(b'0', 514), &body]).is_err());
        assert!(count(&[&header(b'0', 1 << 32), &body]).is_err());
        // The size of a directory counts for nothing, if a header or the end follows.
        let next = header(b'0', 0);
        assert_eq!(count(&[&header(b'5', 512), &next]), Ok(2));
        assert!(count(&[&header(b'5', 512), &[b'x'; 512], &next]).is_err());
        assert!(count(&[&header(b'3', 512), &next]).is_err());
    }

    #[test]
    fn zeros_after_a_claimed_size_have_a_limit() {
        let zeros = vec![0; usize::try_from(MAX_ZEROS).unwrap() + 1024];
        let claim = header(b'5', 512);
        assert_eq!(count(&[&claim, &zeros]), Ok(1));
        assert!(count(&[&claim, &zeros, &[0]]).is_err());
        assert!(count(&[&claim, &zeros[..5000], b"x"]).is_err());
        // Without a claim the bytes after the end are not read.
        assert_eq!(count(&[&header(b'5', 0), &zeros, b"x"]), Ok(1));
    }

    #[test]
    fn names_stay_in_the_archive() {
        for (dir, name, expected) in [
            ("", "./a/b", Some("a/b")),
            ("x", "../y.tar", Some("y.tar")),
            ("x/y", "../../z", Some("z")),
            ("", "../z", None),
            ("x", "../../z", None),
            ("", "/etc/passwd", Some("etc/passwd")),
            ("x", "/y/../z", Some("z")),
            ("x", "/../z", None),
            ("", "/", None),
            ("", "./", None),
        ] {
            assert_eq!(clean(dir, name).as_deref(), expected, "{dir} {name}");
        }
    }
}
