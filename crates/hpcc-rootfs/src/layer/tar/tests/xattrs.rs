//! Extended attributes: which are kept, which are dropped, and which cannot be read.

use super::raw::{file, pax, raw};
use super::{one, read_within, refused};
use crate::layer::Limits;
use crate::layer::error::Malformed;

/// opencontainers/umoci#354, project-stacker/stacker#322
#[test]
fn xattrs_of_overlay_file_systems_are_dropped_and_counted() {
    let dropped = [
        ("SCHILY.xattr.trusted.overlay.opaque", &b"y"[..]),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/x"),
        ("SCHILY.xattr.trusted.overlay.overlay.opaque", b"y"),
        ("SCHILY.xattr.trusted.overlay.", b""),
        ("SCHILY.xattr.user.overlay.metacopy", b""),
        ("LIBARCHIVE.xattr.user%2eoverlay.whiteout", b"eQ"),
        // The first one again, because bsdtar writes both.
        ("LIBARCHIVE.xattr.trusted.overlay.opaque", b"eQ"),
    ];
    let kept = [
        ("SCHILY.xattr.trusted.overlay", &b"1"[..]),
        ("SCHILY.xattr.trusted.overlayfs.opaque", b"2"),
        ("SCHILY.xattr.trusted.Overlay.opaque", b"3"),
        ("SCHILY.xattr.user.trusted.overlay.opaque", b"4"),
        ("SCHILY.xattr.security.overlay.x", b"5"),
    ];
    let records = pax(&[&dropped[..], &kept].concat());
    for entry in [file(b"f", b""), raw(b'5', b"./").done()] {
        let seen = one(&[records.clone(), entry]);
        assert_eq!(seen.entry.overlay_xattrs, 6);
        assert_eq!(seen.entry.unstorable_xattrs, 0);
        let xattrs: Vec<_> = seen.entry.metadata.xattrs.iter().collect();
        assert_eq!(xattrs.len(), kept.len());
        for (key, value) in kept {
            let name = key.strip_prefix("SCHILY.xattr.").unwrap();
            assert!(xattrs.contains(&(name.as_bytes(), value)), "{name}");
        }
    }
}

#[test]
fn xattrs_without_a_place_in_squashfs_are_dropped_and_counted() {
    let records = pax(&[
        ("SCHILY.xattr.system.posix_acl_access", b"x"),
        ("LIBARCHIVE.xattr.system.posix_acl_access", b"eA"),
        ("SCHILY.xattr.com.apple.quarantine", b""),
        ("SCHILY.xattr.user.", b""),
        ("SCHILY.xattr.user", b""),
        ("SCHILY.xattr.USER.a", b""),
        ("SCHILY.xattr.user.a", b""),
    ]);
    let seen = one(&[records, file(b"f", b"")]);
    assert_eq!(seen.entry.unstorable_xattrs, 5);
    assert_eq!(seen.entry.overlay_xattrs, 0);
    let names: Vec<_> = seen
        .entry
        .metadata
        .xattrs
        .iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, [b"user.a"]);
}

/// moby/moby#37966, containerd/containerd#7094: engines go on after the kernel's EPERM, so the file has none.
#[test]
fn user_attributes_of_other_types_are_dropped_and_counted() {
    let records = pax(&[
        ("SCHILY.xattr.user.a", &b"1"[..]),
        ("LIBARCHIVE.xattr.user.b", b"eQ"),
        ("SCHILY.xattr.trusted.c", b"2"),
        ("SCHILY.xattr.security.d", b"3"),
    ]);
    let link = raw(b'2', b"n").link(b"t").done();
    let of = |entry: Vec<u8>| {
        let seen = one(&[records.clone(), entry]);
        let xattrs = seen.entry.metadata.xattrs.iter();
        let names: Vec<_> = xattrs.map(|(name, _)| name.to_vec()).collect();
        (names, seen.entry.unstorable_xattrs)
    };
    let kept = ["security.d", "trusted.c"].map(|name| name.as_bytes().to_vec());
    for entry in [
        link,
        raw(b'3', b"n").done(),
        raw(b'4', b"n").done(),
        raw(b'6', b"n").done(),
    ] {
        assert_eq!(of(entry), (kept.to_vec(), 2));
    }
    for entry in [file(b"n", b""), raw(b'5', b"n").done()] {
        assert_eq!(of(entry).1, 0);
    }
}

