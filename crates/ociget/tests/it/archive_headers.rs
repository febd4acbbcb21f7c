//! Headers of archives that readers could take for different images.
//!
//! Every archive here holds two whole images. Go's `archive/tar`, with which docker, podman and
//! skopeo read, sees one of them or fails. Seeing the other one would be a fault.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure here is a failed test"
)]

use ociget::DockerArchiveSource;

use crate::archive::{Place, config, file, header, list, padded, tar};
use crate::support::pull;

const GNU: (usize, &[u8]) = (257, b"ustar  \0");

/// The members of an image whose only layer has these contents, without an end.
fn image(contents: &[u8]) -> Vec<u8> {
    let layer = tar(&[file("f", contents)]);
    let (config, list) = (config(&[&layer]), list("c.json", &["l.tar"]));
    let mut image = tar(&[
        file("c.json", &config),
        file("l.tar", &layer),
        file("manifest.json", &list),
    ]);
    image.truncate(image.len() - 1024);
    image
}

fn extended(kind: u8, body: &[u8]) -> Vec<u8> {
    [
        &header(kind, "extension", "", body.len(), &[]),
        &padded(body)[..],
    ]
    .concat()
}

fn long(kind: u8, name: &str) -> Vec<u8> {
    let body = [name.as_bytes(), b"\0"].concat();
    let header = header(kind, "././@LongLink", "", body.len(), &[GNU]);
    [&header[..], &padded(&body)].concat()
}

fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (rest + 1..).find(|length| *length == rest + length.to_string().len());
    format!("{} {key}={value}\n", length.unwrap()).into_bytes()
}

fn signed(mut header: [u8; 512]) -> [u8; 512] {
    header[148..156].fill(b' ');
    let sum: i32 = header
        .iter()
        .map(|byte| i32::from(byte.cast_signed()))
        .sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    header
}

/// The contents of the image that is read: those of `one` or of `other`.
async fn read(archive: &[u8]) -> Result<&'static str, String> {
    let place = Place::new();
    let source = DockerArchiveSource::new(place.write(archive), None);
    let layers = pull(&source).await.map_err(|error| {
        let source = std::error::Error::source(&error);
        let source = source.map(ToString::to_string).unwrap_or_default();
        format!("{error}: {source}")
    })?;
    match layers.first().and_then(|layer| layer.get(512..515)) {
        Some(b"one") => Ok("one"),
        Some(b"two") => Ok("two"),
        other => Err(format!("{other:?}")),
    }
}

const END: [u8; 1024] = [0; 1024];

/// RUSTSEC-2025-0111 is a reader that takes a size for what has none; bazel-contrib/rules_img#63
/// wrote such headers.
#[tokio::test]
async fn sizes_of_members_hide_no_image() {
    let (one, two) = (image(b"one"), image(b"two"));
    for kind in 0..=u8::MAX {
        for name in ["d", "d/"] {
            let claims = header(kind, name, "c.json", one.len() + END.len(), &[]);
            let archive = [&claims[..], &one, &END, &two, &END].concat();
            let found = read(&archive).await;
            let expected = match (kind, name) {
                (b'1' | b'5', _) => Some("one"),
                (b'2' | b'3' | b'4' | b'6' | b'x' | b'g' | b'S' | b'X', _) | (0, "d/") => None,
                // Also a long name or link, here `c.json`, which the next member has anyway.
                _ => Some("two"),
            };
            assert_eq!(found.as_deref().ok(), expected, "{kind} {name} {found:?}");
        }
    }
}

#[tokio::test]
async fn sizes_in_records_hide_no_image() {
    let (one, two) = (image(b"one"), image(b"two"));
    let size = (one.len() + END.len()).to_string();
    let size = extended(b'x', &record("size", &size));
    for (kind, expected) in [
        (b'0', Some("two")),
        (b'1', Some("one")),
        (b'2', None),
        (b'3', None),
        (b'5', Some("one")),
        (b'6', None),
        (b'V', Some("two")),
    ] {
        let member = header(kind, "d", "c.json", 0, &[]);
        let archive = [&size[..], &member, &one, &END, &two, &END].concat();
        let found = read(&archive).await;
        assert_eq!(found.as_deref().ok(), expected, "{kind} {found:?}");
    }
}

