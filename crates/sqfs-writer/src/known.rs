//! The cache that finds duplicates.
//!
//! It holds fingerprints of blocks and tails of bodies, and of sets and long values of extended attributes. There may be
//! more of them than memory, so a full cache evicts its oldest entries. Evictions depend only on the order of arrival, and
//! cost space in the image, never correctness.

use std::io;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::error::Error;
use crate::pieces::Pieces;

/// A hash that is resistant to collisions, so that contents with equal fingerprints are equal.
///
/// It also depends on the scheme of this version of the crate, whose number is [`SCHEME`](Self::SCHEME).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; blake3::OUT_LEN]);

/// Kind of the content of a fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// The blocks of a body.
    Blocks,
    /// The tail of a body.
    Tail,
    /// A set of xattrs.
    XattrSet,
    /// The value of an xattr.
    XattrValue,
    /// The tails in a fragment.
    Fragment,
}

impl Fingerprint {
    /// Number of the scheme. It changes when equal bodies get other fingerprints than before. Store it with fingerprints
    /// that outlive a process.
    pub const SCHEME: u32 = 1;

    /// Returns the fingerprint of which [`to_bytes`](Self::to_bytes) returned the bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns its bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// Returns the fingerprint of a hash. Its last byte is the kind of the content, so that blocks are never taken
    /// for a tail. 248 bits of the hash remain.
    pub(crate) fn new(hash: blake3::Hash, of: Of) -> Self {
        let mut bytes: [u8; blake3::OUT_LEN] = hash.into();
        if let Some(last) = bytes.last_mut() {
            *last = of as u8;
        }
        Self(bytes)
    }

    /// Returns a part of the fingerprint, which is uniform and needs no hash function.
    fn hash(&self) -> u64 {
        self.0
            .first_chunk()
            .map_or(0, |first| u64::from_le_bytes(*first))
    }
}

/// Place of a content. The meaning of the two numbers depends on its kind.
pub(crate) type Where = [u32; 2];

/// Fingerprints, each with the place of its content.
///
/// The table holds only indexes into the vector. It takes half the memory of a map, which would have whole entries in its
/// free slots.
pub(crate) struct Known {
    /// Never iterated over, so that its order affects nothing.
    places: HashTable<u32>,
    entries: Pieces<(Fingerprint, Where)>,
    capacity: usize,
    /// The entry to evict next, once the cache is full.
    oldest: usize,
    forgotten: u64,
}

impl Known {
    /// Bytes that an entry takes at most: fingerprint and place, and up to 17 slots for 7 entries,
    /// of 5 bytes each, half of that again while the table moves to a larger one.
    pub(crate) const ENTRY: usize = blake3::OUT_LEN + 8 + 18;

    /// Returns a cache that takes at most `bytes` of memory.
    pub(crate) fn new(bytes: usize) -> Self {
        let entries = bytes / Self::ENTRY;
        // The table has a power of two of slots, an eighth of which it keeps free. What is removed
        // leaves traces that take more of them: three quarters are used.
        let slots = (entries * 8).div_ceil(7).next_power_of_two();
        Self {
            places: HashTable::new(),
            entries: Pieces::new(),
            capacity: entries.min(slots * 3 / 4),
            oldest: 0,
            forgotten: 0,
        }
    }

    /// Returns the number of evicted entries.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Returns the number of entries when the whole cache is dropped.
    pub(crate) fn forget(self) -> u64 {
        self.forgotten + self.entries.len() as u64
    }

    pub(crate) fn get(&self, fingerprint: &Fingerprint) -> Option<Where> {
        let same = |&place: &u32| {
            let entry = self.entries.get(place as usize);
            entry.is_some_and(|(known, _)| known == fingerprint)
        };
        let &place = self.places.find(fingerprint.hash(), same)?;
        self.entries.get(place as usize).map(|(_, found)| *found)
    }

