//! What each reader makes of an archive, as lines of the same form.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use hpcc_rootfs::layer::{Budget, Entry, EntryKind, Error, Limits, Segment, Stream, TarReader};
use sha2::{Digest as _, Sha256};

/// One entry. Times and contents are what `tar -tv` does not show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Kind and permissions, owner, size or device number, name and target.
    pub(super) shown: String,
    pub(super) mtime: u64,
    pub(super) contents: String,
}

/// Lists an archive with the reader under test.
pub(super) fn ours(archive: &[u8]) -> Result<Vec<Line>, Error> {
    let mut budget = Budget::new(Limits::default());
    let mut tar = TarReader::new(Stream::unverified(archive)?, &mut budget);
    let mut entry = Entry::default();
    let mut lines = Vec::new();
    while tar.read_entry(&mut entry)? {
        let mut hash = Sha256::new();
        let mut size = 0;
        while let Some(segment) = tar.segment()? {
            match segment {
                Segment::Data(bytes) => {
                    size += u64::try_from(bytes.len()).unwrap();
                    hash.update(&bytes);
                }
                Segment::Hole(length) => {
                    size += length;
                    hash.update(vec![0; usize::try_from(length).unwrap()]);
                }
            }
        }
        let (kind, column, target) = match &entry.kind {
            EntryKind::File { .. } => ('-', size.to_string(), None),
            EntryKind::Directory => ('d', "0".into(), None),
            EntryKind::Symlink(target) => ('l', "0".into(), Some(target)),
            EntryKind::HardLink(target) => ('h', "0".into(), Some(target)),
            EntryKind::Fifo => ('p', "0".into(), None),
            EntryKind::CharDevice(device) => {
                ('c', format!("{},{}", device.major, device.minor), None)
            }
            EntryKind::BlockDevice(device) => {
                ('b', format!("{},{}", device.major, device.minor), None)
            }
        };
        let contents = match kind {
            '-' => hex(&hash.finalize()),
            _ => String::new(),
        };
        let metadata = &entry.metadata;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let target = target.map(|target| text(target));
        lines.push(Line {
            shown: shown(
                &format!("{kind}{}", permissions(metadata.mode)),
                &format!("{}/{}", metadata.uid, metadata.gid),
                &column,
                &text(&entry.path),
                target.as_deref(),
            ),
            mtime: metadata.mtime.into(),
            contents,
        });
    }
    tar.drain()?;
    Ok(lines)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn permissions(mode: u16) -> String {
    let bit = |at: u16| mode >> at & 1 == 1;
    (0..9u16)
        .map(|n| {
            let at = 8 - n;
            // Set-user, set-group and sticky stand at the three places of execution.
            let special = n % 3 == 2 && bit(9 + at / 3);
            match (special, bit(at), n) {
                (true, true, 8) => 't',
                (true, false, 8) => 'T',
                (true, true, _) => 's',
                (true, false, _) => 'S',
                (false, true, _) => char::from(b"rwx"[usize::from(n % 3)]),
                (false, false, _) => '-',
            }
        })
        .collect()
}

/// One line, with names in one spelling.
fn shown(mode: &str, owner: &str, size: &str, name: &str, target: Option<&str>) -> String {
    let plain = |name: &str| {
        let parts = name.split('/').filter(|part| !matches!(*part, "" | "."));
        parts.collect::<Vec<_>>().join("/")
    };
    let size = match mode.as_bytes().first() {
        Some(b'-' | b'c' | b'b') => size,
        _ => "0",
    };
    let target = match (mode.as_bytes().first(), target) {
        (Some(b'l'), Some(target)) => format!(" -> {target}"),
        (Some(b'h'), Some(target)) => format!(" link to {}", plain(target)),
        _ => String::new(),
    };
    format!("{mode} {owner} {size} {}{target}", plain(name))
}

/// Reads archives, each after its length in 8 bytes, from the file that the argument names.
const PYTHON: &str = r#"
import hashlib, io, stat, struct, sys, tarfile
kinds = {b'0': '-', b'\0': '-', b'7': '-', b'S': '-', b'1': 'h', b'2': 'l', b'3': 'c', b'4': 'b', b'5': 'd', b'6': 'p'}
f = open(sys.argv[1], 'rb')
while True:
    n = f.read(8)
    if not n: break
    print('archive')
    try:
        with tarfile.open(fileobj=io.BytesIO(f.read(struct.unpack('<Q', n)[0])), errors='surrogateescape', encoding='utf-8') as t:
            for m in t:
                kind = kinds[m.type]
                size = str(m.size) if kind == '-' else f'{m.devmajor},{m.devminor}' if kind in 'cb' else '0'
                body = hashlib.sha256(t.extractfile(m).read()).hexdigest() if kind == '-' else ''
                mtime = min(max(int(m.mtime // 1), 0), 0xffffffff)
                mode = kind + stat.filemode(m.mode & 0o7777 | stat.S_IFREG)[1:]
                print('\t'.join((mode, f'{m.uid}/{m.gid}', size, m.name, m.linkname, str(mtime), body)))
    except Exception as error:
        print('error', repr(error))
"#;

/// Lists archives with Python's `tarfile`: one process for all of them. `None` for an archive that
/// Python refuses.
pub(super) fn python(directory: &Path, archives: &[Vec<u8>]) -> Vec<Option<Vec<Line>>> {
    let path = directory.join("archives");
    let mut file = fs::File::create(&path).unwrap();
    for archive in archives {
        let length = u64::try_from(archive.len()).unwrap();
        file.write_all(&length.to_le_bytes()).unwrap();
        file.write_all(archive).unwrap();
    }
    drop(file);
    let mut command = Command::new("python3");
    command
        .args(["-c", PYTHON])
        .arg(&path)
        .env("PYTHONIOENCODING", "utf-8:surrogateescape");
    let output = command
        .output()
        .expect("python3 is not installed: apt-get install python3");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{message}");
    let text = String::from_utf8_lossy(&output.stdout);
    let lists: Vec<_> = text.split("archive\n").skip(1).collect();
    assert_eq!(lists.len(), archives.len(), "{message}");
    let line = |line: &str| {
        let columns: Vec<_> = line.split('\t').collect();
        let [mode, owner, size, name, target, mtime, contents] = columns[..] else {
            return None;
        };
        Some(Line {
            shown: shown(mode, owner, size, name, Some(target)),
            mtime: mtime.parse().unwrap(),
            contents: contents.into(),
        })
    };
    lists
        .into_iter()
        .map(|list| list.lines().map(line).collect())
        .collect()
}

/// A program that lists archives as `tar -tv` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    GnuTar,
    Bsdtar,
}

/// Lists one archive with a program. `None` if it fails.
pub(super) fn listed(program: Program, archive: &[u8]) -> Option<Vec<String>> {
    let name = match program {
        Program::GnuTar => "tar",
        Program::Bsdtar => "bsdtar",
    };
    let mut command = Command::new(name);
    command
        .args(["--numeric-owner", "-tvf", "-"])
        .env("LC_ALL", "C");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| {
        panic!("cannot start {name}: {error}; apt-get install tar libarchive-tools")
    });
    let mut stdin = child.stdin.take().unwrap();
    let bytes = archive.to_vec();
    // It may stop reading at the end of the archive.
    let feeder = std::thread::spawn(move || drop(stdin.write_all(&bytes)));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Some(text.lines().map(|line| normal(program, line)).collect())
}

/// Returns a line of `tar -tv` in the form of [`Line::shown`].
fn normal(program: Program, line: &str) -> String {
    // bsdtar pads the columns of its owners, and has a link count before them.
    let mut rest = line;
    let mut column = || {
        let text = rest.trim_start();
        let end = text.find(' ').unwrap_or(text.len());
        rest = &text[end..];
        &text[..end]
    };
    let mode = column();
    let (owner, size) = match program {
        Program::GnuTar => (column().to_owned(), column().to_owned()),
        Program::Bsdtar => {
            column();
            let owner = format!("{}/{}", column(), column());
            let size = column().to_owned();
            (owner, size)
        }
    };
    // bsdtar separates the halves of a device number.
    let size = match size.strip_suffix(',') {
        Some(major) => format!("{major},{}", column()),
        None => size,
    };
    let dates = if program == Program::GnuTar { 2 } else { 3 };
    (0..dates).for_each(|_| {
        column();
    });
    let name = rest.strip_prefix(' ').unwrap_or(rest);
    let whole = name;
    let split = name
        .split_once(" link to ")
        .or_else(|| name.split_once(" -> "));
    let (name, target) = split.map_or((name, None), |(name, target)| (name, Some(target)));
    // GNU tar has a letter for files that want contiguous blocks, and bsdtar none for hard links
    // whose mode says what they link to.
    let mut mode = mode.replacen('C', "-", 1);
    if whole.contains(" link to ") {
        mode.replace_range(..1, "h");
    }
    shown(&mode, &owner, &size, name, target)
}
