//! Sparse files, in all four ways to write them.

use super::raw::{file, pax, raw};
use super::{one, read, read_within, refused};
use crate::layer::Limits;
use crate::layer::error::{Error, Malformed};

/// A map of five bytes without a hole.
const FIVE: [(&str, &[u8]); 3] = [
    ("GNU.sparse.size", b"5"),
    ("GNU.sparse.numblocks", b"1"),
    ("GNU.sparse.map", b"0,5"),
];

#[test]
fn sparse_files_of_every_format_become_holes() {
    let expected = [&[0; 1000][..], b"abc", &[0; 2000], b"de", &[0; 500]].concat();
    let size = expected.len();
    assert_eq!(size, 3505);
    let octal = |n: usize| format!("{n:011o}\0").into_bytes();
    let old = raw(b'S', b"f")
        .gnu()
        .put(
            386,
            &[octal(1000), octal(3), octal(3003), octal(2)].concat(),
        )
        .put(483, &octal(size))
        .size(5)
        .with(b"abcde");
    let name = ("GNU.sparse.name", &b"f"[..]);
    let v00 = [
        pax(&[
            ("GNU.sparse.size", b"3505"),
            ("GNU.sparse.numblocks", b"2"),
            ("GNU.sparse.offset", b"1000"),
            ("GNU.sparse.numbytes", b"3"),
            ("GNU.sparse.offset", b"3003"),
            ("GNU.sparse.numbytes", b"2"),
        ]),
        file(b"f", b"abcde"),
    ];
    let v01 = [
        pax(&[
            name,
            ("GNU.sparse.size", b"3505"),
            ("GNU.sparse.numblocks", b"2"),
            ("GNU.sparse.map", b"1000,3,3003,2"),
        ]),
        file(b"GNUSparseFile.1/f", b"abcde"),
    ];
    let mut body = b"3\n1000\n3\n3003\n2\n3505\n0\n".to_vec();
    body.resize(512, 0);
    body.extend(b"abcde");
    let v10 = [
        pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            name,
            ("GNU.sparse.realsize", b"3505"),
        ]),
        file(b"GNUSparseFile.1/f", &body),
    ];
    for parts in [&[old][..], &v00, &v01, &v10] {
        let mut parts = parts.to_vec();
        parts.push(file(b"next", b"1"));
        let seen = read(&parts).unwrap();
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0].entry.path, b"f");
        assert_eq!(seen[0].body, expected);
        assert_eq!(seen[0].holes, [1000, 2000, 500]);
    }
}

#[test]
fn old_sparse_map_goes_on_in_blocks_of_its_own() {
    let octal = |n: usize| format!("{n:011o}\0").into_bytes();
    let slot = |i: usize| [octal(i * 10), octal(1)].concat();
    let header = raw(b'S', b"f")
        .gnu()
        .put(386, &(0..4).flat_map(slot).collect::<Vec<_>>());
    let mut archive = header
        .put(482, b"\x01")
        .put(483, &octal(300))
        .size(30)
        .done();
    let mut blocks = vec![0; 1024];
    let more: Vec<u8> = (4..25).flat_map(slot).collect();
    blocks[..504].copy_from_slice(&more);
    blocks[504] = 1;
    let last: Vec<u8> = (25..30).flat_map(slot).collect();
    blocks[512..512 + last.len()].copy_from_slice(&last);
    archive.extend(blocks);
    archive.extend([b'x'; 30]);
    archive.resize(archive.len().next_multiple_of(512), 0);
    let seen = one(&[archive]);
    let expected: Vec<u8> = (0..300)
        .map(|i| if i % 10 == 0 { b'x' } else { 0 })
        .collect();
    assert_eq!(seen.body, expected);
}

/// Go reads an empty file, GNU tar, bsdtar and Python one hole.
#[test]
fn records_of_a_sparse_file_without_a_map_are_refused() {
    let records = |size: &'static [u8]| {
        let numbers = [
            ("GNU.sparse.size", size),
            ("GNU.sparse.numblocks", &b"0"[..]),
        ];
        [pax(&numbers), file(b"f", b"")]
    };
    let problem = refused(&records(b"5"));
    assert_eq!(problem, Malformed::Sparse("it has no map"));
    assert_eq!(one(&records(b"0")).body, b"");
}

