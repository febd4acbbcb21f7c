//! Stored bytes of finished artifacts. Each chunk is verified before a byte of it is used.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use sqfs_writer::Fingerprint;
use sqfs_writer::replay::{Source, StoredFragment};

use super::chunks::{Chunks, Original, Problem};
use super::cost::Cost;
use super::damaged::damaged;
use super::fragments::Fragments;
use super::layer::Position;
use super::places::Fragment;
use crate::artifact::CHUNK;
use crate::tables::Codec;

/// Number of decompressed fragments that are kept.
const FRAGMENTS_KEPT: usize = 8;

/// The largest block that squashfs allows.
const BLOCK_MAX: usize = 1 << 20;

/// Bytes that are copied out of their chunks at the beginning of a run, so that the writer's queue does not keep a
/// chunk for each of many small parts.
const COPIED: usize = 256 << 10;

/// Bytes that were read in sequence.
#[derive(Debug, Default)]
struct Run {
    artifact: usize,
    end: u64,
    len: usize,
}

impl Run {
    /// Adds the next bytes. Returns the length of the run with them.
    fn extend(&mut self, artifact: usize, at: u64, len: usize) -> usize {
        let continues = (self.artifact, self.end) == (artifact, at);
        *self = Self {
            artifact,
            end: at.saturating_add(len as u64),
            len: len.saturating_add(if continues { self.len } else { 0 }),
        };
        self.len
    }
}

/// The outcome of copying.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// The artifact from which copying failed, and the reason if it could not be read.
    failed: Arc<OnceLock<(usize, Option<String>)>>,
    bytes: Arc<AtomicU64>,
    used: Arc<[AtomicBool]>,
}

