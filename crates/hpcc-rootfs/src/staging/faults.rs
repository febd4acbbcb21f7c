//! Publishing while system calls fail.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ociget::Digest;
use rustix::fs::Mode;
use rustix::io::Errno;

use super::files::{Files, Kernel};
use super::staged_file::{StagedFile, Staging};
use crate::artifact::{
    ArtifactWriter, CHUNK, Digests, ImageOptions, Key, Record, SUPERBLOCK, verify,
};

pub(super) const NAME: &str = "artifact";

/// Writes an artifact of two chunks and publishes it without proofs, because a test has none.
fn publish(directory: &Path, files: Arc<dyn Files>) -> io::Result<()> {
    publish_with(directory, files, false)
}

/// Does the same, with a hash tree if `verity` is set.
pub(super) fn publish_with(
    directory: &Path,
    files: Arc<dyn Files>,
    verity: bool,
) -> io::Result<()> {
    let mut staging = Staging::new(1, None);
    staging.files = files;
    let digest = Digest::of(b"image");
    let options = ImageOptions {
        verity,
        ..ImageOptions::default()
    };
    let platform = "linux/amd64".into();
    let key = Key::new(
        digest.clone(),
        digest,
        platform,
        Digests::default(),
        &options,
    );
    let mut writer = ArtifactWriter::new(StagedFile::create(directory, staging)?, key)?;
    writer.write_all(&vec![7; CHUNK + 8192 - SUPERBLOCK])?;
    writer
        .seal([0xAB; SUPERBLOCK])?
        .into_staged()
        .publish(NAME.as_ref())
}

pub(super) fn is_sound(path: &Path) -> bool {
    let Ok(file) = File::open(path) else {
        return false;
    };
    let Ok(record) = Record::read(&file) else {
        return false;
    };
    verify(&file, &record).is_ok_and(|damage| damage.is_empty())
}

pub(super) fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Open,
    Create,
    Lock,
    Write(u32),
    Permit,
    Sync,
    Link,
    Rename,
    SyncDirectory,
    Space,
}

/// Fails one call; with `named`, as on a file system without `O_TMPFILE`.
#[derive(Debug)]
struct Faulty {
    named: bool,
    call: Call,
    errno: Errno,
    writes: AtomicU32,
}

impl Faulty {
    fn fail(&self, call: Call) -> Result<(), Errno> {
        if self.call == call {
            return Err(self.errno);
        }
        Ok(())
    }
}

impl Files for Faulty {
    fn open_unnamed(&self, directory: &OwnedFd, mode: Mode) -> Result<OwnedFd, Errno> {
        self.fail(Call::Open)?;
        if self.named {
            return Err(Errno::OPNOTSUPP);
        }
        Kernel.open_unnamed(directory, mode)
    }

    fn create(&self, directory: &OwnedFd, name: &str, mode: Mode) -> Result<OwnedFd, Errno> {
        self.fail(Call::Create)?;
        Kernel.create(directory, name, mode)
    }

    fn lock(&self, file: &File) -> Result<(), Errno> {
        self.fail(Call::Lock)?;
        Kernel.lock(file)
    }

    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> Result<usize, Errno> {
        self.fail(Call::Write(self.writes.fetch_add(1, Ordering::Relaxed)))?;
        Kernel.write(file, bytes, offset)
    }

    fn permit(&self, file: &File, mode: Mode) -> Result<(), Errno> {
        self.fail(Call::Permit)?;
        Kernel.permit(file, mode)
    }

    fn sync(&self, file: &File) -> Result<(), Errno> {
        self.fail(Call::Sync)?;
        Kernel.sync(file)
    }

    fn link(&self, file: &File, directory: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
        self.fail(Call::Link)?;
        Kernel.link(file, directory, name)
    }

    fn rename(&self, directory: &OwnedFd, from: &str, to: &OsStr) -> Result<(), Errno> {
        self.fail(Call::Rename)?;
        Kernel.rename(directory, from, to)
    }

    fn sync_directory(&self, directory: &OwnedFd) -> Result<(), Errno> {
        self.fail(Call::SyncDirectory)?;
        Kernel.sync_directory(directory)
    }

    fn available(&self, directory: &OwnedFd) -> Result<u64, Errno> {
        self.fail(Call::Space)?;
        Kernel.available(directory)
    }
}

