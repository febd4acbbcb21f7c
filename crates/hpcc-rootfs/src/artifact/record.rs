//! The record at the end of every artifact: what it was made from, and the digests that reveal damage.
//!
//! ```text
//!  0                                   image_length                                   end of file
//!  ├── squashfs image, 4 KiB padded ──┼── chunk digests ── facts ── zeros ── footer ──┤
//!                                        32 bytes each      JSON      to     64 bytes
//!                                        one per MiB                  4 KiB
//!
//!  footer:  magic 8 │ version 4 │ facts_length 4 │ image_length 8 │ tree_length 8 │ checksum 32
//! ```
//!
//! In a sealed artifact a hash tree lies between image and record ([`super::verity`]). Its record has version 2 and
//! holds the length of superblock and tree. In all others the version is 1 and that length is zero.
//!
//! The record is found from the end of the file, without mounting anything. The kernel ignores it, because the kernel
//! reads no further than the superblock's `bytes_used`. The checksum covers the record from its first byte up to the
//! checksum itself, so a torn or edited record is never believed. All numbers are little-endian. All digests in it are
//! BLAKE3, which costs a build next to nothing.

use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use rustix::fs::SeekFrom;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::key::Key;
use super::readable;
use super::seeker::Seeker;
use super::verity::{Layout, Verity};
use crate::untrusted::Untrusted;
use crate::zeroed::zeroed;

/// Bytes of the image that one chunk digest covers; the last chunk may be shorter.
pub const CHUNK: usize = 1 << 20;

const MAGIC: [u8; 8] = *b"HPCCROOT";
/// The version of an artifact without a hash tree.
const PLAIN: u32 = 1;
/// The version of an artifact with one.
const SEALED: u32 = 2;
/// Bytes of a squashfs superblock.
pub(crate) const SUPERBLOCK: usize = 96;
const FOOTER: usize = 64;
const CHECKSUM: usize = 32;
/// Facts take a few hundred bytes, and about 100 more for each injected file.
pub(crate) const FACTS_MAX: usize = 64 * 1024;
/// Most bytes of the facts apart from the key: three digests of 64 digits, the chunk size, and the parameters of a hash
/// tree.
const FACTS_REST: usize = 1024;
/// Largest image in bytes: the largest file that ext4 can hold. Its record takes 512 MiB.
const IMAGE_MAX: u64 = 1 << 44;
const SECTOR_LENGTH: usize = 4096;
const SECTOR: u64 = SECTOR_LENGTH as u64;
/// Bytes of a record that are in memory at a time, apart from its facts.
const PIECE: usize = 64 * 1024;

/// The record of an artifact, without the digests of its chunks, because their number grows with the image.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// The inputs and options that the artifact was made from.
    pub key: Key,
    /// Bytes of the squashfs image, its padding included; a multiple of 4096.
    pub image_length: u64,
    /// BLAKE3 of the superblock, the first 96 bytes, which can be checked without reading more.
    pub superblock: [u8; 32],
    /// The parameters of the hash tree, or `None` for an artifact without one.
    pub verity: Option<Verity>,
    /// BLAKE3 over the chunk digests.
    root: [u8; 32],
}

/// The readable part of the record.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Facts {
    key: Key,
    chunk_size: u64,
    /// BLAKE3 of the superblock.
    superblock: String,
    /// BLAKE3 over the chunk digests, which represents the contents of the image in one value.
    root: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verity: Option<Verity>,
}

impl Record {
    /// Makes the record of an image with these chunk digests, one for each [`CHUNK`].
    pub(crate) fn new(
        key: Key,
        image_length: u64,
        superblock: &[u8; SUPERBLOCK],
        chunks: &[[u8; 32]],
    ) -> Self {
        Self {
            key,
            image_length,
            superblock: *blake3::hash(superblock).as_bytes(),
            verity: None,
            root: *blake3::hash(chunks.as_flattened()).as_bytes(),
        }
    }

    /// Returns the number of bytes by which a record with this key could be too long for [`encode`](Self::encode); 0 if
    /// it fits whatever the image is.
    pub(crate) fn excess(key: &Key) -> usize {
        let length = serde_json::to_vec(key).map_or(usize::MAX, |text| text.len());
        length.saturating_sub(FACTS_MAX - FACTS_REST)
    }

    /// Returns the record of the same image with a hash tree after it.
    pub(crate) fn sealed(self, verity: Verity) -> Self {
        Self {
            verity: Some(verity),
            ..self
        }
    }