#[test]
fn xattrs_that_cannot_be_decoded_are_errors() {
    for (key, value) in [
        ("SCHILY.xattr.", &b"x"[..]),
        ("LIBARCHIVE.xattr.user.%00", b"AAAA"),
        ("LIBARCHIVE.xattr.user.%4", b"AAAA"),
        ("LIBARCHIVE.xattr.user.%4G", b"AAAA"),
        ("LIBARCHIVE.xattr.user.a", b"A"),
        ("LIBARCHIVE.xattr.user.a", b"AAAAA"),
        ("LIBARCHIVE.xattr.user.a", b"AA!A"),
        ("LIBARCHIVE.xattr.user.a", b"A==="),
    ] {
        let problem = refused(&[pax(&[(key, value)]), file(b"f", b"")]);
        assert!(matches!(problem, Malformed::Xattr(_)), "{key}: {problem}");
    }
    for (text, value) in [(&b"AAEC/w=="[..], &b"\0\x01\x02\xFF"[..]), (b"", b"")] {
        let seen = one(&[pax(&[("LIBARCHIVE.xattr.user.a", text)]), file(b"f", b"")]);
        assert_eq!(seen.entry.metadata.xattrs.get(b"user.a"), Some(value));
    }
}

/// libarchive/libarchive: `--xattrs` of bsdtar writes both spellings.
#[test]
fn xattr_in_both_spellings_keeps_one_value_and_counts_once() {
    let schily = |value: &'static [u8]| ("SCHILY.xattr.user.a", value);
    let libarchive = ("LIBARCHIVE.xattr.user.a", &b"MQ"[..]);
    let value = |records: &[(&str, &[u8])]| {
        let seen = one(&[pax(records), file(b"f", b"")]);
        assert_eq!(seen.entry.metadata.xattrs.iter().count(), 1);
        let value = seen.entry.metadata.xattrs.get(b"user.a").unwrap();
        value.to_vec()
    };
    assert_eq!(value(&[schily(b"1"), libarchive]), b"1");
    assert_eq!(value(&[libarchive, schily(b"1")]), b"1");
    // The last record of one spelling counts, as in GNU tar, bsdtar and Go.
    assert_eq!(value(&[schily(b"2"), schily(b"1"), libarchive]), b"1");
    let limits = Limits {
        xattrs: 2,
        ..Limits::default()
    };
    // The last one is what counts all of them.
    let other = ("SCHILY.xattr.user.b", &b"1"[..]);
    for records in [
        [schily(b"1"), libarchive, other],
        [libarchive, schily(b"1"), other],
    ] {
        let parts = [pax(&records), file(b"f", b"")].concat();
        assert!(read_within(&parts, limits.clone()).is_ok());
    }
    let changed = [
        pax(&[schily(b"1"), libarchive, schily(b"2")]),
        pax(&[libarchive, schily(b"1"), ("LIBARCHIVE.xattr.user.a", b"Mg")]),
    ];
    for records in changed {
        let problem = refused(&[records, file(b"f", b"")]);
        assert!(matches!(problem, Malformed::Xattr(_)), "{problem}");
    }
}

/// The alphabet of RFC 4648 in its order, and its examples with and without padding.
#[test]
fn xattrs_of_libarchive_take_all_of_base64() {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let seen = one(&[
        pax(&[
            ("LIBARCHIVE.xattr.user.all", &alphabet[..]),
            ("LIBARCHIVE.xattr.user.f", b"Zg=="),
            ("LIBARCHIVE.xattr.user.fo", b"Zm8="),
            ("LIBARCHIVE.xattr.user.foob", b"Zm9vYg"),
        ]),
        file(b"f", b""),
    ]);
    let xattrs = seen.entry.metadata.xattrs;
    for text in ["f", "fo", "foob"] {
        let name = format!("user.{text}");
        assert_eq!(xattrs.get(name.as_bytes()), Some(text.as_bytes()));
    }
    // The digits count up, six bits each.
    let all = xattrs.get(b"user.all").unwrap();
    assert_eq!(all.len(), 48);
    for (at, group) in (0u32..).step_by(4).zip(all.chunks(3)) {
        let digits = [at, at + 1, at + 2, at + 3];
        let bits = digits.iter().fold(0, |bits, digit| bits * 64 + digit);
        assert_eq!(group, &bits.to_be_bytes()[1..], "{at}");
    }
}

/// What squashfs cannot hold, engines cannot set either: umoci and containerd fail with `ERANGE`.
#[test]
fn xattrs_beyond_the_limits_of_linux_are_refused() {
    for (prefix, length, reason) in [
        ("SCHILY.xattr.user.", 250, None),
        (
            "SCHILY.xattr.user.",
            251,
            Some("its name has more than 255 bytes, the most of Linux"),
        ),
        (
            "LIBARCHIVE.xattr.user.",
            251,
            Some("its name has more than 255 bytes, the most of Linux"),
        ),
        // It is dropped, whatever its length.
        ("SCHILY.xattr.system.", 251, None),
    ] {
        let name = format!("{prefix}{}", "n".repeat(length));
        let parts = [pax(&[(&name, b"YQ")]), file(b"f", b"")];
        match reason {
            None => drop(one(&parts)),
            Some(reason) => assert_eq!(refused(&parts), Malformed::Xattr(reason), "{name}"),
        }
    }
    let limits = Limits {
        xattr_bytes: 1 << 20,
        ..Limits::default()
    };
    for (length, holds) in [(64 << 10, true), ((64 << 10) + 1, false)] {
        let value = vec![b'v'; length];
        let parts = [pax(&[("SCHILY.xattr.user.a", &value)]), file(b"f", b"")];
        assert_eq!(
            read_within(&parts.concat(), limits.clone()).is_ok(),
            holds,
            "{length}"
        );
    }
}

