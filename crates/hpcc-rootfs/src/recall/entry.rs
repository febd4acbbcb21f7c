//! An entry of a layer, and the recorded facts about its body.

use std::io::{self, Read};

use sqfs_writer::replay::Fingerprints;
use sqfs_writer::{Device, Fingerprint, Metadata};

use super::bytes::{NUMBER_MAX, append, array, byte_string, number, put_bytes, put_number, small};
use super::damaged::damaged;
use crate::layer::{Entry, EntryKind};

/// The recorded facts about a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) fingerprints: Fingerprints,
    /// Number of its bytes, holes of the archive left out.
    pub(super) data: u64,
}

const FILE: u64 = 0;
const DIRECTORY: u64 = 1;
const SYMLINK: u64 = 2;
const HARD_LINK: u64 = 3;
const CHAR_DEVICE: u64 = 4;
const BLOCK_DEVICE: u64 = 5;
const FIFO: u64 = 6;

/// Flag of a recorded body: it exists.
const RECORDED: u64 = 1;
/// Flag of a recorded body: it has blocks.
const BLOCKS: u64 = 2;
/// Flag of a recorded body: it has a tail.
const TAIL: u64 = 4;

/// Bytes of the numbers of an entry or of a body, and of its fingerprints, at most.
pub(super) const NUMBERS_MAX: usize = 256;

/// Returns the most bytes that [`put`] appends for an entry.
pub(super) fn length_max(entry: &Entry) -> usize {
    let target = match &entry.kind {
        EntryKind::Symlink(target) | EntryKind::HardLink(target) => target.len(),
        _ => 0,
    };
    let xattrs = entry.metadata.xattrs.iter();
    let xattrs = xattrs.map(|(name, value)| name.len() + value.len() + 2 * NUMBER_MAX);
    NUMBERS_MAX + entry.path.len() + target + xattrs.sum::<usize>()
}

/// Appends an entry whose path follows `last`. For a file, a call of [`put_body`] must follow.
pub(super) fn put(bytes: &mut Vec<u8>, last: &mut Vec<u8>, entry: &Entry) {
    let both = last.iter().zip(&entry.path);
    let shared = both.take_while(|(a, b)| a == b).count();
    let suffix = entry.path.get(shared..).unwrap_or_default();
    put_number(bytes, shared as u64);
    put_bytes(bytes, suffix);
    last.truncate(shared);
    last.extend_from_slice(suffix);
    let Metadata {
        mode,
        uid,
        gid,
        mtime,
        xattrs,
        ..
    } = &entry.metadata;
    for number in [(*mode).into(), *uid, *gid, *mtime] {
        put_number(bytes, number.into());
    }
    for count in [entry.acls, entry.unstorable_xattrs, entry.overlay_xattrs] {
        put_number(bytes, count.into());
    }
    put_number(bytes, entry.clamped_time.into());
    put_number(bytes, xattrs.iter().count() as u64);
    for (name, value) in xattrs.iter() {
        put_bytes(bytes, name);
        put_bytes(bytes, value);
    }
    let device = |bytes: &mut Vec<u8>, kind, device: &Device| {
        for number in [kind, device.major.into(), device.minor.into()] {
            put_number(bytes, number);
        }
    };
    match &entry.kind {
        EntryKind::File { size } => {
            put_number(bytes, FILE);
            put_number(bytes, *size);
        }
        EntryKind::Directory => put_number(bytes, DIRECTORY),
        EntryKind::Symlink(target) => {
            put_number(bytes, SYMLINK);
            put_bytes(bytes, target);
        }
        EntryKind::HardLink(target) => {
            put_number(bytes, HARD_LINK);
            put_bytes(bytes, target);
        }
        EntryKind::CharDevice(of) => device(bytes, CHAR_DEVICE, of),
        EntryKind::BlockDevice(of) => device(bytes, BLOCK_DEVICE, of),
        EntryKind::Fifo => put_number(bytes, FIFO),
    }
}

/// Appends the facts about a file's body.
pub(super) fn put_body(bytes: &mut Vec<u8>, body: Option<&Body>) {
    let Some(Body { fingerprints, data }) = body else {
        put_number(bytes, 0);
        return;
    };
    let Fingerprints { blocks, tail, .. } = fingerprints;
    let flag = |set: bool, flag| if set { flag } else { 0 };
    let flags = RECORDED | flag(blocks.is_some(), BLOCKS) | flag(tail.is_some(), TAIL);
    put_number(bytes, flags);
    put_number(bytes, *data);
    for fingerprint in blocks.iter().chain(tail) {
        bytes.extend_from_slice(&fingerprint.to_bytes());
    }
}

