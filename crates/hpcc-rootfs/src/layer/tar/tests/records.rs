//! PAX records, and what readers make of them.

use super::raw::{file, long, pax, raw};
use super::{one, read, refused};
use crate::layer::error::Malformed;

#[test]
fn pax_owners_replace_those_of_the_header() {
    let header = || {
        let owner = raw(b'0', b"f").put(108, b"0000005\0");
        owner.put(116, b"0000006\0").done()
    };
    for (records, owner) in [
        (&[("uid", &b"7"[..])][..], (7, 6)),
        (&[("gid", b"8")], (5, 8)),
        (&[("uid", b"7"), ("gid", b"8")], (7, 8)),
    ] {
        let metadata = one(&[pax(records), header()]).entry.metadata;
        assert_eq!((metadata.uid, metadata.gid), owner);
    }
}

#[test]
fn pax_values_are_taken_by_length() {
    let capability = b"\x01\0\0\x02\n\n9 size=\xFF\n\0=\n\0=";
    let seen = one(&[
        pax(&[
            ("SCHILY.xattr.security.capability", capability),
            ("SCHILY.xattr.user.empty", b""),
            ("LIBARCHIVE.xattr.user.a%20b", b"AAEC/w"),
            ("SCHILY.acl.access", b"user::rwx"),
            ("uid", b"4000000000"),
            ("gid", b""),
            ("comment", b"whatever"),
        ]),
        raw(b'0', b"f").put(116, b"0000007\0").done(),
    ]);
    let metadata = seen.entry.metadata;
    assert_eq!(
        metadata.xattrs.get(b"security.capability"),
        Some(&capability[..])
    );
    assert_eq!(metadata.xattrs.get(b"user.empty"), Some(&b""[..]));
    assert_eq!(
        metadata.xattrs.get(b"user.a b"),
        Some(&b"\0\x01\x02\xFF"[..])
    );
    assert_eq!(metadata.xattrs.len(), 3);
    assert_eq!(
        (metadata.uid, metadata.gid, seen.entry.acls),
        (4_000_000_000, 7, 1)
    );
}

#[test]
fn records_that_cannot_be_taken_apart_are_errors() {
    for body in [
        &b"x"[..],
        b"99 a=b\n",
        b"5 a=b\n",
        b"7 a=b\n\0\0\0",
        b"4 a\n",
        b"5 =b\n",
        b"0 a=b\n",
        b"1 a=b\n",
        b"2 a=b\n",
        b"-7 a=b\n",
        b"99999999999999999999 a=b\n",
    ] {
        let parts = [raw(b'x', b"p").size(body.len()).with(body), file(b"f", b"")];
        let problem = refused(&parts);
        assert!(
            matches!(problem, Malformed::Pax(_) | Malformed::Number(_)),
            "{problem}"
        );
    }
}

