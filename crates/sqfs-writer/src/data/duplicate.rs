//! Recognizes content that is stored already, without reading it again.
//!
//! When a duplicate arrives, the bytes of the original are no longer in memory, and the sink need not be readable. So the
//! writer hashes everything with a hash that is resistant to collisions. A cheaper checksum before it would save nothing,
//! because only later content shows whether the hash is needed.
//!
//! Blocks and tail of a body have separate fingerprints. Two files that differ only after their last full block share all
//! blocks, and equal tails are shared between any files.

use blake3::Hasher;

use crate::known::{Fingerprint, Of};

/// The fingerprint of the blocks of a body, while it is being taken. One is used for all bodies: a
/// hasher is large, and most bodies are small.
///
/// Holes are hashed by their places, never by their zeros: one can be a terabyte long.
pub(super) struct Taking {
    content: Hasher,
    holes: Hasher,
    /// First block of the last run of holes, and how many blocks are in it.
    run: (u64, u64),
    /// Number of blocks so far.
    at: u64,
}

impl Taking {
    pub(super) fn new() -> Self {
        Self {
            content: Hasher::new(),
            holes: Hasher::new(),
            run: (0, 0),
            at: 0,
        }
    }

    /// Adds a block that is not a hole.
    pub(super) fn content(&mut self, bytes: &[u8]) {
        self.content.update(bytes);
        self.at += 1;
    }

    pub(super) fn holes(&mut self, count: u64) {
        let (first, len) = self.run;
        if first + len == self.at {
            self.run.1 += count;
        } else {
            self.end_run();
            self.run = (self.at, count);
        }
        self.at += count;
    }

    fn end_run(&mut self) {
        let (first, len) = self.run;
        if len > 0 {
            self.holes.update(&first.to_le_bytes());
            self.holes.update(&len.to_le_bytes());
        }
    }

    /// Begins again.
    pub(super) fn reset(&mut self) {
        if self.at > 0 {
            self.content.reset();
            self.holes.reset();
            self.run = (0, 0);
            self.at = 0;
        }
    }

    /// Returns the fingerprint. `len` is that of all blocks, holes included, because the last one may be short.
    pub(super) fn finish(&mut self, len: u64) -> Fingerprint {
        self.end_run();
        // Always, with holes or without: content of any length is followed by 40 bytes that no content can imitate.
        self.content.update(self.holes.finalize().as_bytes());
        self.content.update(&len.to_le_bytes());
        Fingerprint::new(self.content.finalize(), Of::Blocks)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Blocks of one byte; `None` is a hole, a number in front says how they are handed in.
    fn fingerprint(blocks: &[Option<u8>], at_once: bool, len: u64) -> Fingerprint {
        let mut taking = Taking::new();
        let mut pending = 0;
        for block in blocks {
            match block {
                None if at_once => pending += 1,
                None => taking.holes(1),
                Some(byte) => {
                    if pending > 0 {
                        taking.holes(std::mem::take(&mut pending));
                    }
                    taking.content(&[*byte]);
                }
            }
        }
        if pending > 0 {
            taking.holes(pending);
        }
        taking.finish(len)
    }

    #[test]
    fn contents_holes_and_lengths_are_distinguished() {
        let bodies: [(&[Option<u8>], u64); 10] = [
            (&[], 0),
            (&[Some(1)], 1),
            (&[Some(2)], 1),
            (&[Some(1), Some(2)], 2),
            (&[Some(1), None, Some(2)], 3),
            (&[None, Some(1), Some(2)], 3),
            (&[Some(1), Some(2), None], 3),
            (&[None, Some(1), None, Some(2)], 4),
            (&[None, None, Some(1), Some(2)], 4),
            (&[None], 1),
        ];
        let mut seen = HashMap::new();
        for (blocks, len) in bodies {
            let one = fingerprint(blocks, false, len);
            assert_eq!(one, fingerprint(blocks, true, len), "{blocks:?}");
            assert_ne!(one, fingerprint(blocks, true, len + 1), "{blocks:?}");
            assert_eq!(seen.insert(one, blocks), None, "{blocks:?}");
        }
    }

    #[test]
    fn content_that_ends_like_holes_is_not_a_hole() {
        // A block, and a hole of 32 bytes behind it.
        let mut taking = Taking::new();
        taking.content(&[1; 4096]);
        taking.holes(1);
        taking.end_run();
        let shape = taking.holes.finalize();
        taking.run = (0, 0);
        let with_hole = taking.finish(4096 + 32);
        let mut taking = Taking::new();
        taking.content(&[1; 4096]);
        taking.content(shape.as_bytes());
        assert_ne!(taking.finish(4096 + 32), with_hole);
    }

    #[test]
    fn blocks_are_never_taken_for_a_tail() {
        let mut taking = Taking::new();
        let shape = taking.holes.finalize();
        let same = [shape.as_bytes(), &0u64.to_le_bytes()[..]].concat();
        assert_ne!(
            taking.finish(0),
            Fingerprint::new(blake3::hash(&same), Of::Tail)
        );
    }
}
