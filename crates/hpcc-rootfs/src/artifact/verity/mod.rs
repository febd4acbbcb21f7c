//! A dm-verity hash tree after an image, with which a kernel rejects every byte that changed since the build.
//!
//! ```text
//!  hash_offset                                                              hash_offset + length
//!  ├── superblock, 4 KiB ──┼── level n: 1 block ──┼── … ──┼── level 0: digests of data blocks ──┤
//! ```
//!
//! The layout is that of `veritysetup format` with hash type 1, SHA-256, and blocks of 4096 bytes for data
//! and for the tree. A digest covers the salt, then one block. A block of the tree holds 128 digests of
//! the level below it; zeros fill the last block of a level. The root digest covers the only block of the
//! top level, or the data itself if that is one block.
//!
//! The module does no I/O of its own: it takes bytes and returns a tree through [`Spill`] and a function that writes.

mod block;
mod check;
mod facts;
mod layout;
mod sequence;
mod superblock;
#[cfg(test)]
mod tests;
mod tree;
mod waiting;

pub(crate) use block::BLOCK;
pub(crate) use check::{Check, Part, Read};
pub use facts::Verity;
pub(crate) use facts::{Salt, Uuid};
pub(crate) use layout::Layout;
pub(crate) use sequence::Sequence;
pub(crate) use tree::TreeBuilder;
pub(crate) use waiting::{Spill, Spills};