    /// Returns the length of verity superblock and hash tree in bytes; 0 without one.
    #[must_use]
    pub fn tree_length(&self) -> u64 {
        let sealed = self.verity.is_some();
        tree_length(sealed, self.image_length).unwrap_or_default()
    }

    /// Returns the offset of the record in the artifact.
    pub(crate) fn offset(&self) -> u64 {
        self.image_length.saturating_add(self.tree_length())
    }

    /// Returns the BLAKE3 digest over the chunk digests, as hex. It represents the contents of the image in one value.
    #[must_use]
    pub fn root(&self) -> String {
        blake3::Hash::from_bytes(self.root).to_hex().to_string()
    }

    /// Returns this record if it is the one of that image.
    pub(crate) fn of(self, identity: &ociget::Digest) -> Result<Self, RecordError> {
        if self.key.identity == *identity {
            return Ok(self);
        }
        Err(RecordError::Damaged("it belongs to another image"))
    }

    /// Returns the bytes to append at [`offset`](Self::offset). `chunks` are the digests that the record was made with.
    /// With these bytes the file ends on a 4 KiB boundary.
    ///
    /// # Errors
    /// Returns an error if the bytes are so long that [`read`](Self::read) would refuse them.
    pub(crate) fn encode(&self, chunks: &[[u8; 32]]) -> io::Result<Vec<u8>> {
        let facts = serde_json::to_vec(&Facts {
            key: self.key.clone(),
            chunk_size: CHUNK as u64,
            superblock: blake3::Hash::from_bytes(self.superblock)
                .to_hex()
                .to_string(),
            root: self.root(),
            verity: self.verity.clone(),
        })?;
        if facts.len() > FACTS_MAX {
            return Err(io::Error::other(format!(
                "the facts of the artifact record have {} bytes, {FACTS_MAX} is the most; name fewer files and mount points",
                facts.len()
            )));
        }
        let footer = Footer {
            facts_length: facts.len(),
            image_length: self.image_length,
            sealed: self.verity.is_some(),
        };
        let length = footer
            .record_length()
            .and_then(|length| usize::try_from(length).ok());
        let length =
            length.ok_or_else(|| io::Error::other("the image is too long for a record"))?;
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(chunks.as_flattened());
        bytes.extend_from_slice(&facts);
        bytes.resize(length - FOOTER, 0);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&footer.version().to_le_bytes());
        let facts_length = u32::try_from(facts.len()).map_err(io::Error::other)?;
        bytes.extend_from_slice(&facts_length.to_le_bytes());
        bytes.extend_from_slice(&self.image_length.to_le_bytes());
        bytes.extend_from_slice(&self.tree_length().to_le_bytes());
        let checksum = blake3::hash(&bytes);
        bytes.extend_from_slice(checksum.as_bytes());
        Ok(bytes)
    }

    /// Reads the record of an open file. It also checks the length of the file and its superblock;
    /// [`Store::verify`](crate::Store::verify) checks the rest.
    ///
    /// Reading takes 128 KiB of memory whatever the file claims, and touches no more bytes than the file has on its
    /// disk: the record is read in pieces, and a file with a hole in the record is refused first.
    ///
    /// # Errors
    /// Returns [`RecordError`] if the file has no record, an unknown version of it, or a damaged one.
    pub fn read(file: &File) -> Result<Self, RecordError> {
        Self::read_passing(file, |_| {})
    }

    /// Does the same, and passes the bytes of the record to `visit`, in order, before it believes them.
    pub(super) fn read_passing(file: &File, visit: impl FnMut(&[u8])) -> Result<Self, RecordError> {
        Self::read_believed(file, visit).map_err(|error| error.of(file))
    }

    fn read_believed(file: &File, visit: impl FnMut(&[u8])) -> Result<Self, RecordError> {
        let metadata = file.metadata()?;
        let length = metadata.len();
        if length < SECTOR || length % SECTOR != 0 {
            return Err(RecordError::Missing);
        }
        let mut footer = [0; FOOTER];
        file.read_exact_at(&mut footer, length - FOOTER as u64)?;
        let record = Footer::decode(&footer)?.read(file, &metadata, &footer, visit)?;
        let mut superblock = [0; SUPERBLOCK];
        file.read_exact_at(&mut superblock, 0)?;
        if blake3::hash(&superblock) != record.superblock {
            return Err(RecordError::Damaged(
                "the superblock of the image is not the one that was written",
            ));
        }
        Ok(record)
    }

    /// Calls `visit` for each chunk digest of the file that this record was read from, in order.
    ///
    /// # Errors
    /// Returns the error of the system or of `visit`, and an error if the digests no longer match the record.
    pub(crate) fn chunks(
        &self,
        file: &File,
        mut visit: impl FnMut(&[u8; 32]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut root = blake3::Hasher::new();
        let length = chunks_length(self.image_length);
        in_pieces(file, self.offset(), length, |piece| {
            root.update(piece);
            piece.as_chunks().0.iter().try_for_each(&mut visit)
        })?;
        if root.finalize() != self.root {
            return Err(io::Error::other(
                "the artifact record changed while the artifact was read",
            ));
        }
        Ok(())
    }
}

