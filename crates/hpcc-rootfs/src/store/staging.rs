//! A file that does not exist until it is complete.
//!
//! ```text
//!  O_TMPFILE ──write──► sync ──link──► .NAME.PID-N ──rename──► NAME ──► sync directory
//!   no name: a crash, a kill or an error up to here         atomic, replaces what was there
//!   leaves nothing behind
//! ```
//!
//! A link can't replace a name and a rename can't take a file that has none, hence the short life
//! of the dot-name between the two. Where the file system has no `O_TMPFILE`, or `/proc` is not
//! there to link from, the file is made under the dot-name from the start and removed on drop.
//!
//! Everything happens relative to the directory's own descriptor: moving the directory meanwhile,
//! or planting symlinks in it, leads nowhere else.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

/// Permissions of a finished file, before the umask.
const MODE: Mode = Mode::from_raw_mode(0o644);

/// Distinguishes the dot-names of one process.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// A file being written that nobody can see yet.
#[derive(Debug)]
pub(crate) struct StagedFile {
    directory: OwnedFd,
    file: File,
    /// Set where the file has a dot-name that has to go if it is never published.
    dot_name: Option<String>,
}

impl StagedFile {
    /// Starts a file that may one day have a name in `directory`.
    pub(crate) fn create(directory: &Path) -> io::Result<Self> {
        let directory = rustix::fs::open(
            directory,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        if Path::new("/proc/self/fd").exists() {
            let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
            match rustix::fs::openat(&directory, ".", flags, MODE) {
                Ok(file) => {
                    return Ok(Self {
                        directory,
                        file: file.into(),
                        dot_name: None,
                    });
                }
                // What kernels and file systems answer that don't have it.
                Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Self::create_named(directory)
    }

    fn create_named(directory: OwnedFd) -> io::Result<Self> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            let name = dot_name();
            match rustix::fs::openat(&directory, &name, flags, MODE) {
                Ok(file) => {
                    return Ok(Self {
                        directory,
                        file: file.into(),
                        dot_name: Some(name),
                    });
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The open file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Makes the file durable, then gives it its name, replacing what had it, then makes the name
    /// durable.
    pub(crate) fn publish(mut self, name: &OsStr) -> io::Result<()> {
        self.file.sync_all()?;
        let from = match self.dot_name.take() {
            Some(dot_name) => dot_name,
            None => self.link()?,
        };
        if let Err(error) = rustix::fs::renameat(&self.directory, &from, &self.directory, name) {
            self.dot_name = Some(from);
            return Err(error.into());
        }
        rustix::fs::fsync(&self.directory)?;
        Ok(())
    }

    fn link(&self) -> io::Result<String> {
        let open_file = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        loop {
            let name = dot_name();
            match rustix::fs::linkat(
                CWD,
                &open_file,
                &self.directory,
                &name,
                AtFlags::SYMLINK_FOLLOW,
            ) {
                Ok(()) => return Ok(name),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if let Some(name) = &self.dot_name {
            // Nothing to be done about a failure here; a name with a dot is never listed.
            let _ = rustix::fs::unlinkat(&self.directory, name, AtFlags::empty());
        }
    }
}

fn dot_name() -> String {
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    format!(".staged-{}-{serial}", std::process::id())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn named(directory: &Path) -> StagedFile {
        StagedFile::create_named(File::open(directory).unwrap().into()).unwrap()
    }

    #[test]
    fn nothing_has_a_name_before_it_is_published() {
        let directory = tempfile::tempdir().unwrap();
        let staged = StagedFile::create(directory.path()).unwrap();
        staged.file().write_all(b"content").unwrap();
        assert_eq!(names(directory.path()), [""; 0]);
        staged.publish("name".as_ref()).unwrap();
        assert_eq!(names(directory.path()), ["name"]);
        assert_eq!(fs::read(directory.path().join("name")).unwrap(), b"content");
    }

    #[test]
    fn publishing_replaces_and_the_old_file_lives_on_for_who_has_it_open() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("name");
        fs::write(&path, b"old").unwrap();
        let old = File::open(&path).unwrap();
        for staged in [
            StagedFile::create(directory.path()).unwrap(),
            named(directory.path()),
        ] {
            staged.file().write_all(b"new").unwrap();
            staged.publish("name".as_ref()).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"new");
        }
        assert_eq!(io::read_to_string(old).unwrap(), "old");
        assert_eq!(names(directory.path()), ["name"]);
    }

    #[test]
    fn a_dropped_file_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        drop(StagedFile::create(directory.path()).unwrap());
        let fallback = named(directory.path());
        assert_eq!(names(directory.path()).len(), 1);
        drop(fallback);
        assert_eq!(names(directory.path()), [""; 0]);
    }

    #[test]
    fn a_failed_rename_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("taken")).unwrap();
        let staged = StagedFile::create(directory.path()).unwrap();
        assert!(staged.publish("taken".as_ref()).is_err());
        assert_eq!(names(directory.path()), ["taken"]);
    }

    #[test]
    fn a_planted_symlink_is_replaced_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let victim = directory.path().join("victim");
        fs::write(&victim, b"precious").unwrap();
        std::os::unix::fs::symlink(&victim, directory.path().join("name")).unwrap();
        let staged = StagedFile::create(directory.path()).unwrap();
        staged.file().write_all(b"new").unwrap();
        staged.publish("name".as_ref()).unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        assert_eq!(fs::read(directory.path().join("name")).unwrap(), b"new");
    }
}
