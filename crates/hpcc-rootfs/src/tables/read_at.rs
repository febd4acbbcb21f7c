//! The source of an image.

use std::fmt;
use std::fs::File;
use std::io;

/// A source of bytes by offset, from which an image is read.
pub trait ReadAt: fmt::Debug {
    /// Fills `buffer` with the bytes at `offset`.
    ///
    /// # Errors
    /// Returns the error of the system, or [`io::ErrorKind::UnexpectedEof`] if the source ends before.
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
