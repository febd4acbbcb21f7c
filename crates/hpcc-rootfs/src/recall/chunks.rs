//! Chunks of artifacts, verified against their records before a byte of them is used.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use bytes::Bytes;
use rustix::buffer::spare_capacity;

use super::cost::Cost;
use super::damaged::damaged;
use crate::artifact::CHUNK;

/// Number of verified chunks that are kept.
const KEPT: usize = 8;

/// Bytes of the pieces in which a chunk that was verified before is read.
const PIECE: usize = 64 << 10;

/// A prefix of a BLAKE3 hash that is long enough to distinguish a damaged piece from the verified one.
type Check = [u8; 16];

/// An open file that is not collected while this value lives.
pub(crate) trait Held: AsFd + Send + Sync {}

impl<T: AsFd + Send + Sync> Held for T {}

/// An artifact from which bodies are copied.
#[derive(Clone)]
pub(super) struct Original {
    pub(super) file: Arc<dyn Held>,
    pub(super) image_length: u64,
    /// The digest of each chunk, from its record.
    pub(super) digests: Arc<[[u8; 32]]>,
}

impl Original {
    /// Reads into memory that is not zeroed first, because zeroing would take a fifth of the time of hashing.
    fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>, Problem> {
        let mut bytes = Vec::new();
        let reserved = bytes.try_reserve_exact(len);
        reserved.map_err(|error| Problem::Unreadable(error.into()))?;
        while bytes.len() < len {
            let at = offset + bytes.len() as u64;
            match rustix::io::pread(self.file.as_fd(), spare_capacity(&mut bytes), at) {
                // It was longer when its record was read.
                Ok(0) => return Err(Problem::Damaged),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Problem::Unreadable(error.into())),
            }
        }
        // The capacity may be more than the requested number of bytes.
        bytes.truncate(len);
        Ok(bytes)
    }

    /// Compares all chunks with their digests. Calls `check` before each, and stops at its error.
    pub(super) fn verify<E>(
        &self,
        mut check: impl FnMut() -> Result<(), E>,
    ) -> Result<Result<(), Problem>, E> {
        let mut at = 0;
        for digest in self.digests.iter() {
            check()?;
            let left = self.image_length.saturating_sub(at);
            let size = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            match self.read_at(at, size) {
                Ok(bytes) if blake3::hash(&bytes).as_bytes() == digest => {}
                Ok(_) => return Ok(Err(Problem::Damaged)),
                Err(problem) => return Ok(Err(problem)),
            }
            at += size as u64;
        }
        Ok(Ok(()))
    }
}

/// The reason why bytes are not available.
#[derive(Debug)]
pub(super) enum Problem {
    /// The artifact cannot be read.
    Unreadable(io::Error),
    /// The artifact does not match its record.
    Damaged,
    /// The artifact has no such position.
    Beyond,
    /// Reading the bytes costs more than reading the layer.
    Costly,
}

impl From<Problem> for io::Error {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::Unreadable(error) => error,
            Problem::Damaged => damaged("an artifact is not what its record says"),
            Problem::Beyond => damaged("a position lies after the end of the image"),
            Problem::Costly => Self::other("copying costs more than reading the layers"),
        }
    }
}

/// The state of a chunk that was verified.
enum Seen {
    Once,
    /// The checks of its pieces.
    Often(Box<[Check]>),
}

/// Reads chunks. The first and the second time, a whole chunk is read and compared with the record. A second time means
/// that bytes of it are needed in small parts and in no order, so its pieces are hashed as well. Later on, only the
/// needed pieces are read and compared.
#[derive(Default)]
pub(super) struct Chunks {
    kept: VecDeque<(usize, usize, Bytes)>,
    seen: HashMap<(usize, usize), Seen>,
}

impl Chunks {
    /// Returns verified bytes of a chunk: `len` bytes from `offset` on, or fewer if the chunk ends before.
    pub(super) fn part(
        &mut self,
        original: &Original,
        artifact: usize,
        index: usize,
        offset: usize,
        len: usize,
        cost: &mut Cost,
    ) -> Result<Bytes, Problem> {
        let of = (artifact, index);
        let mut kept = self.kept.iter();
        let kept = kept.find(|(artifact, index, _)| (*artifact, *index) == of);
        if let Some((_, _, bytes)) = kept {
            return slice(bytes, offset, len);
        }
        let digest = original.digests.get(index).ok_or(Problem::Beyond)?;
        let start = (index as u64).saturating_mul(CHUNK as u64);
        let left = original.image_length.checked_sub(start);
        let left = left.ok_or(Problem::Beyond)?;
        let size = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        if let Some(Seen::Often(checks)) = self.seen.get(&of) {
            let end = offset.saturating_add(len).min(size);
            if offset > end {
                return Err(Problem::Beyond);
            }
            let from = offset / PIECE * PIECE;
            let to = end.next_multiple_of(PIECE).min(size);
            let bytes = read(original, start + from as u64, to - from, cost)?;
            let pieces = bytes.chunks(PIECE).map(check);
            let expected = checks.get(offset / PIECE..).unwrap_or_default();
            if !pieces.eq(expected.iter().copied().take(bytes.len().div_ceil(PIECE))) {
                return Err(Problem::Damaged);
            }
            return slice(&bytes, offset - from, end - offset);
        }
        let bytes = read(original, start, size, cost)?;
        if blake3::hash(&bytes).as_bytes() != digest {
            return Err(Problem::Damaged);
        }
        let seen = match self.seen.contains_key(&of) {
            true => Seen::Often(bytes.chunks(PIECE).map(check).collect()),
            false => Seen::Once,
        };
        self.seen.insert(of, seen);
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back((artifact, index, bytes.clone()));
        slice(&bytes, offset, len)
    }
}