    /// Adds an entry that [`get`](Self::get) does not find. It may not be left out for want of memory, because the bytes
    /// of the image depend on what is found.
    pub(crate) fn insert(&mut self, fingerprint: Fingerprint, found: Where) -> Result<(), Error> {
        let full = self.entries.len() >= self.capacity;
        let place = if full {
            self.oldest
        } else {
            self.entries.len()
        };
        // Indexes have 32 bits; nothing is cached beyond them.
        let Ok(index) = u32::try_from(place) else {
            return Ok(());
        };
        let entries = &self.entries;
        // The table doubles, which is one large allocation. A full cache has room once the oldest entry is gone.
        let reserved = match full {
            true => Ok(()),
            false => (self.places).try_reserve(1, |&other| hash_at(entries, other)),
        };
        if reserved.is_err() {
            let source = io::Error::from(io::ErrorKind::OutOfMemory);
            return Err(Error::shortage("the table of known bodies", source));
        }
        if full {
            self.forgotten += 1;
            // Not there with a capacity of 0.
            let Some(entry) = self.entries.get_mut(place) else {
                return Ok(());
            };
            let (old, _) = std::mem::replace(entry, (fingerprint, found));
            let entry = self.places.find_entry(old.hash(), |&other| other == index);
            if let Ok(entry) = entry {
                entry.remove();
            }
            self.oldest = (place + 1) % self.capacity;
            if self.places.len() == self.places.capacity() {
                self.clean_up(index);
            }
        } else {
            let pushed = self.entries.try_push((fingerprint, found));
            pushed.map_err(|error| Error::shortage("the table of known bodies", error))?;
        }
        let entries = &self.entries;
        let entry = self.places.entry(
            fingerprint.hash(),
            |&other| {
                let entry = entries.get(other as usize);
                entry.is_some_and(|(known, _)| *known == fingerprint)
            },
            |&other| hash_at(entries, other),
        );
        if let Entry::Vacant(vacant) = entry {
            vacant.insert(index);
        }
        Ok(())
    }

    /// Rebuilds the table without the entry at `new`. Tombstones of removed entries have filled it, and it would otherwise
    /// grow to twice its size.
    fn clean_up(&mut self, new: u32) {
        self.places.clear();
        for (place, (fingerprint, _)) in (0u32..).zip(self.entries.iter_from(0)) {
            if place != new {
                let entries = &self.entries;
                self.places
                    .insert_unique(fingerprint.hash(), place, |&other| hash_at(entries, other));
            }
        }
    }
}

fn hash_at(entries: &Pieces<(Fingerprint, Where)>, place: u32) -> u64 {
    let entry = entries.get(place as usize);
    entry.map_or(0, |(fingerprint, _)| fingerprint.hash())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(n: u32) -> Fingerprint {
        Fingerprint::new(blake3::hash(&n.to_le_bytes()), Of::Tail)
    }

    #[test]
    fn a_full_table_forgets_what_came_first_and_nothing_else() {
        for capacity in [1, 2, 3, 6, 12, 95, 96] {
            let mut known = Known::new(capacity * Known::ENTRY);
            assert_eq!(known.capacity, capacity);
            let count = u32::try_from(capacity).unwrap();
            for n in 0..1050 {
                assert_eq!(known.get(&fingerprint(n)), None);
                known.insert(fingerprint(n), [n, !n]).unwrap();
                for back in 0..(2 * count).min(n + 1) {
                    let expected = (back < count).then_some([n - back, !(n - back)]);
                    assert_eq!(known.get(&fingerprint(n - back)), expected);
                }
            }
            assert!(known.places.len() == capacity && known.entries.len() == capacity);
            assert_eq!(known.forgotten(), u64::from(1050 - count));
            assert_eq!(known.forget(), 1050);
        }
        let mut none = Known::new(Known::ENTRY - 1);
        none.insert(fingerprint(1), [1, 1]).unwrap();
        assert_eq!(none.get(&fingerprint(1)), None);
        assert_eq!(none.forget(), 1);
    }

    #[test]
    fn a_full_table_never_grows_however_much_is_forgotten() {
        for bytes in [40 * 96, 100_000, 200_000, 300_000] {
            let mut known = Known::new(bytes);
            for n in 0..20_000 {
                known.insert(fingerprint(n), [n, n]).unwrap();
                let used = known.places.allocation_size() + known.entries.len() * 40;
                assert!(used <= bytes, "{n}: {used} of {bytes}");
            }
        }
    }
}