/// Returns a global header of these records.
fn global(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut global = pax(records);
    global[156] = b'g';
    global[148..156].fill(b' ');
    let sum: u32 = global[..512].iter().map(|byte| u32::from(*byte)).sum();
    global[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    global
}

/// GNU tar's `decode_record` skips blanks before a key, and ends it at a NUL; Go's `validPAXRecord` refuses the NUL.
#[test]
fn keys_that_readers_take_for_others_are_refused() {
    for (key, reason) in [
        (" size", "a key begins with a blank"),
        ("  size", "a key begins with a blank"),
        ("\tpath", "a key begins with a blank"),
        (" ", "a key begins with a blank"),
        ("path\0x", "a key holds a NUL byte"),
        ("\0", "a key holds a NUL byte"),
        ("SCHILY.xattr.user.\0", "a key holds a NUL byte"),
    ] {
        let records = [(key, &b"0"[..])];
        for header in [pax(&records), global(&records)] {
            let problem = refused(&[header, file(b"f", b"1")]);
            assert_eq!(problem, Malformed::Pax(reason), "{key:?}");
        }
    }
    // No reader takes these for other keys.
    for key in ["size ", "\nsize", "a b"] {
        assert_eq!(one(&[pax(&[(key, b"0")]), file(b"f", b"1")]).body, b"1");
    }
}

/// Go's `validPAXRecord` refuses these names, and `mergePAX` these times.
#[test]
fn names_with_nul_and_times_without_number_are_refused() {
    for (key, what) in [
        ("path", "name"),
        ("linkpath", "link target"),
        ("uname", "owner's name"),
        ("gname", "group's name"),
    ] {
        let records = [(key, &b"a\0b"[..])];
        for header in [pax(&records), global(&records)] {
            let problem = refused(&[header, file(b"f", b"")]);
            assert_eq!(problem, Malformed::Nul(what), "{key}");
        }
    }
    for key in ["atime", "ctime"] {
        let of = |text: &'static [u8]| [pax(&[(key, text)]), file(b"f", b"")];
        for text in [&b"x"[..], b"1e9", b"-", b".5", b"1,5"] {
            assert_eq!(refused(&of(text)), Malformed::Number(key));
        }
        for text in [&b""[..], b"5", b"-5.25", b"5."] {
            assert_eq!(read(&of(text)).unwrap().len(), 1, "{}", text.escape_ascii());
        }
    }
}

#[test]
fn pax_size_is_for_the_file_not_its_long_name() {
    let body = vec![b'x'; 700];
    let seen = read(&[
        pax(&[("size", b"700")]),
        long(b'L', b"name"),
        raw(b'0', b"n").gnu().size(3).with(&body),
        file(b"next", b"1"),
    ])
    .unwrap();
    assert_eq!(seen[0].entry.path, b"name");
    assert_eq!((&seen[0].body, &*seen[1].body), (&body, &b"1"[..]));
}

#[test]
fn global_headers_change_nothing() {
    let owner = global(&[("uid", b"7"), ("comment", b"0123")]);
    assert_eq!(one(&[owner, file(b"f", b"1")]).entry.metadata.uid, 0);
    let broken = raw(b'g', b"g").size(5).with(b"9 a=b");
    let problem = refused(&[broken, file(b"f", b"1")]);
    assert!(matches!(problem, Malformed::Pax(_)), "{problem}");
}

/// libarchive's `archive_read_support_format_tar.c` applies these records, and no other reader.
#[test]
fn device_numbers_in_records_have_to_be_the_headers() {
    let device = |flag| {
        let header = raw(flag, b"c").put(329, b"0000001\0");
        header.put(337, b"0000003\0").done()
    };
    for flag in *b"34" {
        let same = pax(&[("SCHILY.devmajor", b"1"), ("SCHILY.devminor", b"3")]);
        let major = pax(&[("SCHILY.devmajor", b"1")]);
        assert_eq!(read(&[same, device(flag)]).unwrap().len(), 1);
        assert_eq!(read(&[major, device(flag)]).unwrap().len(), 1);
        for record in [
            ("SCHILY.devmajor", &b"2"[..]),
            ("SCHILY.devminor", b"5"),
            ("SCHILY.devminor", b""),
            ("SCHILY.devminor", b"x"),
            ("SCHILY.devminor", b"4294967299"),
        ] {
            let problem = refused(&[pax(&[record]), device(flag)]);
            assert!(
                matches!(problem, Malformed::Pax(_)),
                "{record:?}: {problem}"
            );
        }
        // Of two headers, bsdtar applies both, and Go the second.
        let two = [
            pax(&[("SCHILY.devminor", b"5")]),
            pax(&[("comment", b"")]),
            device(flag),
        ];
        assert_eq!(refused(&two), Malformed::TwoHeaders("PAX"));
    }
    let other = [pax(&[("SCHILY.devmajor", b"x")]), file(b"f", b"")];
    assert_eq!(read(&other).unwrap().len(), 1);
}
