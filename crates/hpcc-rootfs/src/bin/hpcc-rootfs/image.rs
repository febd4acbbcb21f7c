//! The options that have a say in the image.

use std::num::NonZeroUsize;

use clap::{Args as ClapArgs, ValueEnum};
use hpcc_rootfs::{Compressor, Options};

use crate::failure::UsageError;
use crate::quantity::{block_size, whole};

#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Image options")]
pub(crate) struct ImageArgs {
    /// Compression of the image [default: zstd]
    #[arg(long)]
    compressor: Option<Codec>,
    /// Compression level: 1 to 22 for zstd, 1 to 9 for gzip, 0 to 9 for xz [default: 3, 9, 6]
    #[arg(long, allow_negative_numbers = true, value_parser = whole::<u32>("a level", 0..=22, 3))]
    level: Option<u32>,
    /// Size of a data block: a power of two from 4K to 1M [default: 128K]
    #[arg(long, value_name = "SIZE", value_parser = block_size)]
    block_size: Option<u32>,
    /// Whether the ends of files larger than a block go into fragments [default: yes]
    #[arg(long, value_name = "yes|no", value_parser = yes_or_no)]
    tails: Option<bool>,
    /// Timestamp of files that the image does not contain itself, in seconds since 1970 [default: 0]
    #[arg(long, value_name = "SECONDS", value_parser = whole::<u32>("a number of seconds", 0..=u32::MAX.into(), 1_700_000_000))]
    time: Option<u32>,
    /// Append a dm-verity hash tree, with which a guest's kernel detects every changed byte
    #[arg(long)]
    verity: bool,
    /// Number of compression threads [default: the CPUs that this process may use]
    #[arg(long, value_name = "N", value_parser = whole::<usize>("a number of threads", 1..=4096, 4))]
    threads: Option<usize>,
    /// Print the time that each stage took
    #[arg(long)]
    pub(crate) timings: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Codec {
    Zstd,
    Gzip,
    Xz,
    Lz4,
    /// Every block as it is
    None,
}

impl ImageArgs {
    /// Writes what was given into `options`.
    pub(crate) fn apply(&self, options: &mut Options) -> Result<(), UsageError> {
        options.image.compressor = self.compressor()?;
        if let Some(size) = self.block_size {
            options.image.block_size = size;
        }
        if let Some(tails) = self.tails {
            options.image.tails = tails;
        }
        if let Some(time) = self.time {
            options.image.time = time;
        }
        options.image.verity = self.verity;
        if let Some(threads) = self.threads.and_then(NonZeroUsize::new) {
            options.threads = threads;
        }
        Ok(())
    }

    fn compressor(&self) -> Result<Compressor, UsageError> {
        let level = self.level;
        let compressor = match self.compressor.unwrap_or(Codec::Zstd) {
            Codec::Zstd => Compressor::Zstd {
                // At most 22, as its parser says.
                level: level.and_then(|level| level.try_into().ok()).unwrap_or(3),
            },
            Codec::Gzip => Compressor::Gzip {
                level: level.unwrap_or(9),
            },
            Codec::Xz => Compressor::Xz {
                level: level.unwrap_or(6),
            },
            Codec::Lz4 => Compressor::Lz4 { high: false },
            Codec::None => Compressor::None,
        };
        let (name, range) = match compressor {
            Compressor::Zstd { .. } => ("zstd", 1..=22),
            Compressor::Gzip { .. } => ("gzip", 1..=9),
            Compressor::Xz { .. } => ("xz", 0..=9),
            _ if level.is_some() => {
                return Err(UsageError(format!(
                    "--level cannot be used with --compressor {compressor}, which has no levels"
                )));
            }
            _ => return Ok(compressor),
        };
        match level {
            Some(level) if !range.contains(&level) => Err(UsageError(format!(
                "--level {level} is out of range for --compressor {name}, expected {} to {}",
                range.start(),
                range.end()
            ))),
            _ => Ok(compressor),
        }
    }
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("expected yes or no".into()),
    }
}
