//! Archives made by hand that all readers agree about.

use crate::by_hand::{BODY, Parts, base256, global, octal, signed, v7, write};
use crate::listing::{as_gnu_tar_says, gnu_tar, ours, python};
use crate::raw::{file, long, pax, raw};

/// What a sparse file of 3505 bytes stores: five bytes in two runs.
const SPARSE: [(u64, u64); 2] = [(1000, 3), (3003, 2)];

fn slots(runs: &[(u64, u64)]) -> Vec<u8> {
    let slot = |(offset, length): &(u64, u64)| [octal(*offset), octal(*length)].concat();
    runs.iter().flat_map(slot).collect()
}

fn sparse() -> Vec<(&'static str, Parts)> {
    let old = raw(b'S', b"f").gnu().put(386, &slots(&SPARSE));
    let old = old.put(483, &octal(3505)).size(5).with(b"abcde");
    let runs: Vec<_> = (0..30).map(|n| (n * 1000, 1)).collect();
    let long = raw(b'S', b"f").gnu().put(386, &slots(&runs[..4]));
    let mut long = long
        .put(482, b"\x01")
        .put(483, &octal(40_000))
        .size(30)
        .done();
    for (runs, more) in [(&runs[4..25], 1), (&runs[25..], 0)] {
        let mut block = slots(runs);
        block.resize(504, 0);
        block.push(more);
        block.resize(512, 0);
        long.extend(block);
    }
    long.extend([b'y'; 512]);
    let size = ("GNU.sparse.size", &b"3505"[..]);
    let name = ("GNU.sparse.name", &b"f"[..]);
    let v00 = [
        size,
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.offset", b"1000"),
        ("GNU.sparse.numbytes", b"3"),
        ("GNU.sparse.offset", b"3003"),
        ("GNU.sparse.numbytes", b"2"),
    ];
    let v01 = [
        size,
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.map", b"1000,3,3003,2"),
        name,
    ];
    let v10 = [
        ("GNU.sparse.major", &b"1"[..]),
        ("GNU.sparse.minor", b"0"),
        name,
        ("GNU.sparse.realsize", b"3505"),
    ];
    let mut body = b"2\n1000\n3\n3003\n2\n".to_vec();
    body.resize(512, 0);
    body.extend(b"abcde");
    vec![
        ("an old sparse file", vec![old]),
        ("an old sparse file with more of a map", vec![long]),
        ("sparse 0.0", vec![pax(&v00), file(b"f", b"abcde")]),
        (
            "sparse 0.1",
            vec![pax(&v01), file(b"./GNUSparseFile.1/f", b"abcde")],
        ),
        (
            "sparse 1.0",
            vec![pax(&v10), file(b"./GNUSparseFile.1/f", &body)],
        ),
    ]
}

fn numbers() -> Vec<(&'static str, Parts)> {
    let uid = |field: &[u8]| vec![raw(b'0', b"f").put(108, field).done()];
    let mtime = |text: &[u8]| vec![pax(&[("mtime", text)]), file(b"f", b"")];
    vec![
        ("leading spaces", uid(b"   1750 ")),
        ("no terminator", uid(b"00001750")),
        ("nothing at all", uid(&[0; 8])),
        ("base 256", uid(&base256(4_000_000_000, 8))),
        (
            "a size in base 256",
            vec![raw(b'0', b"f").put(124, &base256(700, 12)).with(BODY)],
        ),
        (
            "a time before 1970",
            vec![raw(b'0', b"f").gnu().put(136, &base256(-5, 12)).done()],
        ),
        (
            "a time after 2106",
            vec![raw(b'0', b"f").gnu().put(136, &base256(1 << 33, 12)).done()],
        ),
        (
            "a mode with a type",
            vec![raw(b'0', b"f").put(100, b"0100640\0").done()],
        ),
        ("a signed checksum", vec![signed(raw(b'0', b"caf\xE9"))]),
        ("a time with a fraction", mtime(b"12.999")),
        ("a fraction before 1970", mtime(b"-0.5")),
        ("a time far before 1970", mtime(b"-12345.678")),
        (
            "owners in records",
            vec![
                pax(&[("uid", b"4000000000"), ("gid", b"3000000000")]),
                file(b"f", b"1"),
            ],
        ),
        (
            "a size in a record",
            vec![pax(&[("size", b"700")]), raw(b'0', b"f").size(3).with(BODY)],
        ),
    ]
}

