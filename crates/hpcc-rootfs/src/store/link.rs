//! Puts an artifact where a VM can open it, such as a jail that cannot see the store.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, CWD, Mode, fchmod, fstat, ioctl_ficlone, linkat, stat, statat, unlinkat,
};
use rustix::io::Errno;

use super::lease::Lease;
use super::name;
use crate::staging::{Files, Kernel, StagedFile, Staging, keeps_modes};

/// Read permission for the owner, its group and others.
const READ_ONLY: Mode = Mode::from_raw_mode(0o444);

/// Bytes at both ends of a new file that are compared with those of the artifact: its superblock, and the end of its
/// record.
const END: usize = 4096;

/// Bytes that are copied at a time.
const PIECE: usize = 1 << 20;

/// Method by which an artifact got a second name. Locks on the file mean nothing to the store, whichever method it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkMethod {
    /// The same file: no byte is copied, and machines share its pages in memory. Its owner and mode are those of the
    /// artifact in the store and must not be changed.
    HardLink,
    /// A file that shares its blocks with the artifact, on file systems that can do that.
    Reflink,
    /// A separate file.
    Copy,
}

/// An artifact at a second path, and the lease on the one in the store.
#[derive(Debug)]
#[non_exhaustive]
pub struct Linked {
    /// The absolute path.
    pub path: PathBuf,
    /// The method that was used.
    pub method: LinkMethod,
    /// The lease that keeps the artifact from being collected. The file at [`path`](Self::path) stays without it.
    pub lease: Lease,
}

impl LinkMethod {
    /// All methods, cheapest first.
    pub const ALL: &'static [Self] = &[Self::HardLink, Self::Reflink, Self::Copy];

    /// The methods that make a separate file, whose owner and mode may be changed.
    pub const OWN_FILE: &'static [Self] = &[Self::Reflink, Self::Copy];
}

/// Refuses a path in the directory of a store other than `own`, which is the artifact's. A name there is the store's, and
/// could be that of another image.
pub(super) fn refuse_store(path: &Path, own: &Path) -> io::Result<()> {
    let identity = |path: &Path| {
        let found = path.parent().map(std::fs::metadata)?.ok()?;
        Some((found.dev(), found.ino()))
    };
    let is_in_store = identity(own).is_some_and(|store| identity(path) == Some(store));
    let is_taken = match is_in_store {
        true => path.file_name() != own.file_name(),
        false => path.parent().is_some_and(name::is_of_store),
    };
    match is_taken {
        true => Err(of_store("link into another directory")),
        false => Ok(()),
    }
}

/// Refuses a directory that is one of a store, for a file that is not the store's.
pub(crate) fn refuse_output(directory: &Path) -> io::Result<()> {
    match name::is_of_store(directory) {
        true => Err(of_store("write to another directory")),
        false => Ok(()),
    }
}

fn of_store(advice: &str) -> io::Error {
    let what = "this is the directory of a store, which takes the files in it for its own";
    io::Error::new(io::ErrorKind::InvalidInput, format!("{what}; {advice}"))
}

/// Gives the leased artifact the name `path`, by the first of `methods` that works. An existing file of that name is an
/// error, unless it is the artifact already.
pub(super) fn link(lease: &Lease, path: &Path, methods: &[LinkMethod]) -> io::Result<LinkMethod> {
    let files: Arc<dyn Files> = Arc::new(Kernel);
    link_by(lease, path, methods, &files).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => taken(path),
        _ => error,
    })
}

/// Returns the error for a name that another file has.
fn taken(path: &Path) -> io::Error {
    let kind = std::fs::symlink_metadata(path).map(|found| found.file_type());
    let what = match kind {
        Ok(kind) if kind.is_dir() => "a directory has this name; name a file in it",
        Ok(kind) if kind.is_symlink() => "a symlink has this name; name another path",
        Ok(kind) if kind.is_fifo() => "a FIFO has this name; name another path",
        Ok(kind) if kind.is_socket() => "a socket has this name; name another path",
        Ok(kind) if !kind.is_file() => "a device has this name; name another path",
        _ => "a file has this name; remove it, or name another path",
    };
    io::Error::new(io::ErrorKind::AlreadyExists, what)
}

