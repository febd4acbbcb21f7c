//! One archive as lines of text, from each of the readers.

use std::path::{Path, PathBuf};
use std::process::Command;

use hpcc_rootfs::layer::{Budget, Entry, EntryKind, Error, Limits, Segment, Stream, TarReader};
use ociget::{DiffId, Digest};

/// What Python sees of each archive: a line to begin with, then one an entry, or what is wrong.
const LIST: &str = r#"
import hashlib, sys, tarfile
kinds = {b'0': 'f', b'\0': 'f', b'7': 'f', b'S': 'f', b'1': 'h', b'2': 'l', b'3': 'c', b'4': 'b', b'5': 'd', b'6': 'p'}
def norm(name):
    raw = name.encode('utf-8', 'surrogateescape')
    return b'/'.join(c for c in raw.split(b'/') if c not in (b'', b'.'))
def line(t, m):
    kind = kinds[m.type]
    body = hashlib.sha256(t.extractfile(m).read()).hexdigest() if kind == 'f' else ''
    link = m.linkname.encode('utf-8', 'surrogateescape') if kind == 'l' else norm(m.linkname) if kind == 'h' else b''
    size = m.size if kind == 'f' else f'{m.devmajor},{m.devminor}' if kind in 'cb' else 0
    mtime = min(max(int(m.mtime // 1), 0), 0xffffffff)
    return '|'.join(map(str, (norm(m.name).hex(), kind, size, oct(m.mode & 0o7777), m.uid, m.gid, mtime, link.hex(), body)))
for path in sys.argv[1:]:
    print('archive')
    try:
        with tarfile.open(path, errors='surrogateescape', encoding='utf-8') as t:
            for m in t:
                print(line(t, m))
    except Exception as error:
        print('error:', repr(error))
"#;

/// Returns the lines of each archive, or what Python has against it.
pub(crate) fn python(archives: &[PathBuf]) -> Vec<Result<String, String>> {
    let mut command = Command::new("python3");
    let output = command.args(["-c", LIST]).args(archives).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{message}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lists: Vec<_> = text.split("archive\n").skip(1).collect();
    assert_eq!(lists.len(), archives.len());
    let list = |list: &str| match list.contains("error: ") {
        true => Err(list.into()),
        false => Ok(list.into()),
    };
    lists.into_iter().map(list).collect()
}

/// Returns the same lines from our reader, and how many bytes were holes.
pub(crate) fn ours(archive: &[u8]) -> Result<(String, u64), Error> {
    let mut budget = Budget::new(Limits::default());
    let id = DiffId(Digest::of(archive));
    let stream = Stream::open(archive, archive.len() as u64, id, budget.limits())?;
    let mut tar = TarReader::new(stream, &mut budget);
    let mut entry = Entry::default();
    let mut lines = String::new();
    let mut holes = 0;
    while tar.read_entry(&mut entry)? {
        let mut body = Vec::new();
        while let Some(segment) = tar.segment()? {
            match segment {
                Segment::Data(bytes) => body.extend(bytes),
                Segment::Hole(length) => {
                    holes += length;
                    body.resize(body.len() + usize::try_from(length).unwrap(), 0);
                }
            }
        }
        let digest = Digest::of(&body);
        let mut size = body.len().to_string();
        let (kind, link, hash) = match &entry.kind {
            EntryKind::File { .. } => ('f', &[][..], digest.hex()),
            EntryKind::Directory => ('d', &[][..], ""),
            EntryKind::Symlink(target) => ('l', &**target, ""),
            EntryKind::HardLink(target) => ('h', &**target, ""),
            EntryKind::Fifo => ('p', &[][..], ""),
            EntryKind::CharDevice(device) | EntryKind::BlockDevice(device) => {
                size = format!("{},{}", device.major, device.minor);
                let character = matches!(entry.kind, EntryKind::CharDevice(_));
                (if character { 'c' } else { 'b' }, &[][..], "")
            }
        };
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let metadata = &entry.metadata;
        lines += &format!(
            "{}|{kind}|{size}|0o{:o}|{}|{}|{}|{}|{hash}\n",
            hex(&entry.path),
            metadata.mode,
            metadata.uid,
            metadata.gid,
            metadata.mtime,
            hex(link),
        );
    }
    let _proof = tar.finish()?;
    Ok((lines, holes))
}

/// What GNU tar sees, without times and with names in our spelling, or what it has against it.
pub(crate) fn gnu_tar(archive: &Path) -> Result<Vec<String>, String> {
    let mut command = Command::new("tar");
    command.args(["--numeric-owner", "--quoting-style=escape", "-tvf"]);
    let output = command.env("LC_ALL", "C").arg(archive).output().unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let text = String::from_utf8(output.stdout).unwrap();
    let plain = |name: &str| {
        let parts = name.split('/').filter(|part| !matches!(*part, "" | "."));
        parts.collect::<Vec<_>>().join("/")
    };
    let line = |line: &str| {
        let mut columns = line.split_whitespace();
        let [mode, owner, size] = [(); 3].map(|()| columns.next().unwrap());
        // A file that wants contiguous blocks, which nothing else knows about.
        let mode = mode.replace('C', "-");
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
    Ok(text.lines().map(line).collect())
}

/// Returns the lines of [`ours`] in the manner of `tar -tv`.
pub(crate) fn as_gnu_tar_says(lines: &str) -> Vec<String> {
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
