//! The compressed bytes, in the pieces that they come in.

use std::io::{self, BufRead, Read};

use bytes::{Buf, Bytes, BytesMut};

use super::error::Error;

/// Compressed bytes read at once, where they are read.
const BUFFER: usize = 64 << 10;

/// Where compressed bytes come from.
pub(crate) trait Pieces {
    /// The next piece; empty at the end of the blob.
    fn next(&mut self) -> io::Result<Bytes>;
}

/// Of a blob that is read.
pub(super) struct Reader<R> {
    source: R,
    buffer: BytesMut,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(source: R) -> Self {
        Self {
            source,
            buffer: BytesMut::new(),
        }
    }
}

impl<R: Read> Pieces for Reader<R> {
    fn next(&mut self) -> io::Result<Bytes> {
        self.buffer.resize(BUFFER, 0);
        let count = loop {
            match self.source.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.buffer.truncate(count);
        Ok(self.buffer.split().freeze())
    }
}

/// A blob that remembers its own errors, so that a network that failed is never taken for data that
/// is damaged.
pub(super) struct Input<P> {
    source: P,
    /// What comes next, unless it is empty.
    piece: Bytes,
    /// What comes behind it, unless it is empty.
    behind: Bytes,
    position: u64,
    error: Option<io::Error>,
}

impl<P: Pieces> Input<P> {
    pub(super) fn new(source: P) -> Self {
        Self {
            source,
            piece: Bytes::new(),
            behind: Bytes::new(),
            position: 0,
            error: None,
        }
    }

    fn next(&mut self) -> io::Result<Bytes> {
        if self.behind.is_empty() {
            return self.source.next();
        }
        Ok(std::mem::take(&mut self.behind))
    }

    /// The next `count` bytes, or fewer if the blob ends before. Consumes nothing.
    pub(super) fn head(&mut self, count: usize) -> io::Result<&[u8]> {
        if self.piece.len() < count {
            // Of the piece behind it no more than is asked for is copied.
            let mut head = BytesMut::from(&self.piece[..]);
            while head.len() < count {
                let mut next = self.next()?;
                if next.is_empty() {
                    break;
                }
                head.extend_from_slice(&next.split_to(next.len().min(count - head.len())));
                self.behind = next;
            }
            self.piece = head.freeze();
        }
        Ok(&self.piece[..count.min(self.piece.len())])
    }

    pub(super) fn available(&self) -> &[u8] {
        &self.piece
    }

    /// Makes sure that there is something available, unless the blob is at its end.
    pub(super) fn fill(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            self.piece = self.next()?;
        }
        Ok(())
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
        let count = count.min(self.piece.len());
        self.piece.advance(count);
        self.position += count as u64;
    }
}

impl<P: Pieces> Read for Input<P> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(out.len());
        out[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}
