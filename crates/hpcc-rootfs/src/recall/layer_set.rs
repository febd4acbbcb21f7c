//! A set of layers by number, in one bit each: thousands of artifacts are compared with an image of a thousand layers.

const BITS: usize = 64;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LayerSet(Vec<u64>);

impl LayerSet {
    pub(crate) fn insert(&mut self, layer: usize) {
        let (word, bit) = (layer / BITS, layer % BITS);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        if let Some(word) = self.0.get_mut(word) {
            *word |= 1 << bit;
        }
    }

    /// Adds all layers of another set.
    pub(crate) fn add(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word |= other;
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.count_without(&Self::default())
    }

    /// Returns the number of layers that another set does not have.
    pub(crate) fn count_without(&self, other: &Self) -> usize {
        let others = other.0.iter().copied().chain(std::iter::repeat(0));
        let ones = |(word, other): (&u64, u64)| (word & !other).count_ones();
        let count: u32 = self.0.iter().zip(others).map(ones).sum();
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    pub(crate) fn contains(&self, layer: usize) -> bool {
        let word = self.0.get(layer / BITS);
        word.is_some_and(|word| word >> (layer % BITS) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(layers: &[usize]) -> LayerSet {
        let mut set = LayerSet::default();
        for layer in layers {
            set.insert(*layer);
        }
        set
    }

    #[test]
    fn sets_of_different_lengths_are_compared_and_joined() {
        let (few, many) = (set(&[0, 63]), set(&[63, 64, 1000]));
        assert_eq!((few.count(), many.count()), (2, 3));
        assert_eq!(few.count_without(&many), 1);
        assert_eq!(many.count_without(&few), 2);
        for (mut all, other) in [(few.clone(), &many), (many.clone(), &few)] {
            all.add(other);
            assert_eq!(all, set(&[0, 63, 64, 1000]));
        }
        assert!(many.contains(1000) && !many.contains(999) && !few.contains(1000));
    }
}
