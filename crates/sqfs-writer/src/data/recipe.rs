//! Recipes: bodies without their bytes.

use crate::error::Error;
use crate::format::{BlockWord, INODE_BLOCKS_MAX};
use crate::known::Fingerprint;
use crate::options::TailPolicy;

/// Length and fingerprints of a body. Two bodies with equal ones are equal.
/// [`Body::finish_recorded`](crate::Body::finish_recorded) returns them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Fingerprints {
    /// Length of the body in bytes.
    pub len: u64,
    /// Fingerprint of its blocks, holes included. `None` if it has none.
    pub blocks: Option<Fingerprint>,
    /// Fingerprint of its tail, if that goes into a fragment.
    pub tail: Option<Fingerprint>,
}

impl Fingerprints {
    /// Returns the fingerprints of a body of `len` bytes: that of its blocks, and that of its tail.
    #[must_use]
    pub const fn new(len: u64, blocks: Option<Fingerprint>, tail: Option<Fingerprint>) -> Self {
        Self { len, blocks, tail }
    }
}

/// A stored block of a body, or consecutive holes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// Blocks of zeros, of which nothing is stored.
    Holes {
        /// Number of blocks.
        blocks: u64,
    },
    /// A block that is stored.
    Stored {
        /// Number of stored bytes.
        len: u32,
        /// Whether they are not compressed.
        raw: bool,
    },
}

/// A body of an earlier image, for [`DataWriter::replay`](crate::DataWriter::replay).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Recipe<I> {
    /// The fingerprints that [`Body::finish_recorded`](crate::Body::finish_recorded) returned.
    pub fingerprints: Fingerprints,
    /// Its blocks in order, from [`BodyPlace::blocks`](super::BodyPlace::blocks). The writer iterates over them more than
    /// once.
    pub blocks: I,
    /// Position that [`Source::block`](super::Source::block) receives for its first stored block.
    pub start: u64,
    /// Position that [`Source::tail`](super::Source::tail) receives for its tail.
    pub tail: u64,
}

impl<I> Recipe<I> {
    /// Returns the recipe of a body with these fingerprints, blocks, and positions of its first stored block and its
    /// tail.
    #[must_use]
    pub const fn new(fingerprints: Fingerprints, blocks: I, start: u64, tail: u64) -> Self {
        Self {
            fingerprints,
            blocks,
            start,
            tail,
        }
    }
}

impl Run {
    pub(crate) fn of(word: BlockWord, count: u64) -> Self {
        match word {
            BlockWord::HOLE => Self::Holes { blocks: count },
            word => Self::Stored {
                len: word.stored(),
                raw: word.is_raw(),
            },
        }
    }
}

/// Division of the bytes of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Bytes in its blocks, holes included.
    pub(crate) blocks_len: u64,
    /// Bytes in its tail.
    pub(crate) tail_len: usize,
    /// Number of its stored blocks.
    pub(crate) stored: u64,
    /// Bytes that are stored of them.
    pub(crate) stored_bytes: u64,
    /// Bytes in holes.
    pub(crate) hole_bytes: u64,
}

