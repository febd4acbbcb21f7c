//! Checks a tree while an artifact is read once, from its start to its end.
//!
//! On the file each level follows the one that holds its digests. So the contents of a level are compared with the
//! digests of the next one as two hashes, in memory that no image makes larger.

use std::io;

use super::block::{BLOCK, PIECE, digests};
use super::check::Read;
use super::facts::Verity;
use super::layout::Layout;
use super::superblock;

/// A tree and the data before it, in the order of their offsets.
#[derive(Debug)]
pub(crate) struct Sequence<'v> {
    verity: &'v Verity,
    layout: Layout,
    /// The digests of the data blocks so far.
    data: Level,
}

/// The contents of a level.
#[derive(Debug, Default)]
struct Level {
    contents: blake3::Hasher,
    length: u64,
}

impl Level {
    fn add(&mut self, bytes: &[u8]) {
        self.contents.update(bytes);
        self.length += bytes.len() as u64;
    }

    /// Returns the hash of whole blocks, because zeros fill the last one.
    fn filled(mut self) -> blake3::Hash {
        let fill = self.length.next_multiple_of(BLOCK as u64) - self.length;
        let zeros = [0; BLOCK];
        let fill = usize::try_from(fill)
            .ok()
            .and_then(|fill| zeros.get(..fill));
        self.contents.update(fill.unwrap_or_default());
        self.contents.finalize()
    }
}

impl<'v> Sequence<'v> {
    /// Returns a check of an artifact with these parameters, or `None` if no image has that many blocks.
    pub(crate) fn new(verity: &'v Verity) -> Option<Self> {
        Some(Self {
            verity,
            layout: Layout::of(verity.data_blocks)?,
            data: Level::default(),
        })
    }

    /// Takes the next data, which is whole blocks.
    pub(crate) fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.data.add(&digests(&self.verity.salt.0, bytes)?);
        Ok(())
    }

    /// Reads superblock and tree, and passes their bytes to `visit`. Returns whether they are those of the data and the
    /// root.
    pub(crate) fn tree(self, read: impl Read, mut visit: impl FnMut(&[u8])) -> io::Result<bool> {
        let Verity {
            root,
            salt,
            uuid,
            data_blocks,
            hash_offset,
        } = self.verity;
        let superblock = superblock::encode(salt, uuid, *data_blocks);
        let mut found = vec![0; superblock.len()];
        read(&mut found, *hash_offset)?;
        visit(&found);
        let mut is_intact = found == superblock;
        let mut above = Level::default();
        above.add(&root.0);
        let mut buffer = vec![0; PIECE];
        for range in self.layout.levels().iter().rev() {
            let (mut contents, mut below) = (Level::default(), Level::default());
            let mut start = range.start;
            while start < range.end {
                let length = usize::try_from(range.end - start).unwrap_or(usize::MAX);
                let piece = buffer.get_mut(..length.min(PIECE)).unwrap_or_default();
                read(piece, hash_offset + start)?;
                visit(piece);
                contents.add(piece);
                below.add(&digests(&salt.0, piece)?);
                start += piece.len() as u64;
            }
            is_intact &= below.filled() == above.filled();
            above = contents;
        }
        Ok(is_intact & (self.data.filled() == above.filled()))
    }
}