fn read(original: &Original, at: u64, len: usize, cost: &mut Cost) -> Result<Bytes, Problem> {
    if !cost.spend(len) {
        return Err(Problem::Costly);
    }
    Ok(original.read_at(at, len)?.into())
}

fn check(piece: &[u8]) -> Check {
    let mut check = Check::default();
    blake3::Hasher::new()
        .update(piece)
        .finalize_xof()
        .fill(&mut check);
    check
}

fn slice(bytes: &Bytes, offset: usize, len: usize) -> Result<Bytes, Problem> {
    let end = offset.saturating_add(len).min(bytes.len());
    match offset <= end {
        true => Ok(bytes.slice(offset..end)),
        false => Err(Problem::Beyond),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;

    use super::*;

    /// More chunks than are kept; the last one is shorter.
    const COUNT: usize = KEPT + 2;

    fn original(file: &File) -> Original {
        let length = COUNT * CHUNK - 1000;
        let bytes: Vec<u8> = (0..length)
            .map(|at| (at / 7 % 251).to_le_bytes()[0])
            .collect();
        file.write_all_at(&bytes, 0).unwrap();
        Original {
            file: Arc::new(file.try_clone().unwrap()),
            image_length: length as u64,
            digests: bytes
                .chunks(CHUNK)
                .map(|chunk| *blake3::hash(chunk).as_bytes())
                .collect(),
        }
    }

    fn part(
        chunks: &mut Chunks,
        original: &Original,
        index: usize,
        offset: usize,
        cost: &mut Cost,
    ) -> Result<Bytes, Problem> {
        chunks.part(original, 0, index, offset, 10, cost)
    }

    #[test]
    fn chunk_that_is_needed_often_is_read_in_pieces() {
        let file = tempfile::tempfile().unwrap();
        let original = original(&file);
        let (mut chunks, mut cost) = (Chunks::default(), Cost::of_layers(0));
        let whole = original.image_length;
        for round in 0..4_u64 {
            let before = cost.spent();
            for index in 0..COUNT {
                let offset = 65_530 + index;
                let bytes = part(&mut chunks, &original, index, offset, &mut cost).unwrap();
                let mut expected = [0; 10];
                let at = (index * CHUNK + offset) as u64;
                file.read_exact_at(&mut expected, at).unwrap();
                assert_eq!(bytes, expected.as_slice(), "{round} {index}");
            }
            let spent = cost.spent() - before;
            match round {
                0 | 1 => assert_eq!(spent, whole),
                // The parts cross the end of a piece at most once.
                _ => assert!(spent <= (2 * COUNT * PIECE) as u64, "{spent}"),
            }
        }
        // Up to the end of the image, and beyond it.
        let last = CHUNK - 1000;
        let end = part(&mut chunks, &original, COUNT - 1, last - 4, &mut cost).unwrap();
        assert_eq!(end.len(), 4);
        let beyond = part(&mut chunks, &original, COUNT - 1, last + 1, &mut cost);
        assert!(matches!(beyond, Err(Problem::Beyond)), "{beyond:?}");
    }

    #[test]
    fn damage_is_noticed_however_often_a_chunk_was_read() {
        for reads in 0..4 {
            let file = tempfile::tempfile().unwrap();
            let original = original(&file);
            let (mut chunks, mut cost) = (Chunks::default(), Cost::of_layers(0));
            for _ in 0..reads {
                for index in 0..COUNT {
                    part(&mut chunks, &original, index, 100, &mut cost).unwrap();
                }
            }
            file.write_all_at(&[255], 105).unwrap();
            let read = part(&mut chunks, &original, 0, 100, &mut cost);
            assert!(matches!(read, Err(Problem::Damaged)), "{reads} {read:?}");
        }
    }

    #[test]
    fn parts_that_cost_too_much_are_refused() {
        let file = tempfile::tempfile().unwrap();
        let original = original(&file);
        let (mut chunks, mut cost) = (Chunks::default(), Cost::of_layers(0));
        let mut indexes = (0..COUNT).cycle().take(4000);
        let refused = indexes.find_map(|index| {
            let part = part(&mut chunks, &original, index, 0, &mut cost);
            part.err()
        });
        assert!(matches!(refused, Some(Problem::Costly)), "{refused:?}");
    }
}