/// `setxattr` fails with `EINVAL`, and so would `execve` of a file in the guest.
#[test]
fn capabilities_that_linux_refuses_are_refused() {
    let value = |magic: u32, length: usize| {
        let mut value = magic.to_le_bytes().to_vec();
        value.resize(length, 0);
        value
    };
    let reason = "its `security.capability` has a form that Linux refuses";
    let link = || raw(b'1', b"n").link(b"t").done();
    for (magic, length, holds) in [
        (0x0200_0000, 20, true),
        (0x0200_0001, 20, true),
        (0x0300_0000, 24, true),
        (0x0300_0001, 24, true),
        (0, 1, false),
        (0x0200_0000, 3, false),
        (0x0200_0000, 4, false),
        (0x0100_0001, 12, false),
        (0x0200_0001, 19, false),
        (0x0200_0001, 21, false),
        (0x0200_0001, 24, false),
        (0x0200_0002, 20, false),
        (0x0300_0001, 20, false),
        (0x0400_0001, 20, false),
        (0x0000_0002, 20, false),
    ] {
        let value = value(magic, length);
        let records = pax(&[("SCHILY.xattr.security.capability", &value)]);
        let parts = [records.clone(), file(b"f", b"")];
        match holds {
            true => drop(one(&parts)),
            false => assert_eq!(
                refused(&parts),
                Malformed::Xattr(reason),
                "{magic:x} {length}"
            ),
        }
        // Those of a hard link are ignored.
        one(&[records, link()]);
    }
    let records = pax(&[("LIBARCHIVE.xattr.security.capability", b"eA")]);
    let problem = refused(&[records, file(b"f", b"")]);
    assert_eq!(problem, Malformed::Xattr(reason));
}

/// Linux executes no file with one, and Go's `archive/tar` leaves it out.
#[test]
fn empty_capability_is_dropped_and_counted() {
    const NAME: &str = "SCHILY.xattr.security.capability";
    let full = [&[1, 0, 0, 2][..], &[0; 16]].concat();
    let (none, other) = ((NAME, &b""[..]), ("SCHILY.xattr.user.a", &b""[..]));
    for (records, kept, dropped) in [
        (&[none][..], 0, 1),
        (&[other, none], 1, 1),
        // The last record of a key counts.
        (&[(NAME, &full), none], 0, 1),
        (&[none, (NAME, &full)], 1, 0),
        (&[("LIBARCHIVE.xattr.security.capability", b"")], 0, 1),
    ] {
        let seen = one(&[pax(records), file(b"f", b"")]);
        assert_eq!(seen.entry.metadata.xattrs.len(), kept, "{records:?}");
        assert_eq!(seen.entry.unstorable_xattrs, dropped, "{records:?}");
    }
    // Two headers that differ are still an error.
    let headers = [pax(&[none]), pax(&[(NAME, &full)]), file(b"f", b"")];
    refused(&headers);
}

/// `listxattr` fails with `E2BIG` beyond 64 KiB (restic/restic#3422).
#[test]
fn names_that_linux_cannot_list_are_refused() {
    let names = |count: usize, more: usize| -> Vec<String> {
        let name = |n| {
            let width = 58 + if n == 0 { more } else { 0 };
            format!("SCHILY.xattr.user.{n:0width$}")
        };
        (0..count).map(name).collect()
    };
    let headed = |names: &[String], entry: &[u8]| {
        let records: Vec<_> = names.iter().map(|name| (&**name, &b""[..])).collect();
        [pax(&records), entry.to_vec()]
    };
    let link = raw(b'2', b"n").link(b"t").done();
    // With a NUL each, they have 64 bytes and `more`.
    let seen = one(&headed(&names(1024, 0), &file(b"f", b"")));
    assert_eq!(seen.entry.metadata.xattrs.len(), 1024);
    let problem = refused(&headed(&names(1024, 1), &file(b"f", b"")));
    let reason = "its entry has more than 64 KiB of their names, the most of Linux";
    assert_eq!(problem, Malformed::Xattr(reason));
    // These are dropped.
    one(&headed(&names(1024, 1), &link));
}
