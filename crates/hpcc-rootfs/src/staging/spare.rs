//! A staged file that may be given up, so that another one has its disk space.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::staged_file::StagedFile;

/// A staged file that is worth less than the file that it is written beside. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Spare(Arc<Mutex<Option<StagedFile>>>);

impl Spare {
    pub(crate) fn new(staged: StagedFile) -> Self {
        Self(Arc::new(Mutex::new(Some(staged))))
    }

    /// Writes all of `bytes` at an offset.
    ///
    /// # Errors
    /// The file was given up, or the system's error.
    pub(crate) fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut staged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *staged {
            Some(staged) => staged.write_all_at(bytes, offset),
            None => Err(io::Error::new(
                io::ErrorKind::StorageFull,
                "its disk space was needed",
            )),
        }
    }

    /// Returns the file if it was not given up.
    pub(crate) fn take(&self) -> Option<StagedFile> {
        let mut staged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        staged.take()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::OwnedFd;

    use rustix::io::Errno;

    use super::*;
    use crate::staging::Staging;
    use crate::staging::files::{Files, Kernel};

    /// A disk that has space for nothing else as long as the spare file exists.
    #[derive(Debug)]
    struct Full(Spare, Errno);

    impl Full {
        fn is_full(&self) -> bool {
            self.0.0.lock().unwrap().is_some()
        }
    }

    impl Files for Full {
        fn write(&self, file: &File, bytes: &[u8], offset: u64) -> Result<usize, Errno> {
            match self.is_full() {
                true => Err(self.1),
                false => Kernel.write(file, bytes, offset),
            }
        }

        fn available(&self, _: &OwnedFd) -> Result<u64, Errno> {
            Ok(if self.is_full() { 9 } else { 10 })
        }
    }

    #[test]
    fn full_disk_takes_the_space_of_the_spare_file() {
        let directory = tempfile::tempdir().unwrap();
        let create = |staging| StagedFile::create(directory.path(), staging);
        for (min_free, errno, given_up) in [
            (0, Errno::NOSPC, true),
            (0, Errno::DQUOT, true),
            (10, Errno::NOSPC, true),
            (0, Errno::IO, false),
        ] {
            let spare = Spare::new(create(Staging::new(0, None)).unwrap());
            let mut staging = Staging::new(min_free, None).with_spare(Some(spare.clone()));
            staging.files = Arc::new(Full(spare.clone(), errno));
            let written = create(staging).and_then(|mut staged| staged.write_all_at(b"bytes", 0));
            assert_eq!(written.is_ok(), given_up, "{errno:?}");
            assert_eq!(spare.write_all_at(b"more", 0).is_err(), given_up);
            assert_eq!(spare.take().is_none(), given_up);
        }
    }

    #[test]
    fn full_disk_without_a_spare_file_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let spare =
            Spare::new(StagedFile::create(directory.path(), Staging::new(0, None)).unwrap());
        let mut staging = Staging::new(0, None);
        staging.files = Arc::new(Full(spare, Errno::NOSPC));
        let mut staged = StagedFile::create(directory.path(), staging).unwrap();
        let error = staged.write_all_at(b"bytes", 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
