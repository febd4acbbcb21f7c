//! Fragments: blocks that hold the ends of many files.

use super::block_word::BlockWord;
use super::layout::{layout, newtype};

newtype! {
    /// Index into the fragment table.
    FragmentIndex(u32)
}

impl FragmentIndex {
    /// The file has no tail in a fragment. Required for a file whose size is a multiple of the
    /// block size, the empty file included: kernels since late 2025 refuse any other value there.
    pub(crate) const NONE: Self = Self(u32::MAX);
}

layout! {
    /// One fragment block.
    FragmentEntry: 16 {
        start_block: u64,
        size: BlockWord,
        unused: u32,
    }
}
