//! fs-verity: a file system rejects changed blocks of a finished file.

use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use composefs_ioctls::fsverity::{EnableVerityError, fs_ioc_enable_verity};
use rustix::io::Errno;

/// fs-verity's number for SHA-256.
const SHA256: u8 = 1;
/// Bytes of a block, which every kernel with fs-verity supports.
const BLOCK_SIZE: u32 = 4096;

/// Whether artifacts get fs-verity on the host's file system. It changes no byte of an artifact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FsVerity {
    /// Never; the default.
    #[default]
    Off,
    /// If the file system and the kernel support it.
    Auto,
    /// Always. A pull fails if it cannot be enabled.
    On,
}

impl FsVerity {
    /// Enables fs-verity on a finished file that is not open for writing, or finds it enabled.
    ///
    /// # Errors
    /// Returns an error if the value is [`On`](Self::On) and fs-verity cannot be enabled.
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

    /// Decides whether a failure to enable fs-verity is an error.
    ///
    /// # Errors
    /// Returns the error if the value is [`On`](Self::On).
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

/// How long to wait for a writer of the file to close it.
const PATIENCE: Duration = Duration::from_secs(2);
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(5);

/// Enables fs-verity by the system call. It is fine if it was enabled before.
///
/// # Errors
/// Returns an error of the kind [`Unsupported`](io::ErrorKind::Unsupported) if no file of this file system can get it.
pub(crate) fn enable(file: &File) -> io::Result<()> {
    without_writers(|| match fs_ioc_enable_verity(file, SHA256, BLOCK_SIZE) {
        Ok(()) | Err(EnableVerityError::AlreadyEnabled) => Ok(()),
        Err(EnableVerityError::FilesystemNotSupported) => Err(refusal(Errno::NOTTY.into())),
        Err(EnableVerityError::FileOpenedForWrite) => Err(io::ErrorKind::ExecutableFileBusy.into()),
        Err(EnableVerityError::Io(error)) => Err(refusal(error)),
        Err(error) => Err(io::Error::other(error)),
    })
}

/// Names what is missing, if an error of the system call says that no file can get it. Other errors stay as they are.
fn refusal(error: io::Error) -> io::Error {
    let missing = match Errno::from_io_error(&error) {
        Some(Errno::NOTTY | Errno::OPNOTSUPP) => {
            "the file system or the kernel has no fs-verity; it needs CONFIG_FS_VERITY, and ext4 or f2fs with the feature verity, or btrfs"
        }
        Some(Errno::INVAL) => {
            "the file system has no fs-verity with SHA-256 and blocks of 4096 bytes; before Linux 6.3, blocks have the size of a page"
        }
        Some(Errno::NOPKG) => {
            "the kernel has no SHA-256 for fs-verity; it needs CONFIG_CRYPTO_SHA256"
        }
        Some(Errno::PERM) => {
            "the kernel asks for a signature of files with fs-verity; it needs fs.verity.require_signatures=0"
        }
        _ => return error,
    };
    io::Error::new(io::ErrorKind::Unsupported, missing)
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

    #[test]
    fn refusal_of_every_file_differs_from_other_errors() {
        for errno in [
            Errno::NOTTY,
            Errno::OPNOTSUPP,
            Errno::INVAL,
            Errno::NOPKG,
            Errno::PERM,
        ] {
            let refused = refusal(errno.into());
            assert_eq!(refused.kind(), io::ErrorKind::Unsupported, "{errno:?}");
            assert!(refused.to_string().contains("it needs") || errno == Errno::INVAL);
        }
        for errno in [Errno::NOSPC, Errno::IO, Errno::INTR, Errno::ROFS] {
            let passed = refusal(errno.into());
            assert_eq!(Errno::from_io_error(&passed), Some(errno));
        }
    }
}
