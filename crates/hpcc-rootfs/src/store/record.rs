//! The record at the end of every artifact: what it is, and how to tell that it still is.
//!
//! ```text
//!  0                                   image_length                                   end of file
//!  ├── squashfs image, 4 KiB padded ──┼── chunk digests ── facts ── zeros ── footer ──┤
//!                                        32 bytes each      JSON      to     64 bytes
//!                                        one per MiB                  4 KiB
//!
//!  footer:  magic 8 │ version 4 │ facts_length 4 │ image_length 8 │ zeros 8 │ checksum 32
//! ```
//!
//! It is found from the end of the file, without mounting anything. The kernel ignores it: it reads
//! no further than the superblock's `bytes_used`. The checksum covers the record from its first
//! byte up to the checksum itself, so a torn or edited record is never believed. All numbers are
//! little-endian; all digests in it are BLAKE3, which costs a build next to nothing.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use serde::{Deserialize, Serialize};

use super::key::Key;

/// Bytes of the image that one chunk digest covers; the last chunk may be shorter.
pub const CHUNK: usize = 1 << 20;

const MAGIC: [u8; 8] = *b"HPCCROOT";
const VERSION: u32 = 1;
/// Bytes of a squashfs superblock.
pub(crate) const SUPERBLOCK: usize = 96;
const FOOTER: usize = 64;
const CHECKSUM: usize = 32;
/// Facts are a few hundred bytes; what claims to be more is not a record.
const FACTS_MAX: usize = 64 * 1024;
const SECTOR: u64 = 4096;

/// The record of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// What the artifact was made from and how.
    pub key: Key,
    /// Bytes of the squashfs image, its padding included; a multiple of 4096.
    pub image_length: u64,
    /// BLAKE3 of the superblock, the first 96 bytes: what can be checked without reading more.
    pub superblock: [u8; 32],
    /// BLAKE3 of each [`CHUNK`] of the image.
    pub chunks: Vec<[u8; 32]>,
}

/// The readable part of the record.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Facts {
    key: Key,
    chunk_size: u64,
    /// BLAKE3 of the superblock.
    superblock: String,
    /// BLAKE3 over the chunk digests: one value that stands for the content of the image.
    root: String,
}

impl Record {
    /// BLAKE3 over the chunk digests, as hex: one value that stands for the content of the image.
    #[must_use]
    pub fn root(&self) -> String {
        blake3::hash(self.chunks.as_flattened())
            .to_hex()
            .to_string()
    }

    /// The same, if it is the record of that image.
    pub(crate) fn of(self, identity: &ociget::Digest) -> Result<Self, RecordError> {
        if self.key.identity == *identity {
            return Ok(self);
        }
        Err(RecordError::Damaged("it belongs to another image"))
    }

    /// The bytes to append at `image_length`; with them the file ends on a 4 KiB boundary.
    pub(crate) fn encode(&self) -> io::Result<Vec<u8>> {
        let mut bytes = self.chunks.as_flattened().to_vec();
        let facts = serde_json::to_vec(&Facts {
            key: self.key.clone(),
            chunk_size: CHUNK as u64,
            superblock: blake3::Hash::from_bytes(self.superblock)
                .to_hex()
                .to_string(),
            root: self.root(),
        })?;
        let facts_length = u32::try_from(facts.len()).map_err(io::Error::other)?;
        bytes.extend_from_slice(&facts);
        let sector = usize::try_from(SECTOR).map_err(io::Error::other)?;
        bytes.resize((bytes.len() + FOOTER).next_multiple_of(sector) - FOOTER, 0);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&facts_length.to_le_bytes());
        bytes.extend_from_slice(&self.image_length.to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        let checksum = blake3::hash(&bytes);
        bytes.extend_from_slice(checksum.as_bytes());
        Ok(bytes)
    }

    /// Reads the record of an open file. It also checks the length of the file, and its superblock;
    /// [`Store::verify`](crate::Store::verify) checks the rest.
    ///
    /// # Errors
    /// [`RecordError`] says in which way it is not one of ours, or damaged.
    pub fn read(file: &File) -> Result<Self, RecordError> {
        let length = file.metadata()?.len();
        if length < SECTOR || length % SECTOR != 0 {
            return Err(RecordError::Missing);
        }
        let mut footer = [0; FOOTER];
        file.read_exact_at(&mut footer, length - FOOTER as u64)?;
        let footer = Footer::decode(&footer)?;
        let record_length = length
            .checked_sub(footer.image_length)
            .filter(|_| footer.image_length % SECTOR == 0)
            .and_then(|length| usize::try_from(length).ok())
            .filter(|length| *length <= footer.length_limit())
            .ok_or(RecordError::Damaged(
                "its length is not the one it was written with",
            ))?;
        let mut bytes = vec![0; record_length];
        file.read_exact_at(&mut bytes, footer.image_length)?;
        let record = footer.open(&bytes)?;
        let mut superblock = [0; SUPERBLOCK];
        file.read_exact_at(&mut superblock, 0)?;
        if blake3::hash(&superblock) != record.superblock {
            return Err(RecordError::Damaged(
                "the superblock in front is not the one that was written",
            ));
        }
        Ok(record)
    }
}

/// The fixed part at the very end.
struct Footer {
    facts_length: usize,
    image_length: u64,
}