#[test]
fn a_failing_call_is_reported_and_leaves_nothing() {
    use Call::{Create, Link, Lock, Open, Permit, Rename, Space, Sync, SyncDirectory, Write};
    let errors = [
        Errno::NOSPC,
        Errno::IO,
        Errno::ROFS,
        Errno::ACCESS,
        Errno::MFILE,
    ];
    let unnamed = [
        Open,
        Lock,
        Space,
        Write(0),
        Write(1),
        Write(2),
        Permit,
        Sync,
        Link,
        Rename,
        SyncDirectory,
    ];
    let named = [
        Create,
        Lock,
        Space,
        Write(0),
        Write(1),
        Write(2),
        Permit,
        Sync,
        Rename,
        SyncDirectory,
    ];
    let cases = unnamed.map(|call| (false, call)).into_iter();
    for (named, call) in cases.chain(named.map(|call| (true, call))) {
        for errno in errors {
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join(NAME), b"old").unwrap();
            let faulty = Faulty {
                named,
                call,
                errno,
                writes: AtomicU32::new(0),
            };
            let error = publish(directory.path(), Arc::new(faulty)).unwrap_err();
            let case = format!("{call:?} {errno:?}");
            assert_eq!(error.raw_os_error(), Some(errno.raw_os_error()), "{case}");
            assert_eq!(names(directory.path()), [NAME], "{case}");
            let path = directory.path().join(NAME);
            // By then it had its name, and was complete.
            if call == SyncDirectory {
                assert!(is_sound(&path), "{case}");
            } else {
                assert_eq!(fs::read(&path).unwrap(), b"old", "{case}");
            }
        }
    }
}

#[test]
fn file_system_without_modes_or_synced_directories_will_do() {
    for (call, errnos) in [
        (
            Call::Permit,
            &[Errno::PERM, Errno::OPNOTSUPP, Errno::NOSYS][..],
        ),
        (
            Call::SyncDirectory,
            &[Errno::INVAL, Errno::BADF, Errno::OPNOTSUPP, Errno::NOSYS],
        ),
    ] {
        for (errno, named) in errnos
            .iter()
            .flat_map(|errno| [(*errno, false), (*errno, true)])
        {
            let directory = tempfile::tempdir().unwrap();
            let faulty = Faulty {
                named,
                call,
                errno,
                writes: AtomicU32::new(0),
            };
            let case = format!("{faulty:?}");
            publish(directory.path(), Arc::new(faulty)).expect(&case);
            assert!(is_sound(&directory.path().join(NAME)), "{case}");
            assert_eq!(names(directory.path()), [NAME], "{case}");
        }
    }
}

#[test]
fn failing_write_of_a_hash_tree_leaves_nothing() {
    // The second chunk, the first one, the superblock of the tree, its two levels, the record.
    for write in 0..7 {
        let directory = tempfile::tempdir().unwrap();
        let faulty = Faulty {
            named: false,
            call: Call::Write(write),
            errno: Errno::NOSPC,
            writes: AtomicU32::new(0),
        };
        let error = publish_with(directory.path(), Arc::new(faulty), true).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{write}");
        assert!(names(directory.path()).is_empty(), "{write}");
    }
}

#[test]
fn scratch_file_reads_back_and_leaves_nothing() {
    for named in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let mut staging = Staging::new(0, None);
        staging.files = Arc::new(Faulty {
            named,
            call: Call::SyncDirectory,
            errno: Errno::IO,
            writes: AtomicU32::new(0),
        });
        let staged = StagedFile::create(directory.path(), staging).unwrap();
        let mut scratch = staged.scratch().unwrap().create().unwrap();
        scratch.write_all_at(b"digests", 4096).unwrap();
        let mut bytes = [0; 7];
        scratch.read_exact_at(&mut bytes, 4096).unwrap();
        assert_eq!(&bytes, b"digests");
        drop((staged, scratch));
        assert!(names(directory.path()).is_empty(), "{named}");
    }
}

/// Writes little at a time, and is interrupted before each.
#[derive(Debug, Default)]
struct Reluctant(AtomicU32);

impl Files for Reluctant {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> Result<usize, Errno> {
        if self.0.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            return Err(Errno::INTR);
        }
        let some = bytes.get(..9999).unwrap_or(bytes);
        Kernel.write(file, some, offset)
    }
}

#[test]
fn short_and_interrupted_writes_are_continued() {
    let directory = tempfile::tempdir().unwrap();
    publish(directory.path(), Arc::new(Reluctant::default())).unwrap();
    assert!(is_sound(&directory.path().join(NAME)));
}

/// A disk that takes nothing and reports that by a count of zero.
#[derive(Debug)]
struct Stuck;

impl Files for Stuck {
    fn write(&self, _: &File, _: &[u8], _: u64) -> Result<usize, Errno> {
        Ok(0)
    }
}

#[test]
fn a_write_of_nothing_does_not_go_on_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let error = publish(directory.path(), Arc::new(Stuck)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    assert!(names(directory.path()).is_empty());
}