impl Outcome {
    pub(super) fn new(artifacts: usize) -> Self {
        Self {
            failed: Arc::default(),
            bytes: Arc::default(),
            used: (0..artifacts).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// Returns whether stored bytes of an artifact were copied.
    pub(super) fn used(&self, artifact: usize) -> bool {
        let used = self.used.get(artifact);
        used.is_some_and(|used| used.load(Ordering::Relaxed))
    }

    /// Returns the artifact from which copying failed, and the reason if it could not be read. Otherwise it contradicts
    /// its record.
    pub(crate) fn failed(&self) -> Option<(usize, Option<&str>)> {
        let (artifact, unreadable) = self.failed.get()?;
        Some((*artifact, unreadable.as_deref()))
    }

    /// Returns how many bytes were copied: stored blocks and fragments, and tails of fragments that were decompressed.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// The artifacts of a plan, as a writer's source.
pub(crate) struct Copies {
    originals: Vec<Original>,
    fragments: Arc<Fragments>,
    chunks: Chunks,
    unpacked: VecDeque<(usize, usize, Bytes)>,
    run: Run,
    cost: Cost,
    codec: Codec,
    block_size: usize,
    outcome: Outcome,
}

impl Copies {
    pub(super) fn new(
        originals: Vec<Original>,
        fragments: Arc<Fragments>,
        outcome: Outcome,
        cost: Cost,
    ) -> io::Result<Self> {
        let mut copies = Self {
            originals,
            fragments,
            chunks: Chunks::default(),
            unpacked: VecDeque::new(),
            run: Run::default(),
            cost,
            codec: Codec::none(),
            block_size: BLOCK_MAX,
            outcome,
        };
        if !copies.originals.is_empty() {
            // All have the same codec, because a plan requires it.
            let superblock = copies.read(0, 0, 96)?;
            let number = superblock.get(20..).and_then(|rest| rest.first_chunk());
            let number = number.map_or(0, |bytes| u16::from_le_bytes(*bytes));
            copies.codec = Codec::new(number).map_err(io::Error::other)?;
            let size = superblock.get(12..).and_then(|rest| rest.first_chunk());
            let size = size.map_or(0, |bytes| u32::from_le_bytes(*bytes));
            copies.block_size = usize::try_from(size).map_or(BLOCK_MAX, |size| size.min(BLOCK_MAX));
        }
        Ok(copies)
    }

    /// Returns a part of a chunk, verified against the record of its artifact.
    fn part(
        &mut self,
        artifact: usize,
        index: usize,
        offset: usize,
        len: usize,
    ) -> io::Result<Bytes> {
        let original = self.originals.get(artifact);
        let original = original.ok_or_else(|| damaged("there is no such artifact"))?;
        let (chunks, cost) = (&mut self.chunks, &mut self.cost);
        let part = chunks.part(original, artifact, index, offset, len, cost);
        part.map_err(|problem| {
            let failed = match &problem {
                Problem::Unreadable(error) => Some(Some(error.to_string())),
                Problem::Damaged => Some(None),
                Problem::Beyond | Problem::Costly => None,
            };
            if let Some(unreadable) = failed {
                let _ = self.outcome.failed.set((artifact, unreadable));
            }
            problem.into()
        })
    }

    fn read(&mut self, artifact: usize, at: u64, len: usize) -> io::Result<Bytes> {
        let chunk = CHUNK as u64;
        let mut index = usize::try_from(at / chunk).map_err(io::Error::other)?;
        let offset = usize::try_from(at % chunk).map_err(io::Error::other)?;
        let first = self.part(artifact, index, offset, len)?;
        let run = self.run.extend(artifact, at, len);
        if first.len() == len {
            return Ok(match run < COPIED {
                true => Bytes::copy_from_slice(&first),
                false => first,
            });
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len.min(BLOCK_MAX))?;
        bytes.extend_from_slice(&first);
        while bytes.len() < len {
            index += 1;
            let next = self.part(artifact, index, 0, len - bytes.len())?;
            bytes.extend_from_slice(&next);
        }
        Ok(bytes.into())
    }

    /// Counts bytes that go into the image.
    fn copied(&mut self, artifact: usize, bytes: Bytes) -> Bytes {
        if let Some(used) = self.outcome.used.get(artifact) {
            used.store(true, Ordering::Relaxed);
        }
        let count = &self.outcome.bytes;
        count.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.cost.deliver(bytes.len());
        bytes
    }

    fn stored(&mut self, artifact: usize, index: usize) -> io::Result<StoredFragment> {
        let fragment = self.fragments.get(artifact, index);
        let Fragment {
            start, len, raw, ..
        } = *fragment.ok_or_else(|| damaged("there is no such fragment"))?;
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let bytes = self.read(artifact, start, len)?;
        Ok(StoredFragment::new(bytes, raw))
    }

    fn unpacked(&mut self, artifact: usize, index: usize) -> io::Result<Bytes> {
        let mut kept = self.unpacked.iter();
        let kept = kept.find(|(of, at, _)| (*of, *at) == (artifact, index));
        if let Some((_, _, bytes)) = kept {
            return Ok(bytes.clone());
        }
        let StoredFragment { bytes, raw, .. } = self.stored(artifact, index)?;
        let bytes = if raw {
            bytes
        } else {
            let unpacked = self.codec.decompress(&bytes, self.block_size);
            let unpacked: Bytes = unpacked.map_err(io::Error::other)?.into();
            if !self.cost.spend(unpacked.len()) {
                return Err(Problem::Costly.into());
            }
            unpacked
        };
        if self.unpacked.len() == FRAGMENTS_KEPT {
            self.unpacked.pop_front();
        }
        self.unpacked.push_back((artifact, index, bytes.clone()));
        Ok(bytes)
    }
}

impl Source for Copies {
    fn block(&mut self, at: u64, len: u32) -> io::Result<Bytes> {
        let Position { artifact, at } = Position::unpack(at);
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let bytes = self.read(artifact.into(), at, len)?;
        Ok(self.copied(artifact.into(), bytes))
    }

    fn fragment(&mut self, tails: &Fingerprint) -> io::Result<Option<StoredFragment>> {
        let Some((artifact, index)) = self.fragments.with(tails) else {
            return Ok(None);
        };
        let StoredFragment { bytes, raw, .. } = self.stored(artifact, index)?;
        let bytes = self.copied(artifact, bytes);
        Ok(Some(StoredFragment::new(bytes, raw)))
    }

    fn tail(&mut self, at: u64, len: u32) -> io::Result<Bytes> {
        let position = Position::unpack(at);
        let (index, offset) = position.tail();
        let fragment = self.unpacked(position.artifact.into(), index)?;
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let end = offset.checked_add(len).filter(|end| *end <= fragment.len());
        let end = end.ok_or_else(|| damaged("a tail lies after the end of its fragment"))?;
        Ok(self.copied(position.artifact.into(), fragment.slice(offset..end)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;
    use std::os::unix::fs::FileExt as _;

    use super::*;
    use crate::artifact::{ArtifactWriter, Digests, ImageOptions, Key, Record};
    use crate::staging::{StagedFile, Staging};

    /// Bytes of the image, which has one fragment and one block.
    const LENGTH: usize = 4096;

    fn artifact(directory: &std::path::Path) -> File {
        let digest = ociget::Digest::of(b"image");
        let key = Key::new(
            digest.clone(),
            digest,
            "linux/amd64".into(),
            Digests::default(),
            &ImageOptions::default(),
        );
        let staged = StagedFile::create(directory, Staging::new(0, None)).unwrap();
        let mut writer = ArtifactWriter::new(staged, key).unwrap();
        let body: Vec<u8> = (96..LENGTH).map(|at| (at % 251).to_le_bytes()[0]).collect();
        writer.write_all(&body).unwrap();
        let mut superblock = [1; 96];
        superblock[12..16].copy_from_slice(&4096_u32.to_le_bytes());
        superblock[20..22].copy_from_slice(&1_u16.to_le_bytes());
        let sealed = writer.seal(superblock).unwrap();
        sealed.into_staged().publish("artifact".as_ref()).unwrap();
        let path = directory.join("artifact");
        File::options().read(true).write(true).open(path).unwrap()
    }

    /// Reads stored bytes in three ways, as a build does.
    fn read(file: &File) -> io::Result<(Vec<Bytes>, Outcome)> {
        let record = Record::read(file).map_err(io::Error::other)?;
        let mut digests = Vec::new();
        record.chunks(file, |digest| {
            digests.push(*digest);
            Ok(())
        })?;
        let tails = Fingerprint::from_bytes([7; 32]);
        let fragment = Fragment {
            start: 1000,
            len: 300,
            raw: true,
            tails: Some(tails),
        };
        let original = Original {
            file: Arc::new(file.try_clone()?),
            image_length: record.image_length,
            digests: digests.into(),
        };
        let outcome = Outcome::new(1);
        let fragments = Arc::new(Fragments::of(vec![vec![fragment]]));
        let mut copies = Copies::new(
            vec![original],
            fragments,
            outcome.clone(),
            Cost::of_layers(0),
        )?;
        let at = |at| Position { artifact: 0, at }.pack();
        let tail = Position::of_tail(0, 0, 10).pack();
        let found = vec![
            copies.block(at(96), 500)?,
            copies.fragment(&tails)?.unwrap().bytes,
            copies.tail(tail, 20)?,
        ];
        Ok((found, outcome))
    }

    #[test]
    fn run_is_what_follows_without_a_gap() {
        let mut run = Run::default();
        assert_eq!(run.extend(0, 100, 10), 10);
        assert_eq!(run.extend(0, 110, 5), 15);
        assert_eq!(run.extend(1, 115, 5), 5);
        assert_eq!(run.extend(1, 121, 7), 7);
        assert_eq!(run.extend(1, 120, 7), 7);
        assert_eq!(run.extend(1, 127, 1), 8);
    }

    #[test]
    fn flipped_bits_of_artifact_are_noticed_before_use() {
        let directory = tempfile::tempdir().unwrap();
        let file = artifact(directory.path());
        let (sound, outcome) = read(&file).unwrap();
        assert_eq!(
            sound.iter().map(Bytes::len).collect::<Vec<_>>(),
            [500, 300, 20]
        );
        assert_eq!(outcome.failed(), None);
        let length = file.metadata().unwrap().len();
        for at in 0..length {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            // All bits where the record has meaning, and one bit of each byte elsewhere.
            let bits = match at >= LENGTH as u64 && byte[0] != 0 {
                true => 0..8,
                false => at % 8..at % 8 + 1,
            };
            for bit in bits {
                file.write_all_at(&[byte[0] ^ 1 << bit], at).unwrap();
                assert!(read(&file).is_err(), "bit {bit} of byte {at}");
            }
            file.write_all_at(&byte, at).unwrap();
        }
        assert_eq!(read(&file).unwrap().0, sound);
    }

    #[test]
    fn places_beyond_the_image_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = artifact(directory.path());
        let record = Record::read(&file).unwrap();
        let mut digests = Vec::new();
        let visit = |digest: &[u8; 32]| {
            digests.push(*digest);
            Ok(())
        };
        record.chunks(&file, visit).unwrap();
        let original = Original {
            file: Arc::new(file),
            image_length: record.image_length,
            digests: digests.into(),
        };
        let fragments = Arc::new(Fragments::of(Vec::new()));
        let mut copies = Copies::new(
            vec![original],
            fragments,
            Outcome::new(1),
            Cost::of_layers(0),
        )
        .unwrap();
        for (artifact, at, len) in [
            (0, LENGTH as u64, 1),
            (0, LENGTH as u64 - 1, 2),
            (0, (1 << 52) - 1, u32::MAX),
            (0, 0, u32::MAX),
            (1, 0, 1),
            (4095, 0, 1),
        ] {
            let at = Position { artifact, at }.pack();
            assert!(copies.block(at, len).is_err(), "{artifact} {at} {len}");
            assert!(copies.tail(at, len).is_err(), "{artifact} {at} {len}");
        }
    }
}
