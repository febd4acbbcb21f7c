//! Hostile archives, as both readers of tar files read them: the one of layers, and the one of archives that hold images.
//! If both accept an archive, they find the same members: names, kinds, targets, sizes, contents and holes.
//!
//! They differ by intent where one of them refuses or ignores what the other reads. `differences` in the tests lists these
//! forms.

use std::io;

use hpcc_rootfs::layer::{self, Budget, Entry, EntryKind, Limits, Segment, Stream, TarReader};
use ociget::{DiffId, Digest};

use crate::hostile;
use crate::source::by_offset::ByOffset;
use crate::source::piece::Piece;
use crate::source::tar_headers::{Headers, Member};

/// Most headers of an archive.
const HEADERS: usize = 1_000;
/// Most bytes of all files with their holes.
const LOGICAL_BYTES: u64 = 1 << 20;

/// Panics if a promise is broken.
pub fn check(input: &[u8]) {
    let mut archive = input.to_vec();
    hostile::repair(&mut archive);
    compare(&archive);
}

/// Returns the number of members if both readers accept the archive.
fn compare(archive: &[u8]) -> Option<usize> {
    let layer = as_layer(archive).ok()?;
    let outer = as_outer(archive).ok()?;
    assert_eq!(layer.len(), outer.len(), "{layer:?}\n{outer:?}");
    for (one, other) in layer.iter().zip(&outer) {
        // A name with `..` may lead out of an archive of images, and to a file of a layer.
        let is_name = other.name.is_none() || other.name == one.name;
        assert!(
            is_name && is_same(&one.what, &other.what),
            "{one:?}\n{other:?}"
        );
    }
    Some(layer.len())
}

/// A member, as a reader sees it.
#[derive(Debug)]
struct Seen {
    /// `None` for the root, and for a name that leads out.
    name: Option<String>,
    what: What,
}

#[derive(Debug, PartialEq)]
enum What {
    File(Vec<Part>),
    /// The name that a link leads to; `None` if that leads out.
    Link(Option<String>),
    Other,
}

/// A part of contents; neighbors of one kind are one.
#[derive(Debug, PartialEq)]
enum Part {
    Data(Vec<u8>),
    Hole(u64),
}

/// Whether two readers saw the same. A reader of images does not tell a link that leads out from a directory.
fn is_same(layer: &What, outer: &What) -> bool {
    match (layer, outer) {
        (What::Link(_), What::Other) => true,
        (layer, outer) => layer == outer,
    }
}

fn as_layer(archive: &[u8]) -> Result<Vec<Seen>, layer::Error> {
    let mut limits = Limits::default();
    limits.entries = HEADERS as u64;
    limits.logical_bytes = LOGICAL_BYTES;
    let mut budget = Budget::new(limits);
    let diff_id = DiffId(Digest::of(archive));
    let stream = Stream::open(archive, archive.len() as u64, diff_id, budget.limits())?;
    let mut tar = TarReader::new(stream, &mut budget);
    let (mut entry, mut all) = (Entry::default(), Vec::new());
    while tar.read_entry(&mut entry)? {
        let mut parts = Vec::new();
        while let Some(segment) = tar.segment()? {
            push(
                &mut parts,
                match segment {
                    Segment::Data(bytes) => Part::Data(bytes.to_vec()),
                    Segment::Hole(length) => Part::Hole(length),
                },
            );
        }
        let name = text(&entry.path);
        let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
        let what = match &entry.kind {
            EntryKind::File { .. } => What::File(parts),
            EntryKind::HardLink(target) => What::Link(target_from("", &text(target))),
            EntryKind::Symlink(target) => What::Link(target_from(directory, &text(target))),
            _ => What::Other,
        };
        let name = Some(name).filter(|name| !name.is_empty());
        all.push(Seen { name, what });
    }
    let _proof = tar.finish()?;
    Ok(all)
}

fn as_outer(archive: &[u8]) -> io::Result<Vec<Seen>> {
    let mut bytes = InMemory(archive);
    let mut headers = Headers::new(HEADERS);
    let mut all = Vec::new();
    while let Some(found) = headers.next(&mut bytes)? {
        let what = match found.member {
            Some(Member::File(pieces)) => What::File(parts(archive, &pieces)?),
            Some(Member::Link(target)) => What::Link(Some(target)),
            None => What::Other,
        };
        let name = found.name;
        all.push(Seen { name, what });
    }
    Ok(all)
}

