//! Counts and times of an image.

use std::time::Duration;

/// Counts of a finished image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Length of the image without the padding: `bytes_used` in the superblock.
    pub bytes_used: u64,
    /// Length of the image with the padding to a multiple of 4 KiB.
    pub image_bytes: u64,
    /// Inodes, the root included.
    pub inodes: u32,
    /// Bytes of all finished file bodies before compression, holes included.
    pub body_bytes: u64,
    /// Bytes in holes: parts of finished bodies that are zero for a whole block. A part of
    /// [`body_bytes`](Self::body_bytes).
    pub hole_bytes: u64,
    /// Bytes that blocks and fragments take in the image.
    pub data_bytes: u64,
    /// Bytes of blocks in the image that belong to no file of the final tree, because their bodies were discarded,
    /// replaced or removed. Tails in fragments are not counted.
    pub dead_bytes: u64,
    /// Blocks of files that were stored, fragments not included.
    pub blocks: u64,
    /// Fragment blocks.
    pub fragments: u32,
    /// Blocks and fragments that are stored uncompressed, because compression does not make them smaller.
    pub raw_blocks: u64,
    /// Bodies of which nothing was stored, because all of it was in the image already.
    pub duplicates: u64,
    /// Bytes of bodies that were not stored, because they were in the image already: all blocks of a body, its tail, or
    /// both. A part of [`body_bytes`](Self::body_bytes), without holes, which are stored nowhere.
    pub duplicate_bytes: u64,
    /// Bodies whose blocks are stored twice, because the second was too large to be held back until it was recognized.
    pub duplicates_kept: u64,
    /// Entries that the cache of duplicates evicted for want of [memory](crate::Options::memory): bodies, tails, and sets
    /// and long values of extended attributes. A later duplicate of an evicted entry is stored again. 0 means that every
    /// duplicate was found.
    pub forgotten: u64,
    /// Different user and group ids.
    pub ids: u16,
    /// Sets of extended attributes, equal ones counted once.
    pub xattr_sets: u32,
    /// Extended attributes that were left out, because squashfs cannot store their names: those that do not begin with
    /// `user.`, `trusted.` or `security.`, or that end there.
    pub dropped_xattrs: u64,
    /// Times of the stages.
    pub times: Times,
}

/// Times between the creation of a writer and its end. They are for people, and do not affect the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Times {
    /// Total time.
    pub total: Duration,
    /// Time of the calling thread in the caller's own code, and in reading, splitting and hashing bodies.
    pub input: Duration,
    /// Time of the calling thread in building the tables, without that in the following fields.
    pub tables: Duration,
    /// Time of the calling thread in the sink.
    pub writing: Duration,
    /// Time of the calling thread asleep until a block is compressed.
    pub waiting: Duration,
    /// Time of all threads that compress, together. The calling thread is one of them while it would otherwise wait.
    pub compressing: Stage,
}

/// Times of the threads of a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stage {
    /// Time at work.
    pub busy: Duration,
    /// Time without work. That of the calling thread is counted in other fields.
    pub waiting: Duration,
}

/// Progress of a writer; see [`DataWriter::on_progress`](crate::DataWriter::on_progress).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes of finished bodies before compression.
    pub body_bytes: u64,
    /// Bytes of the image that were written to the sink.
    pub image_bytes: u64,
    /// Whether all bodies are finished and the writer writes the tables.
    pub finishing: bool,
}