/// Reads the next entry into `entry`, which holds the previous one, and the facts about its body. The entry may have at
/// most `xattrs` attributes.
pub(super) fn read(
    input: &mut impl Read,
    entry: &mut Entry,
    xattrs: u64,
) -> io::Result<Option<Body>> {
    let shared: usize = small(input)?;
    if shared > entry.path.len() {
        return Err(damaged("a path shares more bytes than the path before has"));
    }
    entry.path.truncate(shared);
    append(input, &mut entry.path)?;
    let mut metadata = Metadata::new(small(input)?);
    metadata.uid = small(input)?;
    metadata.gid = small(input)?;
    metadata.mtime = small(input)?;
    entry.acls = small(input)?;
    entry.unstorable_xattrs = small(input)?;
    entry.overlay_xattrs = small(input)?;
    entry.clamped_time = number(input)? != 0;
    let count = number(input)?;
    if count > xattrs {
        return Err(damaged("an entry has too many attributes"));
    }
    for _ in 0..count {
        let name = byte_string(input)?;
        metadata.xattrs.insert(name, byte_string(input)?);
    }
    entry.metadata = metadata;
    entry.kind = match number(input)? {
        FILE => EntryKind::File {
            size: number(input)?,
        },
        DIRECTORY => EntryKind::Directory,
        SYMLINK => EntryKind::Symlink(byte_string(input)?.into()),
        HARD_LINK => EntryKind::HardLink(byte_string(input)?.into()),
        CHAR_DEVICE => EntryKind::CharDevice(device(input)?),
        BLOCK_DEVICE => EntryKind::BlockDevice(device(input)?),
        FIFO => EntryKind::Fifo,
        _ => return Err(damaged("an entry has an unknown type")),
    };
    match entry.kind {
        EntryKind::File { size } => body(input, size),
        _ => Ok(None),
    }
}

fn device(input: &mut impl Read) -> io::Result<Device> {
    Ok(Device {
        major: small(input)?,
        minor: small(input)?,
    })
}

/// Reads the facts about the body of a file of `len` bytes.
pub(super) fn body(input: &mut impl Read, len: u64) -> io::Result<Option<Body>> {
    let flags = number(input)?;
    if flags & RECORDED == 0 {
        return Ok(None);
    }
    let data = number(input)?;
    let mut fingerprint = |flag| match flags & flag {
        0 => Ok(None),
        _ => array(input).map(|bytes| Some(Fingerprint::from_bytes(bytes))),
    };
    let fingerprints = Fingerprints::new(len, fingerprint(BLOCKS)?, fingerprint(TAIL)?);
    Ok(Some(Body { fingerprints, data }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<(Entry, Option<Body>)> {
        let device = Device {
            major: 8,
            minor: 1 << 19,
        };
        let kinds = [
            EntryKind::File { size: 0 },
            EntryKind::File { size: u64::MAX },
            EntryKind::Directory,
            EntryKind::Symlink(b"/target".as_slice().into()),
            EntryKind::HardLink(b"a/b".as_slice().into()),
            EntryKind::CharDevice(device),
            EntryKind::BlockDevice(device),
            EntryKind::Fifo,
        ];
        let mut entries = Vec::new();
        for (n, kind) in kinds.into_iter().enumerate() {
            let mut entry = Entry {
                path: format!("usr/lib/{}", n * 7).into_bytes(),
                kind,
                metadata: Metadata::new(0o4755).with_owner(1, u32::MAX).with_mtime(9),
                acls: 1,
                unstorable_xattrs: 2,
                overlay_xattrs: 300,
                clamped_time: n % 2 == 1,
            };
            if n % 2 == 0 {
                entry.metadata = entry
                    .metadata
                    .with_xattr(*b"user.a", *b"")
                    .with_xattr(*b"x", *b"y");
            }
            let size = match entry.kind {
                EntryKind::File { size } => Some(size),
                _ => None,
            };
            for (blocks, tail) in [(false, false), (true, false), (false, true), (true, true)] {
                let print = |set: bool| {
                    set.then(|| Fingerprint::from_bytes([u8::try_from(n).unwrap(); 32]))
                };
                let body = size.map(|len| Body {
                    fingerprints: Fingerprints::new(len, print(blocks), print(tail)),
                    data: 77,
                });
                entries.push((entry.clone(), body));
            }
            entries.push((entry, None));
        }
        entries
    }

    #[test]
    fn every_kind_of_entry_comes_back() {
        let (mut bytes, mut last) = (Vec::new(), Vec::new());
        for (entry, body) in entries() {
            put(&mut bytes, &mut last, &entry);
            if matches!(entry.kind, EntryKind::File { .. }) {
                put_body(&mut bytes, body.as_ref());
            }
        }
        let (mut input, mut found) = (&bytes[..], Entry::default());
        for (entry, body) in entries() {
            assert_eq!(read(&mut input, &mut found, 2).unwrap(), body);
            assert_eq!(found, entry);
        }
        assert!(input.is_empty());
    }

    #[test]
    fn cut_or_changed_entry_never_panics() {
        let (mut bytes, mut last) = (Vec::new(), Vec::new());
        for (entry, body) in entries() {
            put(&mut bytes, &mut last, &entry);
            if matches!(entry.kind, EntryKind::File { .. }) {
                put_body(&mut bytes, body.as_ref());
            }
        }
        for at in 0..bytes.len() {
            let mut spoiled = bytes.clone();
            spoiled[at] ^= 0xFF;
            for mut input in [&bytes[..at], &spoiled[..]] {
                let mut entry = Entry::default();
                while read(&mut input, &mut entry, 2).is_ok() {}
            }
        }
    }
}