/// Returns the number of bytes of the chunk digests of an image.
fn chunks_length(image_length: u64) -> u64 {
    image_length.div_ceil(CHUNK as u64) * CHECKSUM as u64
}

/// Returns the number of bytes of verity superblock and hash tree of an image, or `None` if no image has that length.
fn tree_length(sealed: bool, image_length: u64) -> Option<u64> {
    match sealed {
        true => Layout::of(image_length / SECTOR).map(|layout| layout.length()),
        false => Some(0),
    }
}

/// Returns whether a file has a hole in a range of whole sectors, none of which is zero. What is called a hole is read,
/// because OpenZFS has called data holes that were just written (openzfs/zfs 15526).
fn has_hole(file: &File, range: &Range<u64>) -> io::Result<bool> {
    let seeker = Seeker::new(file);
    has_hole_by(file, range, |start| seeker.find(SeekFrom::Hole(start)))
}

fn has_hole_by(
    file: &File,
    range: &Range<u64>,
    seek: impl Fn(u64) -> Result<u64, Errno>,
) -> io::Result<bool> {
    match seek(range.start) {
        Ok(hole) if range.contains(&hole) => {
            let mut bytes = [0; SECTOR_LENGTH];
            let read = file.read_at(&mut bytes, hole)?;
            Ok(bytes.iter().take(read).all(|byte| *byte == 0))
        }
        // Not every file system supports this.
        Ok(_) | Err(_) => Ok(false),
    }
}

/// Reads a range of a file, [`PIECE`] bytes at a time.
fn in_pieces(
    file: &File,
    mut offset: u64,
    mut length: u64,
    mut visit: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    while length > 0 {
        let size = usize::try_from(length).unwrap_or(usize::MAX).min(PIECE);
        let piece = buffer.get_mut(..size).unwrap_or_default();
        file.read_exact_at(piece, offset)?;
        visit(piece)?;
        offset += size as u64;
        length -= size as u64;
    }
    Ok(())
}

/// The fixed part at the end of the file.
struct Footer {
    facts_length: usize,
    image_length: u64,
    /// Whether there is a hash tree.
    sealed: bool,
}

impl Footer {
    fn version(&self) -> u32 {
        if self.sealed { SEALED } else { PLAIN }
    }

    fn decode(bytes: &[u8; FOOTER]) -> Result<Self, RecordError> {
        let (magic, rest) = take(bytes)?;
        if magic != MAGIC {
            return Err(RecordError::Missing);
        }
        let (version, rest) = take(rest)?;
        let version = u32::from_le_bytes(version);
        let sealed = match version {
            PLAIN => false,
            SEALED => true,
            other => return Err(RecordError::Version(other)),
        };
        let (facts_length, rest) = take(rest)?;
        let (image_length, rest) = take(rest)?;
        let (tree_length, _) = take(rest)?;
        let facts_length = usize::try_from(u32::from_le_bytes(facts_length))
            .ok()
            .filter(|length| *length <= FACTS_MAX)
            .ok_or(RecordError::Damaged("its facts are too long"))?;
        let footer = Self {
            facts_length,
            image_length: u64::from_le_bytes(image_length),
            sealed,
        };
        if sealed && footer.tree_length() != Some(u64::from_le_bytes(tree_length)) {
            return Err(RecordError::Damaged(
                "its hash tree does not have the length that its image needs",
            ));
        }
        Ok(footer)
    }

    /// Returns the number of bytes of verity superblock and hash tree, or `None` if no image has that length.
    fn tree_length(&self) -> Option<u64> {
        let possible = self.image_length <= IMAGE_MAX;
        possible
            .then(|| tree_length(self.sealed, self.image_length))
            .flatten()
    }

    /// Returns the number of bytes of the whole record, or `None` if no image has that length.
    fn record_length(&self) -> Option<u64> {
        let possible = self.image_length.is_multiple_of(SECTOR) && self.image_length <= IMAGE_MAX;
        possible.then(|| {
            let rest = (self.facts_length + FOOTER) as u64;
            (chunks_length(self.image_length) + rest).next_multiple_of(SECTOR)
        })
    }

