//! The tables of an image that was opened.

use super::error::Error;
use super::metadata::Metadata;
use super::read_at::ReadAt;
use super::superblock::{self, Superblock};

/// The tables of one image.
#[derive(Debug)]
pub struct Tables<'s> {
    pub(super) superblock: Superblock,
    pub(super) metadata: Metadata<'s>,
    /// User and group numbers, which inodes name by their index.
    pub(super) ids: Vec<u32>,
}

impl<'s> Tables<'s> {
    /// Reads the superblock and the table of users and groups.
    ///
    /// # Errors
    /// Returns [`Error`] if the source is not a squashfs 4.0 image, or cannot be read.
    pub fn open(source: &'s dyn ReadAt) -> Result<Self, Error> {
        let mut bytes = [0; superblock::SIZE];
        source.read_exact_at(&mut bytes, 0)?;
        let superblock = Superblock::parse(&bytes)?;
        let mut metadata = Metadata::new(source, superblock.compression)?;
        let mut ids = Vec::new();
        for index in 0..superblock.id_count {
            let id = metadata.element(superblock.id_table, index.into(), superblock.bytes_used)?;
            ids.push(u32::from_le_bytes(id));
        }
        Ok(Self {
            superblock,
            metadata,
            ids,
        })
    }
}