impl Footer {
    fn decode(bytes: &[u8; FOOTER]) -> Result<Self, RecordError> {
        let (magic, rest) = take(bytes)?;
        if magic != MAGIC {
            return Err(RecordError::Missing);
        }
        let (version, rest) = take(rest)?;
        let version = u32::from_le_bytes(version);
        if version != VERSION {
            return Err(RecordError::Version(version));
        }
        let (facts_length, rest) = take(rest)?;
        let (image_length, _) = take(rest)?;
        let facts_length = usize::try_from(u32::from_le_bytes(facts_length))
            .ok()
            .filter(|length| *length <= FACTS_MAX)
            .ok_or(RecordError::Damaged("its facts are too long"))?;
        Ok(Self {
            facts_length,
            image_length: u64::from_le_bytes(image_length),
        })
    }

    fn chunk_count(&self) -> usize {
        usize::try_from(self.image_length.div_ceil(CHUNK as u64)).unwrap_or(usize::MAX)
    }

    /// The most that a record with this footer can take, so that a lying length allocates nothing.
    fn length_limit(&self) -> usize {
        self.chunk_count()
            .saturating_mul(CHECKSUM)
            .saturating_add(self.facts_length + FOOTER + 4096)
    }

    /// Checks and takes apart the whole record.
    fn open(&self, bytes: &[u8]) -> Result<Record, RecordError> {
        let (covered, checksum) = bytes
            .split_last_chunk::<CHECKSUM>()
            .ok_or(RecordError::Missing)?;
        if blake3::hash(covered) != *checksum {
            return Err(RecordError::Damaged("its checksum does not match"));
        }
        let (chunks, rest) = self
            .chunk_count()
            .checked_mul(CHECKSUM)
            .and_then(|length| covered.split_at_checked(length))
            .ok_or(RecordError::Damaged("it has too few chunk digests"))?;
        let facts = rest
            .get(..self.facts_length)
            .ok_or(RecordError::Damaged("its facts are cut short"))?;
        let facts: Facts = serde_json::from_slice(facts)
            .map_err(|_| RecordError::Damaged("its facts don't read as such"))?;
        let superblock = blake3::Hash::from_hex(&facts.superblock)
            .map_err(|_| RecordError::Damaged("its facts don't read as such"))?;
        let record = Record {
            key: facts.key,
            image_length: self.image_length,
            superblock: *superblock.as_bytes(),
            chunks: chunks.as_chunks().0.to_vec(),
        };
        if facts.chunk_size != CHUNK as u64 || facts.root != record.root() {
            return Err(RecordError::Damaged("its digests contradict each other"));
        }
        Ok(record)
    }
}

fn take<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), RecordError> {
    bytes
        .split_first_chunk()
        .map(|(head, rest)| (*head, rest))
        .ok_or(RecordError::Missing)
}

/// Why a file has no record that can be believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Nothing at its end looks like a record: some other file, or one cut short.
    #[error("the file does not end in an artifact record; it is cut short, or not ours")]
    Missing,
    /// A record, but not of this version.
    #[error("the artifact record has version {0}; this program knows version {VERSION}")]
    Version(u32),
    /// A record that was changed after it was written.
    #[error("the artifact record is damaged: {0}")]
    Damaged(&'static str),
    /// The file could not be read.
    #[error("cannot read the artifact record")]
    Io(#[from] io::Error),
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use ociget::Digest;

    use super::super::key::Injected;
    use super::*;
    use crate::options::ImageOptions;
    use crate::supplies::Digests;

    fn record() -> Record {
        Record {
            key: Key::new(
                Digest::of(b"index"),
                Digest::of(b"manifest"),
                "linux/amd64".into(),
                Digests {
                    agent: Some(Digest::of(b"agent")),
                    injected: vec![Injected {
                        path: "secrets/token".into(),
                        digest: Digest::of(b"token"),
                        mode: 0o400,
                    }],
                },
                &ImageOptions::default(),
            ),
            image_length: 3 << 20 | 4096,
            superblock: *blake3::hash(&[7; SUPERBLOCK]).as_bytes(),
            chunks: vec![[1; 32], [2; 32], [3; 32], [4; 32]],
        }
    }

    fn file(image_length: u64, record: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; usize::try_from(image_length).unwrap()])
            .unwrap();
        file.write_all(record).unwrap();
        file
    }

    #[test]
    fn a_record_reads_back_and_the_file_ends_on_a_sector() {
        let record = record();
        let file = file(record.image_length, &record.encode().unwrap());
        assert_eq!(file.metadata().unwrap().len() % SECTOR, 0);
        assert_eq!(Record::read(&file).unwrap(), record);
    }

    #[test]
    fn no_changed_byte_is_believed() {
        let record = record();
        let good = record.encode().unwrap();
        let file = file(record.image_length, &good);
        for (at, byte) in (record.image_length..).zip(&good) {
            file.write_all_at(&[byte ^ 1], at).unwrap();
            assert!(Record::read(&file).is_err(), "byte {at}");
            file.write_all_at(&[*byte], at).unwrap();
        }
        assert_eq!(Record::read(&file).unwrap(), record);
    }

    #[test]
    fn a_file_of_another_length_is_not_believed() {
        let record = record();
        let bytes = record.encode().unwrap();
        for image_length in [
            0,
            4096,
            record.image_length - 4096,
            record.image_length + 4096,
        ] {
            assert!(Record::read(&file(image_length, &bytes)).is_err());
        }
        let shorter = &bytes[..bytes.len() - 4096];
        assert!(Record::read(&file(record.image_length, shorter)).is_err());
        assert!(Record::read(&file(0, b"")).is_err());
        assert!(Record::read(&file(SECTOR, b"")).is_err());
    }
}
