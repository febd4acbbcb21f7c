//! Decodes header fields and extended headers to an entry.

use sqfs_writer::{Device, Metadata};

use super::entry::{Entry, EntryKind};
use super::header::Header;
use super::path::{check_depth, check_symlink, push_normalised};
use super::pax::Extended;
use crate::layer::error::{Fault, Malformed};
use crate::layer::limits::Limits;

/// Device numbers as Linux and squashfs encode them: 12 and 20 bits.
const MAJOR_MAX: u32 = 0xFFF;
const MINOR_MAX: u32 = 0xF_FFFF;

/// `XATTR_LIST_MAX`: of all names of an inode, each with a NUL, Linux lists no more.
const XATTR_LIST_MAX: usize = 64 << 10;

/// The attribute with the capabilities of a program.
const CAPABILITY: &[u8] = b"security.capability";

/// Decodes everything but the body. `name` is as the archive spells it, because a slash at its end can have a meaning.
pub(super) fn decode(
    name: &[u8],
    header: &Header,
    pax: &mut Extended,
    link: &[u8],
    limits: &Limits,
    entry: &mut Entry,
) -> Result<(), Fault> {
    // Some writers leave the name of the root away.
    if name.is_empty() && header.typeflag() != b'5' {
        return Err(Malformed::Empty("name").into());
    }
    push_normalised(&mut entry.path, name, "name", limits)?;
    check_depth(&entry.path, limits)?;
    (entry.metadata, entry.clamped_time) = metadata(header, pax)?;
    entry.acls = pax.acls;
    entry.unstorable_xattrs = pax.unstorable_xattrs;
    entry.overlay_xattrs = pax.overlay_xattrs;
    entry.kind = match header.typeflag() {
        0 if name.ends_with(b"/") => EntryKind::Directory,
        // 7 is a file for which contiguous blocks are requested; S has a sparse map.
        0 | b'0' | b'7' | b'S' => EntryKind::File { size: 0 },
        b'1' => {
            let what = "hard link's target";
            let mut target = Vec::with_capacity(link.len());
            if link.is_empty() {
                return Err(Malformed::Empty(what).into());
            }
            push_normalised(&mut target, link, what, limits)?;
            check_depth(&target, limits)?;
            entry.clamped_time = false;
            EntryKind::HardLink(target.into())
        }
        b'2' => {
            check_symlink(link)?;
            EntryKind::Symlink(link.into())
        }
        b'3' => EntryKind::CharDevice(device(header, pax)?),
        b'4' => EntryKind::BlockDevice(device(header, pax)?),
        b'5' => EntryKind::Directory,
        b'6' => EntryKind::Fifo,
        other => return Err(Malformed::Type(other).into()),
    };
    // Linux keeps these of files and directories alone (xattr(7)): no other inode of a file system can have any.
    if !matches!(
        entry.kind,
        EntryKind::File { .. } | EntryKind::Directory | EntryKind::HardLink(_)
    ) {
        let dropped = entry.metadata.xattrs.remove_prefix(b"user.");
        let dropped = u32::try_from(dropped).unwrap_or(u32::MAX);
        entry.unstorable_xattrs = entry.unstorable_xattrs.saturating_add(dropped);
    }
    let names = entry.metadata.xattrs.iter().map(|(name, _)| name.len() + 1);
    let listed: usize = names.sum();
    // Those of a hard link are ignored.
    if !matches!(entry.kind, EntryKind::HardLink(_)) {
        if listed > XATTR_LIST_MAX {
            let reason = "its entry has more than 64 KiB of their names, the most of Linux";
            return Err(Malformed::Xattr(reason).into());
        }
        drop_empty_capability(entry);
        let capability = entry.metadata.xattrs.get(CAPABILITY);
        if capability.is_some_and(|value| !is_capability(value)) {
            let reason = "its `security.capability` has a form that Linux refuses";
            return Err(Malformed::Xattr(reason).into());
        }
    }
    if entry.path.is_empty() && entry.kind != EntryKind::Directory {
        return Err(Malformed::Root.into());
    }
    Ok(())
}

/// Linux executes no file with an empty `security.capability`. Engines leave it out, because Go's `archive/tar` takes no
/// record without a value for an attribute.
fn drop_empty_capability(entry: &mut Entry) {
    let xattrs = &mut entry.metadata.xattrs;
    if xattrs.get(CAPABILITY).is_none_or(|value| !value.is_empty()) {
        return;
    }
    let all = std::mem::take(xattrs);
    for (name, value) in all.iter().filter(|(name, _)| *name != CAPABILITY) {
        xattrs.insert(name, value);
    }
    entry.unstorable_xattrs = entry.unstorable_xattrs.saturating_add(1);
}

