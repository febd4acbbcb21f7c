//! Where a file has data and holes, without a trace in the position of the caller's handle.

use std::fs::File;
use std::os::fd::AsRawFd as _;

use rustix::fs::{CWD, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

/// Seeks in a file. All handles that a handle was duplicated to share its position, also those of other threads, so it
/// seeks through a handle that it opens itself.
pub(super) struct Seeker<'f> {
    file: &'f File,
    /// `None` without `/proc`.
    own: Option<File>,
}

impl<'f> Seeker<'f> {
    pub(super) fn new(file: &'f File) -> Self {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let own = rustix::fs::openat(CWD, path, flags, Mode::empty());
        Self {
            file,
            own: own.ok().map(File::from),
        }
    }

    /// Returns the offset of what comes next there.
    pub(super) fn find(&self, next: SeekFrom) -> Result<u64, Errno> {
        if let Some(own) = &self.own {
            return rustix::fs::seek(own, next);
        }
        let before = rustix::fs::tell(self.file)?;
        let found = rustix::fs::seek(self.file, next);
        rustix::fs::seek(self.file, SeekFrom::Start(before))?;
        found
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, SeekFrom as Position};
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn position_of_the_handle_stays_with_and_without_proc() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all_at(&[1; 4096], 1 << 20).unwrap();
        file.seek(Position::Start(17)).unwrap();
        let seeker = Seeker::new(&file);
        assert!(seeker.own.is_some());
        for own in [seeker.own, None] {
            let seeker = Seeker { file: &file, own };
            let data = seeker.find(SeekFrom::Data(0)).unwrap();
            let hole = seeker.find(SeekFrom::Hole(1 << 20)).unwrap();
            // A file system may know no holes.
            assert!(data == 0 || data == 1 << 20, "{data}");
            assert_eq!(hole, (1 << 20) + 4096);
            let end = seeker.find(SeekFrom::Data(1 << 21));
            assert_eq!(end, Err(Errno::NXIO));
            assert_eq!((&file).stream_position().unwrap(), 17);
        }
    }
}
