//! Forms that old, unusual or careless writers left behind, each with a public report of it.

use super::raw::{Raw, file, long, pax, raw};
use super::{one, read, read_exactly, refused};
use crate::layer::error::Malformed;
use crate::layer::tar::EntryKind;

/// Returns a number in all bytes of its field, with the top bit set.
fn base256(number: i64, width: usize) -> Vec<u8> {
    let mut bytes = vec![if number < 0 { 0xFF } else { 0 }; width];
    let number = number.to_be_bytes();
    let digits = number.len().min(width);
    bytes[width - digits..].copy_from_slice(&number[number.len() - digits..]);
    bytes[0] |= 0x80;
    bytes
}

/// Returns a GNU header with an owner in base 256, as Go before 1.8 wrote it together with a prefix.
fn old_go(flag: u8, name: &[u8]) -> Raw {
    raw(flag, name).gnu().put(108, &base256(3_000_000, 8))
}

#[test]
fn gnu_header_with_a_ustar_prefix_keeps_its_directory() {
    // golang/go#21005, moby/moby#33730
    let prefix = b"opt/tool/node_modules";
    for flag in *b"01256" {
        let header = old_go(flag, b"f").link(b"t").put(345, prefix);
        assert_eq!(one(&[header.done()]).entry.path, b"opt/tool/node_modules/f");
    }
    // A prefix of all 155 bytes, over both times and the sparse map.
    let whole = [b'p'; 155];
    let header = old_go(b'0', b"f").put(345, &whole);
    assert_eq!(
        one(&[header.done()]).entry.path,
        [&whole[..], b"/f"].concat()
    );
    // A long name replaces prefix and name.
    let header = old_go(b'0', b"f").put(345, prefix);
    let seen = one(&[long(b'L', b"long"), header.done()]);
    assert_eq!(seen.entry.path, b"long");
}

#[test]
fn gnu_header_with_times_has_no_prefix() {
    // mafintosh/tar-stream#105, python/cpython#155629
    let octal = |number: u64| format!("{number:011o}\0").into_bytes();
    let times: [(&[u8], &[u8]); 6] = [
        (&octal(1_300_000_000), &octal(1_300_000_001)),
        (&octal(0), &[0; 12]),
        (&[0; 12], &octal(7)),
        (&base256(1 << 35, 12), &octal(5)),
        (&base256(-5, 12), b"           7"),
        (b"1777\0\0\0\0\0\0\0\0", &[0; 12]),
    ];
    for (access, change) in times {
        let header = raw(b'0', b"f").gnu().put(345, access).put(357, change);
        assert_eq!(one(&[header.done()]).entry.path, b"f");
    }
    // Bytes other than ASCII are not a prefix, because those versions of Go wrote none.
    let header = old_go(b'0', b"f").put(345, b"caf\xC3\xA9");
    assert_eq!(one(&[header.done()]).entry.path, b"f");
}

#[test]
fn sparse_gnu_header_with_broken_times_is_refused() {
    let header = raw(b'S', b"f")
        .gnu()
        .put(345, b"dir")
        .put(483, b"00000000000\0");
    let problem = refused(&[header.done()]);
    assert_eq!(problem, Malformed::Sparse("its times are not numbers"));
}

#[test]
fn prefix_after_an_unknown_ustar_magic_is_refused() {
    // libarchive takes any `ustar` for POSIX, GNU tar and Go do not.
    for magic in [b"ustar  X", b"ustar 00", b"ustarX00"] {
        let header = raw(b'0', b"f").put(257, magic);
        assert_eq!(
            refused(&[header.put(345, b"dir").done()]),
            Malformed::Prefix
        );
        let header = raw(b'0', b"f").put(257, magic);
        assert_eq!(one(&[header.done()]).entry.path, b"f");
        let header = raw(b'0', b"f").put(257, magic).put(345, b"dir");
        let seen = one(&[pax(&[("path", b"g")]), header.done()]);
        assert_eq!(seen.entry.path, b"g");
    }
}

