//! Handles of the bodies of a layer.

use sqfs_writer::FileData;

/// Handles in each piece but the last.
const PIECE: usize = 4096;

/// A vector that grows in pieces, so that it never takes twice the memory of its contents.
#[derive(Default)]
pub(super) struct Handles {
    pieces: Vec<Vec<FileData>>,
}

impl Handles {
    pub(super) fn push(&mut self, handle: FileData) {
        match self.pieces.last_mut() {
            Some(last) if last.len() < PIECE => last.push(handle),
            // The vector grows up to a piece on its own, because most layers are small.
            _ => self.pieces.push(vec![handle]),
        }
    }

    /// Frees the memory that was allocated for more handles.
    pub(super) fn shrink(&mut self) {
        if let Some(last) = self.pieces.last_mut() {
            last.shrink_to_fit();
        }
        self.pieces.shrink_to_fit();
    }

    /// Returns the handles in order, and frees them piece by piece.
    pub(super) fn into_values(self) -> impl Iterator<Item = FileData> {
        self.pieces.into_iter().flatten()
    }
}
