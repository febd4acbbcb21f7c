//! Extended attributes: what is kept, what is dropped, what cannot be read.

use super::raw::{file, pax, raw};
use super::{one, refused};
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
        // The first one again, as bsdtar writes both.
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

#[test]
fn xattrs_that_cannot_be_decoded_are_errors() {
    for (key, value) in [
        ("SCHILY.xattr.", &b"x"[..]),
        ("SCHILY.xattr.user.\0", b"x"),
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