#[test]
fn nuls_before_digits_are_skipped_as_go_skips_them() {
    // Go `archive/tar/strconv.go`; composefs/tar-rs#181 for fields of NULs alone
    let uid = |field: &[u8]| {
        one(&[raw(b'0', b"f").put(108, field).done()])
            .entry
            .metadata
            .uid
    };
    assert_eq!(uid(b"\x000000144\0"), 100);
    assert_eq!(uid(b"\0\0\x000144\0"), 100);
    assert_eq!(uid(b"\0 \0 144\0"), 100);
    assert_eq!(uid(b"\0\0\0\0\x00144"), 100);
    assert_eq!(uid(b"        "), 0);
    assert_eq!(uid(&[0; 8]), 0);
    // The entry after a size with NULs is found where Go finds it.
    let inner = file(b"hidden", b"H");
    let size = [b"\0\0", format!("{:09o}\0", inner.len()).as_bytes()].concat();
    let data = raw(b'0', b"data").put(124, &size).with(&inner);
    let seen = read(&[data, file(b"z", b"z")]).unwrap();
    assert_eq!(
        (seen.len(), &seen[0].body, &seen[1].body[..]),
        (2, &inner, &b"z"[..])
    );
}

#[test]
fn white_space_in_numbers_is_refused_as_go_refuses_it() {
    // Go trims spaces and NULs alone; GNU tar and Python skip more.
    for field in [
        &b"144\t"[..],
        b"\t144\0",
        b"144\n\0\0",
        b"144 \x007",
        b"1 44",
    ] {
        let header = raw(b'0', b"f").put(108, field).done();
        assert_eq!(refused(&[header]), Malformed::Number("uid"), "{field:?}");
    }
    let header = raw(b'0', b"f").put(108, b" 144 \0 ").done();
    assert_eq!(one(&[header]).entry.metadata.uid, 100);
}

#[test]
fn last_file_without_padding_is_complete() {
    // opencontainers/umoci#436, project-stacker/stacker#597, google/go-containerregistry#364
    let directory = raw(b'5', b"x/").done();
    let mut archive = [directory, file(b"x/f", b"content")].concat();
    for padding in (0..=505).rev() {
        archive.truncate(1024 + 7 + padding);
        let seen = read_exactly(&archive).unwrap();
        assert_eq!((seen.len(), &seen[1].body[..]), (2, &b"content"[..]));
    }
    for short in (513..1024 + 7).rev() {
        archive.truncate(short);
        let result = read_exactly(&archive);
        assert!(result.is_err(), "{short}");
    }
}

#[test]
fn sparse_file_without_padding_at_the_end_is_complete() {
    let header = raw(b'S', b"f")
        .gnu()
        .put(386, b"00000001750\x0000000000005\0");
    let mut archive = header.put(483, b"00000001755\0").size(5).with(b"abcde");
    archive.truncate(512 + 5);
    let seen = read_exactly(&archive).unwrap();
    assert_eq!(
        (&seen[0].body[1000..], &seen[0].holes[..]),
        (&b"abcde"[..], &[1000][..])
    );
}

#[test]
fn size_of_hard_link_or_directory_before_header_is_ignored() {
    // bazel-contrib/rules_img#63, composefs/tar-rs#314; libarchive `test_compat_tar_hardlink_1`
    for flag in *b"15" {
        let sized = || raw(flag, b"n").link(b"f").size(777).done();
        let seen = read(&[file(b"f", b"1"), sized(), file(b"z", b"z")]).unwrap();
        assert_eq!(seen.len(), 3);
        assert_eq!(
            (&seen[1].body[..], &seen[2].body[..]),
            (&b""[..], &b"z"[..])
        );
        // Before the end, in each way to write the end.
        for end in [&[0; 1024][..], &[0; 10_240], &[0; 512], &[]] {
            let archive = [file(b"f", b"1"), sized(), end.to_vec()].concat();
            assert_eq!(read_exactly(&archive).unwrap().len(), 2);
        }
        let parts = [pax(&[("size", b"777")]), raw(flag, b"n").link(b"f").done()];
        assert_eq!(read(&parts).unwrap().len(), 1);
    }
}

#[test]
fn contents_after_a_hard_link_or_directory_are_refused() {
    for flag in *b"15" {
        let is_body = |parts: &[Vec<u8>]| matches!(refused(parts), Malformed::Body { .. });
        let sized = |size| raw(flag, b"n").link(b"f").size(size);
        assert!(is_body(&[sized(3).with(b"abc")]));
        // Zeros look like the end, but more of the archive follows.
        let zeros = || sized(1024).with(&[0; 1024]);
        assert!(is_body(&[zeros(), file(b"z", b"z")]));
        assert_eq!(read(&[zeros()]).unwrap().len(), 1);
        // A lone block of zeros means the same as elsewhere.
        let lone = [sized(512).with(&[0; 512]), file(b"z", b"z")];
        assert_eq!(refused(&lone), Malformed::LoneZeroBlock);
    }
}

