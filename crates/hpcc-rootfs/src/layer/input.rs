//! The compressed bytes, buffered.

use std::io::{self, BufRead, Read};

use super::error::Error;

/// Compressed bytes read at once.
const BUFFER: usize = 64 << 10;

/// A buffered blob that remembers its own errors, so that a network that failed is never taken for
/// data that is damaged.
pub(super) struct Input<R> {
    source: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    position: u64,
    error: Option<io::Error>,
}

impl<R: Read> Input<R> {
    pub(super) fn new(source: R) -> Self {
        Self {
            source,
            buffer: vec![0; BUFFER].into(),
            start: 0,
            end: 0,
            position: 0,
            error: None,
        }
    }

    /// The next `count` bytes, or fewer if the blob ends before. Consumes nothing.
    pub(super) fn head(&mut self, count: usize) -> io::Result<&[u8]> {
        if self.available().len() < count {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        while self.end < count {
            let read = retry(|| self.source.read(&mut self.buffer[self.end..]))?;
            if read == 0 {
                break;
            }
            self.end = (self.end + read).min(self.buffer.len());
        }
        let end = self.end.min(self.start + count);
        Ok(&self.buffer[self.start..end])
    }

    pub(super) fn available(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Makes sure that there is something available, unless the blob is at its end.
    pub(super) fn fill(&mut self) -> io::Result<()> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            let count = retry(|| self.source.read(&mut self.buffer))?;
            self.end = count.min(self.buffer.len());
        }
        Ok(())
    }

    /// Past the buffer where that saves a copy.
    pub(super) fn read_direct(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end && out.len() >= self.buffer.len() {
            let count = retry(|| self.source.read(out))?.min(out.len());
            self.position += count as u64;
            return Ok(count);
        }
        self.fill()?;
        let count = self.available().len().min(out.len());
        out[..count].copy_from_slice(&self.available()[..count]);
        self.consume(count);
        Ok(count)
    }

    pub(super) fn only_zeros(&mut self) -> Result<(), Error> {
        loop {
            self.fill().map_err(Error::Source)?;
            let count = self.available().len();
            if count == 0 {
                return Ok(());
            }
            if self.available().iter().any(|byte| *byte != 0) {
                let error = io::Error::new(
                    io::ErrorKind::InvalidData,
                    "garbage after the end of the data",
                );
                return Err(self.blame("gzip", error));
            }
            self.consume(count);
        }
    }

    /// Whose fault a decoder's error is: ours if reading failed, otherwise the data's.
    pub(super) fn blame(&mut self, codec: &'static str, error: io::Error) -> Error {
        match self.error.take() {
            Some(error) => Error::Source(error),
            None => Error::Compression {
                codec,
                position: self.position,
                source: error,
            },
        }
    }
}

/// What the decoders read from. They get a stand-in for an error; `blame` has the original.
impl<R: Read> BufRead for Input<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if let Err(error) = self.fill() {
            let stand_in = io::Error::from(error.kind());
            self.error = Some(error);
            return Err(stand_in);
        }
        Ok(self.available())
    }

    fn consume(&mut self, count: usize) {
        let count = count.min(self.end - self.start);
        self.start += count;
        self.position += count as u64;
    }
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(out.len());
        out[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

fn retry(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