fn parts(archive: &[u8], pieces: &[Piece]) -> io::Result<Vec<Part>> {
    let mut parts = Vec::new();
    for piece in pieces {
        let part = match *piece {
            Piece::Zeros(length) => Part::Hole(length),
            Piece::Data { offset, length } => {
                let mut data = vec![0; usize::try_from(length).unwrap()];
                InMemory(archive).read_exact_at(&mut data, offset)?;
                Part::Data(data)
            }
        };
        push(&mut parts, part);
    }
    Ok(parts)
}

fn push(parts: &mut Vec<Part>, part: Part) {
    match (parts.last_mut(), part) {
        (_, Part::Hole(0)) => {}
        (_, Part::Data(data)) if data.is_empty() => {}
        (Some(Part::Data(all)), Part::Data(data)) => all.extend(data),
        (Some(Part::Hole(all)), Part::Hole(length)) => *all += length,
        (_, part) => parts.push(part),
    }
}

/// Returns the text that a reader of archives takes for a name.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns where a link in `directory` leads, step by step.
fn target_from(directory: &str, target: &str) -> Option<String> {
    let mut names: Vec<&str> = directory
        .split('/')
        .filter(|name| !name.is_empty())
        .collect();
    if target.starts_with('/') {
        return None;
    }
    for name in target.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()?),
            name => names.push(name),
        }
    }
    (!names.is_empty()).then(|| names.join("/"))
}

/// An archive in memory.
struct InMemory<'a>(&'a [u8]);

