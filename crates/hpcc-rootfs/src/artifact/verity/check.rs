//! Compares data with a tree, and a tree with its root.

use std::io;
use std::ops::Range;

use super::block::{BLOCK, DIGEST, PER_BLOCK, digest, digests};
use super::facts::Verity;
use super::layout::Layout;
use super::superblock;

/// Largest number of blocks of level 0 that are remembered. If more contradict the data, all after the last one are
/// reported.
const CONTRADICTED_MAX: usize = 1 << 16;

/// The damaged part in a range of an artifact after its image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The verity superblock, which kernels do not read.
    Superblock,
    /// Blocks of the tree.
    Tree,
}

impl Part {
    /// Returns the name of the part, for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Superblock => "verity superblock",
            Self::Tree => "hash tree",
        }
    }
}

/// Reads bytes at an offset of the artifact.
pub(crate) trait Read: Fn(&mut [u8], u64) -> io::Result<()> {}

impl<T: Fn(&mut [u8], u64) -> io::Result<()>> Read for T {}

/// A check of an artifact's data and tree.
#[derive(Debug)]
pub(crate) struct Check<'v, R> {
    verity: &'v Verity,
    layout: Layout,
    read: R,
    zero: [u8; DIGEST],
    /// Blocks of level 0 that do not hold the digests of intact data.
    contradicted: Vec<u64>,
    /// Whether more blocks than these contradict the data.
    more: bool,
}

impl<'v, R: Read> Check<'v, R> {
    /// Returns a check of an artifact with these parameters, or `None` if no image has that many blocks.
    pub(crate) fn new(verity: &'v Verity, read: R) -> Option<Self> {
        Some(Self {
            verity,
            layout: Layout::of(verity.data_blocks)?,
            read,
            zero: digest(&verity.salt.0, &[0; BLOCK]),
            contradicted: Vec::new(),
            more: false,
        })
    }

    /// Compares intact data at `offset` with the digests in the tree. Both are whole blocks.
    pub(crate) fn data(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let digests = digests(&self.verity.salt.0, bytes)?;
        self.compare(&digests, offset)
    }

    /// Compares `length` bytes of zeros at `offset`.
    pub(crate) fn zeros(&mut self, length: usize, offset: u64) -> io::Result<()> {
        let digests = self.zero.repeat(length / BLOCK);
        self.compare(&digests, offset)
    }

    fn compare(&mut self, digests: &[u8], offset: u64) -> io::Result<()> {
        let first = offset / BLOCK as u64;
        let Some(leaves) = self.layout.levels().first() else {
            if digests != self.verity.root.0 {
                self.contradicted.push(0);
            }
            return Ok(());
        };
        let at = self.verity.hash_offset + leaves.start + first * DIGEST as u64;
        let mut found = vec![0; digests.len()];
        (self.read)(&mut found, at)?;
        if found != digests {
            let blocks = found.chunks(BLOCK).zip(digests.chunks(BLOCK));
            for (block, (found, expected)) in (first / PER_BLOCK..).zip(blocks) {
                if found == expected || self.contradicted.last() == Some(&block) {
                    continue;
                }
                match self.contradicted.len() < CONTRADICTED_MAX {
                    true => self.contradicted.push(block),
                    false => self.more = true,
                }
            }
        }
        Ok(())
    }

    /// Compares the superblock with what it must be, and each block of the tree with its digest in the level
    /// above. Calls `damaged` for each damaged range of the artifact, in order of offsets within a level.
    ///
    /// Below a damaged block, only the digests of intact data tell what is damaged.
    pub(crate) fn tree(
        self,
        mut damaged: impl FnMut(Part, Range<u64>) -> io::Result<()>,
    ) -> io::Result<()> {
        let Verity {
            salt,
            uuid,
            data_blocks,
            hash_offset,
            ..
        } = self.verity;
        let superblock = superblock::encode(salt, uuid, *data_blocks);
        let mut found = vec![0; superblock.len()];
        (self.read)(&mut found, *hash_offset)?;
        if found != superblock {
            let end = hash_offset + superblock.len() as u64;
            damaged(Part::Superblock, *hash_offset..end)?;
        }
        let mut walk = Walk {
            check: &self,
            contradicted: 0,
            damaged: &mut |range| damaged(Part::Tree, range),
        };
        match self.layout.levels().len().checked_sub(1) {
            Some(top) => walk.block(top, 0, &self.verity.root.0)?,
            // The root is in the record, so only the range of the superblock can be named.
            None if self.contradicted.is_empty() => {}
            None => damaged(Part::Tree, *hash_offset..hash_offset + BLOCK as u64)?,
        }
        match (self.contradicted.last(), self.layout.levels().first()) {
            (Some(last), Some(leaves)) if self.more => {
                let start = hash_offset + leaves.start + last * BLOCK as u64;
                damaged(Part::Tree, start..hash_offset + leaves.end)
            }
            _ => Ok(()),
        }
    }
}

/// A walk through a tree, from its top and in order of data blocks.
struct Walk<'c, 'v, R> {
    check: &'c Check<'v, R>,
    /// Number of elements of [`Check::contradicted`] that were passed.
    contradicted: usize,
    damaged: &'c mut dyn FnMut(Range<u64>) -> io::Result<()>,
}

impl<R: Read> Walk<'_, '_, R> {
    /// Checks a block and those below it. The recursion is as deep as the tree: at most five levels for 16 TiB.
    fn block(&mut self, level: usize, index: u64, expected: &[u8; DIGEST]) -> io::Result<()> {
        let check = self.check;
        let Some(range) = check.layout.levels().get(level) else {
            return Ok(());
        };
        let offset = check.verity.hash_offset + range.start + index * BLOCK as u64;
        let mut block = [0; BLOCK];
        (check.read)(&mut block, offset)?;
        let intact = digest(&check.verity.salt.0, &block) == *expected;
        let contradicted = level == 0 && check.contradicted.get(self.contradicted) == Some(&index);
        if contradicted {
            self.contradicted += 1;
        }
        if !intact || contradicted {
            (self.damaged)(offset..offset + BLOCK as u64)?;
        }
        let Some(below) = level.checked_sub(1) else {
            return Ok(());
        };
        let blocks = check.layout.levels().get(below);
        let blocks = blocks.map_or(0, |range| (range.end - range.start) / BLOCK as u64);
        let first = index * PER_BLOCK;
        if !intact {
            return self.unknown(below, first..blocks.min(first + PER_BLOCK));
        }
        let children = block.as_chunks::<DIGEST>().0;
        for (child, expected) in (first..blocks).zip(children) {
            self.block(below, child, expected)?;
        }
        Ok(())
    }

    /// Reports those blocks below a damaged one that do not hold the digests of intact data.
    fn unknown(&mut self, level: usize, blocks: Range<u64>) -> io::Result<()> {
        let below = (0..level).fold(blocks, |blocks, _| {
            blocks.start * PER_BLOCK..blocks.end.saturating_mul(PER_BLOCK)
        });
        let Some(leaves) = self.check.layout.levels().first() else {
            return Ok(());
        };
        let start = self.check.verity.hash_offset + leaves.start;
        while let Some(index) = self.check.contradicted.get(self.contradicted) {
            if *index >= below.end {
                break;
            }
            self.contradicted += 1;
            let offset = start + index * BLOCK as u64;
            (self.damaged)(offset..offset + BLOCK as u64)?;
        }
        Ok(())
    }
}