#[test]
fn size_of_a_symlink_device_or_old_directory_is_refused() {
    // mafintosh/tar-stream#44: the target's length as a symlink's size, where GNU tar skips contents
    for flag in *b"2346" {
        let parts = [raw(flag, b"n").link(b"t").size(7).done(), file(b"z", b"z")];
        assert!(matches!(refused(&parts), Malformed::Body { size: 7, .. }));
    }
    let old = raw(0, b"d/").size(7).done();
    assert!(matches!(refused(&[old]), Malformed::Body { size: 7, .. }));
}

#[test]
fn second_extended_header_that_repeats_the_first_is_read() {
    // Go `testdata/pax-multi-hdrs.tar` and `gnu-multi-hdrs.tar`, in which the two differ
    let first = || pax(&[("path", b"a"), ("SCHILY.xattr.user.k", b"v")]);
    let more = [
        ("path", &b"a"[..]),
        ("SCHILY.xattr.user.k", b"v"),
        ("uid", b"7"),
    ];
    let seen = one(&[first(), pax(&more), file(b"f", b"1")]);
    assert_eq!(
        (&seen.entry.path[..], seen.entry.metadata.uid),
        (&b"a"[..], 7)
    );
    let name = || long(b'L', b"a");
    assert_eq!(one(&[name(), name(), file(b"f", b"")]).entry.path, b"a");
    let target = || long(b'K', b"t");
    let seen = one(&[target(), target(), raw(b'2', b"s").done()]);
    assert_eq!(seen.entry.kind, EntryKind::Symlink(b"t"[..].into()));
    // Records that readers do not use at all do not matter.
    let comment = |text: &[u8]| pax(&[("comment", text), ("atime", b"5")]);
    assert_eq!(
        read(&[comment(b"1"), comment(b"2"), file(b"f", b"")])
            .unwrap()
            .len(),
        1
    );
    for second in [
        pax(&[("path", b"b"), ("SCHILY.xattr.user.k", b"v")]),
        pax(&[("path", b"a"), ("SCHILY.xattr.user.k", b"w")]),
        pax(&[("path", b"a")]),
        pax(&[("uid", b"7")]),
        pax(&[("path", b"a"), ("path", b""), ("SCHILY.xattr.user.k", b"v")]),
    ] {
        let problem = refused(&[first(), second, file(b"f", b"1")]);
        assert_eq!(problem, Malformed::TwoHeaders("PAX"));
    }
    let taken_back = [pax(&[("uid", b"")]), pax(&[("uid", b"7")]), file(b"f", b"")];
    assert_eq!(refused(&taken_back), Malformed::TwoHeaders("PAX"));
    for flag in *b"LK" {
        let parts = [
            long(flag, b"a"),
            long(flag, b"b"),
            raw(b'2', b"s").link(b"t").done(),
        ];
        assert!(matches!(refused(&parts), Malformed::TwoHeaders(_)));
    }
}

#[test]
fn numbers_that_no_reader_keeps_are_refused() {
    // dotnet/runtime#93763: a size in base 256, which is read
    let contents = vec![7; 0x1234];
    let size = base256(0x1234, 12);
    let seen = one(&[raw(b'0', b"f").put(124, &size).with(&contents)]);
    assert_eq!(seen.body, contents);
    // More than 64 bits, and first bytes that are not all sign.
    let mut far = vec![0; 12];
    (far[0], far[2]) = (0x80, 1);
    for field in [
        far,
        [&[0x81][..], &[0; 11]].concat(),
        [&[0xC0][..], &[0; 11]].concat(),
    ] {
        let header = raw(b'0', b"f").put(136, &field);
        assert_eq!(refused(&[header.done()]), Malformed::Number("mtime"));
    }
    // Also where a record overrides them.
    for bad in [&b"12x4\0"[..], &base256(-2, 8), &base256(1 << 32, 8)] {
        let header = raw(b'0', b"f").put(108, bad).done();
        let problem = refused(&[pax(&[("uid", b"7")]), header]);
        assert!(matches!(
            problem,
            Malformed::Number(_) | Malformed::Range { .. }
        ));
    }
}

#[test]
fn old_directory_with_a_slash_after_one_name_is_refused() {
    let old = |name: &[u8]| raw(0, name).put(257, &[0; 8]).done();
    for (own, name) in [(&b"d/"[..], &b"d"[..]), (b"d", b"d/")] {
        assert_eq!(
            refused(&[long(b'L', name), old(own)]),
            Malformed::OldDirectory
        );
        let renamed = [pax(&[("path", name)]), old(own)];
        assert_eq!(refused(&renamed), Malformed::OldDirectory);
    }
    let seen = one(&[long(b'L', b"long/d/"), old(b"long/")]);
    assert_eq!(seen.entry.kind, EntryKind::Directory);
}
