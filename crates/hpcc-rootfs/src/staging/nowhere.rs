//! A file that drops the bytes written to it.

use std::fs::File;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::files::Files;

/// Accepts every byte and keeps none: for a build of which only the digests are wanted.
#[derive(Debug)]
pub(super) struct Nowhere;

impl Files for Nowhere {
    fn open_unnamed(&self, _: &OwnedFd, _: Mode) -> Result<OwnedFd, Errno> {
        rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
    }

    fn lock(&self, _: &File) -> Result<(), Errno> {
        Ok(())
    }

    fn write(&self, _: &File, bytes: &[u8], _: u64) -> Result<usize, Errno> {
        Ok(bytes.len())
    }

    fn write_back(&self, _: &File, _: u64, _: NonZeroU64) {}

    fn keeps(&self) -> bool {
        false
    }

    fn available(&self, _: &OwnedFd) -> Result<u64, Errno> {
        Ok(u64::MAX)
    }
}
