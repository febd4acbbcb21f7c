//! Files that get their names when they are complete.

use std::fs;
use std::sync::Mutex;

use super::*;

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A kernel, or a file system, without `O_TMPFILE`.
#[derive(Debug)]
struct NoUnnamed;

impl Files for NoUnnamed {
    fn open_unnamed(&self, _: &OwnedFd, _: Mode) -> Result<OwnedFd, Errno> {
        Err(Errno::OPNOTSUPP)
    }
}

fn unnamed(directory: &Path) -> StagedFile {
    StagedFile::create(directory, Staging::new(0, None)).unwrap()
}

fn named(directory: &Path) -> StagedFile {
    let mut staging = Staging::new(0, None);
    staging.files = Arc::new(NoUnnamed);
    StagedFile::create(directory, staging).unwrap()
}

#[test]
fn nothing_has_a_name_before_it_is_published() {
    let directory = tempfile::tempdir().unwrap();
    let mut staged = unnamed(directory.path());
    staged.write_all_at(b"content", 0).unwrap();
    assert_eq!(names(directory.path()), [""; 0]);
    staged.publish("name".as_ref()).unwrap();
    assert_eq!(names(directory.path()), ["name"]);
    assert_eq!(fs::read(directory.path().join("name")).unwrap(), b"content");
}

#[test]
fn publishing_replaces_the_name_and_keeps_the_open_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("name");
    fs::write(&path, b"old").unwrap();
    let old = File::open(&path).unwrap();
    for mut staged in [unnamed(directory.path()), named(directory.path())] {
        staged.write_all_at(b"new", 0).unwrap();
        staged.publish("name".as_ref()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }
    assert_eq!(io::read_to_string(old).unwrap(), "old");
    assert_eq!(names(directory.path()), ["name"]);
}

/// Sends no hints, and records the ones that were due.
#[derive(Debug, Default)]
struct WrittenBack(Mutex<Vec<(u64, u64)>>);

impl Files for WrittenBack {
    fn write_back(&self, _: &File, offset: u64, length: NonZeroU64) {
        self.0.lock().unwrap().push((offset, length.get()));
    }
}

#[test]
fn sequential_writes_are_written_back_in_large_ranges() {
    let directory = tempfile::tempdir().unwrap();
    let seen = Arc::new(WrittenBack::default());
    let mut staging = Staging::new(0, None);
    staging.files = Arc::clone(&seen) as Arc<dyn Files>;
    let mut staged = StagedFile::create(directory.path(), staging).unwrap();
    let half = vec![7; usize::try_from(WRITE_BACK_EVERY / 2).unwrap()];
    let at = |halves: u64| halves * WRITE_BACK_EVERY / 2;
    // Two in sequence; one, then a jump that leaves it to the sync; two more, and the start again.
    for place in [at(0), at(1), at(2), at(10), at(11), at(0)] {
        staged.write_all_at(&half, place).unwrap();
    }
    let expected = [(at(0), WRITE_BACK_EVERY), (at(10), WRITE_BACK_EVERY)];
    assert_eq!(*seen.0.lock().unwrap(), expected);
    staged.publish("name".as_ref()).unwrap();
    assert_eq!(
        fs::metadata(directory.path().join("name")).unwrap().len(),
        at(12)
    );
}

#[test]
fn a_dropped_file_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    drop(unnamed(directory.path()));
    let fallback = named(directory.path());
    assert_eq!(names(directory.path()).len(), 1);
    drop(fallback);
    assert_eq!(names(directory.path()), [""; 0]);
}

#[test]
fn a_failed_rename_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("taken")).unwrap();
    let staged = unnamed(directory.path());
    assert!(staged.publish("taken".as_ref()).is_err());
    assert_eq!(names(directory.path()), ["taken"]);
}

#[test]
fn a_planted_symlink_is_replaced_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let victim = directory.path().join("victim");
    fs::write(&victim, b"precious").unwrap();
    std::os::unix::fs::symlink(&victim, directory.path().join("name")).unwrap();
    let mut staged = unnamed(directory.path());
    staged.write_all_at(b"new", 0).unwrap();
    staged.publish("name".as_ref()).unwrap();
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
    assert_eq!(fs::read(directory.path().join("name")).unwrap(), b"new");
}

/// A file system without `flock`, such as NFS without lockd.
#[derive(Debug)]
struct NoLocking(Errno);

impl Files for NoLocking {
    fn lock(&self, _: &File) -> Result<(), Errno> {
        Err(self.0)
    }
}

#[test]
fn file_system_without_locks_is_named_with_a_remedy() {
    let directory = tempfile::tempdir().unwrap();
    for errno in [Errno::OPNOTSUPP, Errno::NOSYS, Errno::NOLCK, Errno::INVAL] {
        let with = |staging: Staging| staging.with_files(Arc::new(NoLocking(errno)));
        let create = |staging| StagedFile::create(directory.path(), with(staging));
        let error = create(Staging::new(0, None)).unwrap_err();
        assert!(error.to_string().contains("cannot lock a file"), "{error}");
        let error = crate::error::Error::store("write to", directory.path(), error);
        assert!(error.hint().unwrap().contains("lockd"), "{errno}");
        let outside = create(Staging::outside(0)).unwrap();
        assert!(outside.scratch().unwrap().create().is_ok());
    }
}