/// Contents that are no header, and an end that is followed by more, bear the size out.
#[tokio::test]
async fn contents_after_a_directory_or_hard_link_are_errors() {
    let one = image(b"one");
    let large = [0; 10_240];
    for kind in [b'1', b'5'] {
        let claims = header(kind, "d", "c.json", 1024, &[]);
        for (follows, is_read) in [
            (&[&END[..]][..], true),
            (&[&large[..]], true),
            (&[&[][..]], true),
            (&[&[7; 1024][..], &END], false),
            (&[&END[..], &header(b'0', "late", "", 0, &[]), &END], false),
            (&[&END[..512], &[7; 512], &END], false),
        ] {
            let archive = [&one[..], &claims, &follows.concat()].concat();
            let found = read(&archive).await;
            assert_eq!(found.is_ok(), is_read, "{kind} {found:?}");
            if let Err(error) = found {
                assert!(error.contains("with a size of 1024"), "{error}");
            }
        }
    }
}

/// RUSTSEC-2026-0068 and RUSTSEC-2026-0112: a record's size was applied to the extension after it.
#[tokio::test]
async fn extensions_describe_the_member_and_not_each_other() {
    let (one, two) = (image(b"one"), image(b"two"));
    // The contents of a file are a whole image. A reader that loses its place finds it.
    let hidden = [&one[..], &END].concat();
    let size = extended(b'x', &record("size", &hidden.len().to_string()));
    let comment = record("comment", "x");
    let kinds = [
        ("size", size),
        ("long name", long(b'L', "file")),
        ("long link", long(b'K', "link")),
        ("comment", extended(b'x', &comment)),
        ("global", extended(b'g', &record("size", "512"))),
    ];
    for first in &kinds {
        for second in &kinds {
            for third in &kinds {
                let names = [first.0, second.0, third.0];
                let ahead = [&first.1[..], &second.1, &third.1].concat();
                let has_size = names.contains(&"size");
                let own = if has_size { 0 } else { hidden.len() };
                let member = header(b'0', "name", "", own, &[]);
                let archive = [&ahead[..], &member, &hidden, &two, &END].concat();
                let found = read(&archive).await;
                // What a later `x` does not repeat is lost for Go, and a global header that follows
                // an extension makes Go forget it.
                let from = names.iter().position(|name| *name != "global");
                let late = names.iter().rposition(|name| *name == "global");
                let is_torn = from.zip(late).is_some_and(|(from, late)| from < late);
                let sizes = names.iter().position(|name| *name == "size");
                let comments = names.iter().rposition(|name| *name == "comment");
                let is_lost = sizes
                    .zip(comments)
                    .is_some_and(|(size, comment)| size < comment);
                let expected = (!is_torn && !is_lost).then_some("two");
                assert_eq!(found.as_deref().ok(), expected, "{names:?} {found:?}");
            }
        }
    }
}

#[tokio::test]
async fn forms_of_headers_that_go_reads_are_read() {
    let one = image(b"one");
    let layer = tar(&[file("f", b"one")]);
    let config = config(&[&layer]);
    let behind = tar(&[
        file("l.tar", &layer),
        file("manifest.json", &list("aa/c.json", &["l.tar"])),
    ]);
    let prefixed = |more: &[(usize, &[u8])]| {
        let header = header(b'0', "c.json", "", config.len(), more);
        [&header[..], &padded(&config), &behind].concat()
    };
    let empty = [
        record("path", ""),
        record("linkpath", ""),
        record("size", ""),
    ]
    .concat();
    let odd_name = |name: &str| {
        let layer = tar(&[file("f", b"one"), file(name, b"")]);
        let odd = tar(&[file(name, b""), file("f", b"one")]);
        assert_eq!(layer.len(), odd.len());
        let config = self::config(&[&layer]);
        let list = list("c.json", &["l.tar"]);
        tar(&[
            file("c.json", &config),
            file("l.tar", &layer),
            file("manifest.json", &list),
        ])
    };
    for (what, archive) in [
        (
            "empty records",
            [&extended(b'x', &empty)[..], &one, &END].concat(),
        ),
        // docker before 17.06 (golang/go#21005).
        ("prefix with GNU's magic", prefixed(&[GNU, (345, b"aa")])),
        ("times with GNU's magic", {
            let times: [(usize, &[u8]); 3] =
                [GNU, (345, b"00000000001\0"), (357, b"00000000002\0")];
            let header = header(b'0', "aa/c.json", "", config.len(), &times);
            [&header[..], &padded(&config), &behind].concat()
        }),
        ("prefix of ustar", prefixed(&[(345, b"aa")])),
        ("prefix of star", {
            // The bytes after 131 are times.
            prefixed(&[(345, b"aa"), (476, b"00000000001 "), (508, b"tar\0")])
        }),
        ("signed checksum", {
            let odd = signed(header(b'0', "\u{fc}", "", 0, &[]));
            [&odd[..], &one, &END].concat()
        }),
        (
            "global header",
            [&extended(b'g', &record("path", "x"))[..], &one, &END].concat(),
        ),
        (
            "layer that begins with a name like bzip2",
            odd_name("BZh/x"),
        ),
    ] {
        assert_eq!(read(&archive).await, Ok("one"), "{what}");
    }
}

