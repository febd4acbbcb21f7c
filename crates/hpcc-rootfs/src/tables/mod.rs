//! An image's tables, read back: which names it has, and whose bytes lie where.
//!
//! ```text
//!  superblock ─► root inode ─► listing ─► inode ─► listing …        names
//!                                           └─► block words, fragment entry      places of contents
//! ```
//!
//! This is no file system: no content is read, no name is looked up, extended attributes are passed
//! over. It is no oracle either; whether an image is what it should be is for readers to say that
//! nobody here wrote. It serves people: `inspect --tree`, and the names of files that damage hit.
//!
//! The tables may themselves be what is damaged, or made by somebody who means harm. So nothing is
//! allocated by what a table says, and blocks are kept in a cache of 8 MiB. Each listing is read once, so a
//! directory that contains itself or has two parents is an error. Names, bytes of paths and the
//! work for all of them have limits. What is wrong is an [`Error`], after which nothing that was read is of
//! use.
//!
//! Layout and names are those of the kernel's `fs/squashfs/squashfs_fs.h`.

mod codec;
mod entry;
mod error;
mod fields;
mod inode;
mod metadata;
mod owner;
mod parts;
mod superblock;
#[cfg(test)]
mod tests;
mod walk;

use std::fmt;
use std::fs::File;
use std::io;

pub(crate) use codec::Codec;
pub use entry::{Entry, EntryKind};
pub use error::Error;
pub use owner::Owners;
pub(crate) use parts::Map;

use metadata::Metadata;
use superblock::Superblock;

/// Where an image is read from: bytes by offset.
pub trait ReadAt: fmt::Debug {
    /// Fills `buffer` with what lies at `offset`.
    ///
    /// # Errors
    /// Whatever the system says; [`io::ErrorKind::UnexpectedEof`] where there is not that much.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buffer, offset)
    }
}

impl ReadAt for &[u8] {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let there = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.get(offset..)?.get(..buffer.len()))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(there);
        Ok(())
    }
}

/// The tables of one image.
#[derive(Debug)]
pub struct Tables<'s> {
    superblock: Superblock,
    metadata: Metadata<'s>,
    /// User and group numbers, which inodes name by their place among them.
    ids: Vec<u32>,
}

impl<'s> Tables<'s> {
    /// Reads the superblock and the table of users and groups.
    ///
    /// # Errors
    /// [`Error`] if there is no squashfs 4.0 image, or it can't be read.
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
