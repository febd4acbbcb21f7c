//! Builds a tree while the image is written.

use std::io;

use super::block::{BLOCK, digests};
use super::facts::{Root, Salt, Uuid, Verity};
use super::layout::Layout;
use super::superblock;
use super::waiting::{MEMORY, Spills, Waiting};

/// A tree over an image whose first bytes arrive last.
///
/// It keeps one digest per block, 0.78 % of the image, of which at most 4 MiB per level are in memory.
#[derive(Debug)]
pub(crate) struct TreeBuilder {
    salt: Salt,
    uuid: Uuid,
    /// Digests of all blocks after the first bytes.
    leaves: Waiting,
    blocks: u64,
    /// Bytes of a level in memory.
    memory: usize,
    spills: Box<dyn Spills>,
}

impl TreeBuilder {
    pub(crate) fn new(salt: Salt, uuid: Uuid, spills: Box<dyn Spills>) -> Self {
        Self::with_memory(MEMORY, salt, uuid, spills)
    }

    /// Starts a tree that keeps `memory` bytes per level in memory, a multiple of the length of a block.
    pub(super) fn with_memory(
        memory: usize,
        salt: Salt,
        uuid: Uuid,
        spills: Box<dyn Spills>,
    ) -> Self {
        Self {
            salt,
            uuid,
            leaves: Waiting::new(memory),
            blocks: 0,
            memory,
            spills,
        }
    }

    /// Appends whole blocks, which follow the first bytes of the image and the blocks appended before.
    ///
    /// # Errors
    /// Returns an error if `bytes` are not whole blocks, or digests cannot be spilled.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        let digests = digests(&self.salt.0, bytes)?;
        self.blocks += (bytes.len() / BLOCK) as u64;
        self.leaves.push(&digests, &*self.spills)
    }

    /// Completes the tree of an image that begins with `first`. Passes superblock and tree to `write` with their
    /// offsets in the artifact, where they follow the image.
    ///
    /// `first` is the whole image, or a multiple of 128 blocks.
    ///
    /// # Errors
    /// Returns an error if `first` is neither, or the tree cannot be spilled or written.
    pub(crate) fn finish(
        self,
        first: &[u8],
        mut write: impl FnMut(&[u8], u64) -> io::Result<()>,
    ) -> io::Result<Verity> {
        let mut head = digests(&self.salt.0, first)?;
        if self.blocks > 0 && !head.len().is_multiple_of(BLOCK) {
            return Err(io::Error::other(
                "the first bytes of the image do not fill blocks of the hash tree",
            ));
        }
        let data_blocks = self.blocks + (first.len() / BLOCK) as u64;
        let hash_offset = data_blocks.checked_mul(BLOCK as u64);
        let (hash_offset, layout) = hash_offset
            .zip(Layout::of(data_blocks))
            .ok_or_else(|| io::Error::other("no hash tree covers an image of this length"))?;
        let superblock = superblock::encode(&self.salt, &self.uuid, data_blocks);
        write(&superblock, hash_offset)?;
        let mut level = self.leaves;
        for range in layout.levels() {
            let mut offset = hash_offset + range.start;
            let mut above = Waiting::new(self.memory);
            let mut visit = |piece: &[u8]| {
                let mut blocks = piece.to_vec();
                // Only the last piece of a level can end inside a block.
                blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
                write(&blocks, offset)?;
                offset += blocks.len() as u64;
                above.push(&digests(&self.salt.0, &blocks)?, &*self.spills)
            };
            if !head.is_empty() {
                visit(&head)?;
            }
            level.visit(visit)?;
            level = above;
            head = Vec::new();
        }
        // One digest is left: of the top level, or of data that is one block.
        let mut root = head;
        level.visit(|piece| {
            root.extend_from_slice(piece);
            Ok(())
        })?;
        let root = root
            .as_slice()
            .try_into()
            .map_err(|_| io::Error::other("the hash tree does not end in one digest"))?;
        Ok(Verity {
            root: Root(root),
            salt: self.salt,
            uuid: self.uuid,
            data_blocks,
            hash_offset,
        })
    }
}
