//! What things cost in memory, at most.
//!
//! Everything that is kept of an entry is charged against one budget,
//! [`Limits::metadata_bytes`](crate::layer::Limits::metadata_bytes), before it is kept for good. A
//! charge is the largest sum of all places that hold something of the thing at the same time: the
//! change list or, once that is applied, the tree; and the tables of the image, which stand in
//! memory until the inodes before them are written. Each is reckoned as an allocator sees it, with
//! half-full nodes of maps and the old table of a map beside the one that it grows into.
//!
//! `docs/flattening.md` lists these numbers, and `tests/memory.rs` measures each of them.

use sqfs_writer::Metadata;

use super::marker::split;
use crate::layer::EntryKind;

/// A name that leads to an inode: the change, the node, the name's share of its directory, and what
/// the tables take for both.
pub(super) const ENTRY: u64 = 192;

/// A directory besides that: a map of entries has a node of its own, however little is in it.
pub(super) const DIRECTORY: u64 = 384;

/// A file whose contents were skipped besides that, because they may have to be read after all.
pub(super) const SKIPPED: u64 = 128;

/// A hard link that waits for its target, besides an entry.
pub(super) const WAITING: u64 = 384;

/// A further name that a waiting link has to be woken by.
pub(super) const REGISTERED: u64 = 192;

/// A hard link into what is reserved, besides an entry: where it would be is remembered for good.
pub(super) const DROPPED_LINK: u64 = 128;

/// A whiteout or an opaque marker.
pub(super) const MARKER: u64 = 96;

/// All extended attributes of an entry, besides what each of them costs.
pub(super) const XATTRS: u64 = 416;

/// One extended attribute.
pub(super) const XATTR: u64 = 128;

/// An allocation of its own, besides its bytes.
pub(super) const ALLOCATION: u64 = 24;

/// Bytes of a name that are a part of what refers to it.
const INLINE: usize = 16;

/// A line of a directory's listing, besides the name.
const LISTED: u64 = 10;

/// A name in the shadow index.
pub(super) const SHADOW: u64 = 32;

/// A name in a directory that is emptied, until it is.
pub(super) const SWEPT: u64 = 80;

/// Returns what an entry of the image costs, other than a hard link. `suffix` is how many bytes of its path the
/// change list stores. The contents of a file that is `skipped` are not written.
pub(super) fn place(
    path: &[u8],
    suffix: usize,
    metadata: &Metadata,
    kind: &EntryKind,
    skipped: bool,
) -> u64 {
    let kind = match kind {
        EntryKind::Directory => DIRECTORY,
        EntryKind::File { .. } if skipped => SKIPPED,
        EntryKind::Symlink(target) => bytes(target),
        _ => 0,
    };
    named(path, suffix) + kind + xattrs(metadata)
}

/// Returns what a hard link costs.
pub(super) fn link(path: &[u8], suffix: usize, target: &[u8]) -> u64 {
    // Its name is remembered until its layer is through. It has no node, so an entry's share for
    // that pays for where the name is remembered.
    let (_, name) = split(path);
    named(path, suffix) + bytes(name) + bytes(target)
}

/// Returns what a whiteout or an opaque marker costs.
pub(super) fn marker(suffix: usize) -> u64 {
    MARKER + suffix as u64
}

/// Returns what a further name costs that a waiting link has to be woken by.
pub(super) fn registered(name: &[u8]) -> u64 {
    REGISTERED + bytes(name)
}

/// Returns what a directory costs that no entry describes.
pub(super) fn implied(name: &[u8]) -> u64 {
    ENTRY + DIRECTORY + self::name(name)
}

/// Returns what a hard link costs while it waits.
pub(super) fn waiting(path: &[u8], target: &[u8], name: &[u8]) -> u64 {
    // A link is found by its path, by what its target means, and twice by its name.
    WAITING + bytes(path) + 2 * bytes(target) + 2 * bytes(name)
}

/// Returns what a hard link costs that was dropped. `path` is what its own path means.
pub(super) fn dropped_link(path: &[u8]) -> u64 {
    DROPPED_LINK + bytes(path)
}

fn named(path: &[u8], suffix: usize) -> u64 {
    let (_, name) = split(path);
    ENTRY + suffix as u64 + self::name(name)
}

/// A name in the tree, where one of 16 bytes needs no allocation, and in the directory's listing.
fn name(name: &[u8]) -> u64 {
    let tree = if name.len() > INLINE { bytes(name) } else { 0 };
    tree + LISTED + name.len() as u64
}

fn xattrs(metadata: &Metadata) -> u64 {
    if metadata.xattrs.is_empty() {
        return 0;
    }
    // In the tree and in the table of the image.
    let each = metadata.xattrs.iter();
    let each = each.map(|(name, value)| XATTR + 2 * (name.len() + value.len()) as u64);
    XATTRS + each.sum::<u64>()
}

fn bytes(of: &[u8]) -> u64 {
    ALLOCATION + of.len() as u64
}