impl ByOffset for InMemory<'_> {
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let rest = self.0.get(offset..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn end(&self) -> u64 {
        self.0.len() as u64
    }

    fn is_wanted(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};

    use super::*;
    use crate::stored::{self, FORMS};
    use crate::tar_forms::{BLOCK, FILE, GNU, Header, extended, forms, long, seal};

    /// Which of the readers accept an archive: of layers, of images.
    type Accepted = (bool, bool);
    const LAYER: Accepted = (true, false);
    const IMAGES: Accepted = (false, true);

    fn accepted(archive: &[u8]) -> Accepted {
        (as_layer(archive).is_ok(), as_outer(archive).is_ok())
    }

    fn header(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut block = Header { name: "a", ..FILE }.block();
        change(&mut block);
        seal(&mut block);
        block
    }

    /// Returns what one of the readers refuses by intent, and the reader that accepts it.
    fn differences() -> Vec<(&'static str, Vec<u8>, Accepted)> {
        let put = |at: usize, bytes: &'static [u8]| {
            header(|block| block[at..at + bytes.len()].copy_from_slice(bytes))
        };
        let after = |head: Vec<u8>| [head, header(|_| ())].concat();
        let mut checksum = header(|_| ());
        let sum: u16 = checksum.iter().map(|byte| u16::from(*byte)).sum();
        let own: u16 = checksum[148..156].iter().map(|byte| u16::from(*byte)).sum();
        checksum[148..154].copy_from_slice(&[0x80, 0, 0, 0, 0, 0]);
        checksum[154..156].copy_from_slice(&(sum - own + 8 * 32).to_be_bytes());
        vec![
            // A layer has its own rules for owners, modes, times, devices and attributes.
            ("mode that is no number", put(100, b"rw-r--r-"), IMAGES),
            ("owner that is no number", put(108, b"root    "), IMAGES),
            (
                "device number out of range",
                header(|block| {
                    block[156] = b'3';
                    block[329..336].fill(b'7');
                }),
                IMAGES,
            ),
            (
                "attribute without a name",
                after(extended(b'x', &["SCHILY.xattr.=b"])),
                IMAGES,
            ),
            // For POSIX an unknown kind is a file. A layer has no such kinds.
            ("kind that no reader knows", put(156, b"V"), IMAGES),
            // An archive of images is read by names, and resolves them.
            ("name with ..", put(0, b"d/../a"), IMAGES),
            ("no name", put(0, b"\0"), IMAGES),
            // The archive of `docker save` may end anywhere after the last member.
            (
                "part of a block at the end",
                [header(|_| ()), vec![b'x'; 100]].concat(),
                IMAGES,
            ),
            (
                "device number of a record alone",
                [
                    extended(b'x', &["SCHILY.devminor=5"]),
                    header(|block| block[156] = b'3'),
                ]
                .concat(),
                IMAGES,
            ),
            // Readers of layers take it for the attribute of a link; a file has none.
            (
                "empty long link before a file",
                after(long(b'K', b"\0")),
                LAYER,
            ),
            ("checksum in base 256", checksum, LAYER),
        ]
    }

    #[test]
    fn readers_differ_only_in_what_one_refuses() {
        for (what, archive, expected) in differences() {
            let archive = [archive, vec![0; 2 * BLOCK]].concat();
            // The part of a block has to be the last.
            let end = match what.starts_with("part") {
                true => BLOCK + 100,
                false => archive.len(),
            };
            assert_eq!(accepted(&archive[..end]), expected, "{what}");
        }
    }

    /// In records of one file, and of all that follow.
    #[test]
    fn both_readers_refuse_records_that_others_differ_on() {
        let (size, count, map) = (
            "GNU.sparse.size=5",
            "GNU.sparse.numblocks=1",
            "GNU.sparse.map=0,5",
        );
        let (offset, length) = ("GNU.sparse.offset=0", "GNU.sparse.numbytes=5");
        let file = || {
            let header = Header {
                name: "a",
                size: b"00000000005",
                ..FILE
            };
            [header.block(), b"abcde".to_vec(), vec![0; BLOCK - 5]].concat()
        };
        for (records, is_global) in [
            (&[size, count, offset, length, map][..], true),
            (&[size, count, map, offset, length], true),
            (&[size, count, map, map], true),
            (&[size, count, count, map], true),
            (&[size, "GNU.sparse.numblocks=x", map], true),
            // Only a file makes these wrong.
            (&[size, map], false),
            (&[size, offset, length], false),
            (&[size, "GNU.sparse.numblocks=2", map], false),
            (&[" size=0"], true),
            (&["\tpath=b"], true),
            (&["path\0x=b"], true),
            (&["uname=a\0b"], true),
            (&["gname=a\0b"], true),
            (&["path=a\0b"], true),
            (&["linkpath=a\0b"], true),
            (&["mtime=x"], true),
            (&["atime=x"], true),
            (&["ctime=x"], true),
            (&["SCHILY.realsize=5"], true),
            (&["SUN.holesdata= 1 2"], true),
        ] {
            let archive = [extended(b'x', records), file()].concat();
            assert_eq!(accepted(&archive), (false, false), "{records:?}");
            let archive = [extended(b'g', records), file()].concat();
            let is_read = !is_global;
            assert_eq!(accepted(&archive), (is_read, is_read), "{records:?}");
        }
        for records in [&[size, count, map][..], &[size, count, offset, length]] {
            let archive = [extended(b'x', records), file()].concat();
            assert_eq!(compare(&archive), Some(1), "{records:?}");
        }
    }

    #[test]
    fn absolute_names_begin_at_the_root() {
        let absolute = header(|block| block[..2].copy_from_slice(b"/a"));
        let [layer] = &as_layer(&absolute).unwrap()[..] else {
            unreachable!()
        };
        let [outer] = &as_outer(&absolute).unwrap()[..] else {
            unreachable!()
        };
        assert_eq!(
            (layer.name.as_deref(), outer.name.as_deref()),
            (Some("a"), Some("a"))
        );
        assert_eq!(compare(&absolute), Some(1));
    }

    #[test]
    fn names_beyond_utf_8_are_replaced_in_archives_of_images() {
        let archive = header(|block| block[..3].copy_from_slice(b"\xff/b"));
        assert_eq!(
            as_outer(&archive).unwrap()[0].name.as_deref(),
            Some("\u{fffd}/b")
        );
        assert_eq!(compare(&archive), Some(1));
    }

    #[test]
    fn both_readers_agree_on_all_forms() {
        for (number, form) in forms().iter().enumerate() {
            assert!(compare(form).is_some(), "{number}: {:?}", accepted(form));
        }
        let mut contents = vec![0; 40 * BLOCK];
        for run in 0..9 {
            contents[4 * run * BLOCK] = b'x';
        }
        let members = [
            ("a".to_owned(), contents.clone()),
            ("directory/".repeat(20) + "b", contents),
            ("empty".to_owned(), Vec::new()),
            ("zeros".to_owned(), vec![0; 3 * BLOCK + 1]),
        ];
        for form in FORMS {
            let archive = stored::archive(&members, form);
            assert_eq!(
                compare(&archive),
                Some(4),
                "{form:?} {:?}",
                accepted(&archive)
            );
        }
    }

    /// Go takes no white space but spaces for the end of a number, so that these bytes are a prefix and not a time.
    #[test]
    fn times_of_gnu_headers_are_numbers_for_both_readers() {
        for time in [&b"17\t"[..], b"17\n\0", b"1 \x007", b" 1 2", b"-1"] {
            for at in [345, 357] {
                let mut block = header(|block| block[257..265].copy_from_slice(GNU));
                block[345] = b'0';
                block[at..at + time.len()].copy_from_slice(time);
                seal(&mut block);
                assert_eq!(compare(&block), Some(1), "{time:?} {at}");
            }
        }
    }

    /// A change of an archive.
    #[derive(Clone, Debug)]
    enum Change {
        /// A byte of a header's fields, which are not spread evenly.
        Field(usize, u8),
        Byte(usize, u8),
        /// Bytes that mean something at the start of a field.
        Word(usize, &'static [u8]),
        Remove(usize),
        Repeat(usize),
        Cut(usize),
    }

    const FIELDS: [usize; 14] = [
        0, 99, 124, 135, 156, 157, 257, 263, 345, 357, 386, 482, 483, 508,
    ];
    const WORDS: [&[u8]; 12] = [
        b"\x80\0\0\0",
        b"\xff\xff\xff\xff",
        b"ustar\x0000",
        GNU,
        b"tar\0",
        b"00000001000\0",
        b"7\0 3",
        b" 1\t",
        b"/",
        b"../",
        b"\0",
        b"1",
    ];

    fn change() -> impl Strategy<Value = Change> {
        let byte = prop_oneof![
            any::<u8>(),
            prop::sample::select(b"\0 \t\n/.0127LKxgSX=".to_vec())
        ];
        let field = prop::sample::select(FIELDS.to_vec());
        let at = 0..8 * BLOCK;
        prop_oneof![
            3 => (0..8usize, field.clone(), byte.clone()).prop_map(|(block, field, byte)| Change::Field(block * BLOCK + field, byte)),
            2 => (at.clone(), byte).prop_map(|(at, byte)| Change::Byte(at, byte)),
            3 => (0..8usize, field, prop::sample::select(WORDS.to_vec())).prop_map(|(block, field, word)| Change::Word(block * BLOCK + field, word)),
            1 => (0..8usize).prop_map(Change::Remove),
            1 => (0..8usize).prop_map(Change::Repeat),
            1 => at.prop_map(Change::Cut),
        ]
    }

    fn changed(mut archive: Vec<u8>, changes: &[Change]) -> Vec<u8> {
        for change in changes {
            let length = archive.len();
            match *change {
                Change::Field(at, byte) | Change::Byte(at, byte) if at < length => {
                    archive[at] = byte
                }
                Change::Word(at, word) if at + word.len() <= length => {
                    archive[at..at + word.len()].copy_from_slice(word);
                }
                Change::Remove(block) if (block + 1) * BLOCK <= length => {
                    archive.drain(block * BLOCK..(block + 1) * BLOCK);
                }
                Change::Repeat(block) if (block + 1) * BLOCK <= length => {
                    let block = block * BLOCK..(block + 1) * BLOCK;
                    let copy = archive[block.clone()].to_vec();
                    archive.splice(block.start..block.start, copy);
                }
                Change::Cut(at) => archive.truncate(at),
                _ => {}
            }
        }
        archive
    }

    #[test]
    fn both_readers_agree_on_changed_archives() {
        let members = [
            ("d/a".to_owned(), b"text".repeat(200)),
            ("b".to_owned(), vec![0; BLOCK]),
        ];
        let mut archives = forms();
        archives.extend(FORMS.map(|form| stored::archive(&members, form)));
        let archives = prop::sample::select(archives);
        let changes = prop::collection::vec(change(), 1..4);
        let mut config = Config::with_cases(1_000);
        config.failure_persistence = None;
        let mut runner = TestRunner::new_with_rng(config, deterministic());
        let both = std::cell::Cell::new(0);
        let ran = runner.run(&(archives, changes), |(archive, changes)| {
            let mut archive = changed(archive, &changes);
            hostile::repair(&mut archive);
            both.set(both.get() + u32::from(compare(&archive).is_some_and(|count| count > 0)));
            Ok(())
        });
        ran.unwrap();
        // If hardly any archive were accepted by both, the test would compare nothing.
        assert!(both.get() > 250, "{} of 1000", both.get());
    }

    fn deterministic() -> proptest::test_runner::TestRng {
        use proptest::test_runner::{RngAlgorithm, TestRng};
        TestRng::deterministic_rng(RngAlgorithm::ChaCha)
    }
}