    /// Reads the whole record of a file of that length, and believes it if its checksum matches. The cheapest checks
    /// come first.
    fn read(
        &self,
        file: &File,
        metadata: &Metadata,
        footer: &[u8; FOOTER],
        mut visit: impl FnMut(&[u8]),
    ) -> Result<Record, RecordError> {
        let (file_length, on_disk) = (metadata.len(), metadata.blocks().saturating_mul(512));
        let chunks = chunks_length(self.image_length.min(IMAGE_MAX));
        let offset = self
            .tree_length()
            .and_then(|tree| self.image_length.checked_add(tree))
            .unwrap_or(u64::MAX);
        let rest = self
            .record_length()
            .filter(|length| offset.checked_add(*length) == Some(file_length))
            .and_then(|length| length.checked_sub(chunks))
            .and_then(|rest| usize::try_from(rest).ok())
            .ok_or(RecordError::Damaged(
                "its length is not the one it was written with",
            ))?;
        // A sparse file costs nothing, and a record that has to be read to its end is as long on the disk as it claims
        // to be. On OpenZFS, seeking may wait for the disk, so the space of the file is looked at first.
        let after = self.image_length..file_length;
        if on_disk < after.end - after.start && has_hole(file, &after)? {
            return Err(RecordError::Damaged("the file has a hole in it"));
        }
        let (mut checksum, mut root) = (blake3::Hasher::new(), blake3::Hasher::new());
        in_pieces(file, offset, chunks, |piece| {
            checksum.update(piece);
            root.update(piece);
            visit(piece);
            Ok(())
        })?;
        let mut bytes = zeroed(rest)?;
        file.read_exact_at(&mut bytes, offset + chunks)?;
        visit(&bytes);
        let (covered, found) = bytes
            .split_last_chunk::<CHECKSUM>()
            .ok_or(RecordError::Missing)?;
        if checksum.update(covered).finalize() != *found || !bytes.ends_with(footer) {
            return Err(RecordError::Damaged("its checksum does not match"));
        }
        let facts = bytes
            .get(..self.facts_length)
            .ok_or(RecordError::Damaged("its facts are cut short"))?;
        let facts: Facts = serde_json::from_slice(facts)
            .map_err(|_| RecordError::Damaged("its facts don't read as such"))?;
        let hash = |hex: &str| {
            let hash = blake3::Hash::from_hex(hex);
            hash.map_err(|_| RecordError::Damaged("its facts don't read as such"))
        };
        let (superblock, said) = (hash(&facts.superblock)?, hash(&facts.root)?);
        if facts.chunk_size != CHUNK as u64 || root.finalize() != said {
            return Err(RecordError::Damaged("its digests contradict each other"));
        }
        let covered = facts.verity.as_ref().map(Verity::covered);
        if covered != self.sealed.then_some(self.image_length) || facts.key.verity != self.sealed {
            return Err(RecordError::Damaged(
                "it contradicts itself about its hash tree",
            ));
        }
        Ok(Record {
            key: facts.key,
            image_length: self.image_length,
            superblock: *superblock.as_bytes(),
            verity: facts.verity,
            root: *said.as_bytes(),
        })
    }
}

fn take<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), RecordError> {
    bytes
        .split_first_chunk()
        .map(|(head, rest)| (*head, rest))
        .ok_or(RecordError::Missing)
}

/// Reason why a file has no record that can be believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Nothing at its end looks like a record: the file is something else, or was cut short.
    #[error(
        "the file does not end in an artifact record; it was cut short, or was not written by this program"
    )]
    Missing,
    /// The record has another version.
    #[error(
        "the artifact record has version {0}; this program knows versions {PLAIN} and {SEALED}"
    )]
    Version(u32),
    /// The record was changed after it was written.
    #[error("the artifact record is damaged: {0}")]
    Damaged(&'static str),
    /// Other users own the file or can write to it, so its checksums may be forged.
    #[error("cannot trust {0}")]
    Untrusted(Untrusted),
    /// The file could not be read.
    #[error("cannot read the artifact record")]
    Io(#[from] io::Error),
}

impl RecordError {
    /// Returns the error with the refusal to read a part of the file named as what it is: damage.
    pub(super) fn of(self, file: &File) -> Self {
        match self {
            Self::Io(error) if readable::is_refusal(file, &error) => {
                Self::Damaged("the file system refuses to read it, because of fs-verity")
            }
            error => error,
        }
    }
}

#[cfg(test)]
mod tests;
