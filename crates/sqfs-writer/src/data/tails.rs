//! The fragments that tails go to.
//!
//! What is in one fragment is compressed together, so like goes to like: one fragment is open for
//! tails that look like text, and one for all others. More kinds, or more open fragments of each,
//! would save a little more space, and whoever reads files in order would have to decompress more
//! fragments for them: the kernel keeps three.

use crate::format::FragmentIndex;
use crate::pool::Block;

/// What a tail has in common with those it compresses well with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Other,
}

impl Kind {
    /// How many bytes say whether it looks like text: it does if none of them is zero.
    const LOOK: usize = 512;

    pub(super) fn of(tail: &[u8]) -> Self {
        if tail.iter().take(Self::LOOK).all(|&byte| byte != 0) {
            Self::Text
        } else {
            Self::Other
        }
    }
}

/// Fragments that are being filled.
pub(crate) struct Tails {
    text: Option<Fragment>,
    other: Option<Fragment>,
}

/// One that is being filled. It has its index from the beginning, as the tails that are in it have
/// to be told of it.
pub(super) struct Fragment {
    pub(super) index: FragmentIndex,
    pub(super) block: Block,
}

impl Tails {
    /// How many are open at most.
    pub(crate) const OPEN: usize = 2;

    pub(super) fn new() -> Self {
        Self {
            text: None,
            other: None,
        }
    }

    /// The one that is open for tails of a kind, or its place.
    pub(super) fn of(&mut self, kind: Kind) -> &mut Option<Fragment> {
        match kind {
            Kind::Text => &mut self.text,
            Kind::Other => &mut self.other,
        }
    }

    /// Takes the oldest, when no more tails come.
    pub(super) fn next(&mut self) -> Option<Fragment> {
        let open = [&mut self.text, &mut self.other];
        let index = |open: &&mut Option<Fragment>| open.as_ref().map(|fragment| fragment.index.0);
        let open = open.into_iter().filter(|open| open.is_some());
        open.min_by_key(index)?.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_no_zero_where_it_is_looked_at() {
        let mut tail = vec![0xe9; Kind::LOOK + 1];
        assert_eq!(Kind::of(&tail), Kind::Text);
        tail[Kind::LOOK] = 0;
        assert_eq!(Kind::of(&tail), Kind::Text);
        tail[Kind::LOOK - 1] = 0;
        assert_eq!(Kind::of(&tail), Kind::Other);
        assert_eq!(Kind::of(&tail[Kind::LOOK..]), Kind::Other);
    }

    #[test]
    fn what_is_open_at_the_end_is_taken_in_the_order_of_indexes() {
        for (text, other) in [
            (Some(1), Some(2)),
            (Some(2), Some(1)),
            (None, Some(3)),
            (None, None),
        ] {
            let open = |index: Option<u32>| {
                index.map(|index| Fragment {
                    index: FragmentIndex(index),
                    block: Block::new(1),
                })
            };
            let mut tails = Tails::new();
            *tails.of(Kind::Text) = open(text);
            *tails.of(Kind::Other) = open(other);
            let left = std::iter::from_fn(|| tails.next());
            let left: Vec<_> = left.map(|fragment| fragment.index.0).collect();
            let mut expected: Vec<_> = text.into_iter().chain(other).collect();
            expected.sort_unstable();
            assert_eq!(left, expected);
        }
    }
}
