//! Turns a tar stream into an image: `tar2sqfs OUT.sqsh [options] < IN.tar`.
//!
//! It says what it did, and exits with 1 if that failed; then what is in `OUT.sqsh` is no image. A wrong
//! argument ends it with 2, and `OUT.sqsh` is as it was.
//!
//! It trusts its input: a member that is named twice replaces the first, as tar does, but whiteouts
//! and paths that lead outside mean nothing to it.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the summary is what a user wants to see, or what went wrong"
)]

use std::error::Error;
use std::fs::File;
use std::io::{Read, Write as _, stdin, stdout};
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::str::FromStr;
use std::thread::available_parallelism;

use sqfs_writer::{Compressor, Device, ImageWriter, Kind, Metadata, NodeId, Options};
use tar::{Archive, Entry, EntryType};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const USAGE: &str = "\
usage: tar2sqfs OUT.sqsh [options] < IN.tar
  --compressor C     gzip, zstd (default), xz, lz4, lz4hc or none
  --level N          gzip 1 to 9 (9), zstd 1 to 22 (3), xz 0 to 9 (6)
  --block-size SIZE  4K to 1M, a power of two (128K)
  --threads N        threads that compress (one for each core)
  --memory SIZE      what the writer may use (128M)
  --keep-duplicates  store equal files again
  --no-tails         no fragments for the ends of files larger than a block
  --no-export        no table for NFS export
  --probe            store blocks that look incompressible without trying";

fn main() -> ExitCode {
    let (out, options) = match arguments() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            // Whoever has read enough of it may close the pipe.
            let _ = writeln!(stdout(), "{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("tar2sqfs: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match convert(&out, &options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&*error),
    }
}

/// One line: what failed, and why.
fn report(error: &dyn Error) -> ExitCode {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let causes: Vec<_> = causes.map(ToString::to_string).collect();
    eprintln!("tar2sqfs: {}", causes.join(": "));
    ExitCode::FAILURE
}

fn convert(out: &str, options: &Options) -> Result<()> {
    let file = File::create(out).map_err(|error| format!("cannot create {out}: {error}"))?;
    let mut image = ImageWriter::new(file, options)?;
    let mut archive = Archive::new(stdin().lock());
    for entry in archive.entries()? {
        let entry = entry.map_err(|error| format!("cannot read the archive: {error}"))?;
        add(&mut image, entry)?;
    }
    // Like tar and gzip it leaves syncing to whoever needs it.
    let (_file, summary) = image.finish()?;
    println!("{summary:#?}");
    Ok(())
}

/// `None` if help is asked for.
fn arguments() -> Result<Option<(String, Options)>> {
    let mut options = Options::default();
    options.threads = available_parallelism()?;
    let (mut out, mut name, mut level) = (None, "zstd".to_owned(), None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--help" | "-h" => return Ok(None),
            "--compressor" => name = value()?,
            "--level" => level = Some(number::<u32>(&argument, &value()?)?),
            "--block-size" => {
                let size = size(&argument, &value()?)?;
                options.block_size = u32::try_from(size).unwrap_or(u32::MAX);
            }
            "--threads" => options.threads = number::<NonZeroUsize>(&argument, &value()?)?,
            "--keep-duplicates" => options.duplicates = false,
            "--no-tails" => options.tails = false,
            "--no-export" => options.exportable = false,
            "--probe" => options.probe = true,
            "--memory" => options.memory = size(&argument, &value()?)?,
            _ if out.is_none() && !argument.starts_with('-') => out = Some(argument),
            _ => return Err(format!("unexpected argument {argument}").into()),
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
        "lz4" | "lz4hc" | "none" if level.is_some() => {
            return Err(format!("{name} has no levels").into());
        }
        "lz4" => Compressor::Lz4 { high: false },
        "lz4hc" => Compressor::Lz4 { high: true },
        "none" => Compressor::None,
        _ => return Err(format!("no compressor is called {name}").into()),
    };
    options.check()?;
    Ok(Some((out.ok_or("no output file")?, options)))
}

fn number<T: FromStr>(argument: &str, value: &str) -> Result<T> {
    let error = || format!("{argument} {value}: not a number in range");
    Ok(value.parse().map_err(|_| error())?)
}

/// Bytes, with `K` or `M` for units of 1024.
fn size(argument: &str, value: &str) -> Result<usize> {
    let (digits, unit) = match value.as_bytes().last() {
        Some(b'K' | b'k') => (&value[..value.len() - 1], 1 << 10),
        Some(b'M' | b'm') => (&value[..value.len() - 1], 1 << 20),
        _ => (value, 1),
    };
    let bytes = number::<usize>(argument, digits)?.checked_mul(unit);
    Ok(bytes.ok_or_else(|| format!("{argument} {value}: too large"))?)
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
