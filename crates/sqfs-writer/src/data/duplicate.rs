//! Content that was there before, by a proof that needs no second look at the first one.
//!
//! When a body turns out to be the second of its kind, the bytes of the first are long gone, and a
//! sink need not be readable. So everything is hashed, with a hash for which nobody can make two
//! contents that agree. A cheaper checksum in front could not spare it: whether it will be needed
//! is known only later.
//!
//! The blocks of a body and its tail are told apart: two files that differ only behind their last
//! full block share all blocks, and a tail is shared with whatever ends like it.

use blake3::Hasher;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// The hash of everything that decides which blocks, or which tail, a body becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint([u8; blake3::OUT_LEN]);

impl Fingerprint {
    /// Of a tail.
    pub(super) fn of_tail(bytes: &[u8]) -> Self {
        Self::tagged(blake3::hash(bytes), 1)
    }

    /// The last byte says what was hashed, so that blocks are never taken for a tail. What is left
    /// is 248 bits.
    fn tagged(hash: blake3::Hash, tag: u8) -> Self {
        let mut bytes: [u8; blake3::OUT_LEN] = hash.into();
        if let Some(last) = bytes.last_mut() {
            *last = tag;
        }
        Self(bytes)
    }

    /// What is uniform needs no hash function.
    fn hash(&self) -> u64 {
        self.0
            .first_chunk()
            .map_or(0, |first| u64::from_le_bytes(*first))
    }
}

/// The fingerprint of the blocks of a body, while it is being taken. One is used for all bodies: a
/// hasher is large, and most bodies are small.
///
/// Holes are hashed by their places, never by their zeros: one can be a terabyte long.
pub(super) struct Taking {
    content: Hasher,
    holes: Hasher,
    /// First block of the last run of holes, and how many blocks are in it.
    run: (u64, u64),
    /// How many blocks there have been.
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

    /// A block that is not a hole.
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

    /// Begins anew.
    pub(super) fn reset(&mut self) {
        if self.at > 0 {
            self.content.reset();
            self.holes.reset();
            self.run = (0, 0);
            self.at = 0;
        }
    }

    /// `len` is that of all blocks, holes included: the last one may be short.
    pub(super) fn finish(&mut self, len: u64) -> Fingerprint {
        self.end_run();
        // Always, with holes or without: behind content of any length stand 40 bytes that nothing
        // in the content can stand for.
        self.content.update(self.holes.finalize().as_bytes());
        self.content.update(&len.to_le_bytes());
        Fingerprint::tagged(self.content.finalize(), 0)
    }
}

/// What is remembered of earlier bodies: fingerprints, and where what has them is.
///
/// There can be more bodies than there is memory, so it forgets: who comes first goes first. That
/// depends on nothing but the order in which bodies come.
///
/// The table holds no more than places in the vectors behind it: half the room of a map, which
/// keeps a good part of its slots free and would have whole entries in them.
pub(super) struct Known {
    /// Looked up, never walked: its order reaches nothing.
    places: HashTable<u32>,
    fingerprints: Vec<Fingerprint>,
    values: Vec<[u32; 2]>,
    capacity: usize,
    /// Once it is full: the entry that has to go next.
    oldest: usize,
}

impl Known {
    /// Bytes that an entry takes at most: fingerprint, value, and up to 2.3 slots of 5 bytes.
    pub(super) const ENTRY: usize = blake3::OUT_LEN + 8 + 12;

    pub(super) fn new(bytes: usize) -> Self {
        Self {
            places: HashTable::new(),
            fingerprints: Vec::new(),
            values: Vec::new(),
            capacity: bytes / Self::ENTRY,
            oldest: 0,
        }
    }

    pub(super) fn get(&self, fingerprint: &Fingerprint) -> Option<[u32; 2]> {
        let same = |&place: &u32| self.fingerprints.get(place as usize) == Some(fingerprint);
        let &place = self.places.find(fingerprint.hash(), same)?;
        self.values.get(place as usize).copied()
    }

    /// Remembers something that [`get`](Self::get) does not know.
    pub(super) fn insert(&mut self, fingerprint: Fingerprint, value: [u32; 2]) {
        let full = self.fingerprints.len() >= self.capacity;
        let place = if full {
            self.oldest
        } else {
            self.fingerprints.len()
        };
        // A capacity of 0, or beyond what an index can say: nothing is remembered any more.
        let Ok(index) = u32::try_from(place) else {
            return;
        };
        if full {
            let Some(old) = self.fingerprints.get(place) else {
                return;
            };
            let entry = self.places.find_entry(old.hash(), |&other| other == index);
            if let Ok(entry) = entry {
                entry.remove();
            }
            self.oldest = (place + 1) % self.capacity;
        }
        let fingerprints = &self.fingerprints;
        let entry = self.places.entry(
            fingerprint.hash(),
            |&other| fingerprints.get(other as usize) == Some(&fingerprint),
            |&other| {
                fingerprints
                    .get(other as usize)
                    .map_or(0, Fingerprint::hash)
            },
        );
        let Entry::Vacant(vacant) = entry else { return };
        vacant.insert(index);
        match (self.fingerprints.get_mut(place), self.values.get_mut(place)) {
            (Some(old), Some(old_value)) => {
                *old = fingerprint;
                *old_value = value;
            }
            _ => {
                self.fingerprints.push(fingerprint);
                self.values.push(value);
            }
        }
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
    fn what_differs_in_content_place_of_holes_or_length_is_told_apart() {
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
    fn content_that_ends_like_the_hash_of_holes_is_not_taken_for_them() {
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
    fn a_full_table_forgets_what_came_first_and_nothing_else() {
        let fingerprint = |n: u32| Fingerprint::of_tail(&n.to_le_bytes());
        let mut known = Known::new(100 * Known::ENTRY);
        for n in 0..1050 {
            assert_eq!(known.get(&fingerprint(n)), None);
            known.insert(fingerprint(n), [n, !n]);
            for back in 0..200.min(n + 1) {
                let expected = (back < 100).then_some([n - back, !(n - back)]);
                assert_eq!(known.get(&fingerprint(n - back)), expected);
            }
        }
        assert!(known.places.len() == 100 && known.values.len() == 100);
        let mut none = Known::new(0);
        none.insert(fingerprint(1), [1, 1]);
        assert_eq!(none.get(&fingerprint(1)), None);
    }

    #[test]
    fn blocks_are_never_taken_for_a_tail() {
        let mut taking = Taking::new();
        let shape = taking.holes.finalize();
        let same = [shape.as_bytes(), &0u64.to_le_bytes()[..]].concat();
        assert_ne!(taking.finish(0), Fingerprint::of_tail(&same));
    }
}
