//! Writes a directory of the host into an image: `from_directory DIRECTORY OUT.sqsh`.
//!
//! Everything, extended attributes and hard links included. As root it sees them all.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the summary is what a user wants to see, or what went wrong"
)]

use std::collections::HashMap;
use std::error::Error;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::ExitCode;

use sqfs_writer::{Device, ImageWriter, Kind, Metadata, NodeId, Options};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [source, out] = arguments.as_slice() else {
        eprintln!("usage: from_directory DIRECTORY OUT.sqsh");
        return ExitCode::from(2);
    };
    match convert(Path::new(source), Path::new(out)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&*error),
    }
}

/// One line: what failed, and why.
fn report(error: &dyn Error) -> ExitCode {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let causes: Vec<_> = causes.map(ToString::to_string).collect();
    eprintln!("from_directory: {}", causes.join(": "));
    ExitCode::FAILURE
}

/// Says which file it was.
fn at<T>(path: &Path, result: std::io::Result<T>) -> Result<T> {
    Ok(result.map_err(|error| format!("{}: {error}", path.display()))?)
}

fn convert(source: &Path, out: &Path) -> Result<()> {
    // Before anything is created: a directory that is not there must not leave an image behind.
    at(source, fs::read_dir(source))?;
    let file = at(out, File::create(out))?;
    let mut image = ImageWriter::new(file, &Options::default())?;
    let mut links = HashMap::new();
    let mut pending = vec![source.to_owned()];
    while let Some(directory) = pending.pop() {
        let path = directory.strip_prefix(source)?.as_os_str().as_bytes();
        // The source itself may be a symlink; below it they are not followed.
        let found = at(&directory, fs::metadata(&directory))?;
        image.directory(path, metadata(&directory, &found)?)?;
        let entries = at(&directory, fs::read_dir(&directory))?;
        let mut entries = at(&directory, entries.collect::<std::io::Result<Vec<_>>>())?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let host = entry.path();
            if entry.file_type()?.is_dir() {
                pending.push(host);
            } else {
                add(&mut image, &mut links, source, &host)?;
            }
        }
    }
    let (file, summary) = image.finish()?;
    file.sync_all()?;
    println!("{summary:#?}");
    Ok(())
}

/// Adds what is not a directory, or one more name for it.
fn add(
    image: &mut ImageWriter<File>,
    links: &mut HashMap<(u64, u64), NodeId>,
    source: &Path,
    host: &Path,
) -> Result<()> {
    let found = at(host, fs::symlink_metadata(host))?;
    let path = host.strip_prefix(source)?.as_os_str().as_bytes();
    let inode = (found.dev(), found.ino());
    if let Some(&known) = links.get(&inode) {
        return Ok(image.link(path, known)?);
    }
    let kind = found.file_type();
    let device = Device {
        major: u32::try_from(found.rdev() >> 8 & 0xFFF)?,
        minor: u32::try_from(found.rdev() & 0xFF | found.rdev() >> 12 & 0xF_FF00)?,
    };
    let content = if kind.is_file() {
        Kind::File(image.data().add(at(host, File::open(host))?)?)
    } else if kind.is_symlink() {
        Kind::Symlink(at(host, fs::read_link(host))?.as_os_str().as_bytes().into())
    } else if kind.is_char_device() {
        Kind::CharDevice(device)
    } else if kind.is_block_device() {
        Kind::BlockDevice(device)
    } else if kind.is_fifo() {
        Kind::Fifo
    } else {
        Kind::Socket
    };
    let id = image.insert(path, metadata(host, &found)?, content)?;
    if found.nlink() > 1 {
        links.insert(inode, id);
    }
    Ok(())
}

fn metadata(host: &Path, found: &fs::Metadata) -> Result<Metadata> {
    let mode = u16::try_from(found.mode() & 0o7777).unwrap_or_default();
    // The format's times end in 2106 and begin in 1970.
    let mtime = found.mtime().clamp(0, u32::MAX.into());
    let mut metadata = Metadata::new(mode)
        .with_owner(found.uid(), found.gid())
        .with_mtime(u32::try_from(mtime).unwrap_or_default());
    for name in at(host, xattr::list(host))? {
        if let Some(value) = at(host, xattr::get(host, &name))? {
            metadata.xattrs.insert(name.as_bytes(), value);
        }
    }
    Ok(metadata)
}
