//! What an image turned out to be.

/// Counts of what was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Length of the image without the padding: `bytes_used` in the superblock.
    pub bytes_used: u64,
    /// Length of the image with the padding to a multiple of 4 KiB.
    pub image_bytes: u64,
    /// Inodes, the root included.
    pub inodes: u32,
    /// Bytes of all file bodies as they were handed in, holes included.
    pub body_bytes: u64,
    /// Bytes in holes: parts of bodies that are zero for a whole block.
    pub hole_bytes: u64,
    /// Bytes that blocks and fragments take in the image.
    pub data_bytes: u64,
    /// Bytes of blocks in the image that no file of the final tree has: bodies that were
    /// discarded, replaced or removed. Tails in fragments are not counted.
    pub dead_bytes: u64,
    /// Blocks of files that were stored, fragments not included.
    pub blocks: u64,
    /// Fragment blocks.
    pub fragments: u32,
    /// Blocks and fragments stored as they are, because they don't shrink.
    pub raw_blocks: u64,
    /// Bodies that were not stored, because an earlier one is equal to them.
    pub duplicates: u64,
    /// Bytes of those bodies, part of [`body_bytes`](Self::body_bytes).
    pub duplicate_bytes: u64,
    /// Bodies that are equal to an earlier one and have blocks of their own all the same: they
    /// were too large to wait for the end of the comparison.
    pub duplicates_kept: u64,
    /// Different user and group ids.
    pub ids: u16,
    /// Different sets of extended attributes.
    pub xattr_sets: u32,
    /// Extended attributes left out because squashfs has no way to store their names: those that
    /// begin with neither `user.`, `trusted.` nor `security.`, or have nothing behind that.
    pub dropped_xattrs: u64,
}
