//! Turns a tar stream into an image: `tar2sqfs OUT.sqsh [options] < IN.tar`.
//!
//! Options: `--compressor gzip|zstd|xz|lz4|lz4hc|none`, `--level N`, `--block-size BYTES`,
//! `--threads N` (default: one for each core), `--keep-duplicates`, `--no-tails`, `--no-export`,
//! `--probe` (skip blocks that look incompressible), `--memory BYTES`.
//!
//! It trusts its input: a member that is named twice replaces the first, as tar does, but whiteouts
//! and paths that lead outside mean nothing to it.

#![expect(
    clippy::print_stdout,
    reason = "the summary is what a user wants to see"
)]

use std::error::Error;
use std::fs::File;
use std::io::{Read, stdin};
use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use sqfs_writer::{Compressor, Device, ImageWriter, Kind, Metadata, NodeId, Options};
use tar::{Archive, Entry, EntryType};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let (out, options) = arguments()?;
    let mut image = ImageWriter::new(File::create(out)?, &options)?;
    let mut archive = Archive::new(stdin().lock());
    for entry in archive.entries()? {
        add(&mut image, entry?)?;
    }
    // Like tar and gzip it leaves syncing to whoever needs it.
    let (_file, summary) = image.finish()?;
    println!("{summary:#?}");
    Ok(())
}

fn arguments() -> Result<(String, Options)> {
    let mut options = Options::default();
    options.threads = available_parallelism()?;
    let (mut out, mut name, mut level) = (None, "zstd".to_owned(), None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--compressor" => name = value()?,
            "--level" => level = Some(value()?.parse::<u32>()?),
            "--block-size" => options.block_size = value()?.parse()?,
            "--threads" => options.threads = value()?.parse::<NonZeroUsize>()?,
            "--keep-duplicates" => options.duplicates = false,
            "--no-tails" => options.tails = false,
            "--no-export" => options.exportable = false,
            "--probe" => options.probe = true,
            "--memory" => options.memory = value()?.parse()?,
            _ if out.is_none() && !argument.starts_with('-') => out = Some(argument),
            _ => return Err(format!("what is {argument}?").into()),
        }
    }
    options.compressor = match name.as_str() {
        "gzip" => Compressor::Gzip {
            level: level.unwrap_or(9),
        },
        "zstd" => Compressor::Zstd {
            level: i32::try_from(level.unwrap_or(3))?,
        },
        "xz" => Compressor::Xz {
            level: level.unwrap_or(6),
        },
        "lz4" => Compressor::Lz4 { high: false },
        "lz4hc" => Compressor::Lz4 { high: true },
        "none" => Compressor::None,
        _ => return Err(format!("no compressor is called {name}").into()),
    };
    let out = out.ok_or("usage: tar2sqfs OUT.sqsh [options] < IN.tar")?;
    Ok((out, options))
}

fn add(image: &mut ImageWriter<File>, mut entry: Entry<'_, impl Read>) -> Result<()> {
    let path = entry.path_bytes().into_owned();
    let path = path.strip_prefix(b"./").unwrap_or(&path);
    let mut metadata = metadata(&entry)?;
    for pax in entry.pax_extensions()?.into_iter().flatten() {
        let pax = pax?;
        if let Some(name) = pax.key_bytes().strip_prefix(b"SCHILY.xattr.") {
            metadata.xattrs.insert(name, pax.value_bytes());
        }
    }
    let kind = match entry.header().entry_type() {
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            image.file(path, metadata, entry)?;
            return Ok(());
        }
        EntryType::Directory => {
            image.directory(if path == b"." { b"" } else { path }, metadata)?;
            return Ok(());
        }
        EntryType::Link => {
            let target = entry.link_name_bytes().ok_or("a link to nothing")?;
            let target = lookup(image, &target)?;
            return Ok(image.link(path, target)?);
        }
        EntryType::Symlink => {
            let target = entry.link_name_bytes().ok_or("a link to nothing")?;
            Kind::Symlink(target.into())
        }
        EntryType::Char => Kind::CharDevice(device(&entry)?),
        EntryType::Block => Kind::BlockDevice(device(&entry)?),
        EntryType::Fifo => Kind::Fifo,
        other => return Err(format!("{other:?} of {}", path.escape_ascii()).into()),
    };
    image.insert(path, metadata, kind)?;
    Ok(())
}

fn metadata<R: Read>(entry: &Entry<'_, R>) -> Result<Metadata> {
    let header = entry.header();
    let mode = u16::try_from(header.mode()? & 0o7777)?;
    Ok(Metadata::new(mode)
        .with_owner(u32::try_from(header.uid()?)?, u32::try_from(header.gid()?)?)
        .with_mtime(u32::try_from(header.mtime()?).unwrap_or(u32::MAX)))
}

fn device<R: Read>(entry: &Entry<'_, R>) -> Result<Device> {
    Ok(Device {
        major: entry.header().device_major()?.unwrap_or_default(),
        minor: entry.header().device_minor()?.unwrap_or_default(),
    })
}

/// The node behind a path, for hard links.
fn lookup(image: &mut ImageWriter<File>, path: &[u8]) -> Result<NodeId> {
    let mut at = NodeId::ROOT;
    for name in path.split(|&byte| byte == b'/') {
        if !name.is_empty() && name != b"." {
            let found = image.tree().lookup(at, name)?;
            at = found.ok_or_else(|| format!("nothing at {}", path.escape_ascii()))?;
        }
    }
    Ok(at)
}
