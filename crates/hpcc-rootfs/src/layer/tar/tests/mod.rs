//! Archives made by hand, header by header, for forms that current writers no longer produce or should never have
//! produced.

mod forms;
mod raw;
mod records;
mod sparse;
mod xattrs;

use ociget::{DiffId, Digest};
use sqfs_writer::Device;

use self::raw::{Raw, file, long, pax, raw};
use super::{Entry, EntryKind, Segment, TarReader};
use crate::layer::error::{Error, Malformed};
use crate::layer::limits::{Budget, Limits};
use crate::layer::stream::Stream;

/// An entry, its body with zeros for holes, and the lengths of the holes.
#[derive(Debug)]
struct Seen {
    entry: Entry,
    body: Vec<u8>,
    holes: Vec<u64>,
}

fn read_exactly(archive: &[u8]) -> Result<Vec<Seen>, Error> {
    read_within(archive, Limits::default())
}

fn read_within(archive: &[u8], limits: Limits) -> Result<Vec<Seen>, Error> {
    let mut budget = Budget::new(limits);
    let stream = Stream::open(
        archive,
        archive.len() as u64,
        DiffId(Digest::of(archive)),
        budget.limits(),
    )?;
    let mut tar = TarReader::new(stream, &mut budget);
    let mut entry = Entry::default();
    let mut seen = Vec::new();
    while tar.read_entry(&mut entry)? {
        let mut body = Vec::new();
        let mut holes = Vec::new();
        while let Some(segment) = tar.segment()? {
            match segment {
                Segment::Data(bytes) => body.extend(bytes),
                Segment::Hole(length) => {
                    holes.push(length);
                    body.resize(body.len() + usize::try_from(length).unwrap(), 0);
                }
            }
        }
        if let EntryKind::File { size } = entry.kind {
            assert_eq!(size, body.len() as u64);
        }
        seen.push(Seen {
            entry: entry.clone(),
            body,
            holes,
        });
    }
    let _proof = tar.finish()?;
    Ok(seen)
}

fn read(parts: &[Vec<u8>]) -> Result<Vec<Seen>, Error> {
    let mut archive = parts.concat();
    archive.extend([0; 1024]);
    read_exactly(&archive)
}

#[track_caller]
fn one(parts: &[Vec<u8>]) -> Seen {
    let mut seen = read(parts).unwrap();
    assert_eq!(seen.len(), 1);
    seen.remove(0)
}

#[track_caller]
fn refused(parts: &[Vec<u8>]) -> Malformed {
    match read(parts).unwrap_err() {
        Error::Tar { problem, .. } => problem,
        other => panic!("{other}"),
    }
}

#[test]
fn names_come_out_in_one_spelling_and_to_the_byte() {
    for (name, path) in [
        (&b"a//b/./c"[..], &b"a/b/c"[..]),
        (b"./", b""),
        // quamotion/dotnet-packaging#52, opencontainers/image-spec#1301
        (b"", b""),
        (b"/", b""),
        (b"/abs", b"abs"),
        (b"caf\xE9/\xFF", b"caf\xE9/\xFF"),
        (b"...", b"..."),
        (b"a/..b", b"a/..b"),
    ] {
        let flag = if path.is_empty() { b'5' } else { b'0' };
        assert_eq!(one(&[raw(flag, name).done()]).entry.path, path);
    }
    for (name, problem) in [
        (&b""[..], Malformed::Empty("name")),
        (b"..", Malformed::DotDot("name")),
        (b"a/../b", Malformed::DotDot("name")),
        (b"/", Malformed::Root),
    ] {
        assert_eq!(refused(&[raw(b'0', name).done()]), problem);
    }
    let nul = refused(&[pax(&[("path", b"a\0b")]), file(b"x", b"")]);
    assert_eq!(nul, Malformed::Nul("name"));
    for (flag, what) in [(b'1', "hard link's target"), (b'2', "symlink's target")] {
        let link = |target| refused(&[pax(&[("linkpath", target)]), raw(flag, b"n").done()]);
        assert_eq!(link(b"a\0b"), Malformed::Nul("link target"));
        assert_eq!(link(b""), Malformed::Empty(what));
    }
}

