//! Archives that GNU tar, bsdtar and Python write, listed by us, by Python's `tarfile` and by GNU tar.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test, a panic is how a failure is reported"
)]

use std::ffi::OsStr;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use hpcc_rootfs::layer::{Budget, Entry, EntryKind, Limits, Segment, Stream, TarReader};
use ociget::{DiffId, Digest};

/// What Python sees: one line an entry.
const LIST: &str = r#"
import hashlib, sys, tarfile
kinds = {b'0': 'f', b'\0': 'f', b'S': 'f', b'1': 'h', b'2': 'l', b'5': 'd', b'6': 'p'}
def norm(name):
    raw = name.encode('utf-8', 'surrogateescape')
    return b'/'.join(c for c in raw.split(b'/') if c not in (b'', b'.'))
for m in tarfile.open(sys.argv[1], errors='surrogateescape', encoding='utf-8'):
    kind = kinds[m.type]
    body = hashlib.sha256(tarfile.open(sys.argv[1]).extractfile(m).read()).hexdigest() if kind == 'f' else ''
    link = m.linkname.encode('utf-8', 'surrogateescape') if kind == 'l' else norm(m.linkname) if kind == 'h' else b''
    size = m.size if kind == 'f' else 0
    print(norm(m.name).hex(), kind, size, oct(m.mode & 0o7777), m.uid, m.gid, int(m.mtime), link.hex(), body, sep='|')
"#;

/// What packs `$1` into `$2`.
const WRITERS: &[(&str, &str)] = &[
    ("GNU tar, gnu", "tar -C $1 --format=gnu -cf $2 ."),
    ("GNU tar, gnu, sparse", "tar -C $1 --format=gnu -S -cf $2 ."),
    ("GNU tar, pax", "tar -C $1 --format=pax -cf $2 ."),
    (
        "GNU tar, pax, sparse 0.0",
        "tar -C $1 --format=pax -S --sparse-version=0.0 -cf $2 .",
    ),
    (
        "GNU tar, pax, sparse 0.1",
        "tar -C $1 --format=pax -S --sparse-version=0.1 -cf $2 .",
    ),
    (
        "GNU tar, pax, sparse 1.0",
        "tar -C $1 --format=pax -S --sparse-version=1.0 -cf $2 .",
    ),
    (
        "GNU tar, pax, xattrs",
        "tar -C $1 --format=pax --xattrs -cf $2 .",
    ),
    (
        "GNU tar, ustar",
        "tar -C $1 --format=ustar --exclude=long* -cf $2 .",
    ),
    (
        "GNU tar, v7",
        "tar -C $1 --format=v7 --exclude=long* --exclude=fifo -cf $2 .",
    ),
    (
        "bsdtar, pax",
        "bsdtar -C $1 --format=pax --no-read-sparse -cf $2 .",
    ),
    (
        "bsdtar, pax, sparse",
        "bsdtar -C $1 --format=pax --read-sparse -cf $2 .",
    ),
    ("bsdtar, gnutar", "bsdtar -C $1 --format=gnutar -cf $2 ."),
    (
        "bsdtar, ustar",
        "bsdtar -C $1 --format=ustar --exclude=./long* -cf $2 .",
    ),
    (
        "Python, pax",
        "python3 -c 'import sys,tarfile; t = tarfile.open(sys.argv[2], \"w\", format=tarfile.PAX_FORMAT); t.add(sys.argv[1], \".\"); t.close()' $1 $2",
    ),
    (
        "Python, gnu",
        "python3 -c 'import sys,tarfile; t = tarfile.open(sys.argv[2], \"w\", format=tarfile.GNU_FORMAT); t.add(sys.argv[1], \".\"); t.close()' $1 $2",
    ),
];

fn make_tree(root: &Path) {
    fs::create_dir_all(root.join("dir/sub")).unwrap();
    fs::write(root.join("dir/empty"), b"").unwrap();
    fs::write(root.join("dir/file"), vec![b'x'; 10_000]).unwrap();
    fs::hard_link(root.join("dir/file"), root.join("dir/sub/again")).unwrap();
    std::os::unix::fs::symlink("../file", root.join("dir/sub/link")).unwrap();
    fs::write(root.join(OsStr::from_bytes(b"caf\xE9")), b"latin").unwrap();
    fs::write(root.join("new\nline"), b"n").unwrap();
    let long = format!("long{}", "g".repeat(200));
    fs::create_dir(root.join(&long)).unwrap();
    fs::write(root.join(&long).join(&long), b"far down").unwrap();
    let target = Path::new(&long).join(&long);
    std::os::unix::fs::symlink(&target, root.join("longlink")).unwrap();
    fs::hard_link(root.join(&target), root.join("longhard")).unwrap();
    let mut sparse = fs::File::create(root.join("sparse")).unwrap();
    for i in 0..40 {
        sparse.seek(SeekFrom::Start(i * 131_072 + 65_536)).unwrap();
        sparse
            .write_all(&[b'0' + u8::try_from(i).unwrap(); 4096])
            .unwrap();
    }
    sparse.set_len(6_000_000).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(root.join("fifo"))
            .status()
            .unwrap()
            .success()
    );
    let file = root.join("dir/file");
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(file, "user.test", b"a\nb=c\n\n5 x=y\n", flags).unwrap();
}

