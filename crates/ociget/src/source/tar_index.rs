//! Where the members of a tar file are, so that they can be read in any order and in place.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use crate::open_archive::unwanted;
use crate::source::by_offset::InFile;
use crate::source::piece::Piece;
use crate::source::tar_headers::{Found, Headers, Member};
use crate::tar_fields::broken;

/// Most members that are looked at. An image of 127 layers has some 400.
const MAX_MEMBERS: usize = 65_536;
/// Most headers that are read: those of long names, directories and devices are no members.
pub(crate) const MAX_HEADERS: usize = 8 * MAX_MEMBERS;
/// Most pieces that all members together have; one that is not sparse is one piece.
const MAX_PIECES: usize = 4 * MAX_MEMBERS;
/// Most bytes of all names together, and of what links lead to.
const MAX_NAMES: usize = 64 << 20;
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

impl Members {
    /// Reads the headers of `file`, for as long as `wanted` returns `true`.
    pub(crate) fn read(file: &File, wanted: impl Fn() -> bool) -> io::Result<Self> {
        Self::read_up_to(file, MAX_HEADERS, wanted)
    }

    fn read_up_to(file: &File, max: usize, wanted: impl Fn() -> bool) -> io::Result<Self> {
        let mut members = Self::default();
        let mut bytes = InFile::new(file, &wanted)?;
        let mut headers = Headers::new(max);
        while let Some(Found {
            at, name, member, ..
        }) = headers.next(&mut bytes)?
        {
            let (Some(name), Some(member)) = (name, member) else {
                continue;
            };
            // Some writers repeat a layer that an image has twice. Of two that differ readers take
            // different ones.
            match members.get(&name) {
                None => members.add(name, member, at)?,
                Some(there) if is_same(file, there, &member, &wanted)? => {}
                Some(_) => return Err(repeated(at)),
            }
        }
        Ok(members)
    }

    /// The pieces of the body of `name`. Links are followed.
    pub(crate) fn find(&self, name: &str) -> Option<&Arc<[Piece]>> {
        match self.by_name.get(self.target(name))? {
            Member::File(pieces) => Some(pieces),
            Member::Link(_) => None,
        }
    }

    /// The name that `name` leads to by links, as far as they exist; itself if it is not a link.
    pub(crate) fn target<'a>(&'a self, name: &'a str) -> &'a str {
        let mut name = name;
        for _ in 0..MAX_LINKS {
            match self.by_name.get(name) {
                Some(Member::Link(target)) => name = target,
                _ => break,
            }
        }
        name
    }

    /// The member of this very name.
    pub(crate) fn get(&self, name: &str) -> Option<&Member> {
        self.by_name.get(name)
    }

    /// The names of all members, in no order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// Adds a member, whose name must not exist yet. Its header is at `at`.
    pub(crate) fn add(&mut self, name: String, member: Member, at: u64) -> io::Result<()> {
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

/// The error for a second member of a name, with other contents.
pub(crate) fn repeated(at: u64) -> io::Error {
    broken(at, "a name that was there before")
}

/// The bodies of two members of one name that may be the same: neither has holes, and both have the
/// same length.
pub(crate) fn comparable(one: &Member, other: &Member) -> Option<(u64, u64, u64)> {
    let (Member::File(one), Member::File(other)) = (one, other) else {
        return None;
    };
    match (&**one, &**other) {
        (
            &[Piece::Data { offset, length }],
            &[
                Piece::Data {
                    offset: second,
                    length: same,
                },
            ],
        ) if length == same => Some((offset, second, length)),
        _ => None,
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
    let Some((mut one, mut other, mut left)) = comparable(one, other) else {
        return Ok(matches!(one, Member::Link(_)) && one == other);
    };
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

#[cfg(test)]
mod tests {
    use super::*;

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

    fn file(pieces: usize) -> Member {
        let piece = Piece::Data {
            offset: 0,
            length: 1,
        };
        Member::File(vec![piece; pieces].into())
    }

    #[test]
    fn members_pieces_and_names_are_limited() {
        let add = |members: &mut Members, name: &str, member| {
            let added = members.add(name.to_owned(), member, 512);
            added.map_err(|error| error.to_string())
        };
        let mut members = Members::default();
        for number in 0..MAX_MEMBERS {
            add(&mut members, &number.to_string(), file(1)).unwrap();
        }
        let error = add(&mut members, "one", file(0)).unwrap_err();
        assert!(error.contains("too many members"), "{error}");

        let mut members = Members::default();
        add(&mut members, "most", file(MAX_PIECES)).unwrap();
        let error = add(&mut members, "one", file(1)).unwrap_err();
        assert!(error.contains("too many members"), "{error}");

        let mut members = Members::default();
        let target = "t".repeat(MAX_NAMES - "most".len());
        add(&mut members, "most", Member::Link(target)).unwrap();
        let error = add(&mut members, "1", file(0)).unwrap_err();
        assert!(error.contains("64 MiB"), "{error}");
    }

    #[test]
    fn links_are_followed_a_few_times() {
        let mut members = Members::default();
        let link = |to: &str| Member::Link(to.to_owned());
        members.add("file".into(), file(1), 0).unwrap();
        members.add("near".into(), link("file"), 0).unwrap();
        members.add("loop".into(), link("loop"), 0).unwrap();
        members.add("lost".into(), link("nothing"), 0).unwrap();
        assert_eq!(members.target("near"), "file");
        assert!(members.find("near").is_some());
        assert_eq!(members.target("lost"), "nothing");
        assert!(members.find("lost").is_none());
        assert!(members.find("loop").is_none());
    }

    #[test]
    fn repeated_members_are_compared_to_their_last_byte() {
        use std::io::Write as _;
        let length = COMPARED + 100;
        let mut bytes = vec![7; 3 * length];
        // The second body is the first; the third differs in its last byte.
        bytes[3 * length - 1] = 8;
        let mut there = tempfile::tempfile().unwrap();
        there.write_all(&bytes).unwrap();
        let body = |number: usize, length: usize| {
            let piece = Piece::Data {
                offset: u64::try_from(number).unwrap() * u64::try_from(COMPARED + 100).unwrap(),
                length: u64::try_from(length).unwrap(),
            };
            Member::File(vec![piece].into())
        };
        let link = |to: &str| Member::Link(to.to_owned());
        let zeros = || Member::File(vec![Piece::Zeros(1)].into());
        for (one, other, expected) in [
            (body(0, length), body(1, length), true),
            (body(0, length), body(2, length), false),
            (body(0, length), body(2, length - 1), false),
            (body(0, length - 1), body(2, length - 1), true),
            (link("a"), link("a"), true),
            (link("a"), link("b"), false),
            (link("a"), body(0, 1), false),
            // Bodies with holes are not compared, so two of them are never the same.
            (zeros(), zeros(), false),
        ] {
            let found = is_same(&there, &one, &other, || true).unwrap();
            assert_eq!(found, expected, "{one:?} {other:?}");
        }
    }
}
