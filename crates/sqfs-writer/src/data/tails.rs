//! The fragments that tails go to.
//!
//! What is in one fragment is compressed together, so like goes to like: the ends of bodies that
//! have blocks as well, small bodies that look like text, and other small bodies. Of each kind a
//! few are kept open, and a tail goes to the last of them that has room: what comes one after the
//! other stays together, and a short tail now and then fills what an older fragment has left. When
//! none has room, the fullest makes place for a new one.

use crate::format::FragmentIndex;
use crate::pool::Block;

/// What a tail has in common with those it compresses well with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The end of a body that has blocks.
    End,
    /// All of a body, which looks like text.
    Text,
    /// All of a body, which does not.
    Binary,
}

impl Kind {
    const COUNT: usize = 3;

    /// How many bytes say whether it looks like text: it does if none of them is zero.
    const LOOK: usize = 512;

    pub(super) fn of(tail: &[u8], has_blocks: bool) -> Self {
        if has_blocks {
            Self::End
        } else if tail.iter().take(Self::LOOK).all(|&byte| byte != 0) {
            Self::Text
        } else {
            Self::Binary
        }
    }
}

/// Fragments that are being filled.
pub(crate) struct Tails {
    /// Of each kind, in the order in which they were opened.
    kinds: [Vec<Fragment>; Kind::COUNT],
}

/// One that is being filled. It has its index from the beginning, as the tails that are in it have
/// to be told of it.
pub(super) struct Fragment {
    pub(super) index: FragmentIndex,
    pub(super) block: Block,
}

impl Tails {
    /// How many of one kind are open at most.
    const OPEN: usize = 2;

    /// How many are open at most.
    pub(crate) const ALL_OPEN: usize = Kind::COUNT * Self::OPEN;

    pub(super) fn new() -> Self {
        Self {
            kinds: [const { Vec::new() }; Kind::COUNT],
        }
    }

    fn of(&mut self, kind: Kind) -> &mut Vec<Fragment> {
        let [end, text, binary] = &mut self.kinds;
        match kind {
            Kind::End => end,
            Kind::Text => text,
            Kind::Binary => binary,
        }
    }

    /// Where a tail of `len` bytes goes, if there is room.
    pub(super) fn with_room(&mut self, kind: Kind, len: usize) -> Option<&mut Fragment> {
        let mut newest_first = self.of(kind).iter_mut().rev();
        newest_first.find(|fragment| fragment.block.room() >= len)
    }

    /// The one that has to go before another one can be opened.
    pub(super) fn make_place(&mut self, kind: Kind) -> Option<Fragment> {
        let open = self.of(kind);
        if open.len() < Self::OPEN {
            return None;
        }
        // The oldest of those that are equally full.
        let rooms = open.iter().map(|fragment| fragment.block.room());
        let (fullest, _) = rooms.enumerate().min_by_key(|&(_, room)| room)?;
        Some(open.remove(fullest))
    }

    /// Opens another one.
    pub(super) fn open(&mut self, kind: Kind, index: FragmentIndex, block: Block) {
        self.of(kind).push(Fragment { index, block });
    }

    /// Takes the oldest, when no more tails come.
    pub(super) fn next(&mut self) -> Option<Fragment> {
        let first = |open: &Vec<Fragment>| open.first().map(|fragment| fragment.index.0);
        let not_empty = self.kinds.iter_mut().filter(|open| !open.is_empty());
        not_empty
            .min_by_key(|open| first(open))
            .map(|open| open.remove(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts in a tail of `len` bytes: the index of its fragment, and of the one that had to go.
    fn put(tails: &mut Tails, opened: &mut u32, kind: Kind, len: usize) -> (u32, Option<u32>) {
        let mut gone = None;
        if tails.with_room(kind, len).is_none() {
            gone = tails.make_place(kind).map(|fragment| fragment.index.0);
            tails.open(kind, FragmentIndex(*opened), Block::new(100));
            *opened += 1;
        }
        let fragment = tails.with_room(kind, len).unwrap();
        assert_eq!(fragment.block.push(&vec![1; len]), len);
        (fragment.index.0, gone)
    }

    #[test]
    fn the_newest_with_room_takes_a_tail_and_the_fullest_makes_place() {
        let (mut tails, mut opened) = (Tails::new(), 0);
        let steps = [
            (Kind::Text, 60, 0, None),
            (Kind::Binary, 60, 1, None),
            (Kind::Text, 50, 2, None),
            (Kind::Text, 10, 2, None),
            (Kind::End, 1, 3, None),
            // Both have room for 40.
            (Kind::Text, 30, 2, None),
            (Kind::Text, 30, 0, None),
            // Both are equally full: the older one goes.
            (Kind::Text, 11, 4, Some(0)),
            (Kind::Text, 90, 5, Some(2)),
            (Kind::Text, 89, 4, None),
            (Kind::Text, 20, 6, Some(4)),
        ];
        for (step, (kind, len, index, gone)) in steps.into_iter().enumerate() {
            let put = put(&mut tails, &mut opened, kind, len);
            assert_eq!(put, (index, gone), "step {step}");
        }
        let left: Vec<_> = std::iter::from_fn(|| tails.next()).collect();
        let left: Vec<_> = left.iter().map(|fragment| fragment.index.0).collect();
        assert_eq!(left, [1, 3, 5, 6]);
    }

    #[test]
    fn text_has_no_zero_where_it_is_looked_at() {
        let mut tail = vec![0xe9; Kind::LOOK + 1];
        assert_eq!(Kind::of(&tail, false), Kind::Text);
        assert_eq!(Kind::of(&tail, true), Kind::End);
        tail[Kind::LOOK] = 0;
        assert_eq!(Kind::of(&tail, false), Kind::Text);
        tail[Kind::LOOK - 1] = 0;
        assert_eq!(Kind::of(&tail, false), Kind::Binary);
        assert_eq!(Kind::of(&tail[Kind::LOOK..], false), Kind::Binary);
    }
}