/// The same lines from our reader, and how many bytes were holes.
fn list(archive: &[u8]) -> (String, u64) {
    let mut budget = Budget::new(Limits::default());
    let stream = Stream::open(
        archive,
        archive.len() as u64,
        DiffId(Digest::of(archive)),
        budget.limits(),
    );
    let mut tar = TarReader::new(stream.unwrap(), &mut budget);
    let mut entry = Entry::default();
    let mut lines = String::new();
    let mut holes = 0;
    while tar.read_entry(&mut entry).unwrap() {
        let mut body = Vec::new();
        while let Some(segment) = tar.segment().unwrap() {
            match segment {
                Segment::Data(bytes) => body.extend(bytes),
                Segment::Hole(length) => {
                    holes += length;
                    body.resize(body.len() + usize::try_from(length).unwrap(), 0);
                }
            }
        }
        let digest = Digest::of(&body);
        let (kind, link, hash) = match &entry.kind {
            EntryKind::File { .. } => ('f', &[][..], digest.hex()),
            EntryKind::Directory => ('d', &[][..], ""),
            EntryKind::Symlink(target) => ('l', &**target, ""),
            EntryKind::HardLink(target) => ('h', &**target, ""),
            EntryKind::Fifo => ('p', &[][..], ""),
            other => panic!("{other:?}"),
        };
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let metadata = &entry.metadata;
        lines += &format!(
            "{}|{kind}|{}|0o{:o}|{}|{}|{}|{}|{hash}\n",
            hex(&entry.path),
            body.len(),
            metadata.mode,
            metadata.uid,
            metadata.gid,
            metadata.mtime,
            hex(link),
        );
    }
    let _proof = tar.finish().unwrap();
    (lines, holes)
}

/// What GNU tar sees, without times and with names in our spelling.
fn gnu_tar(archive: &Path) -> Vec<String> {
    let mut command = Command::new("tar");
    command.args(["--numeric-owner", "--quoting-style=escape", "-tvf"]);
    let output = command.env("LC_ALL", "C").arg(archive).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{message}");
    let text = String::from_utf8(output.stdout).unwrap();
    let plain = |name: &str| {
        let parts = name.split('/').filter(|part| !matches!(*part, "" | "."));
        parts.collect::<Vec<_>>().join("/")
    };
    let line = |line: &str| {
        let mut columns = line.split_whitespace();
        let [mode, owner, size] = [(); 3].map(|()| columns.next().unwrap());
        // Date and time; names may begin with nothing that split_whitespace would eat.
        let rest = columns.skip(2).collect::<Vec<_>>().join(" ");
        let name = if let Some((name, target)) = rest.split_once(" link to ") {
            format!("{} link to {}", plain(name), plain(target))
        } else if let Some((name, target)) = rest.split_once(" -> ") {
            format!("{} -> {target}", plain(name))
        } else {
            plain(&rest)
        };
        format!("{mode} {owner} {size} {name}")
    };
    text.lines().map(line).collect()
}

/// The lines of [`list`] in the manner of `tar -tv`.
fn as_gnu_tar_says(lines: &str) -> Vec<String> {
    let name = |hex: &str| {
        let bytes = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16));
        let escaped = bytes.map(|byte| match byte.unwrap() {
            b'\n' => "\\n".to_owned(),
            byte @ 0x80.. => format!("\\{byte:o}"),
            byte => char::from(byte).to_string(),
        });
        escaped.collect::<String>()
    };
    let line = |line: &str| {
        let columns: Vec<_> = line.split('|').collect();
        let kind = if columns[1] == "f" { "-" } else { columns[1] };
        let mode = u32::from_str_radix(&columns[3][2..], 8).unwrap();
        let bits = (0..9).map(|bit| match mode >> (8 - bit) & 1 {
            0 => '-',
            _ => char::from(b"rwx"[bit % 3]),
        });
        let target = match columns[1] {
            "h" => format!(" link to {}", name(columns[7])),
            "l" => format!(" -> {}", name(columns[7])),
            _ => String::new(),
        };
        let (uid, gid, size) = (columns[4], columns[5], columns[2]);
        let mode: String = bits.collect();
        format!(
            "{kind}{mode} {uid}/{gid} {size} {}{target}",
            name(columns[0])
        )
    };
    lines.lines().map(line).collect()
}

#[test]
fn archives_of_other_writers_list_as_python_and_gnu_tar_list_them() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    make_tree(&root);
    for (writer, command) in WRITERS {
        let archive = directory.path().join("archive.tar");
        let mut pack = Command::new("sh");
        pack.args(["-c", command, "sh"]).arg(&root).arg(&archive);
        let output = pack.output().expect("there is no shell");
        assert!(
            output.status.success(),
            "{writer}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let bytes = fs::read(&archive).unwrap();
        let python = Command::new("python3")
            .args(["-c", LIST])
            .arg(&archive)
            .output();
        let python = python.expect("python3 is not installed");
        assert!(
            python.status.success(),
            "{writer}: {}",
            String::from_utf8_lossy(&python.stderr)
        );
        let (ours, holes) = list(&bytes);
        assert_eq!(as_gnu_tar_says(&ours), gnu_tar(&archive), "{writer}");
        let theirs = String::from_utf8(python.stdout).unwrap();
        assert_eq!(ours, theirs, "{writer}");
        assert!(ours.lines().count() >= 10, "{writer}");
        assert_eq!(
            holes > 5_000_000,
            writer.contains("sparse"),
            "{writer}: {holes} bytes of holes"
        );
        fs::remove_file(&archive).unwrap();
    }
}
