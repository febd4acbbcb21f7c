//! The file being written: takes image bytes, hashes its chunks, and appends the record at the end.

use std::ffi::OsStr;
use std::io::{self, Write};

use super::key::Key;
use super::record::{CHUNK, Record, SUPERBLOCK};
use super::verity::{Salt, Spill, Spills, TreeBuilder, Uuid};
use crate::growth::{self, Growth as _};
use crate::staging::{Scratch, StagedFile};
use crate::tables::ReadAt;

/// A sink for an image. It takes the bytes from offset 96 on, and the superblock after all of them.
///
/// The first chunk stays in memory until the superblock arrives, because the digest of the chunk covers it. Until then
/// the file has no first chunk, so no reader can mistake it for an image.
#[derive(Debug)]
pub(crate) struct ArtifactWriter {
    staged: StagedFile,
    /// Bytes that do not fill a chunk yet.
    pending: Vec<u8>,
    first: Option<Vec<u8>>,
    chunks: Vec<[u8; 32]>,
    offset: u64,
    key: Key,
    /// The hash tree, if the artifact gets one.
    tree: Option<TreeBuilder>,
}

impl ArtifactWriter {
    /// Starts the artifact with that key.
    ///
    /// # Errors
    /// Returns the error of the system if scratch files cannot be created beside the artifact.
    pub(crate) fn new(staged: StagedFile, key: Key) -> io::Result<Self> {
        let tree = match key.verity {
            true => {
                let (salt, uuid) = (Salt::of(&key.manifest), Uuid::of(&key.manifest));
                let scratch = Box::new(staged.scratch()?);
                Some(TreeBuilder::new(salt, uuid, scratch))
            }
            false => None,
        };
        let mut pending = growth::with_capacity(CHUNK)?;
        pending.resize(SUPERBLOCK, 0);
        Ok(Self {
            staged,
            pending,
            first: None,
            chunks: Vec::new(),
            offset: 0,
            key,
            tree,
        })
    }

    /// Completes the file with the superblock, the hash tree and the record. It still has no name.
    pub(crate) fn seal(mut self, superblock: [u8; SUPERBLOCK]) -> io::Result<SealedArtifact> {
        if !self.pending.is_empty() {
            self.flush_chunk()?;
        }
        let mut first = self.first.take().unwrap_or_default();
        if let Some(place) = first.first_chunk_mut() {
            *place = superblock;
        }
        if let Some(digest) = self.chunks.first_mut() {
            *digest = *blake3::hash(&first).as_bytes();
        }
        self.staged.write_all_at(&first, 0)?;
        let mut record = Record::new(self.key, self.offset, &superblock, &self.chunks);
        if let Some(tree) = self.tree {
            let staged = &mut self.staged;
            let write = |bytes: &[u8], offset| staged.write_all_at(bytes, offset);
            record = record.sealed(tree.finish(&first, write)?);
        }
        let bytes = record.encode(&self.chunks)?;
        self.staged.write_all_at(&bytes, record.offset())?;
        Ok(SealedArtifact {
            staged: self.staged,
            record,
        })
    }

    fn flush_chunk(&mut self) -> io::Result<()> {
        if self.first.is_none() {
            // Its digest waits for the superblock; this reserves its position among the digests.
            self.chunks.try_push([0; 32])?;
            self.offset += self.pending.len() as u64;
            let empty = growth::with_capacity(CHUNK)?;
            self.first = Some(std::mem::replace(&mut self.pending, empty));
            return Ok(());
        }
        self.chunks
            .try_push(*blake3::hash(&self.pending).as_bytes())?;
        if let Some(tree) = &mut self.tree {
            tree.push(&self.pending)?;
        }
        self.staged.write_all_at(&self.pending, self.offset)?;
        self.offset += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }
}

impl Spills for Scratch {
    fn open(&self) -> io::Result<Box<dyn Spill>> {
        Ok(Box::new(self.create()?))
    }
}

impl Spill for StagedFile {
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        Self::write_all_at(self, bytes, offset)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        Self::read_exact_at(self, buffer, offset)
    }
}

/// Proof that everything an artifact was made from was verified.
///
/// Only the pipeline knows what has to be verified, so only the pipeline implements this trait.
pub(crate) trait Proofs {}

/// A complete artifact that has no name.
#[derive(Debug)]
#[must_use = "dropping it throws the artifact away"]
pub(crate) struct SealedArtifact {
    staged: StagedFile,
    record: Record,
}

impl SealedArtifact {
    /// Makes the file durable, calls `durable`, and gives the file its name. The proofs are arguments so that nothing
    /// can be published that was not verified.
    pub(crate) fn publish(
        self,
        name: &OsStr,
        _proofs: &impl Proofs,
        durable: impl FnOnce(),
    ) -> io::Result<Record> {
        self.staged.publish_noting(name, durable)?;
        Ok(self.record)
    }

    /// Returns its bytes, which begin with the image.
    pub(crate) fn image(&self) -> &dyn ReadAt {
        self.staged.file()
    }

    /// Returns its record.
    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// Returns the file alone, for tests of publishing that have no image and so no proofs.
    #[cfg(test)]
    pub(crate) fn into_staged(self) -> StagedFile {
        self.staged
    }
}

impl Write for ArtifactWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK - self.pending.len());
        let (now, _) = bytes.split_at(taken);
        self.pending.extend_from_slice(now);
        if self.pending.len() == CHUNK {
            self.flush_chunk()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use ociget::Digest;

    use super::*;
    use crate::artifact::{Digests, ImageOptions};
    use crate::staging::Staging;

    #[test]
    fn chunk_digests_cover_the_file_with_its_superblock() {
        let directory = tempfile::tempdir().unwrap();
        for length in [4096, CHUNK, CHUNK + 4096, 2 * CHUNK, 2 * CHUNK + 8192] {
            let staged = StagedFile::create(directory.path(), Staging::new(0, None)).unwrap();
            let digest = Digest::of(b"");
            let key = Key::new(
                digest.clone(),
                digest,
                "linux/amd64".into(),
                Digests::default(),
                &ImageOptions::default(),
            );
            let mut writer = ArtifactWriter::new(staged, key).unwrap();
            let body: Vec<u8> = (0..length - SUPERBLOCK)
                .map(|at| u8::try_from(at % 251).unwrap())
                .collect();
            for piece in body.chunks(99_991) {
                writer.write_all(piece).unwrap();
            }
            let SealedArtifact { staged, record } = writer.seal([0xAB; SUPERBLOCK]).unwrap();
            staged.publish("artifact".as_ref()).unwrap();

            let path = directory.path().join("artifact");
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!(bytes[..SUPERBLOCK], [0xAB; SUPERBLOCK]);
            assert_eq!(bytes[SUPERBLOCK..length], body);
            assert_eq!(record.image_length, length as u64);
            let digests: Vec<_> = bytes[..length]
                .chunks(CHUNK)
                .map(|chunk| *blake3::hash(chunk).as_bytes())
                .collect();
            let file = File::open(&path).unwrap();
            assert_eq!(Record::read(&file).unwrap(), record);
            let mut recorded = Vec::new();
            let read = record.chunks(&file, |digest| {
                recorded.push(*digest);
                Ok(())
            });
            read.unwrap();
            assert_eq!(recorded, digests);
        }
    }
}