#[test]
fn long_names_come_from_prefix_pax_and_gnu_headers() {
    let long_path = [&[b'd'; 150][..], b"/", &[b'f'; 200]].concat();
    let target = vec![b't'; 300];
    let seen = one(&[
        long(b'K', &target),
        long(b'L', &long_path),
        raw(b'2', b"short").gnu().link(b"short").done(),
    ]);
    assert_eq!(seen.entry.path, long_path);
    assert_eq!(seen.entry.kind, EntryKind::Symlink(target.clone().into()));
    let target = [&[b't'; 150][..], b"/", &[b'u'; 150]].concat();
    let seen = one(&[
        pax(&[("path", &long_path), ("linkpath", &target)]),
        raw(b'1', b"short").link(b"short").done(),
    ]);
    assert_eq!(seen.entry.path, long_path);
    assert_eq!(seen.entry.kind, EntryKind::HardLink(target.into()));
}

#[test]
fn the_prefix_means_something_only_where_the_format_has_one() {
    let prefix = |raw: Raw| raw.put(345, b"dir/sub");
    let path = |raw: Raw| one(&[prefix(raw).done()]).entry.path;
    assert_eq!(path(raw(b'0', b"f")), b"dir/sub/f");
    assert_eq!(path(raw(b'0', b"f").put(257, &[0; 8])), b"f");
    // star ends the prefix early: times follow it.
    let star = raw(b'0', b"f").put(476, b"00000000000").put(508, b"tar\0");
    assert_eq!(path(star), b"dir/sub/f");
}

#[test]
fn numbers_in_every_way_they_are_written() {
    let uid = |field: &[u8]| {
        one(&[raw(b'0', b"f").put(108, field).done()])
            .entry
            .metadata
            .uid
    };
    assert_eq!(uid(b"0001750\0"), 1000);
    assert_eq!(uid(b"   1750 "), 1000);
    assert_eq!(uid(b"00001750"), 1000);
    assert_eq!(uid(&[0; 8]), 0);
    assert_eq!(uid(&[0x80, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFE]), 0xFFFF_FFFE);
    let bad = |field: &[u8]| refused(&[raw(b'0', b"f").put(108, field).done()]);
    assert_eq!(bad(b"0001758\0"), Malformed::Number("uid"));
    let max = u64::from(u32::MAX);
    let (field, value) = ("uid", 1 << 32);
    assert_eq!(
        bad(&[0x80, 0, 0, 1, 0, 0, 0, 0]),
        Malformed::Range { field, value, max }
    );
    let value = -1;
    assert_eq!(bad(&[0xFF; 8]), Malformed::Range { field, value, max });
}

#[test]
fn a_mode_keeps_its_low_twelve_bits() {
    for (field, mode) in [
        (&b"0107777\0"[..], 0o7777),
        (b"0100644\0", 0o644),
        (b"07776000", 0o6000),
        (&[0xFF; 8], 0o7777),
        (&[0; 8], 0),
    ] {
        let seen = one(&[raw(b'0', b"f").put(100, field).done()]);
        assert_eq!(seen.entry.metadata.mode, mode);
    }
}

