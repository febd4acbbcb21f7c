//! The size of a stored block, as lists of blocks and fragments have it.

use super::layout::newtype;

newtype! {
    /// Stored length of a block, 0 for a hole; bit 24 says that it is not compressed.
    BlockWord(u32)
}

impl BlockWord {
    /// A block that is not stored, and reads as zeros.
    pub(crate) const HOLE: Self = Self(0);
    /// Set if the block is stored uncompressed.
    pub(crate) const RAW: u32 = 1 << 24;

    /// Returns whether the block is stored uncompressed.
    pub(crate) fn is_raw(self) -> bool {
        self.0 & Self::RAW != 0
    }

    /// Returns the number of stored bytes.
    pub(crate) fn stored(self) -> u32 {
        self.0 & !Self::RAW
    }
}
