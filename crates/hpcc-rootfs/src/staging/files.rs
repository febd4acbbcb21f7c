//! The system calls of publishing, in one place, so that tests can make each of them fail.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{Advice, AtFlags, CWD, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::fs_verity;

/// Returns whether a file system refuses every change of a mode, as FAT and some network file systems do. Files keep the
/// mode that they were made with then, and the store believes none that others can write.
pub(crate) fn keeps_modes(error: Errno) -> bool {
    matches!(error, Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS)
}

/// One method per system call, each with the kernel's behavior unless a test overrides it.
pub(crate) trait Files: fmt::Debug + Send + Sync {
    /// Creates a file without a name in `directory`, with this mode less the umask.
    fn open_unnamed(&self, directory: &OwnedFd, mode: Mode) -> Result<OwnedFd, Errno> {
        // Without `/proc`, the file could not be named later.
        if rustix::fs::stat("/proc/self/fd").is_err() {
            return Err(Errno::OPNOTSUPP);
        }
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        rustix::fs::openat(directory, ".", flags, mode)
    }

    /// Creates a new file with a name. Neither an existing file nor a symlink is opened.
    fn create(&self, directory: &OwnedFd, name: &str, mode: Mode) -> Result<OwnedFd, Errno> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(directory, name, flags, mode)
    }

    /// Marks the file as one with a living owner. The lock is shared, so that the owner can take it on a second
    /// descriptor before it releases the first. A sweep needs an exclusive one.
    fn lock(&self, file: &File) -> Result<(), Errno> {
        rustix::fs::flock(file, FlockOperation::NonBlockingLockShared)
    }

    /// Writes at an offset, possibly only a part of `bytes`.
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> Result<usize, Errno> {
        rustix::io::pwrite(file, bytes, offset)
    }

    /// Makes the kernel begin to write that part of the file to the disk. A hint: it guarantees nothing and does not
    /// wait.
    fn write_back(&self, file: &File, offset: u64, length: NonZeroU64) {
        // The kernel does not drop dirty pages, it starts writing them. `sync_file_range` would state the intention
        // more plainly, but no crate offers it without unsafe code.
        let _ = rustix::fs::fadvise(file, offset, Some(length), Advice::DontNeed);
    }

    /// Sets the permissions of a file, whatever the umask.
    fn permit(&self, file: &File, mode: Mode) -> Result<(), Errno> {
        rustix::fs::fchmod(file, mode)
    }

    /// Opens the same file once more, for reading alone: by its name if it has one.
    fn reopen(
        &self,
        file: &File,
        directory: &OwnedFd,
        name: Option<&str>,
    ) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match name {
            Some(name) => {
                rustix::fs::openat(directory, name, flags | OFlags::NOFOLLOW, Mode::empty())
            }
            None => {
                let open_file = format!("/proc/self/fd/{}", file.as_raw_fd());
                rustix::fs::open(open_file, flags, Mode::empty())
            }
        }
    }

    /// Makes the file system reject changed blocks of the file, which must not be open for writing.
    fn enable_verity(&self, file: &File) -> io::Result<()> {
        fs_verity::enable(file)
    }

    /// Makes the contents durable.
    fn sync(&self, file: &File) -> Result<(), Errno> {
        rustix::fs::fsync(file)
    }

    /// Gives a file without a name its first one, which must be free.
    fn link(&self, file: &File, directory: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
        let open_file = format!("/proc/self/fd/{}", file.as_raw_fd());
        rustix::fs::linkat(CWD, open_file, directory, name, AtFlags::SYMLINK_FOLLOW)
    }

    /// Moves a name over another one, atomically.
    fn rename(&self, directory: &OwnedFd, from: &str, to: &OsStr) -> Result<(), Errno> {
        rustix::fs::renameat(directory, from, directory, to)
    }

    /// Moves a name to a free one. An existing file of that name is an error.
    fn rename_to_free(&self, directory: &OwnedFd, from: &str, to: &OsStr) -> Result<(), Errno> {
        rustix::fs::renameat_with(directory, from, directory, to, RenameFlags::NOREPLACE)
    }

    /// Gives a file a second name, which must be free.
    fn link_name(&self, directory: &OwnedFd, from: &str, to: &OsStr) -> Result<(), Errno> {
        rustix::fs::linkat(directory, from, directory, to, AtFlags::empty())
    }

    /// Makes the names in the directory durable.
    fn sync_directory(&self, directory: &OwnedFd) -> Result<(), Errno> {
        rustix::fs::fsync(directory)
    }

    /// Removes a name.
    fn unlink(&self, directory: &OwnedFd, name: &str) -> Result<(), Errno> {
        rustix::fs::unlinkat(directory, name, AtFlags::empty())
    }

    /// Returns whether what is written can be read back.
    fn keeps(&self) -> bool {
        true
    }

    /// Returns the number of bytes of the file system that this user may still write. File systems without a size, such
    /// as ramfs, report zeros and are taken for endless.
    fn available(&self, directory: &OwnedFd) -> Result<u64, Errno> {
        let status = rustix::fs::fstatvfs(directory)?;
        if status.f_blocks == 0 {
            return Ok(u64::MAX);
        }
        Ok(status.f_bavail.saturating_mul(status.f_frsize))
    }
}

/// The calls of the kernel.
#[derive(Debug)]
pub(crate) struct Kernel;

impl Files for Kernel {}
