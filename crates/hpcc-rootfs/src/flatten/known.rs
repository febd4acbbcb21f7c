//! Layers whose entries are known from an earlier build, so that their archives need not be read.

use std::io;

use ociget::{DiffId, Digest, Verified};
use sqfs_writer::replay::{Fingerprints, Run};

use crate::layer::Entry;

/// The entries of a layer, remembered since its archive was read and verified.
///
/// They are a hint that costs time when it is wrong: [`flatten`](super::flatten()) goes through all of them once before
/// it takes any, and reads the archive instead if something is missing.
pub trait KnownLayer {
    /// Returns what reading the archive counted.
    fn counts(&self) -> Counts;

    /// Reads the next entry into `entry`, and returns its body if it has one that can be replayed; `None` after the last
    /// entry.
    ///
    /// # Errors
    /// What is remembered cannot be read, or is damaged.
    fn next(&mut self, entry: &mut Entry) -> io::Result<Option<Option<KnownBody>>>;

    /// Ends the layer after its last entry, and returns what was verified when it was read.
    ///
    /// # Errors
    /// What was read is not what was written then.
    fn finish(self: Box<Self>) -> io::Result<Remembered>;
}

/// What a layer takes of the [`Limits`](crate::layer::Limits) of its image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tar headers.
    pub entries: u64,
    /// Bytes that its regular files declare.
    pub logical_bytes: u64,
    /// Bytes that it decompresses to.
    pub unpacked_bytes: u64,
}

/// A body of a known layer, for [`BodySink::replay`](super::BodySink::replay).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownBody {
    /// What makes it equal to another one.
    pub fingerprints: Fingerprints,
    /// Bytes of it, holes of the archive left out.
    pub data: u64,
    /// Its blocks.
    pub blocks: Vec<Run>,
    /// Where the source of stored bytes has the first of them.
    pub start: u64,
    /// Where it has the tail.
    pub tail: u64,
}

/// Why the entries of a layer are believed to be those of its archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The archive was read and verified.
    Read(Verified<DiffId>),
    /// An earlier build read and verified it.
    Remembered(Remembered),
}

/// What an earlier build verified of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The digest of its blob.
    pub blob: Digest,
    /// What that decompressed to.
    pub diff_id: DiffId,
}
