//! The source of an image.

use std::fmt;
use std::fs::File;
use std::io;

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
