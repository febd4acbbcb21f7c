//! Forms that both readers read, and the few that one refuses.

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
fn absolute_symlinks_lead_nowhere_and_hard_links_to_members() {
    for (kind, leads) in [(b'1', Some("b")), (b'2', None)] {
        let link = header(|block| {
            block[..3].copy_from_slice(b"d/a");
            block[156] = kind;
            block[157..159].copy_from_slice(b"/b");
        });
        assert_eq!(compare(&link), Some(1));
        let leads = What::Link(leads.map(str::to_owned));
        assert_eq!(as_outer(&link).unwrap()[0].what, leads);
    }
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
            Change::Field(at, byte) | Change::Byte(at, byte) if at < length => archive[at] = byte,
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
