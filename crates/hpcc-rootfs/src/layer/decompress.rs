//! Compressed bytes in, all of the decompressed ones out.
//!
//! "All" is the point. A gzip file may have many members (one layout of lazily pulled images has
//! one for each chunk of a file), a zstd file many frames, some of them to be skipped. A decoder
//! that stops after the first loses files and reports success.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

use super::encoding::{Encoding, sniff};
use super::error::Error;

/// Compressed bytes read at once.
const INPUT_BUFFER: usize = 64 << 10;

/// Frames with a window beyond 128 MiB are refused: the window is memory that the image chooses.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// The decompressed bytes of a blob.
pub(super) struct Decoder<R: Read> {
    codec: Codec<R>,
}

enum Codec<R: Read> {
    Plain(Input<R>),
    Gzip(Box<GzDecoder<Input<R>>>),
    /// Nothing but zeros may follow.
    GzipEnd(Input<R>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Input<R>>>),
    /// It failed, and keeps failing.
    Broken,
}

impl<R: Read> Decoder<R> {
    /// Looks at the first bytes.
    pub(super) fn open(source: R, is_tar_header: impl Fn(&[u8]) -> bool) -> Result<Self, Error> {
        let mut input = Input::new(source);
        let head = input.head().map_err(Error::Source)?;
        let encoding = sniff(head, is_tar_header).ok_or(Error::Encoding)?;
        let codec = match encoding {
            Encoding::Plain => Codec::Plain(input),
            Encoding::Gzip => Codec::Gzip(Box::new(GzDecoder::new(input))),
            Encoding::Zstd => {
                let failed = |source| Error::Compression {
                    codec: "zstd",
                    position: 0,
                    source,
                };
                let mut decoder =
                    zstd::stream::read::Decoder::with_buffer(input).map_err(failed)?;
                decoder
                    .window_log_max(ZSTD_WINDOW_LOG_MAX)
                    .map_err(failed)?;
                Codec::Zstd(Box::new(decoder))
            }
        };
        Ok(Self { codec })
    }

    /// Some more decompressed bytes; 0 at the end of the blob.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            match &mut self.codec {
                Codec::Plain(input) => return input.read_direct(buffer).map_err(Error::Source),
                Codec::Gzip(decoder) => match decoder.read(buffer) {
                    Ok(0) => self.next_member()?,
                    Ok(count) => return Ok(count),
                    Err(error) => return Err(decoder.get_mut().blame("gzip", error)),
                },
                Codec::GzipEnd(input) => {
                    input.only_zeros()?;
                    return Ok(0);
                }
                Codec::Zstd(decoder) => {
                    return decoder
                        .read(buffer)
                        .map_err(|error| decoder.get_mut().blame("zstd", error));
                }
                Codec::Broken => {
                    let error = io::Error::other("an earlier read of this blob failed");
                    return Err(Error::Source(error));
                }
            }
        }
    }

    /// A member of a gzip file is complete, its checksum verified. Either another one follows or
    /// nothing but padding.
    fn next_member(&mut self) -> Result<(), Error> {
        let Codec::Gzip(decoder) = std::mem::replace(&mut self.codec, Codec::Broken) else {
            return Ok(());
        };
        let mut input = decoder.into_inner();
        input.fill().map_err(Error::Source)?;
        let next = input.available().first().copied();
        self.codec = match next {
            None | Some(0) => Codec::GzipEnd(input),
            Some(_) => Codec::Gzip(Box::new(GzDecoder::new(input))),
        };
        Ok(())
    }
}

/// A buffered blob that remembers its own errors, so that a network that failed is never taken for
/// data that is damaged.
struct Input<R> {
    source: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    position: u64,
    error: Option<io::Error>,
}

impl<R: Read> Input<R> {
    fn new(source: R) -> Self {
        Self {
            source,
            buffer: vec![0; INPUT_BUFFER].into(),
            start: 0,
            end: 0,
            position: 0,
            error: None,
        }
    }

    /// The first bytes of the blob, one tar header if there are that many. Consumes nothing.
    fn head(&mut self) -> io::Result<&[u8]> {
        while self.end < 512 {
            let count = retry(|| self.source.read(&mut self.buffer[self.end..]))?;
            if count == 0 {
                break;
            }
            self.end = (self.end + count).min(self.buffer.len());
        }
        Ok(&self.buffer[..self.end.min(512)])
    }

    fn available(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Makes sure that there is something available, unless the blob is at its end.
    fn fill(&mut self) -> io::Result<()> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            let count = retry(|| self.source.read(&mut self.buffer))?;
            self.end = count.min(self.buffer.len());
        }
        Ok(())
    }

    /// Past the buffer where that saves a copy.
    fn read_direct(&mut self, out: &mut [u8]) -> io::Result<usize> {
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

    fn only_zeros(&mut self) -> Result<(), Error> {
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
    fn blame(&mut self, codec: &'static str, error: io::Error) -> Error {
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
