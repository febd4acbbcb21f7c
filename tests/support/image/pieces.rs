//! A blob in pieces, of which one may occur many times: larger than the memory it takes.

use std::sync::Arc;

/// Bytes that are kept once, however often they occur.
#[derive(Clone, Debug, Default)]
pub struct Pieces {
    /// Each with the position behind it in the blob.
    pieces: Vec<(u64, Arc<[u8]>)>,
}

impl Pieces {
    /// Adds one at the end; one without bytes is nothing.
    pub fn push(&mut self, piece: &Arc<[u8]>) {
        if !piece.is_empty() {
            let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            self.pieces.push((self.size() + length, Arc::clone(piece)));
        }
    }

    /// Returns the length in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.pieces.last().map_or(0, |(end, _)| *end)
    }

    /// Returns up to `most` bytes from `offset` on, of one piece; nothing at the end.
    #[must_use]
    pub fn read_at(&self, offset: u64, most: usize) -> &[u8] {
        let index = self.pieces.partition_point(|(end, _)| *end <= offset);
        let Some((end, piece)) = self.pieces.get(index) else {
            return &[];
        };
        let left = usize::try_from(end - offset).map_or(piece.len(), |left| left.min(piece.len()));
        let start = piece.len() - left;
        &piece[start..start + left.min(most)]
    }

    /// Returns all of it.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let pieces: Vec<_> = self.pieces.iter().map(|(_, piece)| &**piece).collect();
        pieces.concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_reading_of_pieces_gives_their_bytes_in_order() {
        let (first, second): (Arc<[u8]>, Arc<[u8]>) = (b"abcde"[..].into(), b"xy"[..].into());
        let mut pieces = Pieces::default();
        for piece in [&first, &second, &[][..].into(), &first] {
            pieces.push(piece);
        }
        assert_eq!(pieces.bytes(), b"abcdexyabcde");
        assert_eq!(pieces.size(), 12);
        for most in 1..7 {
            let mut read = Vec::new();
            loop {
                let offset = u64::try_from(read.len()).unwrap();
                match pieces.read_at(offset, most) {
                    [] => break,
                    bytes => read.extend_from_slice(bytes),
                }
            }
            assert_eq!(read, b"abcdexyabcde", "{most} at a time");
        }
    }
}
