//! fs-verity: a file system that refuses changed blocks of a finished file.

use std::fs::File;
use std::io;

use composefs_ioctls::fsverity::{EnableVerityError, fs_ioc_enable_verity};

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
            Self::On => enable(file),
            Self::Auto => {
                if let Err(error) = enable(file) {
                    tracing::debug!(%error, "an artifact has no fs-verity");
                }
                Ok(())
            }
        }
    }
}

/// Enables fs-verity by the system call. It is fine if it was enabled before.
pub(crate) fn enable(file: &File) -> io::Result<()> {
    let unsupported = |message| io::Error::new(io::ErrorKind::Unsupported, message);
    match fs_ioc_enable_verity(file, SHA256, BLOCK_SIZE) {
        Ok(()) | Err(EnableVerityError::AlreadyEnabled) => Ok(()),
        Err(EnableVerityError::FilesystemNotSupported) => Err(unsupported(
            "the file system or the kernel has no fs-verity; it needs CONFIG_FS_VERITY, and ext4 or f2fs with the feature verity, or btrfs",
        )),
        Err(EnableVerityError::Io(error)) => Err(error),
        Err(error) => Err(io::Error::other(error)),
    }
}
