//! The file that an archive is read from, by offset.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// The bytes of an archive by their offsets. A parser asks for them in ascending order.
pub(crate) trait ByOffset {
    /// Fills `buffer` from `offset` on, and returns how many bytes there are before the end.
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// The length of the archive, or the largest number where only reading would show it.
    fn end(&self) -> u64;

    /// Whether a reader still waits for the archive.
    fn is_wanted(&self) -> bool;

    /// Fills all of `buffer`.
    fn read_exact_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self.read_at(buffer, offset)? == buffer.len() {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// A file, read in place.
pub(crate) struct InFile<'a, W> {
    file: &'a File,
    end: u64,
    wanted: W,
}

impl<'a, W: Fn() -> bool> InFile<'a, W> {
    pub(crate) fn new(file: &'a File, wanted: W) -> io::Result<Self> {
        Ok(Self {
            file,
            end: file.metadata()?.len(),
            wanted,
        })
    }
}

impl<W: Fn() -> bool> ByOffset for InFile<'_, W> {
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
            match self.file.read_at(rest, at) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn end(&self) -> u64 {
        self.end
    }

    fn is_wanted(&self) -> bool {
        (self.wanted)()
    }
}
