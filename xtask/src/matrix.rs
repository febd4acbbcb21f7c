//! Every codec at every block size with every kind of special image, read by the kernel in one machine.
//!
//! The writer alone makes these images, so each [`Special`] can be as odd as the format allows. What a guest has to find
//! is noted down while an image is filled, from the same values and without the writer.

mod source;
mod special;

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use sqfs_writer::{Compressor, Metadata, Options};
use test_support::contract;
use tree_listing::Listing;

use crate::disk::Disk;
use crate::guest;
use crate::verify::{Verified, VerifyOptions, verify_beside};
use source::Source;

pub use special::Special;

/// Every codec, with what costs the writer little: a level changes nothing about how an image is read.
pub const CODECS: [Compressor; 5] = [
    Compressor::Gzip { level: 6 },
    Compressor::Zstd { level: 3 },
    Compressor::Xz { level: 1 },
    Compressor::Lz4 { high: false },
    Compressor::None,
];

/// Every block size that squashfs has, in bytes.
pub const BLOCK_SIZES: [u32; 9] = [
    4 << 10,
    8 << 10,
    16 << 10,
    32 << 10,
    64 << 10,
    128 << 10,
    256 << 10,
    512 << 10,
    1 << 20,
];

/// One image of the matrix.
#[derive(Debug, Clone, Copy)]
pub struct Cell {
    /// Codec that compresses it.
    pub codec: Compressor,
    /// Its block size in bytes.
    pub block_size: u32,
    /// Special kind of it.
    pub special: Special,
}

impl Cell {
    /// Returns every cell of the matrix.
    pub fn all() -> impl Iterator<Item = Self> {
        CODECS.into_iter().flat_map(|codec| {
            BLOCK_SIZES.into_iter().flat_map(move |block_size| {
                Special::ALL.into_iter().map(move |special| Self {
                    codec,
                    block_size,
                    special,
                })
            })
        })
    }

    /// Writes the image into the next partition of `disk`.
    ///
    /// # Errors
    ///
    /// Returns what the writer or the disk says.
    pub fn add_to(self, disk: &mut Disk, name: &str) -> Result<()> {
        disk.add(name, false, |file| self.write(file))
            .with_context(|| format!("cannot make the image {name}"))
    }

    /// Writes the image into `file`, and returns what a reader has to find.
    ///
    /// # Errors
    ///
    /// Returns what the writer says.
    pub fn write(self, file: File) -> Result<Listing> {
        let mut options = Options::default();
        options.block_size = self.block_size;
        options.compressor = self.codec;
        options.tails = self.special.has_fragments();
        let mut source = Source::new(file, &options)?;
        self.special
            .fill(&mut source, usize::try_from(self.block_size)?)?;
        source.finish()
    }

    /// Returns the name of the cell, as failures tell it.
    #[must_use]
    pub fn name(self) -> String {
        format!("{}, {}, {}", self.codec, self.block_size, self.special)
    }
}

/// Writes every cell of the matrix to as few disks as hold them.
///
/// # Errors
///
/// As [`Cell::add_to`].
pub fn disks() -> Result<Vec<Disk>> {
    let mut disks = Vec::new();
    for cell in Cell::all() {
        if disks.last().is_none_or(Disk::is_full) {
            disks.push(Disk::new()?);
        }
        if let Some(disk) = disks.last_mut() {
            cell.add_to(disk, &cell.name())?;
        }
    }
    Ok(disks)
}

/// Boots a machine whose root holds nothing but the probe, and that mounts and reads the images of `disks`.
///
/// # Errors
///
/// As [`verify_beside`].
pub fn verify_disks(disks: &[Disk], options: &VerifyOptions) -> Result<Verified> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("root.sqsh");
    let expected = root(&path)?;
    verify_beside(&path, &expected, disks, options)
}

/// How long the whole matrix may take. Emulated on a busy machine it takes minutes.
pub const TIMEOUT: Duration = Duration::from_secs(1800);

/// Writes the image that such a machine boots.
pub(crate) fn root(path: &Path) -> Result<Listing> {
    let probe = guest::build()?.probe;
    let probe =
        std::fs::read(&probe).with_context(|| format!("cannot read {}", probe.display()))?;
    let mut source = Source::new(File::create(path)?, &Options::default())?;
    for (point, mode) in contract::MOUNT_POINTS {
        source.directory(point, Metadata::new(mode))?;
    }
    source.directory(contract::GUEST_DIRECTORY, Metadata::new(0o755))?;
    source.file(contract::AGENT, Metadata::new(0o755), &probe)?;
    source.finish()
}
