//! The `backhand` crate: squashfs read by another Rust program.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ::backhand::{BackhandError, FilesystemReader, InnerNode, Node, SquashfsFileReader};
use sha2::{Digest as _, Sha256};
use tree_listing::{Entry, Kind, Listing};

use crate::{Failure, Result};

/// Returns the whole image, every file read.
///
/// backhand knows neither link counts nor shared inodes nor xattrs; compare with what [`visible`]
/// leaves of the other tree.
pub fn list(image: &Path) -> Result<Listing> {
    let failed = |error: BackhandError| {
        Failure::new(format!("backhand cannot read {}: {error}", image.display()))
    };
    let file = BufReader::new(File::open(image)?);
    let reader = FilesystemReader::from_reader(file).map_err(failed)?;
    let mut entries = BTreeMap::new();
    for node in reader.files() {
        let path = node.fullpath.as_os_str().as_bytes().to_vec();
        let entry = entry(&reader, node).map_err(Failure::when(format!(
            "backhand: {}",
            node.fullpath.display()
        )))?;
        entries.insert(path, entry);
    }
    Ok(Listing { entries })
}

/// Returns a listing without what backhand cannot see.
#[must_use]
pub fn visible(listing: &Listing) -> Listing {
    let mut listing = listing.clone();
    for entry in listing.entries.values_mut() {
        entry.links = 1;
        entry.shared = None;
        entry.xattrs.clear();
        if matches!(entry.kind, Kind::Directory) {
            entry.size = 0;
        }
    }
    listing
}

fn entry(reader: &FilesystemReader<'_>, node: &Node<SquashfsFileReader>) -> std::io::Result<Entry> {
    let mut size = 0;
    let kind = match &node.inner {
        InnerNode::Dir(_) => Kind::Directory,
        InnerNode::File(file) => {
            let mut hasher = Sha256::new();
            let mut body = reader.file(file).reader();
            let mut buffer = vec![0; 256 << 10];
            loop {
                let read = body.read(&mut buffer)?;
                if read == 0 {
                    break;
                }
                size += u64::try_from(read).map_err(std::io::Error::other)?;
                hasher.update(&buffer[..read]);
            }
            Kind::File {
                sha256: hasher.finalize().into(),
            }
        }
        InnerNode::Symlink(symlink) => {
            let target = symlink.link.as_os_str().as_bytes().to_vec();
            size = u64::try_from(target.len()).map_err(std::io::Error::other)?;
            Kind::Symlink { target }
        }
        InnerNode::CharacterDevice(device) => {
            let (major, minor) = device_number(device.device_number);
            Kind::CharDevice { major, minor }
        }
        InnerNode::BlockDevice(device) => {
            let (major, minor) = device_number(device.device_number);
            Kind::BlockDevice { major, minor }
        }
        InnerNode::NamedPipe => Kind::Fifo,
        InnerNode::Socket => Kind::Socket,
    };
    Ok(Entry {
        kind,
        mode: node.header.permissions & 0o7777,
        uid: node.header.uid,
        gid: node.header.gid,
        size,
        mtime: node.header.mtime.into(),
        links: 1,
        shared: None,
        xattrs: BTreeMap::new(),
    })
}

/// Linux' `new_decode_dev` (include/linux/kdev_t.h): twelve bits of major between the halves of minor.
fn device_number(raw: u32) -> (u32, u32) {
    ((raw >> 8) & 0xfff, (raw & 0xff) | ((raw >> 12) & 0xfff00))
}
