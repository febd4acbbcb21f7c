//! Upper bounds on the memory that entries take.
//!
//! Everything that is kept of an entry is charged against one budget,
//! [`Limits::metadata_bytes`](crate::layer::Limits::metadata_bytes), before it is kept permanently. A charge is the
//! largest sum over all structures that hold a part of the entry at the same time: the change list or, once that is
//! applied, the tree; and the tables of the image, which stay in memory until the inodes before them are written. Each
//! structure is counted as the allocator sees it, with half-full nodes of maps, and with the old table of a map beside
//! the one that it grows into.

// `docs/flattening.md` lists these numbers, and `tests/memory.rs` measures each of them.

use sqfs_writer::Metadata;

use super::marker::split;
use crate::layer::EntryKind;

/// A name of an inode: the change, the node, the name's share of its directory, and the share of the tables.
pub(super) const ENTRY: u64 = 192;

/// A directory in addition to that, because a map of entries allocates a node however few entries it has.
pub(super) const DIRECTORY: u64 = 384;

/// A file with skipped contents in addition to that, because the contents may have to be read after all.
pub(super) const SKIPPED: u64 = 128;

/// A hard link that waits for its target, in addition to an entry.
pub(super) const WAITING: u64 = 384;

/// A further name that can wake a waiting link.
pub(super) const REGISTERED: u64 = 192;

/// A hard link into the reserved directory, in addition to an entry, because its name is remembered permanently.
pub(super) const DROPPED_LINK: u64 = 128;

/// A whiteout or an opaque marker.
pub(super) const MARKER: u64 = 96;

/// All extended attributes of an entry, in addition to the cost of each.
pub(super) const XATTRS: u64 = 416;

/// One extended attribute.
pub(super) const XATTR: u64 = 128;

/// A separate allocation, in addition to its bytes.
pub(super) const ALLOCATION: u64 = 24;

/// Length in bytes up to which a name is stored inside the structure that refers to it.
const INLINE: usize = 16;

/// A line of a directory's listing, in addition to the name.
const LISTED: u64 = 10;

/// A name in the shadow index.
pub(super) const SHADOW: u64 = 32;

/// A name in a directory being emptied, until it is empty.
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
    // Its name is remembered until the end of its layer. It has no node, so the share of an entry for a node pays for
    // remembering the name.
    let (_, name) = split(path);
    named(path, suffix) + bytes(name) + bytes(target)
}

/// Returns what a whiteout or an opaque marker costs.
pub(super) fn marker(suffix: usize) -> u64 {
    MARKER + suffix as u64
}

/// Returns the cost of a further name that can wake a waiting link.
pub(super) fn registered(name: &[u8]) -> u64 {
    REGISTERED + bytes(name)
}

/// Returns what a directory costs that no entry describes.
pub(super) fn implied(name: &[u8]) -> u64 {
    ENTRY + DIRECTORY + self::name(name)
}

/// Returns what a hard link costs while it waits.
pub(super) fn waiting(path: &[u8], target: &[u8], name: &[u8]) -> u64 {
    // A link is found by its path, by its resolved target, and twice by its name.
    WAITING + bytes(path) + 2 * bytes(target) + 2 * bytes(name)
}

/// Returns the cost of a dropped hard link. `path` is its resolved path.
pub(super) fn dropped_link(path: &[u8]) -> u64 {
    DROPPED_LINK + bytes(path)
}

fn named(path: &[u8], suffix: usize) -> u64 {
    let (_, name) = split(path);
    ENTRY + suffix as u64 + self::name(name)
}

/// Returns the cost of a name in the tree, where one of up to 16 bytes needs no allocation, and in the directory's
/// listing.
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