fn link_by(
    lease: &Lease,
    path: &Path,
    methods: &[LinkMethod],
    files: &Arc<dyn Files>,
) -> io::Result<LinkMethod> {
    let mut last = io::Error::from(io::ErrorKind::Unsupported);
    for method in methods {
        let linked = match method {
            LinkMethod::HardLink => hard_link(lease, path),
            LinkMethod::Reflink => fill(path, Arc::clone(files), |file| {
                ioctl_ficlone(file, lease)?;
                check_ends(lease, file)
            }),
            LinkMethod::Copy => fill(path, Arc::clone(files), |file| {
                copy(lease, file)?;
                check_ends(lease, file)
            }),
        };
        match linked {
            Ok(()) => return Ok(*method),
            // The next method would fail in the same way.
            Err(error) if is_final(&error) => return Err(error),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn is_final(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, NotADirectory, NotFound, ReadOnlyFilesystem, StorageFull};
    matches!(
        error.kind(),
        AlreadyExists | NotFound | NotADirectory | ReadOnlyFilesystem | StorageFull
    )
}

fn hard_link(lease: &Lease, path: &Path) -> io::Result<()> {
    let is_new = match name(lease, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let (found, own) = (statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)?, fstat(lease)?);
            if (found.st_dev, found.st_ino) != (own.st_dev, own.st_ino) {
                return Err(error);
            }
            false
        }
        named => named.map(|()| true)?,
    };
    // A second name must not be a way to change the artifact. Its owner could change it; other users cannot call this
    // successfully, and cannot write either. A change of the mode copies the whole file on overlayfs, so none is made
    // without need.
    if Mode::from_raw_mode(fstat(lease)?.st_mode) == READ_ONLY {
        return Ok(());
    }
    match fchmod(lease, READ_ONLY) {
        Ok(()) | Err(Errno::ROFS) => Ok(()),
        Err(error) if keeps_modes(error) => Ok(()),
        Err(error) => {
            if is_new {
                unlinkat(CWD, path, AtFlags::empty())?;
            }
            Err(error.into())
        }
    }
}

/// Gives the artifact a name. It belongs to the file that was opened and checked, even if the old name has changed.
fn name(lease: &Lease, path: &Path) -> io::Result<()> {
    let source = format!("/proc/self/fd/{}", lease.as_fd().as_raw_fd());
    match linkat(CWD, &source, CWD, path, AtFlags::SYMLINK_FOLLOW) {
        Err(Errno::NOENT) if stat(&source).is_err() => by_own_name(lease, path),
        linked => Ok(linked?),
    }
}

/// Gives the artifact a second name by its own name, without `/proc`. The new name counts only if it is that of the file
/// that was opened and checked.
fn by_own_name(lease: &Lease, path: &Path) -> io::Result<()> {
    linkat(CWD, lease.path(), CWD, path, AtFlags::empty())?;
    let (found, own) = (statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)?, fstat(lease)?);
    if (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino) {
        return Ok(());
    }
    unlinkat(CWD, path, AtFlags::empty())?;
    Err(io::Error::other("the artifact was replaced meanwhile"))
}

/// Makes a separate file, which gets its name when it is complete.
fn fill(
    path: &Path,
    files: Arc<dyn Files>,
    fill: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::from(io::ErrorKind::AlreadyExists))?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let staging = Staging::outside(0).with_files(files);
    let staged = StagedFile::create(directory, staging)?;
    fill(staged.file())?;
    staged.publish_to_free(name, READ_ONLY)
}

/// Copies through memory, because `copy_file_range` of OpenZFS 2.2 copied zeros in place of data that was just written
/// (openzfs/zfs 15526). The offset of the lease is shared with every other user of it, and stays.
fn copy(lease: &Lease, mut file: &File) -> io::Result<()> {
    let source = File::from(lease.as_fd().try_clone_to_owned()?);
    let (mut buffer, mut offset) = (vec![0; PIECE], 0);
    loop {
        match source.read_at(&mut buffer, offset) {
            Ok(0) => return Ok(()),
            Ok(read) => {
                file.write_all(buffer.get(..read).unwrap_or_default())?;
                offset += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Compares the length, the first and the last bytes of a new file with those of the artifact. OpenZFS 2.2 cut files that
/// it shared blocks with, and said nothing (openzfs/zfs 15728).
fn check_ends(lease: &Lease, file: &File) -> io::Result<()> {
    let source = File::from(lease.as_fd().try_clone_to_owned()?);
    let length = source.metadata()?.len();
    let differs =
        || io::Error::other("the file system made other bytes than those of the artifact");
    if file.metadata()?.len() != length {
        return Err(differs());
    }
    let ends = END.min(usize::try_from(length).unwrap_or(END));
    let (mut own, mut made) = (vec![0; ends], vec![0; ends]);
    for offset in [0, length - ends as u64] {
        source.read_exact_at(&mut own, offset)?;
        file.read_exact_at(&mut made, offset)?;
        if own != made {
            return Err(differs());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
