//! The bytes of a table that has to wait until the table before it is complete.

use std::io::Write;

use crate::error::Error;
use crate::format::METADATA_SIZE;
use crate::growth::{self, Growth as _};
use crate::output::Output;

/// Bytes after which a piece is full, but for the one that is being appended.
const PIECE: usize = 128 << 10;

/// Capacity of a piece: the last append may exceed [`PIECE`] by a metadata block.
const CAPACITY: usize = PIECE + METADATA_SIZE + 2;

/// Bytes in pieces. Appending never copies earlier bytes, so a table of hundreds of megabytes never
/// takes twice its size.
#[derive(Debug, Default)]
pub(crate) struct StoredBytes {
    pieces: Vec<Vec<u8>>,
    len: usize,
}

impl StoredBytes {
    /// Returns the number of bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Appends at most a metadata block.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.pieces.last().is_none_or(|last| last.len() >= PIECE) {
            let capacity = if self.pieces.is_empty() { 0 } else { CAPACITY };
            self.pieces.try_push(growth::with_capacity(capacity)?)?;
        }
        if let Some(last) = self.pieces.last_mut() {
            last.try_reserve(bytes.len())?;
            last.extend_from_slice(bytes);
            self.len += bytes.len();
        }
        Ok(())
    }

    /// Writes all of it, frees it piece by piece, and returns where it begins in the image.
    pub(crate) fn write_to<W: Write>(self, image: &mut Output<W>) -> Result<u64, Error> {
        let start = image.position();
        for piece in self.pieces {
            image.write(&piece)?;
        }
        Ok(start)
    }

    /// Returns all bytes in one vector.
    #[cfg(test)]
    pub(crate) fn concat(&self) -> Vec<u8> {
        self.pieces.concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appended_bytes_are_written_in_order_across_pieces() {
        let mut stored = StoredBytes::default();
        let mut model = Vec::new();
        for n in 0..60u8 {
            let bytes = vec![n; METADATA_SIZE + 2];
            stored.push(&bytes).unwrap();
            model.extend(bytes);
        }
        assert_eq!(stored.len(), model.len());
        assert!(stored.pieces.len() > 3);
        let later = stored.pieces.iter().skip(1);
        assert!(later.map(Vec::capacity).all(|bytes| bytes <= CAPACITY));
        let mut image = Output::new(Vec::new(), 96);
        assert_eq!(stored.write_to(&mut image).unwrap(), 96);
        assert!(image.into_sink().unwrap() == model);
    }
}
