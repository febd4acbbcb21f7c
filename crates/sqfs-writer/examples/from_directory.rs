//! Writes a directory of the host into an image: `from_directory DIRECTORY OUT.sqsh`.
//!
//! Everything, extended attributes and hard links included. As root it sees them all.

#![expect(
    clippy::print_stdout,
    reason = "the summary is what a user wants to see"
)]

use std::collections::HashMap;
use std::error::Error;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use sqfs_writer::{Device, ImageWriter, Kind, Metadata, NodeId, Options};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [source, out] = arguments.as_slice() else {
        return Err("usage: from_directory DIRECTORY OUT.sqsh".into());
    };
    let mut image = ImageWriter::new(File::create(out)?, &Options::default())?;
    let mut links = HashMap::new();
    let source = Path::new(source);
    let mut pending = vec![source.to_owned()];
    while let Some(directory) = pending.pop() {
        let path = directory.strip_prefix(source)?.as_os_str().as_bytes();
        image.directory(
            path,
            metadata(&directory, &fs::symlink_metadata(&directory)?)?,
        )?;
        let mut entries = fs::read_dir(&directory)?.collect::<Result<Vec<_>, _>>()?;
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
) -> Result<(), Box<dyn Error>> {
    let found = fs::symlink_metadata(host)?;
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
        Kind::File(image.data().add(File::open(host)?)?)
    } else if kind.is_symlink() {
        Kind::Symlink(fs::read_link(host)?.as_os_str().as_bytes().into())
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

fn metadata(host: &Path, found: &fs::Metadata) -> Result<Metadata, Box<dyn Error>> {
    let mode = u16::try_from(found.mode() & 0o7777).unwrap_or_default();
    // The format's times end in 2106 and begin in 1970.
    let mtime = found.mtime().clamp(0, u32::MAX.into());
    let mut metadata = Metadata::new(mode)
        .with_owner(found.uid(), found.gid())
        .with_mtime(u32::try_from(mtime).unwrap_or_default());
    for name in xattr::list(host)? {
        if let Some(value) = xattr::get(host, &name)? {
            metadata.xattrs.insert(name.as_bytes(), value);
        }
    }
    Ok(metadata)
}
