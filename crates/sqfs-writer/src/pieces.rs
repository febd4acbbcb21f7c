//! A vector for what grows with the image. It grows in pieces, so that growing copies nothing and never takes twice the
//! memory of its content.

use std::collections::TryReserveError;

use crate::growth::Growth as _;

/// Number of values in each piece but the last.
const PIECE: usize = 1024;

#[derive(Clone, Debug)]
pub(crate) struct Pieces<T> {
    pieces: Vec<Vec<T>>,
    len: usize,
}

impl<T> Pieces<T> {
    pub(crate) fn new() -> Self {
        Self {
            pieces: Vec::new(),
            len: 0,
        }
    }

    /// Returns a vector of one value.
    pub(crate) fn of(value: T) -> Self {
        Self {
            pieces: vec![vec![value]],
            len: 1,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns the largest number of bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        // The list of pieces is a vector like any other: twice its length, and half of that again
        // while it grows.
        self.pieces.len() * (PIECE * size_of::<T>() + 3 * size_of::<Vec<T>>())
    }

    pub(crate) fn try_push(&mut self, value: T) -> Result<(), TryReserveError> {
        // An earlier piece for which there was no value stays empty.
        if self.len.is_multiple_of(PIECE) && self.pieces.len() == self.len / PIECE {
            // Grows by itself up to a piece: most images are small.
            self.pieces.try_push(Vec::new())?;
        }
        if let Some(piece) = self.pieces.last_mut() {
            piece.try_push(value)?;
            self.len += 1;
        }
        Ok(())
    }

    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        self.pieces.get(index / PIECE)?.get(index % PIECE)
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.pieces.get_mut(index / PIECE)?.get_mut(index % PIECE)
    }

    /// Returns the values from `index` on.
    pub(crate) fn iter_from(&self, index: usize) -> impl Iterator<Item = &T> + Clone {
        let pieces = self.pieces.get(index / PIECE..).unwrap_or_default();
        pieces.iter().flatten().skip(index % PIECE)
    }

    /// Returns the values in order, and frees each piece after its last value.
    pub(crate) fn into_values(self) -> impl Iterator<Item = T> {
        self.pieces.into_iter().flatten()
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        if len >= self.len {
            return;
        }
        self.pieces.truncate(len.div_ceil(PIECE));
        if let (Some(last), true) = (self.pieces.last_mut(), !len.is_multiple_of(PIECE)) {
            last.truncate(len % PIECE);
        }
        self.len = len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_vector_also_around_the_ends_of_pieces() {
        let mut pieces = Pieces::new();
        let mut model = Vec::new();
        for len in [
            0, 1, 1023, 1024, 1025, 2047, 2048, 2049, 3000, 1024, 2048, 5, 0, 4000,
        ] {
            while model.len() < len {
                pieces.try_push(model.len()).unwrap();
                model.push(model.len());
            }
            model.truncate(len);
            pieces.truncate(len);
            assert_eq!(pieces.len(), len);
            for from in [0, 1, 1023, 1024, 1025, 2048, 2500, 5000] {
                let found: Vec<_> = pieces.iter_from(from).copied().collect();
                assert_eq!(found, model.get(from..).unwrap_or_default(), "{len} {from}");
                assert_eq!(pieces.get(from), model.get(from), "{len} {from}");
                assert_eq!(pieces.get_mut(from), model.get_mut(from), "{len} {from}");
            }
            let full = pieces.pieces.iter().all(|piece| piece.capacity() <= PIECE);
            assert!(full && pieces.bytes() >= len * size_of::<usize>(), "{len}");
        }
    }
}
