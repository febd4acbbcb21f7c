//! Archives that are refused, whatever others make of them.

use crate::by_hand::{BODY, Parts, base256, v7};
use crate::listing::ours;
use crate::raw::{file, long, pax, raw};

/// What is refused, and words of why.
fn refused() -> Vec<(&'static str, Parts, &'static str)> {
    let uid = |field: &[u8]| vec![raw(b'0', b"f").put(108, field).done()];
    let a = || pax(&[("path", b"a")]);
    let l = || long(b'L', b"b");
    let mut wrong = file(b"f", b"1");
    wrong[0] = b'g';
    let device = |major: &[u8]| raw(b'3', b"d").put(329, major).done();
    let map = |map: &[u8]| {
        let runs = map.split(|byte| *byte == b',').count() / 2;
        let runs = runs.to_string();
        let records = [
            ("GNU.sparse.size", &b"100"[..]),
            ("GNU.sparse.numblocks", runs.as_bytes()),
            ("GNU.sparse.map", map),
            ("GNU.sparse.name", b"f"),
        ];
        vec![pax(&records), file(b"f", b"abcde")]
    };
    let sparse = |records: &[(&str, &[u8])]| {
        let name = [("GNU.sparse.name", &b"g"[..])];
        vec![pax(&[&name, records].concat()), file(b"f", b"")]
    };
    let versions = |major, minor| {
        let records = [
            ("GNU.sparse.major", major),
            ("GNU.sparse.minor", minor),
            ("GNU.sparse.realsize", &b"5"[..]),
        ];
        let body = [&b"1\n0\n5\n"[..], &[0; 506], b"abcde"].concat();
        vec![pax(&records), file(b"f", &body)]
    };
    let bad_record =
        |body: &[u8]| vec![raw(b'x', b"p").size(body.len()).with(body), file(b"f", b"")];
    let global = || raw(b'g', b"g").size(8).with(b"8 a=bcd\n");
    let between = "a global header stands between";
    let xattrs = |first, second| vec![pax(&[first, second]), file(b"f", b"")];
    let differ = "SCHILY and LIBARCHIVE";
    vec![
        (
            "a global header behind a PAX header",
            vec![a(), global(), file(b"f", b"")],
            between,
        ),
        (
            "a global header behind a long name",
            vec![l(), global(), file(b"f", b"")],
            between,
        ),
        (
            "an attribute with another value for libarchive",
            xattrs(
                ("SCHILY.xattr.user.a", b"1"),
                ("LIBARCHIVE.xattr.user.a", b"Mg"),
            ),
            differ,
        ),
        (
            "an attribute with another value for star",
            xattrs(
                ("LIBARCHIVE.xattr.user.a", b"Mg"),
                ("SCHILY.xattr.user.a", b"1"),
            ),
            differ,
        ),
        (
            "a sparse file with two sizes",
            vec![
                pax(&[
                    ("GNU.sparse.size", &b"100"[..]),
                    ("GNU.sparse.realsize", b"200"),
                    ("GNU.sparse.numblocks", b"1"),
                    ("GNU.sparse.map", b"0,5"),
                ]),
                file(b"f", b"abcde"),
            ],
            "two different sizes",
        ),
        ("a name that goes up", vec![file(b"a/../b", b"")], "'..'"),
        (
            "a target that goes up",
            vec![raw(b'1', b"a").link(b"../b").done()],
            "'..'",
        ),
        ("no name", vec![file(b"", b"")], "name is empty"),
        ("no target", vec![raw(b'1', b"a").done()], "target is empty"),
        (
            "a symlink to nothing",
            vec![raw(b'2', b"a").done()],
            "target is empty",
        ),
        (
            "a NUL in a name",
            vec![pax(&[("path", b"a\0b")]), file(b"f", b"")],
            "NUL",
        ),
        (
            "a long component",
            vec![long(b'L', &[b'n'; 256]), file(b"f", b"")],
            "length of a name is 256",
        ),
        ("a root that is a file", vec![file(b"./", b"")], "root"),
        (
            "an owner beyond 32 bits",
            uid(&base256(1 << 32, 8)),
            "uid 4294967296",
        ),
        ("an owner below 0", uid(&[0xFF; 8]), "uid -1"),
        (
            "an owner that is no number",
            uid(b"0001758\0"),
            "uid is not a number",
        ),
        (
            "a major number of 13 bits",
            vec![device(b"0010000\0")],
            "major number 4096 is out of range; the largest is 4095",
        ),
        (
            "a major number below 0",
            vec![device(&[0xFF; 8])],
            "major number -1 is out of range; the largest is 4095",
        ),
        (
            "a device in V7",
            vec![v7(b'3', b"d").done()],
            "without device numbers",
        ),
        (
            "an unknown type",
            vec![raw(b'Z', b"f").done()],
            "unknown entry type 'Z'",
        ),
        (
            "a directory with a body",
            vec![raw(b'5', b"d").size(700).with(BODY)],
            "directory with a size",
        ),
        (
            "a symlink with a body",
            vec![raw(b'2', b"s").link(b"t").size(700).with(BODY)],
            "symlink with a size",
        ),
        (
            "a hard link with a body",
            vec![raw(b'1', b"n").link(b"t").size(700).with(BODY)],
            "hard link with a size",
        ),
        ("a wrong checksum", vec![file(b"a", b""), wrong], "checksum"),
        (
            "two headers of records",
            vec![a(), pax(&[("path", b"b")]), file(b"f", b"")],
            "two PAX headers",
        ),
        (
            "two long names",
            vec![l(), long(b'L', b"c"), file(b"f", b"")],
            "two GNU long name headers",
        ),
        (
            "two names",
            vec![a(), l(), file(b"f", b"")],
            "different names",
        ),
        (
            "records for nothing",
            vec![file(b"a", b""), a()],
            "describes nothing",
        ),
        (
            "a lone block of zeros",
            vec![file(b"a", b""), vec![0; 512], file(b"b", b"")],
            "single zero block",
        ),
        (
            "a record with a wrong length",
            bad_record(b"99 a=b\n"),
            "length of a record",
        ),
        ("a record without a key", bad_record(b"5 =b\n"), "no key"),
        ("an odd map", map(b"0"), "odd number"),
        (
            "a map with an empty number",
            map(b"0,2,,50,3"),
            "offset in the sparse map",
        ),
        ("a map that ends with a comma", map(b"0,5,"), "odd number"),
        ("a map out of order", map(b"50,2,0,3"), "overlap"),
        ("a map beyond the end", map(b"96,5"), "after the end"),
        ("a map of less than is stored", map(b"0,4"), "disagree"),
        // astral-sh/tokio-tar#95: engines give the file the header's name, and others that of the record.
        (
            "a sparse name without a map",
            sparse(&[("GNU.sparse.size", b"0")]),
            "no map",
        ),
        (
            "a sparse version without a map",
            sparse(&[
                ("GNU.sparse.major", b"0"),
                ("GNU.sparse.minor", b"1"),
                ("GNU.sparse.size", b"0"),
            ]),
            "no map",
        ),
        ("a version with a zero", versions(b"01", b"0"), "version"),
        (
            "a minor version with a zero",
            versions(b"1", b"00"),
            "version",
        ),
        ("a version of zeros", versions(b"00", b"1"), "version"),
        ("a version with a sign", versions(b"+1", b"0"), "version"),
        (
            "a sparse file in a header of another format",
            vec![
                raw(b'S', b"f")
                    .size(3)
                    .put(257, b"ustar\x0000")
                    .with(b"abc"),
            ],
            "magic",
        ),
        (
            "star's sparse files",
            vec![pax(&[("SCHILY.realsize", b"5")]), file(b"f", b"")],
            "star",
        ),
        (
            "Solaris' sparse files",
            vec![pax(&[("SUN.holesdata", b" 5 10")]), file(b"f", b"")],
            "Solaris",
        ),
    ]
}

#[test]
fn malformed_archives_are_refused_whatever_other_readers_do() {
    for (name, parts, why) in refused() {
        let archive = [parts.concat(), vec![0; 1024]].concat();
        let message = ours(&archive).unwrap_err().to_string();
        assert!(message.contains(why), "{name}: {message}");
    }
}
