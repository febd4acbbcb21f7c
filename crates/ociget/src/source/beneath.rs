//! Files below a directory, of names that a stranger chose.
//!
//! Tools that keep blobs in a store of their own write image layouts of symlinks. They are followed
//! as long as they stay below the directory: each name is opened relative to the one before, without
//! following, and the target of a symlink is resolved by the same steps. `..` goes back to a
//! directory that is open already, so that a process that renames directories meanwhile cannot lead it out.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};

use crate::regular_file;

/// Symlinks on the way to one file, as many as Linux follows.
const MAX_LINKS: u32 = 40;

/// Opens the regular file `names` below `dir`, which itself may be anything; returns its length too.
///
/// # Errors
/// Returns an error if there is no such file, if it is not a regular one, and if a symlink leads out
/// of `dir`.
pub(crate) fn open(dir: &Path, names: &[String]) -> io::Result<(File, u64)> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY;
    let root = rustix::fs::open(dir, flags, Mode::empty())?;
    let mut way: Vec<OwnedFd> = Vec::new();
    let mut left: VecDeque<OsString> = names.iter().map(OsString::from).collect();
    let mut links = 0;
    while let Some(name) = left.pop_front() {
        match name.as_bytes() {
            b"" | b"." => continue,
            b".." => {
                way.pop().ok_or_else(|| leads_out(names))?;
                continue;
            }
            _ => {}
        }
        let at = way.last().unwrap_or(&root).as_fd();
        let look = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = rustix::fs::openat(at, &*name, look, Mode::empty())?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode);
        if kind == FileType::Symlink {
            links += 1;
            if links > MAX_LINKS {
                return Err(rustix::io::Errno::LOOP.into());
            }
            let target = rustix::fs::readlinkat(&found, "", Vec::new())?;
            if target.as_bytes().starts_with(b"/") {
                return Err(leads_out(names));
            }
            let steps = target.as_bytes().split(|byte| *byte == b'/');
            for step in steps.rev() {
                left.push_front(OsStr::from_bytes(step).to_owned());
            }
        } else if left.is_empty() {
            // Opening a fifo would wait for a writer, and opening a device may do something.
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
            if kind != FileType::RegularFile {
                regular_file::is_regular(&File::from(found).metadata()?)?;
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let file = File::from(rustix::fs::openat(at, &*name, flags, Mode::empty())?);
            let metadata = file.metadata()?;
            regular_file::is_regular(&metadata)?;
            return Ok((file, metadata.len()));
        } else {
            way.push(found);
        }
    }
    Err(io::Error::other("it is a directory, not a regular file"))
}

fn leads_out(names: &[String]) -> io::Error {
    io::Error::other(format!(
        "{} is a symlink, or below one, that leads out of the directory; only symlinks that stay in it \
         are followed; copy the image with its files in place, such as with cp -rL",
        names.join("/")
    ))
}
