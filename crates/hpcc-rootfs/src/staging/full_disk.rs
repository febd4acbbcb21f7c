//! A full disk with a spare file on it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;

use super::files::{Files, Kernel};
use super::spare::Spare;
use super::staged_file::{StagedFile, Staging};

/// A disk without free space as long as the spare file exists.
#[derive(Debug)]
struct Full(Spare<StagedFile>, Errno);

impl Full {
    fn is_full(&self) -> bool {
        self.0.with(|_| Ok(())).is_ok()
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
        assert_eq!(spare.with(|_| Ok(())).is_err(), given_up);
        assert_eq!(spare.take().is_none(), given_up);
    }
}

#[test]
fn full_disk_without_a_spare_file_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let spare = Spare::new(StagedFile::create(directory.path(), Staging::new(0, None)).unwrap());
    let mut staging = Staging::new(0, None);
    staging.files = Arc::new(Full(spare, Errno::NOSPC));
    let mut staged = StagedFile::create(directory.path(), staging).unwrap();
    let error = staged.write_all_at(b"bytes", 0).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}