fn names() -> Vec<(&'static str, Parts)> {
    let hundred = [b'n'; 100];
    let far = [&[b'd'; 150][..], b"/", &[b'f'; 200]].concat();
    let target = [b't'; 300];
    let star = raw(b'0', b"f").put(345, b"dir").put(476, b"00000000001 ");
    let body = |flag: u8, name: &[u8]| {
        raw(flag, b"././@LongLink")
            .gnu()
            .size(name.len())
            .with(name)
    };
    vec![
        (
            "slashes and dots",
            vec![
                file(b"a//b/./c", b""),
                file(b"/abs", b""),
                file(b"./x", b""),
            ],
        ),
        ("bytes that are no text", vec![file(b"caf\xE9/\xFF", b"")]),
        (
            "names that only look like it",
            vec![file(b"...", b""), file(b"a/..b", b"")],
        ),
        (
            "fields without a NUL",
            vec![
                raw(b'0', &hundred).put(345, &[b'p'; 155]).done(),
                raw(b'2', b"l").link(&hundred).done(),
            ],
        ),
        (
            "a prefix",
            vec![raw(b'0', b"f").put(345, b"dir/sub").done()],
        ),
        (
            "no prefix in GNU's format",
            vec![raw(b'0', b"f").gnu().done()],
        ),
        (
            "star's shorter prefix",
            vec![star.put(488, b"00000000001 ").put(508, b"tar\0").done()],
        ),
        (
            "long names and targets of GNU",
            vec![
                long(b'K', &target),
                long(b'L', &far),
                raw(b'2', b"n").gnu().link(b"t").done(),
                file(b"g", b""),
            ],
        ),
        (
            "a long name without a NUL",
            vec![body(b'L', &far), raw(b'0', b"n").gnu().done()],
        ),
        (
            "names and targets in records",
            vec![
                pax(&[("path", &far), ("linkpath", &target[..200])]),
                raw(b'1', b"n").link(b"t").done(),
                file(b"g", b""),
            ],
        ),
        (
            "a size ahead of a long name",
            vec![
                pax(&[("size", b"700")]),
                long(b'L', b"name"),
                raw(b'0', b"n").gnu().size(3).with(BODY),
                file(b"next", b"1"),
            ],
        ),
        (
            "symlinks are data",
            vec![
                raw(b'2', b"s").link(b"../..//x/./").done(),
                raw(b'2', b"t").link(b"/").done(),
            ],
        ),
        (
            "targets of hard links",
            vec![
                file(b"t", b"1"),
                raw(b'1', b"a").link(b"/t").done(),
                raw(b'1', b"b").link(b".//t").done(),
            ],
        ),
    ]
}

fn kinds() -> Vec<(&'static str, Parts)> {
    let device = |flag, major: &[u8], minor: &[u8]| raw(flag, b"d").put(329, major).put(337, minor);
    vec![
        (
            "V7",
            vec![
                v7(0, b"f").size(700).with(BODY),
                v7(0, b"d/").done(),
                v7(b'2', b"s").link(b"f").done(),
            ],
        ),
        ("contiguous", vec![raw(b'7', b"f").size(700).with(BODY)]),
        (
            "directories",
            vec![
                raw(b'5', b"d").done(),
                raw(b'5', b"d/e/").done(),
                raw(b'5', b"./").done(),
            ],
        ),
        ("a pipe", vec![raw(b'6', b"p").done()]),
        (
            "devices",
            vec![
                device(b'3', b"0000001\0", b"0000003\0").done(),
                device(b'4', b"0007777\0", b"3777777\0").done(),
            ],
        ),
    ]
}

fn records() -> Vec<(&'static str, Parts)> {
    let odd = b"a\nb=c\n\n5 x=y\n12 size=99\n\0\xFF";
    vec![
        (
            "values with everything in them",
            vec![
                pax(&[
                    ("SCHILY.xattr.user.odd", odd),
                    ("SCHILY.xattr.user.none", b""),
                    ("uid", b"7"),
                ]),
                file(b"f", b"1"),
            ],
        ),
        (
            "records that nobody knows",
            vec![
                pax(&[("comment", b"x"), ("VENDOR.thing", b"y")]),
                file(b"f", b"1"),
            ],
        ),
        (
            "a record twice",
            vec![pax(&[("uid", b"1"), ("uid", b"2")]), file(b"f", b"1")],
        ),
        (
            "a global comment",
            vec![global(&[("comment", b"0123")]), file(b"f", b"1")],
        ),
        (
            "records are for one file",
            vec![pax(&[("uid", b"7")]), file(b"f", b"1"), file(b"g", b"1")],
        ),
    ]
}

fn ends() -> Vec<(&'static str, Parts)> {
    let files = || vec![file(b"a", b"1"), file(b"b", BODY)];
    let with = |end: &[u8]| [files(), vec![end.to_vec()]].concat();
    vec![
        ("two blocks of zeros", files()),
        ("many blocks of zeros", with(&[0; 10_240])),
        (
            "anything behind the end",
            with(&[&[0; 1024][..], &[9; 2048]].concat()),
        ),
    ]
}

/// Not ended by blocks of zeros.
fn open_ends() -> Vec<(&'static str, Parts)> {
    let files = || vec![file(b"a", b"1"), file(b"b", BODY)];
    let with = |end: &[u8]| [files(), vec![end.to_vec()]].concat();
    vec![("no end", files()), ("one block of zeros", with(&[0; 512]))]
}

#[test]
fn archives_are_listed_as_agreeing_readers_list_them() {
    let directory = tempfile::tempdir().unwrap();
    let ended = [sparse(), numbers(), names(), kinds(), records(), ends()].concat();
    for (cases, end) in [(ended, 1024), (open_ends(), 0)] {
        let paths = write(directory.path(), cases.iter().map(|(_, parts)| parts), end);
        for (((name, _), path), python) in cases.iter().zip(&paths).zip(python(&paths)) {
            let (ours, _) = ours(&std::fs::read(path).unwrap()).unwrap();
            assert!(!ours.is_empty(), "{name}");
            assert_eq!(Ok(&ours), python.as_ref(), "{name}");
            assert_eq!(Ok(as_gnu_tar_says(&ours)), gnu_tar(path), "{name}");
        }
    }
}