#[test]
fn total_file_size_is_checked_by_what_headers_declare() {
    let octal = |n: u64| format!("{n:012o}").into_bytes();
    // A hole and nothing else; the last header declares a byte that is missing.
    let hole = |name, size| raw(b'S', name).gnu().put(483, &octal(size)).done();
    let (half, rest) = (8 << 30, (8 << 30) - 3);
    let layer = [hole(b"a", half), hole(b"b", rest), file(b"c", b"123")].concat();
    let within = read_headers(&layer, Limits::default()).unwrap();
    assert_eq!(within, 16 << 30);
    let beyond = [layer, raw(b'0', b"d").size(1).done()].concat();
    let error = read_headers(&beyond, Limits::default()).unwrap_err();
    let Error::Limit { at, value, max, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(
        (&*at.entry, value, max),
        (&b"d"[..], (16 << 30) + 1, 16 << 30)
    );
}

/// Returns the sizes that the archive's files declare.
fn read_headers(archive: &[u8], limits: Limits) -> Result<u64, Error> {
    let mut budget = Budget::new(limits);
    let id = DiffId(Digest::of(archive));
    let stream = Stream::open(archive, archive.len() as u64, id, budget.limits())?;
    let mut tar = TarReader::new(stream, &mut budget);
    while tar.read_entry(&mut Entry::default())? {}
    drop(tar);
    Ok(budget.logical_bytes())
}

#[test]
fn times_stay_within_what_can_be_stored() {
    let base256 = |value: i128| value.to_be_bytes()[4..].to_vec();
    // The flag says exactly whether the archive has another time.
    let stored = |entry: Entry, differs: bool| {
        assert_eq!(entry.clamped_time, differs, "{}", entry.metadata.mtime);
        entry.metadata.mtime
    };
    let mtime = |bytes: &[u8], differs| {
        stored(
            one(&[raw(b'0', b"f").put(136, bytes).done()]).entry,
            differs,
        )
    };
    assert_eq!(mtime(b"00000000017\0", false), 15);
    let mut far = base256(1 << 40);
    far[0] |= 0x80;
    assert_eq!(mtime(&far, true), u32::MAX);
    assert_eq!(mtime(&base256(-5), true), 0);
    let of = |text: &[u8], differs| {
        let parts = [pax(&[("mtime", text)]), file(b"f", b"")];
        stored(one(&parts).entry, differs)
    };
    assert_eq!(of(b"12.999", false), 12);
    assert_eq!(of(b"-0.5", true), 0);
    assert_eq!(of(b"4294967294.9", false), u32::MAX - 1);
    for far in [&b"99999999999"[..], b"18446744073709551616", &[b'9'; 60]] {
        let fraction = [far, b".999"].concat();
        for future in [far, &fraction] {
            assert_eq!(of(future, true), u32::MAX);
            assert_eq!(of(&[b"-", future].concat(), true), 0);
        }
    }
    for text in [&b"1e9"[..], b"-", b".5", b"--1", b"1.5.5", b"1,5"] {
        let bad = refused(&[pax(&[("mtime", text)]), file(b"f", b"")]);
        assert_eq!(bad, Malformed::Number("mtime"), "{}", text.escape_ascii());
    }
}

#[test]
fn both_checksums_are_right_and_others_are_not() {
    let good = raw(b'0', b"caf\xE9").done();
    assert_eq!(read(std::slice::from_ref(&good)).unwrap().len(), 1);
    // As signed chars, the byte counts 256 less.
    let mut signed = raw(b'0', b"caf\xE9").put(148, b"        ");
    let sum = format!("{:06o}\0 ", signed.sum() - 256);
    signed = signed.put(148, sum.as_bytes());
    assert_eq!(read(&[signed.0.to_vec()]).unwrap().len(), 1);
    let mut bad = [file(b"a", b""), good].concat();
    bad[512] ^= 1;
    assert_eq!(refused(&[bad]), Malformed::Checksum);
}

#[test]
fn types() {
    let kind = |flag, name: &[u8]| one(&[raw(flag, name).link(b"t").done()]).entry.kind;
    assert_eq!(kind(0, b"a"), EntryKind::File { size: 0 });
    assert_eq!(kind(0, b"a/"), EntryKind::Directory);
    assert_eq!(kind(b'0', b"a/"), EntryKind::File { size: 0 });
    assert_eq!(kind(b'7', b"a"), EntryKind::File { size: 0 });
    assert_eq!(kind(b'1', b"a"), EntryKind::HardLink(b"t"[..].into()));
    assert_eq!(kind(b'6', b"a"), EntryKind::Fifo);
    // `D` is what `tar -g` writes for a directory (moby/moby#10907).
    for flag in [b'8', b'D', b'M', b'V', b'z', 0xFF] {
        assert_eq!(refused(&[raw(flag, b"a").done()]), Malformed::Type(flag));
    }
}

#[test]
fn devices_within_what_linux_can_number() {
    let device =
        |flag, major: &[u8], minor: &[u8]| raw(flag, b"d").put(329, major).put(337, minor).done();
    let seen = one(&[device(b'3', b"0007777\0", b"3777777\0")]);
    let largest = Device {
        major: 0xFFF,
        minor: 0xF_FFFF,
    };
    assert_eq!(seen.entry.kind, EntryKind::CharDevice(largest));
    for parts in [
        device(b'4', b"0010000\0", b""),
        device(b'4', b"", b"4000000\0"),
    ] {
        assert!(matches!(refused(&[parts]), Malformed::Range { .. }));
    }
    let v7 = raw(b'3', b"d").put(257, &[0; 8]).done();
    assert_eq!(refused(&[v7]), Malformed::NoDeviceNumbers);
    // The range is that of devices also below 0.
    let negative = Malformed::Range {
        field: "device's major number",
        value: -1,
        max: 0xFFF,
    };
    assert_eq!(refused(&[device(b'3', &[0xFF; 8], b"")]), negative);
}

#[test]
fn only_files_have_bodies() {
    for (flag, kind) in [
        (b'1', "hard link"),
        (b'2', "symlink"),
        (b'3', "device"),
        (b'4', "device"),
        (b'5', "directory"),
        (b'6', "fifo"),
    ] {
        let header = raw(flag, b"a").link(b"t").size(7).with(b"1234567");
        assert_eq!(refused(&[header]), Malformed::Body { kind, size: 7 });
        let header = raw(flag, b"a").link(b"t").with(b"123456789");
        let parts = [pax(&[("size", b"9")]), header];
        assert_eq!(refused(&parts), Malformed::Body { kind, size: 9 });
    }
}

#[test]
fn forms_that_readers_disagree_about_are_refused() {
    let a = || pax(&[("path", b"a")]);
    assert_eq!(
        refused(&[a(), pax(&[("path", b"b")]), file(b"f", b"")]),
        Malformed::TwoHeaders("PAX")
    );
    let name = || long(b'L', b"b");
    let two = refused(&[name(), long(b'L', b"c"), file(b"f", b"")]);
    assert_eq!(two, Malformed::TwoHeaders("GNU long name"));
    let target = || long(b'K', b"t");
    let two = refused(&[target(), long(b'K', b"u"), raw(b'2', b"s").done()]);
    assert_eq!(two, Malformed::TwoHeaders("GNU long link"));
    let targets = [pax(&[("linkpath", b"u")]), target(), raw(b'2', b"s").done()];
    assert_eq!(refused(&targets), Malformed::TwoNames("link target"));
    let two = refused(&[a(), name(), file(b"f", b"")]);
    assert_eq!(two, Malformed::TwoNames("name"));
    // Where two headers say the same, no reader reads something else.
    assert_eq!(
        one(&[a(), long(b'L', b"a"), file(b"f", b"")]).entry.path,
        b"a"
    );
    assert_eq!(refused(&[a()]), Malformed::NothingDescribed);
    let lone = [vec![0; 512], file(b"f", b"")];
    assert_eq!(refused(&lone), Malformed::LoneZeroBlock);
}

#[test]
fn archives_end_at_an_entry_and_nowhere_else() {
    let whole = [file(b"a", b"1"), file(b"b", &[7; 600])].concat();
    // With two end blocks, one, or none, and with anything after two.
    for end in [&[0; 1024][..], &[0; 512], &[0; 700], &[]] {
        let archive = [&whole, end].concat();
        assert_eq!(read_exactly(&archive).unwrap().len(), 2);
    }
    let trailing = [&whole[..], &[0; 1024], b"anything at all", &[9; 3000]].concat();
    assert_eq!(read_exactly(&trailing).unwrap().len(), 2);
    assert_eq!(read_exactly(b"").unwrap().len(), 0);
    for length in 1..whole.len() {
        let result = read_exactly(&whole[..length]);
        // The last bytes of a file may be followed by its padding or the end.
        let entries = match length {
            513..=1024 => 1,
            2136.. => 2,
            _ => 0,
        };
        if entries > 0 {
            assert_eq!(result.unwrap().len(), entries, "{length}");
            continue;
        }
        let message = result.unwrap_err().to_string();
        // With less than one header, the format cannot be recognized.
        let expected = if length < 512 {
            "the blob is not a layer"
        } else {
            "cut short"
        };
        assert!(message.contains(expected), "{length}: {message}");
        assert_eq!(
            message.contains("\"b\""),
            length >= 1536,
            "{length}: {message}"
        );
    }
}

#[test]
fn errors_say_where() {
    let parts = [
        file(b"good", &[1; 600]),
        raw(b'6', b"usr/bad\n").size(1).done(),
    ];
    let error = read(&parts).unwrap_err().to_string();
    assert!(
        error.contains(r#"entry "usr/bad\n" at byte 1536 of the tar"#),
        "{error}"
    );
}

#[test]
fn extended_header_beyond_its_limit_is_named() {
    let limits = Limits {
        header_bytes: 1 << 20,
        ..Limits::default()
    };
    let size = (1 << 20) + 1;
    let parts = [
        file(b"before", b""),
        raw(b'x', b"PaxHeaders/big").size(size).done(),
    ];
    let error = read_within(&parts.concat(), limits)
        .unwrap_err()
        .to_string();
    assert!(error.contains(r#""PaxHeaders/big""#), "{error}");
}