/// Go, GNU tar and Python differ on these, or Go refuses them.
#[tokio::test]
async fn forms_of_headers_that_readers_differ_on_are_errors() {
    let one = image(b"one");
    let sized = |field: &[u8]| {
        let odd = header(b'0', "odd", "", 0, &[(124, field)]);
        [&odd[..], &padded(b"x"), &one, &END].concat()
    };
    let pax = |body: &[u8]| [&extended(b'x', body)[..], &one, &END].concat();
    let map = [
        record("GNU.sparse.numblocks", "1"),
        record("GNU.sparse.map", "0,512"),
        record("GNU.sparse.size", "512"),
    ]
    .concat();
    for (what, archive, says) in [
        (
            "signed size",
            sized(b"+0000000001\0"),
            "size is not a number",
        ),
        ("binary size", sized(&[0xff; 12]), "size is not a number"),
        ("signed record", pax(&record("size", "+5")), "not a number"),
        ("no newline", pax(b"5 xxxxxxxxx\nyyyyyyyy"), "wrong length"),
        ("cut record", pax(b"99 path=x\n"), "wrong length"),
        ("NUL in a name", pax(&record("path", "a\0b")), "NUL"),
        (
            "blank before a key",
            pax(&record(" size", "0")),
            "begins with a blank",
        ),
        (
            "NUL in a key",
            pax(&record("path\0x", "a")),
            "key that holds a NUL",
        ),
        (
            "time that is no number",
            pax(&record("atime", "x")),
            "time that is not a number",
        ),
        (
            "sparse file of star",
            pax(&record("SCHILY.realsize", "5")),
            "SCHILY.realsize",
        ),
        (
            "sparse file of Solaris",
            pax(&record("SUN.holesdata", " 5 10")),
            "SUN.holesdata",
        ),
        (
            "Solaris",
            [&extended(b'X', &record("path", "x"))[..], &one, &END].concat(),
            "Solaris",
        ),
        (
            "two names",
            [
                &extended(b'x', &record("path", "c.json"))[..],
                &long(b'L', "d"),
                &one,
                &END,
            ]
            .concat(),
            "two names",
        ),
        (
            "lone zero block",
            [&one[..], &END[..512], &one, &END].concat(),
            "single zero block",
        ),
        (
            "extension of nothing",
            [&one[..], &extended(b'x', &record("path", "x")), &END].concat(),
            "describes the next",
        ),
        (
            "sparse directory",
            [
                &extended(b'x', &map)[..],
                &header(b'5', "d", "", 0, &[]),
                &one,
                &END,
            ]
            .concat(),
            "sparse map",
        ),
        (
            "sparse without GNU's magic",
            [&header(b'S', "s", "", 0, &[])[..], &one, &END].concat(),
            "makes no sense",
        ),
        (
            "old directory by its extension",
            [
                &long(b'L', "d/")[..],
                &header(0, "d", "", 0, &[]),
                &one,
                &END,
            ]
            .concat(),
            "directory for some readers",
        ),
        (
            "prefix after half of a magic",
            [
                &header(b'0', "c.json", "", 0, &[(257, b"ustarX00"), (345, b"aa")])[..],
                &one,
                &END,
            ]
            .concat(),
            "prefix for some readers",
        ),
    ] {
        let error = read(&archive).await.expect_err(what);
        assert!(error.contains(says), "{what}: {error}");
    }
}

/// An unknown kind is a file for Go and by POSIX, so it is one of two members of the same name.
#[tokio::test]
async fn member_of_an_unknown_kind_is_a_file() {
    let (one, two) = (image(b"one"), image(b"two"));
    let list = list("other.json", &["l.tar"]);
    let odd = [
        &header(b'A', "manifest.json", "", list.len(), &[]),
        &padded(&list)[..],
    ]
    .concat();
    for archive in [
        [&odd[..], &one, &END].concat(),
        [&one[..], &odd, &END].concat(),
        [&one[..], &two, &END].concat(),
    ] {
        let error = read(&archive).await.unwrap_err();
        assert!(error.contains("a name that was there before"), "{error}");
    }
}