#[test]
fn sparse_maps_that_do_not_fit_are_refused() {
    let with = |map: &[u8]| {
        let runs = map.split(|byte| *byte == b',').count() / 2;
        let runs = runs.to_string();
        let records = [
            ("GNU.sparse.size", &b"100"[..]),
            ("GNU.sparse.numblocks", runs.as_bytes()),
            ("GNU.sparse.map", map),
        ];
        refused(&[pax(&records), file(b"f", b"abcde")])
    };
    for map in [
        &b"0,5,3,0"[..],
        b"0,5,4,0",
        b"96,5",
        b"0,4",
        b"0,6",
        b"0",
        b"18446744073709551615,5",
    ] {
        assert!(
            matches!(with(map), Malformed::Sparse(_)),
            "{}",
            map.escape_ascii()
        );
    }
    let odd = |records: &[(&str, &[u8])]| refused(&[pax(records), file(b"f", b"abcde")]);
    for records in [
        &[
            ("GNU.sparse.numblocks", &b"1"[..]),
            ("GNU.sparse.map", b"0,5"),
        ][..],
        &[("GNU.sparse.numbytes", b"5"), ("GNU.sparse.size", b"5")],
        &[
            ("GNU.sparse.major", b"2"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.size", b"5"),
        ],
        &[("SCHILY.realsize", b"5")],
        &[("SUN.holesdata", b" 5 10")],
        &[("GNU.sparse.new", b"5")],
    ] {
        assert!(matches!(odd(records), Malformed::Sparse(_)), "{records:?}");
    }
    let parts = [pax(&FIVE), raw(b'5', b"d").done()];
    assert!(matches!(refused(&parts), Malformed::Sparse(_)));
}

/// Go joins the numbers of both or keeps those of 0.0, bsdtar keeps the first, and GNU tar and Python read other ones (their
/// sources, and libarchive's `archive_read_support_format_tar.c`).
#[test]
fn map_in_two_kinds_of_records_is_refused() {
    let [size, numblocks, map] = FIVE;
    let (offset, length) = (
        ("GNU.sparse.offset", &b"0"[..]),
        ("GNU.sparse.numbytes", &b"5"[..]),
    );
    for records in [
        &[offset, length, map][..],
        &[map, offset, length],
        &[map, map],
        &[offset, map, length],
        &[map, length],
    ] {
        let records = [&[size, numblocks], records].concat();
        let problem = refused(&[pax(&records), file(b"f", b"abcde")]);
        assert_eq!(problem, Malformed::Sparse("it has two maps"), "{records:?}");
    }
    let one_map = [pax(&FIVE), file(b"f", b"abcde")];
    assert_eq!(one(&one_map).body, b"abcde");
}

/// Go `readGNUSparseMap0x1`; GNU tar `sparse_numblocks_decoder`.
#[test]
fn number_of_runs_has_to_be_that_of_the_map() {
    let [size, numblocks, map] = FIVE;
    let count = |text: &'static [u8]| ("GNU.sparse.numblocks", text);
    let offset = ("GNU.sparse.offset", &b"0"[..]);
    let length = ("GNU.sparse.numbytes", &b"5"[..]);
    let version = [("GNU.sparse.major", &b"0"[..]), ("GNU.sparse.minor", b"1")];
    for records in [
        &[map][..],
        &[offset, length],
        &[count(b"0"), map],
        &[count(b"2"), map],
        &[count(b"2"), offset, length],
        &[count(b"-1"), map],
        &[count(b"+1"), map],
        &[count(b"x"), map],
        &[count(b""), map],
        &[numblocks, map, numblocks],
        &[version[0], version[1], map],
    ] {
        let records = [&[size], records].concat();
        let problem = refused(&[pax(&records), file(b"f", b"abcde")]);
        let is_sparse = matches!(problem, Malformed::Sparse(_) | Malformed::Number(_));
        assert!(is_sparse, "{records:?}: {problem}");
    }
    for records in [&[numblocks, map][..], &[numblocks, offset, length]] {
        let records = [&[size], records].concat();
        let seen = one(&[pax(&records), file(b"f", b"abcde")]);
        assert_eq!(seen.body, b"abcde");
    }
}

#[test]
fn file_has_one_map_and_no_empty_block_in_it() {
    let octal = |n: usize| format!("{n:011o}\0").into_bytes();
    let old = || {
        let slots = [octal(0), octal(5)].concat();
        raw(b'S', b"f").gnu().put(386, &slots).put(483, &octal(5))
    };
    let two = [pax(&FIVE), old().size(5).with(b"abcde")];
    assert_eq!(refused(&two), Malformed::Sparse("it has two maps"));
    // Version 1.0 has its map in front of the contents.
    let versions = [("GNU.sparse.major", &b"1"[..]), ("GNU.sparse.minor", b"0")];
    let two = pax(&[&versions[..], &FIVE].concat());
    let problem = refused(&[two, file(b"f", b"abcde")]);
    assert_eq!(problem, Malformed::Sparse("it has two maps"));
    let mut blocks = [0; 2 * 512];
    blocks[504] = 1;
    let endless = [
        old().put(482, b"\x01").size(5).done(),
        blocks.to_vec(),
        b"abcde".to_vec(),
    ];
    let problem = refused(&endless);
    assert_eq!(problem, Malformed::Sparse("an empty block in its map"));
}

#[test]
fn maps_have_a_limit_in_every_format() {
    let octal = |n: usize| format!("{n:011o}\0").into_bytes();
    let slots = [octal(1), octal(1), octal(3), octal(1), octal(5), octal(1)].concat();
    let old = raw(b'S', b"f").gnu().put(386, &slots);
    let old = [old.put(483, &octal(9)).size(3).with(b"abc")].concat();
    let size = ("GNU.sparse.size", &b"9"[..]);
    let numblocks = ("GNU.sparse.numblocks", &b"3"[..]);
    let mut v00 = vec![size, numblocks];
    for offset in [b"1", b"3", b"5"] {
        v00.push(("GNU.sparse.offset", &offset[..]));
        v00.push(("GNU.sparse.numbytes", b"1"));
    }
    let v01 = [size, numblocks, ("GNU.sparse.map", b"1,1,3,1,5,1")];
    let v10 = [
        ("GNU.sparse.major", &b"1"[..]),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.realsize", b"9"),
    ];
    let mut body = b"3\n1\n1\n3\n1\n5\n1\n".to_vec();
    body.resize(512, 0);
    body.extend(b"abc");
    for archive in [
        old,
        [pax(&v00), file(b"f", b"abc")].concat(),
        [pax(&v01), file(b"f", b"abc")].concat(),
        [pax(&v10), file(b"f", &body)].concat(),
    ] {
        let within = |most| {
            let limits = Limits {
                sparse_segments: most,
                ..Limits::default()
            };
            read_within(&archive, limits)
        };
        assert_eq!(within(3).unwrap()[0].body, b"\0a\0b\0c\0\0\0");
        let error = within(2).unwrap_err();
        assert!(
            matches!(
                &error,
                Error::Limit {
                    value: 3,
                    max: 2,
                    ..
                }
            ),
            "{error}"
        );
        assert!(error.to_string().contains("\"f\""), "{error}");
    }
}

/// In all forms of maps, because each can have any number of them.
#[test]
fn runs_without_data_count_as_entries() {
    let octal = |n: usize| format!("{n:011o}\0").into_bytes();
    let slots = [octal(0), octal(0)].concat().repeat(3);
    let old = raw(b'S', b"f")
        .gnu()
        .put(386, &slots)
        .put(483, &octal(0))
        .done();
    let records = pax(&[
        ("GNU.sparse.size", b"0"),
        ("GNU.sparse.numblocks", b"3"),
        ("GNU.sparse.map", b"0,0,0,0,0,0"),
    ]);
    let version = pax(&[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.realsize", b"0"),
    ]);
    let mut map = b"3\n".to_vec();
    map.extend(b"0\n0\n".repeat(3));
    map.resize(512, 0);
    for (parts, headers) in [
        (vec![old], 1),
        (vec![records, file(b"f", b"")], 2),
        (vec![version, file(b"f", &map)], 2),
    ] {
        // One marks the end of the file.
        for (entries, holds) in [(headers + 2, true), (headers + 1, false)] {
            let limits = Limits {
                entries,
                ..Limits::default()
            };
            assert_eq!(
                read_within(&parts.concat(), limits).is_ok(),
                holds,
                "{entries}"
            );
        }
    }
}

#[test]
fn map_that_ends_early_is_refused_by_its_end() {
    let version = pax(&[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.realsize", b"0"),
    ]);
    let beyond = Malformed::Sparse("its map is longer than its body");
    let number = Malformed::Number("number in the sparse map");
    for (map, reason) in [
        (&b""[..], &beyond),
        (b"1", &beyond),
        (b"1\n0\n", &beyond),
        (b"1\n0\n12345678901234567890", &beyond),
        (b"1\n0\n123456789012345678901", &number),
        (b"1\n0\n98765432109876543210\n", &number),
        (b"1\n\n0\n", &number),
        (b"1\n-1\n0\n", &number),
    ] {
        let found = refused(&[version.clone(), file(b"f", map)]);
        assert_eq!(&found, reason, "{}", map.escape_ascii());
    }
}

#[test]
fn map_in_records_may_name_its_version() {
    for minor in [b"0", b"1"] {
        let records = pax(&[
            ("GNU.sparse.major", b"0"),
            ("GNU.sparse.minor", minor),
            ("GNU.sparse.size", b"4"),
            ("GNU.sparse.numblocks", b"1"),
            ("GNU.sparse.map", b"1,2"),
        ]);
        let seen = one(&[records, file(b"f", b"ab")]);
        assert_eq!(seen.body, b"\0ab\0");
    }
}

#[test]
fn archive_that_ends_within_a_map_is_cut_short() {
    let version = pax(&[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.realsize", b"0"),
    ]);
    let header = raw(b'0', b"f").size(1024).done();
    let archive = [&version[..], &header, b"1\n0\n"].concat();
    let error = read_within(&archive, Limits::default()).unwrap_err();
    assert!(error.to_string().contains("ends"), "{error}");
}
