//! The compressed bytes, in the pieces in which they arrive.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};

use bytes::{Buf, Bytes};
use zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode;

use super::error::Error;
use crate::checked_read::CheckedRead;

/// Number of compressed bytes that are read at a time.
const BUFFER: usize = 64 << 10;

/// A source of compressed bytes.
pub(crate) trait Pieces {
    /// Returns the next piece, which is empty at the end of the blob.
    fn next(&mut self) -> io::Result<Bytes>;
}

/// The pieces of a blob that is read.
pub(super) struct Reader<R> {
    source: CheckedRead<R>,
    buffer: Box<[u8]>,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(source: R) -> Self {
        Self {
            source: CheckedRead::new(source),
            buffer: vec![0; BUFFER].into(),
        }
    }
}

impl<R: Read> Pieces for Reader<R> {
    fn next(&mut self) -> io::Result<Bytes> {
        loop {
            match self.source.read(&mut self.buffer) {
                Ok(count) => {
                    let read = self.buffer.get(..count).unwrap_or_default();
                    return Ok(Bytes::copy_from_slice(read));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A blob that remembers its own errors, so that a failed network is never taken for damaged data.
pub(super) struct Input<P> {
    source: P,
    /// Pieces that arrived and were not yet consumed, none of them empty. Seldom more than one.
    pieces: VecDeque<Bytes>,
    position: u64,
    error: Option<io::Error>,
}

impl<P: Pieces> Input<P> {
    pub(super) fn new(source: P) -> Self {
        Self {
            source,
            pieces: VecDeque::new(),
            position: 0,
            error: None,
        }
    }

    /// Gets one more piece. Returns `false` at the end of the blob.
    fn more(&mut self) -> io::Result<bool> {
        let piece = self.source.next()?;
        let is_one = !piece.is_empty();
        if is_one {
            self.pieces.push_back(piece);
        }
        Ok(is_one)
    }

    /// Copies the next bytes, fewer if the blob ends before, and returns how many. Consumes nothing.
    pub(super) fn head(&mut self, head: &mut [u8]) -> io::Result<usize> {
        while self.pieces.iter().map(Bytes::len).sum::<usize>() < head.len() && self.more()? {}
        let bytes = self.pieces.iter().flatten();
        let copied = head.iter_mut().zip(bytes).map(|(to, from)| *to = *from);
        Ok(copied.count())
    }

    pub(super) fn available(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    /// Makes sure that bytes are available, unless the blob is at its end.
    pub(super) fn fill(&mut self) -> io::Result<()> {
        if self.pieces.is_empty() {
            self.more()?;
        }
        Ok(())
    }

    /// Moves bytes to `out`, and returns how many; 0 at the end of the blob.
    pub(super) fn take(&mut self, out: &mut [u8]) -> io::Result<usize> {
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

    /// Turns a decoder's error into one of the source if reading failed, otherwise into one of the data.
    pub(super) fn blame(&mut self, codec: &'static str, error: io::Error) -> Error {
        match self.error.take() {
            Some(error) => Error::Source(error),
            None if is_out_of_memory(&error) => Error::Shortage(out_of_memory(error)),
            None => Error::Compression {
                codec,
                position: self.position,
                source: error,
            },
        }
    }
}

/// Returns whether a decoder got no memory, which says nothing about the data.
fn is_out_of_memory(error: &io::Error) -> bool {
    let zstd = error.get_ref().and_then(|inner| inner.downcast_ref());
    error.kind() == io::ErrorKind::OutOfMemory
        || zstd.is_some_and(|error: &zstd::Error| {
            error.is(ZSTD_ErrorCode::ZSTD_error_memory_allocation)
        })
}

/// Returns the error with the kind that a caller can tell from others.
pub(super) fn out_of_memory(error: io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::OutOfMemory, error)
}

/// The input of the decoders. They get a substitute for an error; `blame` has the original.
impl<P: Pieces> BufRead for Input<P> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if let Err(error) = self.fill() {
            let stand_in = io::Error::from(error.kind());
            self.error = Some(error);
            return Err(stand_in);
        }
        Ok(self.available())
    }

    fn consume(&mut self, count: usize) {
        let Some(piece) = self.pieces.front_mut() else {
            return;
        };
        let count = count.min(piece.len());
        piece.advance(count);
        if piece.is_empty() {
            // The piece must not keep its memory while the next one is awaited.
            self.pieces.pop_front();
        }
        self.position += count as u64;
    }
}

impl<P: Pieces> Read for Input<P> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.fill_buf()?;
        self.take(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Interrupted by a signal before every read.
    struct Signalled<'a>(&'a [u8], bool);

    impl Read for Signalled<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            match self.1 {
                true => Err(io::ErrorKind::Interrupted.into()),
                false => self.0.read(out),
            }
        }
    }

    #[test]
    fn interrupted_source_is_read_again_and_a_failed_one_is_not() {
        let mut pieces = Reader::new(Signalled(b"layer", false));
        assert_eq!(pieces.next().unwrap(), "layer");
        assert!(pieces.next().unwrap().is_empty());
        struct Failed;
        impl Read for Failed {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::TimedOut.into())
            }
        }
        let error = Reader::new(Failed).next().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
