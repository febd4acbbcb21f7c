//! What an image turned out to be, and where the time went.

use std::time::Duration;

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
    /// Bodies of which nothing was stored, because it was all there before.
    pub duplicates: u64,
    /// Bytes of bodies that were not stored because they were there before: all blocks of a body,
    /// its tail, or both. Part of [`body_bytes`](Self::body_bytes).
    pub duplicate_bytes: u64,
    /// Bodies whose blocks were there before and are stored again all the same: they were too large
    /// to wait for the end of the comparison.
    pub duplicates_kept: u64,
    /// What had to be forgotten for want of [memory](crate::Options::memory): bodies and tails, sets
    /// and long values of extended attributes. What is equal to one of them and came later was
    /// stored again. 0 means that all of them were compared with all.
    pub forgotten: u64,
    /// Different user and group ids.
    pub ids: u16,
    /// Sets of extended attributes, equal ones counted once.
    pub xattr_sets: u32,
    /// Extended attributes left out because squashfs has no way to store their names: those that
    /// begin with neither `user.`, `trusted.` nor `security.`, or have nothing behind that.
    pub dropped_xattrs: u64,
    /// Where the time went.
    pub times: Times,
}

/// Where the time between the making of a writer and its end went. For people: nothing that is
/// measured reaches the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Times {
    /// All of it.
    pub total: Duration,
    /// The calling thread: in the caller's own code, and reading, splitting and hashing bodies.
    pub input: Duration,
    /// The calling thread: writing the tables, not counting what follows.
    pub tables: Duration,
    /// The calling thread: in the sink.
    pub writing: Duration,
    /// The calling thread: asleep, until a block is compressed.
    pub waiting: Duration,
    /// All threads that compress, together. The calling thread is one of them, where it has nothing better to do.
    pub compressing: Stage,
}

/// What the threads of a stage did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stage {
    /// They worked.
    pub busy: Duration,
    /// They had nothing to do; of the calling thread that is counted elsewhere.
    pub waiting: Duration,
}

/// How far a writer is; see [`DataWriter::on_progress`](crate::DataWriter::on_progress).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes of bodies that are through, as they were handed in.
    pub body_bytes: u64,
    /// Bytes of the image that were handed to the sink.
    pub image_bytes: u64,
    /// Whether all bodies are in, and the tables are being written.
    pub finishing: bool,
}
