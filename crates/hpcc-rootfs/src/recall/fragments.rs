//! The fragments of the artifacts from which bodies are copied.

use std::io;

use sqfs_writer::Fingerprint;

use super::places::Fragment;
use crate::growth::{self, Growth as _};

/// Fragments of all artifacts together, with 52 bytes of memory for each: 13 MiB.
pub(super) const FRAGMENTS_MAX: usize = 1 << 18;

/// All fragments in one list, one artifact after the other.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    all: Vec<Fragment>,
    /// The end of each artifact's fragments in the list.
    ends: Vec<usize>,
    /// Fragments with known tails, ordered by the fingerprints of the tails.
    by_tails: Vec<u32>,
}

impl Fragments {
    /// Appends the fragments of the next artifact. `read` appends them to a vector, and gets the largest number of
    /// fragments that may be appended.
    ///
    /// # Errors
    /// Returns the errors of `read`; nothing is appended then.
    pub(super) fn add(
        &mut self,
        read: impl FnOnce(&mut Vec<Fragment>, usize) -> io::Result<()>,
    ) -> io::Result<()> {
        let before = self.all.len();
        let outcome = read(&mut self.all, FRAGMENTS_MAX.saturating_sub(before));
        match outcome {
            Ok(()) => self.ends.push(self.all.len()),
            Err(_) => self.all.truncate(before),
        }
        outcome
    }

    /// Sorts the fragments, so that they can be [found](Self::with). Without memory for that, none is found.
    pub(super) fn sort(&mut self) {
        self.all.try_shrink();
        let all = &self.all;
        let known = |index: &u32| tails(all, *index).is_some();
        let count = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let Ok(mut by_tails) = growth::with_capacity(all.len()) else {
            return;
        };
        by_tails.extend((0..count).filter(known));
        // The first of several equal ones comes first.
        by_tails.sort_unstable_by_key(|index| (tails(all, *index), *index));
        self.by_tails = by_tails;
    }

    /// Returns a fragment of an artifact.
    pub(super) fn get(&self, artifact: usize, index: usize) -> Option<&Fragment> {
        let start = self.start(artifact)?;
        let own = self.all.get(start..*self.ends.get(artifact)?)?;
        own.get(index)
    }

    /// Returns an artifact and the index of one of its fragments that holds exactly these tails.
    pub(super) fn with(&self, wanted: &Fingerprint) -> Option<(usize, usize)> {
        let wanted = wanted.to_bytes();
        let first = self
            .by_tails
            .partition_point(|index| tails(&self.all, *index) < Some(wanted));
        let index = *self.by_tails.get(first)?;
        if tails(&self.all, index) != Some(wanted) {
            return None;
        }
        let index = usize::try_from(index).ok()?;
        let artifact = self.ends.partition_point(|end| *end <= index);
        Some((artifact, index - self.start(artifact)?))
    }

    fn start(&self, artifact: usize) -> Option<usize> {
        match artifact.checked_sub(1) {
            Some(before) => self.ends.get(before).copied(),
            None => Some(0),
        }
    }

    #[cfg(test)]
    pub(super) fn of(artifacts: Vec<Vec<Fragment>>) -> Self {
        let mut fragments = Self::default();
        for own in artifacts {
            let read = |all: &mut Vec<Fragment>, _| {
                all.extend(own);
                Ok(())
            };
            fragments.add(read).unwrap();
        }
        fragments.sort();
        fragments
    }
}

fn tails(all: &[Fragment], index: u32) -> Option<[u8; 32]> {
    let fragment = all.get(usize::try_from(index).ok()?)?;
    fragment.tails.map(|tails| tails.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_are_found_by_index_and_by_tails() {
        let fragment = |n: u8| Fragment {
            start: n.into(),
            len: 1,
            raw: false,
            tails: (n != 0).then(|| Fingerprint::from_bytes([n; 32])),
        };
        let lists = [vec![5, 1, 0], vec![], vec![1, 2, 9, 0]];
        let fragments = lists
            .each_ref()
            .map(|own| own.iter().map(|n| fragment(*n)).collect());
        let fragments = Fragments::of(fragments.to_vec());
        for (artifact, own) in lists.iter().enumerate() {
            for (index, n) in own.iter().enumerate() {
                assert_eq!(fragments.get(artifact, index), Some(&fragment(*n)));
            }
            assert_eq!(fragments.get(artifact, own.len()), None);
        }
        assert_eq!(fragments.get(3, 0), None);
        let with = |n| fragments.with(&Fingerprint::from_bytes([n; 32]));
        let found = [5, 1, 2, 9].map(|n| with(n).unwrap());
        assert_eq!(found, [(0, 0), (0, 1), (2, 1), (2, 2)]);
        assert_eq!([0, 3, 10].map(with), [None; 3]);
    }

    #[test]
    fn artifact_whose_fragments_cannot_be_read_is_left_out() {
        let mut fragments = Fragments::default();
        let fail = |all: &mut Vec<Fragment>, most| {
            assert_eq!(most, FRAGMENTS_MAX);
            all.push(Fragment {
                start: 0,
                len: 0,
                raw: true,
                tails: None,
            });
            Err(io::ErrorKind::InvalidData.into())
        };
        assert!(fragments.add(fail).is_err());
        fragments.sort();
        assert_eq!(fragments.get(0, 0), None);
        assert!(fragments.ends.is_empty() && fragments.all.is_empty());
    }

    #[test]
    fn fragment_takes_what_the_bound_allows_for() {
        assert_eq!(size_of::<Fragment>() + size_of::<u32>(), 52);
    }

    #[test]
    fn fragments_of_many_artifacts_take_no_more_than_the_bound() {
        const EACH: usize = FRAGMENTS_MAX / 3;
        let mut fragments = Fragments::default();
        let add = |fragments: &mut Fragments, count: usize| {
            fragments.add(|all, most| {
                if count > most {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                // As the reader of a recall file does.
                all.reserve_exact(count);
                for _ in 0..count {
                    let number = all.len() as u64;
                    let mut tails = [0; 32];
                    tails[..8].copy_from_slice(&number.to_le_bytes());
                    all.push(Fragment {
                        start: number,
                        len: 1,
                        raw: false,
                        tails: Some(Fingerprint::from_bytes(tails)),
                    });
                }
                Ok(())
            })
        };
        let outcomes = [EACH, EACH, EACH, EACH, 1, 1].map(|count| add(&mut fragments, count));
        let taken = outcomes.map(|outcome| outcome.is_ok());
        // The fourth finds no room, and what is left is one fragment.
        assert_eq!(taken, [true, true, true, false, true, false]);
        fragments.sort();
        let bytes = fragments.all.capacity() * size_of::<Fragment>()
            + fragments.by_tails.capacity() * size_of::<u32>();
        assert_eq!(fragments.all.len(), FRAGMENTS_MAX);
        assert!(bytes <= 13 << 20, "{bytes}");
    }
}
