//! Turns a tar stream into an image: `tar2sqfs OUT.sqsh [options] < IN.tar`.
//!
//! It prints a summary, and exits with 1 if it fails; then what is in `OUT.sqsh` is not an image. A wrong
//! argument ends it with 2, and `OUT.sqsh` is as it was.
//!
//! The archive may be compressed with gzip or zstd. A member that is named twice replaces the first, as
//! tar does. Whiteouts mean nothing here: they are files. Archives that readers disagree about are
//! refused, with the member's name.
//!
//! It is an example of this crate and not of `sqfs-writer`, because this crate has the tar reader.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the summary is what a user wants to see, or what went wrong"
)]

mod choice;
mod convert;

use std::fs::File;
use std::io::{Write as _, stdin, stdout};
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::str::FromStr;
use std::thread::available_parallelism;

use sqfs_writer::{Compressor, Options};

use self::choice::{Choice, plain};
use self::convert::{Result, chain, convert};

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
  --no-fragments     no fragments at all
  --probe            store blocks that look incompressible without trying
  --all-root         give everything to user 0 and group 0
  --force-uid N      give everything to this user
  --force-gid N      give everything to this group
  --no-xattrs        leave out extended attributes
  --xattrs PREFIX    leave out those with another prefix; may be repeated
  --exclude PATH     leave out this member and what is below it; may be repeated
  --root-becomes DIR make this directory the root, and leave out the rest";

fn main() -> ExitCode {
    let Arguments {
        out,
        options,
        choice,
    } = match arguments() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            // The reader of a pipe may have read enough and closed it.
            let _ = writeln!(stdout(), "{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("tar2sqfs: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let converted = File::create(&out)
        .map_err(|error| format!("cannot create {out}: {error}").into())
        .and_then(|file| convert(stdin().lock(), file, &options, choice));
    match converted {
        Ok((summary, left_out)) => {
            println!("{summary:#?}");
            left_out
                .iter()
                .for_each(|line| eprintln!("tar2sqfs: {line}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("tar2sqfs: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

struct Arguments {
    out: String,
    options: Options,
    choice: Choice,
}

/// Returns `None` if help is requested.
fn arguments() -> Result<Option<Arguments>> {
    let mut options = Options::default();
    options.threads = available_parallelism()?;
    let (mut out, mut name, mut level) = (None, "zstd".to_owned(), None);
    let mut choice = Choice::default();
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
            "--no-fragments" => options.fragments = false,
            "--probe" => options.probe = true,
            "--all-root" => (choice.uid, choice.gid) = (Some(0), Some(0)),
            "--force-uid" => choice.uid = Some(number(&argument, &value()?)?),
            "--force-gid" => choice.gid = Some(number(&argument, &value()?)?),
            "--no-xattrs" => choice.no_xattrs = true,
            "--xattrs" => choice.xattrs.push(value()?),
            "--exclude" => match plain(&value()?) {
                path if path.is_empty() => {
                    return Err("--exclude needs a path below the root".into());
                }
                path => choice.exclude.push(path),
            },
            "--root-becomes" => choice.root = plain(&value()?),
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
    let out = out.ok_or("no output file")?;
    Ok(Some(Arguments {
        out,
        options,
        choice,
    }))
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
