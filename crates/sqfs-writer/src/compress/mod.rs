//! Compressors: one file a codec, each behind the feature of its name.
//!
//! A codec turns one block into one self-contained piece. It is made once a thread and used for
//! block after block; what it returns depends on the block alone, never on those before it.

mod codec;
#[cfg(feature = "gzip")]
mod gzip;
#[cfg(feature = "lz4")]
mod lz4;
mod none;
mod probe;
#[cfg(feature = "xz")]
mod xz;
#[cfg(feature = "zstd")]
mod zstd;

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

pub use codec::Codec;
pub(crate) use probe::is_worth_trying;

use crate::error::Error;
use crate::format::{Compression, GzipOptions, Lz4Options, ZstdOptions};

/// Which codec an image is compressed with. The reader must have it, a kernel as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compressor {
    /// zlib streams, which every reader knows. Level `1..=9`.
    Gzip {
        /// Effort; mksquashfs takes 9 if not told otherwise.
        level: u32,
    },
    /// zstd frames: better and several times faster than gzip, in kernels since 4.14. Level
    /// `1..=22`.
    Zstd {
        /// Effort; mksquashfs takes 15 if not told otherwise, which is some twenty times slower
        /// than 3 for a seventh less.
        level: i32,
    },
    /// xz streams: the smallest images, and the slowest to write and to read. Level `0..=9`.
    Xz {
        /// Effort; mksquashfs takes 6.
        level: u32,
    },
    /// lz4 blocks: the largest images, and the fastest to read.
    Lz4 {
        /// The high compression mode: a good deal smaller, much slower to write, as fast to read.
        high: bool,
    },
    /// Everything is stored as it is. The format has no number for that, and kernels mount no
    /// image with one they don't know; so the image claims to be gzip, with no block that is.
    None,
}

impl Default for Compressor {
    fn default() -> Self {
        Self::Zstd { level: 3 }
    }
}

impl Compressor {
    /// The name that mksquashfs and the kernel have for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip { .. } => "gzip",
            Self::Zstd { .. } => "zstd",
            Self::Xz { .. } => "xz",
            Self::Lz4 { .. } => "lz4",
            Self::None => "none",
        }
    }

    /// Checks the level, and that the codec is there unless the caller brings one.
    pub(crate) fn resolve(self, block_size: u32, own: Option<Make>) -> Result<Codecs, Error> {
        self.check_level()?;
        let (compression, options) = self.described();
        Ok(Codecs {
            compression,
            options,
            make: own.map_or_else(|| self.maker(block_size), Ok)?,
        })
    }

    fn check_level(self) -> Result<(), Error> {
        let (level, range) = match self {
            Self::Gzip { level } => (level.into(), 1..=9),
            // Negative levels would compress, but unsquashfs refuses to open the image.
            Self::Zstd { level } => (level.into(), 1..=22),
            Self::Xz { level } => (level.into(), 0..=9),
            Self::Lz4 { .. } | Self::None => return Ok(()),
        };
        let range: RangeInclusive<i64> = range;
        if range.contains(&level) {
            return Ok(());
        }
        Err(Error::Options(format!(
            "{} level {level} is not within {}..={}",
            self.name(),
            range.start(),
            range.end()
        )))
    }

    /// What the image says of it: a number, and options where they differ from what readers
    /// assume when there are none.
    fn described(self) -> (Compression, Option<Box<[u8]>>) {
        match self {
            Self::Gzip { level } => {
                let options = GzipOptions {
                    compression_level: level,
                    window_size: 15,
                    strategy: 0,
                };
                let options = (level != 9).then(|| options.to_bytes().into());
                (Compression::GZIP, options)
            }
            Self::Zstd { level } => {
                let options = ZstdOptions {
                    compression_level: level,
                };
                let options = (level != 15).then(|| options.to_bytes().into());
                (Compression::ZSTD, options)
            }
            // A dictionary of a block and no filters: that is the default, at every level.
            Self::Xz { .. } => (Compression::XZ, None),
            Self::Lz4 { high } => {
                let options = Lz4Options {
                    version: Lz4Options::VERSION,
                    flags: if high { Lz4Options::HC } else { 0 },
                };
                (Compression::LZ4, Some(options.to_bytes().into()))
            }
            Self::None => (Compression::GZIP, None),
        }
    }

    fn maker(self, block_size: u32) -> Result<Make, Error> {
        // Only xz has a use for it.
        let _ = block_size;
        match self {
            #[cfg(feature = "gzip")]
            Self::Gzip { level } => Ok(Arc::new(move || Ok(Box::new(gzip::Gzip::new(level))))),
            #[cfg(feature = "zstd")]
            Self::Zstd { level } => Ok(Arc::new(move || Ok(Box::new(zstd::Zstd::new(level)?)))),
            #[cfg(feature = "xz")]
            Self::Xz { level } => Ok(Arc::new(move || {
                Ok(Box::new(xz::Xz::new(level, block_size)))
            })),
            #[cfg(feature = "lz4")]
            Self::Lz4 { high } => Ok(Arc::new(move || Ok(Box::new(lz4::Lz4 { high })))),
            Self::None => Ok(Arc::new(|| Ok(Box::new(none::None)))),
            #[cfg(not(all(feature = "gzip", feature = "zstd", feature = "xz", feature = "lz4")))]
            missing => Err(Error::Options(format!(
                "the compressor {codec} is not compiled in; enable the feature \"{codec}\" of \
                 sqfs-writer",
                codec = missing.name()
            ))),
        }
    }
}

/// Name and level: `zstd 3`. Two compressors that would write different bytes look different.
impl fmt::Display for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Gzip { level } | Self::Xz { level } => write!(f, " {level}"),
            Self::Zstd { level } => write!(f, " {level}"),
            Self::Lz4 { high: true } => f.write_str(" hc"),
            Self::Lz4 { high: false } | Self::None => Ok(()),
        }
    }
}

/// Makes a codec for one thread.
pub(crate) type Make = Arc<dyn Fn() -> io::Result<Box<dyn Codec>> + Send + Sync>;

/// A compressor whose options were checked: what the superblock says about it, and how to make one.
#[derive(Clone)]
pub(crate) struct Codecs {
    /// Its number.
    pub(crate) compression: Compression,
    /// What follows the superblock, where it isn't what readers assume.
    pub(crate) options: Option<Box<[u8]>>,
    make: Make,
}

impl Codecs {
    /// A codec that misbehaves as a test wants it to.
    #[cfg(test)]
    pub(crate) fn for_tests(
        make: impl Fn() -> io::Result<Box<dyn Codec>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            compression: Compression(0),
            options: None,
            make: Arc::new(make),
        }
    }

    /// A codec for one thread.
    pub(crate) fn make(&self) -> Result<Box<dyn Codec>, Error> {
        (self.make)().map_err(|source| Error::Codec {
            codec: "new",
            source,
        })
    }
}

/// [`Codec::compress`] with the error it becomes everywhere.
pub(crate) fn compress(
    codec: &mut dyn Codec,
    input: &[u8],
    output: &mut Vec<u8>,
) -> Result<bool, Error> {
    let shrank = codec
        .compress(input, output)
        .map_err(|source| Error::Codec {
            codec: codec.name(),
            source,
        })?;
    // Readers take a stored length of the block's own, or of zero, for something else.
    Ok(shrank && !output.is_empty() && output.len() < input.len())
}

#[cfg(test)]
mod tests;
