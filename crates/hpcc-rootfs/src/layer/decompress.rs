//! Decompresses a blob completely.
//!
//! Completeness is the point. A gzip file may have many members (one layout of lazily pulled images has one for each
//! chunk of a file), and a zstd file many frames, some of which are skipped. A decoder that stops after the first loses
//! files and reports success.

use std::io::{self, Read};

use flate2::bufread::GzDecoder;

use super::chunk::Stopped;
use super::encoding::{Encoding, sniff};
use super::entry_name::EntryName;
use super::error::{At, Error};
use super::input::{Input, Pieces};
use super::zstd::{Admit, ZstdDecoder};
use crate::growth::probe;

/// The decompressed bytes of a blob.
pub(super) struct Decoder<'a, P: Pieces> {
    codec: Codec<'a, P>,
}

enum Codec<'a, P: Pieces> {
    Plain(Input<P>),
    Gzip(Box<GzDecoder<Input<P>>>),
    /// Only zeros may follow.
    GzipEnd(Input<P>),
    Zstd(ZstdDecoder<'a, P>),
    /// The decoder failed, and keeps failing.
    Broken,
}

/// Bytes of memory that a decoder of gzip takes at most.
const GZIP: usize = 64 << 10;

fn gzip<P: Pieces>(input: Input<P>) -> Result<Box<GzDecoder<Input<P>>>, Error> {
    // `GzDecoder::new` would panic without memory for its context.
    probe(GZIP)?;
    Ok(Box::new(GzDecoder::new(input)))
}

impl<'a, P: Pieces> Decoder<'a, P> {
    /// Chooses the decoder by the first bytes.
    pub(super) fn open(
        source: P,
        is_tar_header: impl Fn(&[u8]) -> bool,
        window_max: u64,
        admit: Admit<'a>,
    ) -> Result<Self, Error> {
        let mut input = Input::new(source);
        let mut head = [0; 512];
        let count = input.head(&mut head).map_err(Error::Source)?;
        let encoding = sniff(&head[..count], is_tar_header).ok_or(Error::Encoding)?;
        let codec = match encoding {
            Encoding::Plain => Codec::Plain(input),
            Encoding::Gzip => Codec::Gzip(gzip(input)?),
            Encoding::Zstd => Codec::Zstd(ZstdDecoder::new(input, window_max, admit)?),
        };
        Ok(Self { codec })
    }

    /// Returns whether the blob is gzip, whose ratio has a bound that is worth a limit.
    pub(super) fn is_gzip(&self) -> bool {
        matches!(self.codec, Codec::Gzip(_) | Codec::GzipEnd(_))
    }

    /// Reads decompressed bytes; returns 0 at the end of the blob.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Stopped> {
        loop {
            match &mut self.codec {
                Codec::Plain(input) => {
                    return input
                        .take(buffer)
                        .map_err(|error| Error::Source(error).into());
                }
                Codec::Gzip(decoder) => match decoder.read(buffer) {
                    Ok(0) => self.next_member()?,
                    Ok(count) => return Ok(count),
                    Err(error) => return Err(decoder.get_mut().blame("gzip", error).into()),
                },
                Codec::GzipEnd(input) => {
                    input.only_zeros()?;
                    return Ok(0);
                }
                Codec::Zstd(decoder) => return decoder.read(buffer),
                Codec::Broken => {
                    let error = io::Error::other("an earlier read of this blob failed");
                    return Err(Error::Source(error).into());
                }
            }
        }
    }

    /// Continues after a complete gzip member whose checksum was verified. Either another one follows or nothing but
    /// padding.
    fn next_member(&mut self) -> Result<(), Error> {
        let Codec::Gzip(decoder) = std::mem::replace(&mut self.codec, Codec::Broken) else {
            return Ok(());
        };
        let mut input = decoder.into_inner();
        input.fill().map_err(Error::Source)?;
        let next = input.available().first().copied();
        self.codec = match next {
            None | Some(0) => Codec::GzipEnd(input),
            Some(_) => Codec::Gzip(gzip(input)?),
        };
        Ok(())
    }
}

/// The decompressed bytes of a tar archive, which may be compressed or not. Only the window of zstd is limited; the
/// reader has to stop when it has enough.
pub(crate) struct Decompressed<P: Pieces>(Decoder<'static, P>);

impl<P: Pieces> Decompressed<P> {
    /// Chooses the decoder by the first bytes of `source`.
    ///
    /// # Errors
    /// Returns [`io::Error`] of `source` unchanged, and errors for data that is not an archive and for a window that is
    /// too large.
    pub(crate) fn open(source: P, zstd_window: u64) -> io::Result<Self> {
        let admit = Box::new(|_| Ok(()));
        let opened = Decoder::open(source, super::tar::header::is_header, zstd_window, admit);
        opened.map(Self).map_err(plain)
    }
}

impl<P: Pieces> Read for Decompressed<P> {
    /// # Errors
    /// Returns [`io::Error`] of the source unchanged; an error about damaged data has the codec and the position.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let nowhere = || At {
            position: 0,
            entry: EntryName::default(),
        };
        self.0.read(buffer).map_err(|stopped| match stopped {
            Stopped::Layer(error) => plain(error),
            Stopped::Limit(limit) => plain(limit.at(nowhere())),
        })
    }
}

/// Turns a layer's error into one of an archive that is not a layer.
fn plain(error: Error) -> io::Error {
    match error {
        Error::Source(error) => error,
        Error::Shortage(error) => io::Error::new(
            error.kind(),
            format!("this machine has too little memory to decompress it: {error}"),
        ),
        Error::Encoding => io::Error::other(
            "it is neither a tar archive nor one compressed with gzip or zstd; decompress it with its \
             own tool and pipe it",
        ),
        Error::Compression {
            codec,
            position,
            source,
        } => io::Error::other(format!(
            "its {codec} data is damaged or cut short at compressed byte {position}: {source}"
        )),
        Error::Limit {
            what, value, max, ..
        } => io::Error::other(format!(
            "its {what} is {value}, the limit is {max}{}",
            what.advice()
        )),
        other => io::Error::other(other),
    }
}