/// Returns whether Linux lets a file have this `security.capability` (`validheader` of `security/commoncap.c`). A file
/// with any other value cannot be executed.
fn is_capability(value: &[u8]) -> bool {
    const EFFECTIVE: u32 = 1;
    let Some((magic, rest)) = value.split_first_chunk() else {
        return false;
    };
    matches!(
        (u32::from_le_bytes(*magic) & !EFFECTIVE, rest.len()),
        (0x0200_0000, 16) | (0x0300_0000, 20)
    )
}

/// Returns the name that extended headers give, if they agree.
pub(super) fn one_name(
    what: &'static str,
    pax: Option<Box<[u8]>>,
    gnu: Option<Box<[u8]>>,
) -> Result<Option<Box<[u8]>>, Malformed> {
    match (pax, gnu) {
        (Some(pax), Some(gnu)) if pax != gnu => Err(Malformed::TwoNames(what)),
        (pax, gnu) => Ok(pax.or(gnu)),
    }
}

/// Returns the metadata, and whether the time is another than the archive's.
fn metadata(header: &Header, pax: &mut Extended) -> Result<(Metadata, bool), Malformed> {
    // Python, Go and GNU tar check the header's own number even if a record overrides it.
    let id = |field, pax: Option<i128>, own: i128| {
        let in_range = |value| {
            u32::try_from(value).map_err(|_| Malformed::Range {
                field,
                value,
                max: u32::MAX.into(),
            })
        };
        let own = in_range(own)?;
        pax.map_or(Ok(own), in_range)
    };
    let uid = id("uid", pax.uid, header.uid()?)?;
    let gid = id("gid", pax.gid, header.gid()?)?;
    let own_mtime = header.mtime()?;
    let given = pax.mtime.unwrap_or(own_mtime);
    let mtime = given.clamp(0, u32::MAX.into());
    let mut metadata = Metadata::new(header.mode()?)
        .with_owner(uid, gid)
        .with_mtime(u32::try_from(mtime).map_err(|_| Malformed::Number("mtime"))?);
    metadata.xattrs = std::mem::take(&mut pax.xattrs);
    Ok((metadata, mtime != given))
}

fn device(header: &Header, pax: &Extended) -> Result<Device, Malformed> {
    let number = |field, value: i128, max: u32| match u32::try_from(value) {
        Ok(number) if number <= max => Ok(number),
        _ => Err(Malformed::Range {
            field,
            value,
            max: max.into(),
        }),
    };
    let (major, minor) = header.device()?;
    let device = Device {
        major: number("device's major number", major, MAJOR_MAX)?,
        minor: number("device's minor number", minor, MINOR_MAX)?,
    };
    let differs = |pax: Option<u64>, own: u32| pax.is_some_and(|pax| pax != u64::from(own));
    // bsdtar makes the device of the records, and others that of the header.
    if differs(pax.devmajor, device.major) || differs(pax.devminor, device.minor) {
        return Err(Malformed::Pax(
            "`SCHILY.devmajor` or `SCHILY.devminor` is not the header's device number",
        ));
    }
    Ok(device)
}

/// Checks the size that the header of an entry without contents declares, and returns it with the entry's kind if it is
/// not 0.
///
/// GNU tar, bsdtar, Python and Go do not use this size for the contents of a hard link or a directory, so a caller may
/// go on if the following bytes confirm that there are none. For all other kinds GNU tar skips contents.
pub(super) fn no_body(
    header: &Header,
    pax: &Extended,
    entry: &EntryKind,
) -> Result<Option<(&'static str, u64)>, Malformed> {
    let size = header.size()?.max(pax.size.unwrap_or(0));
    let kind = match entry {
        EntryKind::File { .. } => "file",
        EntryKind::Directory => "directory",
        EntryKind::Symlink(_) => "symlink",
        EntryKind::HardLink(_) => "hard link",
        EntryKind::CharDevice(_) | EntryKind::BlockDevice(_) => "device",
        EntryKind::Fifo => "fifo",
    };
    if pax.sparse.is_sparse() {
        return Err(Malformed::Sparse("only a regular file can be one"));
    }
    match (size, header.typeflag()) {
        (0, _) => Ok(None),
        // A directory of the oldest format, that is, a file whose name ends with a slash, has contents for Go and none
        // for Python.
        (_, b'1' | b'5') => Ok(Some((kind, size))),
        _ => Err(Malformed::Body { kind, size }),
    }
}
