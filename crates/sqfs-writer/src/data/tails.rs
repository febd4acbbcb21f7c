//! The fragments that tails go to.
//!
//! The tails of a fragment are compressed together, so similar tails share one: one fragment is open for bodies that are
//! all tail, and one for the ends of bodies with blocks. More kinds, or more open fragments of each, would save space, but
//! a reader of files in order would have to decompress more fragments, of which the kernel caches three.

use blake3::Hasher;

use super::handle::BlockList;
use crate::format::FragmentIndex;
use crate::known::{Fingerprint, Of};
use crate::pool::Block;

/// The kind of a tail, by which its fragment is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// All of a body.
    Whole,
    /// The end of a body that has blocks.
    End,
}

impl Kind {
    /// Returns the kind of the tail of a body with these blocks.
    pub(super) fn of(blocks: Option<BlockList>) -> Self {
        match blocks {
            None => Self::Whole,
            Some(_) => Self::End,
        }
    }
}

/// Fragments that are being filled.
pub(super) struct Tails {
    wholes: Option<Fragment>,
    ends: Option<Fragment>,
}

/// A tail on its way into a fragment.
#[derive(Clone, Copy)]
pub(super) enum TailBytes<'a> {
    Here(&'a [u8]),
    /// The source of stored bytes has it, at this position.
    Elsewhere {
        len: usize,
        at: u64,
    },
}

impl TailBytes<'_> {
    pub(super) fn len(&self) -> usize {
        match *self {
            Self::Here(bytes) => bytes.len(),
            Self::Elsewhere { len, .. } => len,
        }
    }
}

/// A tail that has its place in a fragment, and whose bytes are still elsewhere.
pub(super) struct Missing {
    pub(super) offset: usize,
    pub(super) len: usize,
    pub(super) at: u64,
}

/// A fragment that is being filled. Its index is fixed from the beginning, because the handles of its tails contain it.
pub(super) struct Fragment {
    pub(super) index: FragmentIndex,
    pub(super) block: Block,
    pub(super) missing: Vec<Missing>,
    /// Of fingerprint and length of each tail. `None` once one of them had no fingerprint.
    sequence: Option<Box<Hasher>>,
}

impl Fragment {
    pub(super) fn new(index: FragmentIndex, block: Block) -> Self {
        Self {
            index,
            block,
            missing: Vec::new(),
            sequence: Some(Box::default()),
        }
    }

    /// Adds a tail that fits.
    pub(super) fn add(&mut self, tail: TailBytes<'_>, fingerprint: Option<Fingerprint>) {
        let offset = self.block.filled().len();
        match (&mut self.sequence, fingerprint) {
            (Some(sequence), Some(fingerprint)) => {
                sequence.update(&fingerprint.to_bytes());
                sequence.update(&(tail.len() as u64).to_le_bytes());
            }
            (sequence, _) => *sequence = None,
        }
        match tail {
            TailBytes::Here(bytes) => {
                self.block.push(bytes);
            }
            TailBytes::Elsewhere { len, at } => {
                self.block.advance(len);
                self.missing.push(Missing { offset, len, at });
            }
        }
    }

    /// Returns the fingerprint of the tails in it, in order.
    pub(super) fn tails(&self) -> Option<Fingerprint> {
        let sequence = self.sequence.as_ref()?;
        Some(Fingerprint::new(sequence.finalize(), Of::Fragment))
    }
}

impl Tails {
    pub(super) fn new() -> Self {
        Self {
            wholes: None,
            ends: None,
        }
    }

    /// Returns the fragment that is open for tails of a kind, or its place.
    pub(super) fn of(&mut self, kind: Kind) -> &mut Option<Fragment> {
        match kind {
            Kind::Whole => &mut self.wholes,
            Kind::End => &mut self.ends,
        }
    }

    /// Takes the oldest, when no more tails come.
    pub(super) fn next(&mut self) -> Option<Fragment> {
        let open = [&mut self.wholes, &mut self.ends];
        let index = |open: &&mut Option<Fragment>| open.as_ref().map(|fragment| fragment.index.0);
        let open = open.into_iter().filter(|open| open.is_some());
        open.min_by_key(index)?.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_fragments_end_in_the_order_of_indexes() {
        for (whole, end) in [
            (Some(1), Some(2)),
            (Some(2), Some(1)),
            (None, Some(3)),
            (None, None),
        ] {
            let open = |index: Option<u32>| {
                index.map(|index| Fragment::new(FragmentIndex(index), Block::new(1)))
            };
            let mut tails = Tails::new();
            *tails.of(Kind::Whole) = open(whole);
            *tails.of(Kind::End) = open(end);
            let left = std::iter::from_fn(|| tails.next());
            let left: Vec<_> = left.map(|fragment| fragment.index.0).collect();
            let mut expected: Vec<_> = whole.into_iter().chain(end).collect();
            expected.sort_unstable();
            assert_eq!(left, expected);
        }
    }
}
