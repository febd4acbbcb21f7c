//! Publishing with fs-verity, on simulated file systems.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustix::fs::{FlockOperation, Mode};
use rustix::io::Errno;

use super::faults::{NAME, names};
use super::files::{Files, Kernel};
use super::fs_verity::FsVerity;
use super::staged_file::{StagedFile, Staging};

/// A file system with fs-verity on which enabling it has this result.
#[derive(Debug)]
struct Protecting {
    result: Result<(), io::ErrorKind>,
    calls: Mutex<Vec<&'static str>>,
}

impl Files for Protecting {
    fn sync(&self, file: &File) -> Result<(), Errno> {
        self.calls.lock().unwrap().push("sync");
        Kernel.sync(file)
    }

    fn enable_verity(&self, file: &File) -> io::Result<()> {
        self.calls.lock().unwrap().push("enable");
        // The kernel's conditions for the file: no descriptor that can write, and still one that is locked.
        let flags = rustix::fs::fcntl_getfl(file)?;
        assert!(!flags.intersects(rustix::fs::OFlags::RDWR | rustix::fs::OFlags::WRONLY));
        self.result.map_err(io::Error::from)
    }

    fn rename(&self, directory: &OwnedFd, from: &str, to: &OsStr) -> Result<(), Errno> {
        self.calls.lock().unwrap().push("rename");
        Kernel.rename(directory, from, to)
    }
}

#[test]
fn fs_verity_is_enabled_between_sync_and_name() {
    let refused = Err(io::ErrorKind::Unsupported);
    for (fs_verity, result, calls, names_left) in [
        (FsVerity::Off, refused, &["sync", "rename"][..], 1),
        (FsVerity::Auto, refused, &["sync", "enable", "rename"], 1),
        (FsVerity::Auto, Ok(()), &["sync", "enable", "rename"], 1),
        (FsVerity::On, Ok(()), &["sync", "enable", "rename"], 1),
        (FsVerity::On, refused, &["sync", "enable"], 0),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let files = Arc::new(Protecting {
            result,
            calls: Mutex::default(),
        });
        let mut staging = Staging::new(0, None).with_fs_verity(fs_verity);
        staging.files = Arc::clone(&files) as Arc<dyn Files>;
        let mut staged = StagedFile::create(directory.path(), staging).unwrap();
        staged.write_all_at(b"artifact", 0).unwrap();
        let published = staged.publish(NAME.as_ref());
        let case = format!("{fs_verity:?} {result:?}");
        assert_eq!(published.is_ok(), names_left == 1, "{case}");
        assert_eq!(*files.calls.lock().unwrap(), calls, "{case}");
        assert_eq!(names(directory.path()).len(), names_left, "{case}");
    }
}

/// A file system without `O_TMPFILE`, whose directory is swept before and after every call of the handover.
#[derive(Debug)]
struct Swept {
    directory: PathBuf,
    enabled: Mutex<bool>,
}

impl Swept {
    /// Removes every file that can be locked, as a sweep does with staged files.
    fn sweep(&self) {
        for name in names(&self.directory) {
            let path = self.directory.join(name);
            let file = File::open(&path).unwrap();
            if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                std::fs::remove_file(path).unwrap();
            }
        }
    }
}

impl Files for Swept {
    fn open_unnamed(&self, _: &OwnedFd, _: Mode) -> Result<OwnedFd, Errno> {
        Err(Errno::OPNOTSUPP)
    }

    fn sync(&self, file: &File) -> Result<(), Errno> {
        self.sweep();
        Kernel.sync(file)
    }

    fn reopen(
        &self,
        file: &File,
        directory: &OwnedFd,
        name: Option<&str>,
    ) -> Result<OwnedFd, Errno> {
        self.sweep();
        let reopened = Kernel.reopen(file, directory, name);
        self.sweep();
        reopened
    }

    fn lock(&self, file: &File) -> Result<(), Errno> {
        let locked = Kernel.lock(file);
        self.sweep();
        locked
    }

    fn enable_verity(&self, _: &File) -> io::Result<()> {
        self.sweep();
        *self.enabled.lock().unwrap() = true;
        Ok(())
    }

    fn rename(&self, directory: &OwnedFd, from: &str, to: &OsStr) -> Result<(), Errno> {
        self.sweep();
        Kernel.rename(directory, from, to)
    }
}

fn published(directory: &Path, files: Arc<dyn Files>, fs_verity: FsVerity) -> io::Result<()> {
    let mut staging = Staging::new(0, None).with_fs_verity(fs_verity);
    staging.files = files;
    let mut staged = StagedFile::create(directory, staging)?;
    staged.write_all_at(b"artifact", 0)?;
    staged.publish(NAME.as_ref())
}

#[test]
fn sweep_during_fs_verity_leaves_a_named_file_alone() {
    let directory = tempfile::tempdir().unwrap();
    let files = Arc::new(Swept {
        directory: directory.path().to_owned(),
        enabled: Mutex::default(),
    });
    let published = published(directory.path(), Arc::clone(&files) as _, FsVerity::On);
    published.unwrap();
    assert!(*files.enabled.lock().unwrap());
    assert_eq!(names(directory.path()), [NAME]);
}

/// A file system on which no file can be opened twice.
#[derive(Debug)]
struct Once;

impl Files for Once {
    fn reopen(&self, _: &File, _: &OwnedFd, _: Option<&str>) -> Result<OwnedFd, Errno> {
        Err(Errno::NOENT)
    }
}

#[test]
fn fs_verity_that_is_optional_never_fails_a_build() {
    for (fs_verity, is_published) in [(FsVerity::Auto, true), (FsVerity::On, false)] {
        let directory = tempfile::tempdir().unwrap();
        let published = published(directory.path(), Arc::new(Once), fs_verity);
        assert_eq!(published.is_ok(), is_published, "{fs_verity:?}");
        assert_eq!(names(directory.path()).len(), usize::from(is_published));
    }
}