impl<I: Iterator<Item = Run> + Clone> Recipe<I> {
    /// Returns how the body divides, if a writer with these options would divide it so.
    pub(crate) fn shape(&self, block_size: usize, tails: TailPolicy) -> Result<Shape, Error> {
        let Fingerprints { len, blocks, tail } = self.fingerprints;
        let size = block_size as u64;
        let max = INODE_BLOCKS_MAX * size;
        if len > max {
            return Err(Error::Limit {
                what: "length",
                entry: "a file".into(),
                value: len,
                max,
            });
        }
        let rest = len % size;
        let shares = match tails {
            TailPolicy::Never => false,
            TailPolicy::ShortFiles => len < size,
            TailPolicy::Always => true,
        };
        if tail.is_some() && (rest == 0 || !shares) {
            return Err(Error::Recipe(
                "the body has a tail that no fragment would get",
            ));
        }
        let tail_len = if tail.is_some() { rest } else { 0 };
        let mut shape = Shape {
            blocks_len: len - tail_len,
            tail_len: usize::try_from(tail_len).unwrap_or(block_size),
            stored: 0,
            stored_bytes: 0,
            hole_bytes: 0,
        };
        let (mut left, mut last_is_hole) = (shape.blocks_len, false);
        for run in self.blocks.clone() {
            let taken = match run {
                Run::Holes { blocks } => {
                    let bytes = blocks.saturating_mul(size);
                    // The last one may be short.
                    if blocks == 0 || bytes >= left.saturating_add(size) {
                        return Err(Error::Recipe("holes lie beyond the end of the body"));
                    }
                    shape.hole_bytes += bytes.min(left);
                    bytes.min(left)
                }
                Run::Stored { len, raw } => {
                    let bytes = left.min(size);
                    let fits = match raw {
                        true => u64::from(len) == bytes,
                        false => u64::from(len) < bytes,
                    };
                    if bytes == 0 || len == 0 || !fits {
                        return Err(Error::Recipe("a block has a length that it cannot have"));
                    }
                    shape.stored += 1;
                    shape.stored_bytes += u64::from(len);
                    bytes
                }
            };
            last_is_hole = matches!(run, Run::Holes { .. });
            left -= taken;
        }
        if left > 0 {
            return Err(Error::Recipe("blocks are missing at the end of the body"));
        }
        if tail.is_none() && rest > 0 && shares && !last_is_hole {
            return Err(Error::Recipe(
                "the end of the body is a block instead of a tail",
            ));
        }
        if blocks.is_some() != (shape.blocks_len > 0) {
            return Err(Error::Recipe(
                "the fingerprint of the blocks does not fit their number",
            ));
        }
        Ok(shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::known::Of;

    fn shape(len: u64, runs: &[Run], tail: bool, tails: TailPolicy) -> Result<Shape, Error> {
        let fingerprint = Fingerprint::new(blake3::hash(b""), Of::Blocks);
        let recipe = Recipe {
            fingerprints: Fingerprints {
                len,
                blocks: (!runs.is_empty()).then_some(fingerprint),
                tail: tail.then_some(fingerprint),
            },
            blocks: runs.iter().copied(),
            start: 0,
            tail: 0,
        };
        recipe.shape(4096, tails)
    }

    fn stored(len: u32, raw: bool) -> Run {
        Run::Stored { len, raw }
    }

    fn holes(blocks: u64) -> Run {
        Run::Holes { blocks }
    }

    #[test]
    fn a_recipe_that_no_body_could_have_is_refused() {
        use TailPolicy::{Always, Never, ShortFiles};
        for (len, runs, tail, tails) in [
            (0, &[][..], true, Always),
            (4096, &[stored(10, false)], true, Always),
            (10, &[], true, Never),
            (4097, &[stored(10, false)], true, ShortFiles),
            (4097, &[stored(10, false), stored(1, true)], false, Always),
            (4096, &[], false, Always),
            (4096, &[stored(4096, false)], false, Always),
            (4096, &[stored(4095, true)], false, Always),
            (4096, &[stored(0, false)], false, Always),
            (4096, &[stored(4097, true)], false, Always),
            (4096, &[stored(9, false), stored(9, false)], false, Always),
            (8192, &[stored(9, false)], false, Always),
            (4096, &[holes(2)], false, Always),
            (4096, &[holes(u64::MAX)], false, Always),
            (4096, &[holes(1), holes(0)], false, Always),
            (4100, &[stored(9, false), stored(3, true)], false, Never),
            (4100, &[stored(9, false), stored(4, false)], false, Never),
            (u64::MAX, &[stored(9, false)], false, Always),
        ] {
            assert!(
                shape(len, runs, tail, tails).is_err(),
                "{len} {runs:?} {tail} {tails:?}"
            );
        }
    }

    #[test]
    fn a_recipe_divides_as_its_body_does() {
        use TailPolicy::{Always, Never};
        let runs = [holes(2), stored(4096, true), stored(7, false), holes(1)];
        let found = shape(4 * 4096 + 1, &runs, false, Always).unwrap();
        let expected = Shape {
            blocks_len: 4 * 4096 + 1,
            tail_len: 0,
            stored: 2,
            stored_bytes: 4103,
            hole_bytes: 2 * 4096 + 1,
        };
        assert_eq!(found, expected);
        let found = shape(4100, &[stored(9, false), stored(4, true)], false, Never).unwrap();
        assert_eq!((found.stored_bytes, found.tail_len), (13, 0));
        let found = shape(4100, &[stored(9, false)], true, Always).unwrap();
        assert_eq!((found.blocks_len, found.tail_len), (4096, 4));
    }
}
