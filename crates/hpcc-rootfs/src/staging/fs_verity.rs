//! fs-verity: a file system that refuses changed blocks of a finished file.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

use composefs_ioctls::fsverity::{EnableVerityError, fs_ioc_enable_verity};
use rustix::fs::{Mode, OFlags};

/// fs-verity's number for SHA-256.
const SHA256: u8 = 1;
/// Bytes of a block, which every kernel with fs-verity supports.
const BLOCK_SIZE: u32 = 4096;

/// Whether artifacts get fs-verity on the host's file system. It changes no byte of an artifact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FsVerity {
    /// Never. The default.
    #[default]
    Off,
    /// Where the file system and the kernel have it.
    Auto,
    /// Always. A pull fails where it cannot be enabled.
    On,
}

impl FsVerity {
    /// Tries whether files in a directory can get it, with a file that has no name. Where such a file cannot be made,
    /// only a pull can tell. Nothing is tried unless it is [`On`](Self::On).
    ///
    /// # Errors
    /// Returns the error with which a pull would fail.
    pub fn check(self, directory: &Path) -> io::Result<()> {
        if self != Self::On {
            return Ok(());
        }
        let mode = Mode::RUSR | Mode::WUSR;
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::open(directory, flags, mode) else {
            return Ok(());
        };
        rustix::io::write(&file, &[0])?;
        let open_file = format!("/proc/self/fd/{}", file.as_raw_fd());
        let reader = rustix::fs::open(open_file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        // The kernel enables it on files without writers.
        drop(file);
        enable(&File::from(reader))
    }

    /// Enables it on a finished file that nobody has open for writing, or finds it enabled.
    ///
    /// # Errors
    /// Returns an error if it is [`On`](Self::On) and cannot be enabled.
    pub(crate) fn enable(
        self,
        file: &File,
        enable: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<()> {
        match self {
            Self::Off => Ok(()),
            Self::Auto | Self::On => self.settle(enable(file)),
        }
    }

    /// Decides what a failure to enable it means.
    ///
    /// # Errors
    /// Returns the error if it is [`On`](Self::On).
    pub(super) fn settle(self, enabled: io::Result<()>) -> io::Result<()> {
        match (self, enabled) {
            (Self::On, Err(error)) => Err(error),
            (_, Err(error)) => {
                tracing::debug!(%error, "an artifact has no fs-verity");
                Ok(())
            }
            (_, Ok(())) => Ok(()),
        }
    }
}

/// How long to wait for a writer of the file to go.
const PATIENCE: Duration = Duration::from_secs(2);
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(5);

/// Enables fs-verity by the system call. It is fine if it was enabled before.
pub(crate) fn enable(file: &File) -> io::Result<()> {
    without_writers(|| {
        let unsupported = |message| io::Error::new(io::ErrorKind::Unsupported, message);
        match fs_ioc_enable_verity(file, SHA256, BLOCK_SIZE) {
            Ok(()) | Err(EnableVerityError::AlreadyEnabled) => Ok(()),
            Err(EnableVerityError::FilesystemNotSupported) => Err(unsupported(
                "the file system or the kernel has no fs-verity; it needs CONFIG_FS_VERITY, and ext4 or f2fs with the feature verity, or btrfs",
            )),
            Err(EnableVerityError::FileOpenedForWrite) => {
                Err(io::ErrorKind::ExecutableFileBusy.into())
            }
            Err(EnableVerityError::Io(error)) => Err(error),
            Err(error) => Err(io::Error::other(error)),
        }
    })
}

/// Repeats `enable` as long as the file has a writer. A child of this process has the descriptors of its parent until it
/// executes its program, so a file that this process has closed may be open for writing a moment longer.
fn without_writers(mut enable: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let start = Instant::now();
    loop {
        match enable() {
            Err(error)
                if error.kind() == io::ErrorKind::ExecutableFileBusy
                    && start.elapsed() < PATIENCE =>
            {
                std::thread::sleep(PAUSE);
            }
            enabled => return enabled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_with_a_passing_writer_gets_fs_verity() {
        let mut tries = 0;
        let enabled = without_writers(|| {
            tries += 1;
            match tries {
                1 | 2 => Err(io::ErrorKind::ExecutableFileBusy.into()),
                _ => Ok(()),
            }
        });
        assert!(enabled.is_ok());
        assert_eq!(tries, 3);
        let mut tries = 0;
        let refused = without_writers(|| {
            tries += 1;
            Err(io::ErrorKind::Unsupported.into())
        });
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::Unsupported);
        assert_eq!(tries, 1);
    }
}
