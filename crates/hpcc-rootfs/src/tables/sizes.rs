//! The sizes of the parts of an image and of the contents of its files.

use std::collections::HashSet;
use std::ops::ControlFlow;

use super::error::Error;
use super::inode::Content;
use super::opened::Tables;
use super::parts::Map;
use super::read_at::ReadAt;
use super::superblock::SIZE;

/// Sizes in an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sizes {
    /// The parts of the image in the order of their offsets, each with its number of bytes: `data`, `inode table`, …
    pub parts: Vec<(&'static str, u64)>,
    /// Bytes of the contents of all regular files, each file once however many names it has.
    pub contents: u64,
    /// Number of regular files, each once.
    pub files: u64,
    /// Number of names, including the root.
    pub names: u64,
}

impl Sizes {
    /// Reads the sizes of an image that has `length` bytes.
    ///
    /// # Errors
    /// Returns [`Error`] if the tables cannot be read to their end.
    pub fn read(source: &dyn ReadAt, length: u64) -> Result<Self, Error> {
        let mut superblock = [0; SIZE];
        source.read_exact_at(&mut superblock, 0)?;
        let mut sizes = Self {
            parts: Map::of(&superblock).lengths(length),
            ..Self::default()
        };
        let mut seen = HashSet::new();
        let walked = Tables::open(source)?.inodes(|_, _, inode| {
            sizes.names += 1;
            if let Content::File(file) = &inode.content
                && seen.insert(inode.number)
            {
                sizes.files += 1;
                sizes.contents = sizes.contents.saturating_add(file.size);
            }
            Ok(ControlFlow::<()>::Continue(()))
        });
        walked.map(|_| sizes)
    }
}
