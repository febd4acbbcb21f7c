//! Compressors: one file a codec, each behind the feature of its name.
//!
//! A codec turns one block into one self-contained piece. Each thread makes one and uses it for block after block. Its
//! result depends on the block alone, never on the blocks before it.

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

/// Codec of an image. Every reader needs it, a kernel too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compressor {
    /// zlib streams, which every reader knows. Level `1..=9`.
    Gzip {
        /// Effort; the default of mksquashfs is 9.
        level: u32,
    },
    /// zstd frames: better and several times faster than gzip, in kernels since 4.14. Level
    /// `1..=22`.
    Zstd {
        /// Effort; the default of mksquashfs is 15, which is about twenty times slower than 3 for an image that is a seventh
        /// smaller.
        level: i32,
    },
    /// xz streams: the smallest images, and the slowest to write and to read. Level `0..=9`.
    Xz {
        /// Effort; the default of mksquashfs is 6.
        level: u32,
    },
    /// lz4 blocks: the largest images, and the fastest to read.
    Lz4 {
        /// Whether to use the high compression mode: smaller, much slower to write, as fast to read.
        high: bool,
    },
    /// No codec: everything is stored uncompressed. The format has no number for that, and kernels mount no image with an
    /// unknown number, so the image names gzip and has no compressed block.
    None,
}

impl Default for Compressor {
    fn default() -> Self {
        Self::Zstd { level: 3 }
    }
}

impl Compressor {
    /// Returns the name that mksquashfs and the kernel use.
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

    /// Checks the level, and that the codec is compiled in unless the caller passes one.
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
            "{} level {level} is out of range, expected {} to {}",
            self.name(),
            range.start(),
            range.end()
        )))
    }

    /// Returns the number of the codec in the image, and its options if they differ from what readers assume without any.
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
            // A dictionary of one block without filters is the default at every level.
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
            Self::Gzip { level } => Ok(Arc::new(move || Ok(Box::new(gzip::Gzip::new(level)?)))),
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

/// A compressor whose options were checked: its entry in the superblock, and how to make one.
#[derive(Clone)]
pub(crate) struct Codecs {
    /// Its number.
    pub(crate) compression: Compression,
    /// The block after the superblock, if readers would assume other options.
    pub(crate) options: Option<Box<[u8]>>,
    make: Make,
}

impl Codecs {
    /// Returns the codec of a test.
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

    /// Makes a codec for one thread.
    pub(crate) fn make(&self) -> Result<Box<dyn Codec>, Error> {
        (self.make)().map_err(|source| Error::Codec {
            codec: "new",
            source,
        })
    }
}

/// Calls [`Codec::compress`], and names the codec in its error.
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
    // Readers take a stored length of zero for a hole, and one of the block's length for an uncompressed block.
    Ok(shrank && !output.is_empty() && output.len() < input.len())
}

#[cfg(test)]
mod tests;
