//! Whether files of a directory can get fs-verity, found out before a build depends on it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::files::{Files, Kernel};
use super::fs_verity::FsVerity;
use super::staged_file::{StagedFile, Staging};

impl FsVerity {
    /// Tries whether files in a directory can get it, with a file that has no name, or a temporary one where the file
    /// system has no such files. Nothing is tried unless it is [`On`](Self::On), and nothing is left behind.
    ///
    /// # Errors
    /// Returns the error with which a pull would fail because the file system or the kernel refuses it for every file.
    /// Whatever else fails, such as making the file, is left to the pull.
    pub fn check(self, directory: &Path) -> io::Result<()> {
        match self {
            Self::Off | Self::Auto => Ok(()),
            Self::On => probe(directory, Arc::new(Kernel)),
        }
    }
}

/// Enables it on a file of one byte, by the calls with which an artifact gets it.
fn probe(directory: &Path, files: Arc<dyn Files>) -> io::Result<()> {
    let staging = Staging::new(0, None)
        .with_files(files)
        .with_fs_verity(FsVerity::On);
    let staged = StagedFile::create(directory, staging).and_then(|mut staged| {
        staged.write_all_at(&[0], 0)?;
        Ok(staged)
    });
    match staged.map(|mut staged| staged.protect()) {
        Ok(Err(error)) if error.kind() == io::ErrorKind::Unsupported => Err(error),
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) | Err(error) => {
            tracing::debug!(%error, "only a build can tell whether there is fs-verity");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::OwnedFd;

    use rustix::fs::Mode;
    use rustix::io::Errno;

    use super::super::faults::names;
    use super::*;

    /// A file system with or without `O_TMPFILE`, which takes writes and fs-verity with these results.
    #[derive(Debug)]
    struct Refusing {
        is_named: bool,
        written: Result<(), Errno>,
        enabled: Result<(), io::ErrorKind>,
    }

    impl Files for Refusing {
        fn open_unnamed(&self, directory: &OwnedFd, mode: Mode) -> Result<OwnedFd, Errno> {
            match self.is_named {
                true => Err(Errno::OPNOTSUPP),
                false => Kernel.open_unnamed(directory, mode),
            }
        }

        fn write(&self, file: &File, bytes: &[u8], offset: u64) -> Result<usize, Errno> {
            self.written?;
            Kernel.write(file, bytes, offset)
        }

        fn enable_verity(&self, _: &File) -> io::Result<()> {
            self.enabled.map_err(io::Error::from)
        }
    }

    #[test]
    fn only_a_refusal_of_every_file_ends_a_pull_early() {
        let (unsupported, other) = (io::ErrorKind::Unsupported, io::ErrorKind::StorageFull);
        for is_named in [false, true] {
            for (written, enabled, refused) in [
                (Ok(()), Ok(()), false),
                (Ok(()), Err(other), false),
                (Ok(()), Err(unsupported), true),
                // No file could be tried.
                (Err(Errno::NOSPC), Err(unsupported), false),
                (Err(Errno::OPNOTSUPP), Err(unsupported), false),
            ] {
                let directory = tempfile::tempdir().unwrap();
                let files = Refusing {
                    is_named,
                    written,
                    enabled,
                };
                let case = format!("{files:?}");
                let probed = probe(directory.path(), Arc::new(files));
                assert_eq!(probed.is_err(), refused, "{case}");
                assert!(names(directory.path()).is_empty(), "{case}");
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        for fs_verity in [FsVerity::Off, FsVerity::Auto, FsVerity::On] {
            assert!(fs_verity.check(&missing).is_ok(), "{fs_verity:?}");
        }
    }
}
