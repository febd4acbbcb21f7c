//! Parts of an artifact that cannot be read, although others can.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;

use rustix::fs::{AtFlags, StatxAttributes, StatxFlags, statx};

use super::verity::{BLOCK, Read};
use crate::staging::is_of_disk;

/// A file some of whose bytes may be unreadable. A disk that is gone fails every read, which says nothing about the
/// bytes. One that goes on to read others has lost these.
#[derive(Debug)]
pub(super) struct Readable<R> {
    read: R,
    /// Whether the file has fs-verity, which refuses changed blocks with an error of the disk.
    refuses: bool,
    /// The first error of the disk.
    failed: RefCell<Option<io::Error>>,
    /// Whether bytes were read after it.
    answered: Cell<bool>,
}

impl<R: Read> Readable<R> {
    pub(super) fn new(read: R, refuses: bool) -> Self {
        Self {
            read,
            refuses,
            failed: RefCell::default(),
            answered: Cell::new(false),
        }
    }

    /// Reads bytes at an offset, a second time if the disk fails. Returns false if they are unreadable.
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        let mut read = (self.read)(buffer, offset);
        if read.as_ref().is_err_and(is_of_disk) {
            read = (self.read)(buffer, offset);
        }
        match read {
            Err(error) if is_of_disk(&error) => {
                self.failed.borrow_mut().get_or_insert(error);
                Ok(false)
            }
            Err(error) => Err(error),
            Ok(()) => {
                self.answered.set(self.failed.borrow().is_some());
                Ok(true)
            }
        }
    }

    /// Reads a part of a hash tree, with zeros for its unreadable blocks. No block of a tree is zero.
    pub(super) fn read_tree(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if self.read(buffer, offset)? {
            return Ok(());
        }
        let (mut rest, mut offset) = (buffer, offset);
        while !rest.is_empty() {
            let to_end =
                BLOCK - usize::try_from(offset % BLOCK as u64).map_err(io::Error::other)?;
            let (block, others) = rest.split_at_mut(to_end.min(rest.len()));
            if !self.read(block, offset)? {
                block.fill(0);
            }
            offset += block.len() as u64;
            rest = others;
        }
        Ok(())
    }

    /// Returns the error of the disk if it says nothing about the bytes that could not be read.
    ///
    /// # Errors
    /// Returns that error.
    pub(super) fn settle(self) -> io::Result<()> {
        match self.failed.into_inner() {
            Some(error) if !self.refuses && !self.answered.get() => Err(error),
            _ => Ok(()),
        }
    }
}

/// Returns whether a file has fs-verity. No process can write to it then, so an unreadable part stays unreadable.
pub(crate) fn has_fs_verity(file: &File) -> bool {
    let found = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::empty());
    found.is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::VERITY))
}

/// Returns whether an error may be the refusal of a changed block. The kernel has no error of its own for it.
pub(super) fn is_refusal(file: &File, error: &io::Error) -> bool {
    is_of_disk(error) && has_fs_verity(file)
}
