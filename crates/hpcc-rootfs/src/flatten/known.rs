//! Layers whose entries an earlier build recorded, so that their archives need not be read.

use std::io;

use ociget::{DiffId, Digest, Verified};
use sqfs_writer::replay::{Fingerprints, Run};

use crate::layer::Entry;

/// The entries of a layer, recorded when its archive was read and verified.
///
/// They are a hint that only costs time if it is wrong: [`flatten`](super::flatten()) reads all of them once before it
/// uses any, and reads the archive instead if something is missing.
pub trait KnownLayer {
    /// Returns what reading the archive counted.
    fn counts(&self) -> Counts;

    /// Reads the next entry into `entry`, and returns its body if it has one that can be replayed; `None` after the last
    /// entry.
    ///
    /// # Errors
    /// Returns an error if the recorded entries cannot be read or are damaged.
    fn next(&mut self, entry: &mut Entry) -> io::Result<Option<Option<KnownBody>>>;

    /// Ends the layer after its last entry, and returns what was verified when its archive was read.
    ///
    /// # Errors
    /// Returns an error if the entries that were read differ from those that were recorded.
    fn finish(self: Box<Self>) -> io::Result<Remembered>;
}

/// The amounts that a layer uses of the [`Limits`](crate::layer::Limits) of its image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
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
#[non_exhaustive]
pub struct KnownBody {
    /// The fingerprints by which it equals another body.
    pub fingerprints: Fingerprints,
    /// Number of its bytes, holes of the archive left out.
    pub data: u64,
    /// Its blocks.
    pub blocks: Vec<Run>,
    /// Position of the first block in the source of stored bytes.
    pub start: u64,
    /// Position of the tail in the same source.
    pub tail: u64,
}

impl KnownBody {
    /// Returns a body with these fingerprints and blocks, and `data` bytes that are in no hole of the archive. Its
    /// positions are 0, which a caller sets.
    #[must_use]
    pub const fn new(fingerprints: Fingerprints, data: u64, blocks: Vec<Run>) -> Self {
        Self {
            fingerprints,
            data,
            blocks,
            start: 0,
            tail: 0,
        }
    }
}

/// The reason to believe that the entries of a layer are those of its archive.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Proof {
    /// This build read and verified the archive.
    Read(Verified<DiffId>),
    /// An earlier build read and verified the archive.
    Remembered(Remembered),
}

/// The digests that an earlier build verified of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Remembered {
    /// The digest of its blob.
    pub blob: Digest,
    /// Digest of what the blob decompressed to.
    pub diff_id: DiffId,
}

impl Remembered {
    /// Returns the digests of a blob and of what it decompressed to.
    #[must_use]
    pub const fn new(blob: Digest, diff_id: DiffId) -> Self {
        Self { blob, diff_id }
    }
}
