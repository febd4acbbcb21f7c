//! What stays when other processes use the store, and what a file may say of itself.

use std::cell::Cell;
use std::fs;
use std::hash::Hasher;
use std::os::unix::fs::chown;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use super::*;
use crate::options::Options;
use crate::store::full_disk::archive;
use crate::store::handle::Store;
use crate::store::last_use;

/// Sets when an artifact was used last, in seconds since 1970.
fn set_last_use(directory: &Path, digest: &Digest, seconds: i64) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    for name in [name::artifact(digest), name::lease(digest)] {
        let path = directory.join(name);
        rustix::fs::utimensat(CWD, path, &times, AtFlags::empty()).unwrap();
    }
}

/// Makes a store of images with different files, used long ago.
fn store(scratch: &Path, count: usize) -> (Store, Vec<Digest>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let options = Options {
        no_agent: true,
        ..Options::default()
    };
    let store = Store::open(scratch.join("store"), options).unwrap();
    let digests = (0..count).map(|n| {
        let image = archive(&scratch.join("archive"), &format!("file{n}"));
        let pulled = runtime.block_on(store.pull_image(&image, None)).unwrap();
        set_last_use(store.directory(), &pulled.digest, 1_000_000_000);
        pulled.digest
    });
    let digests = digests.collect();
    (store, digests)
}

/// Images and containers that were used since they were listed went (kubernetes/kubernetes#123631, NixOS/nix#15469).
#[test]
fn artifact_used_or_replaced_since_it_was_measured_stays() {
    let scratch = tempfile::tempdir().unwrap();
    let (store, digests) = store(scratch.path(), 1);
    let (directory, digest) = (store.directory(), &digests[0]);
    let path = store.path_for(digest);
    let measured = || {
        let measured = measured(directory, digest.clone(), store.trust());
        measured.unwrap().unwrap()
    };
    let replace = || {
        let copy = directory.join("copy");
        fs::copy(&path, &copy).unwrap();
        fs::rename(&copy, &path).unwrap();
        set_last_use(directory, digest, 1_000_000_000);
    };
    for change in [&|| last_use::set(directory, digest), &replace] as [&dyn Fn(); 2] {
        let before = measured();
        change();
        let outcome = remove(directory, &before, store.trust()).unwrap();
        assert_eq!(outcome, Outcome::Wanted(bytes(&before.artifact)));
        assert!(path.exists());
    }
    let before = measured();
    let outcome = remove(directory, &before, store.trust()).unwrap();
    assert_eq!(outcome, Outcome::Removed);
    // The second one has freed nothing.
    let outcome = remove(directory, &before, store.trust()).unwrap();
    assert_eq!(outcome, Outcome::Gone);
}

/// A sparse file counted with its whole length (agent-substrate/substrate#1517).
#[test]
fn size_that_no_build_wrote_costs_no_artifact() {
    const MADE_UP: u64 = 1 << 40;
    let scratch = tempfile::tempdir().unwrap();
    let (store, digests) = store(scratch.path(), 3);
    let (directory, other) = (store.directory(), Digest::of(b"other"));
    let bounds = Bounds {
        max_size: Some(1 << 30),
        ..Bounds::default()
    };
    let user = rustix::process::geteuid();
    // Only root can give a file to another user.
    for owner in [
        user.as_raw(),
        match user.is_root() {
            true => 54321,
            false => user.as_raw(),
        },
    ] {
        for name in [name::artifact(&other), name::recall(&digests[0])] {
            let path = directory.join(name);
            let _ = fs::remove_file(&path);
            let file = File::create(&path).unwrap();
            file.set_len(MADE_UP).unwrap();
            chown(&path, Some(owner), None).unwrap();
        }
        let collected = store.gc(&bounds).unwrap();
        assert!(collected.failed.is_empty(), "{:?}", collected.failed);
        assert!(collected.remaining_bytes < 1 << 30, "{collected:?}");
        assert!(digests.iter().all(|digest| store.path_for(digest).exists()));
    }
    // Over the bound, it goes first, although it was used last.
    let bounds = Bounds {
        max_size: Some(store.gc(&Bounds::default()).unwrap().remaining_bytes - 1),
        ..Bounds::default()
    };
    fs::write(store.path_for(&other), "no artifact").unwrap();
    let collected = store.gc(&bounds).unwrap();
    let removed: Vec<_> = collected.removed.iter().map(|gone| &gone.digest).collect();
    assert_eq!(removed[0], &other);
    assert!(removed.len() < 1 + digests.len(), "{removed:?}");
}

/// A path that counts how often it is compared.
struct Counted<'c>(u32, &'c Cell<u32>);

impl PartialEq for Counted<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.1.set(self.1.get() + 1);
        self.0 == other.0
    }
}

impl Eq for Counted<'_> {}

impl Hash for Counted<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

#[test]
fn file_is_compared_with_few_of_thousands_of_removed_artifacts() {
    const COUNT: u32 = 4000;
    let compared = Cell::new(0);
    let removed = Removed((0..COUNT).map(|n| Counted(n, &compared)).collect());
    compared.set(0);
    for n in 0..2 * COUNT {
        assert_eq!(removed.has(&Counted(n, &compared)), n < COUNT);
    }
    // Each that is there with itself, and a few others whose hashes agree in the bits that count.
    assert!(compared.get() < 2 * COUNT, "{compared:?}");
}

#[test]
fn lease_file_of_an_artifact_that_is_being_built_stays() {
    let directory = tempfile::tempdir().unwrap();
    let (directory, digest) = (directory.path(), Digest::of(b"image"));
    let trust = Trust::Everyone;
    lease_file::make(directory, &digest, trust).unwrap();
    let lease = directory.join(name::lease(&digest));
    let collect = |dry_run| {
        let bounds = Bounds {
            dry_run,
            ..Bounds::default()
        };
        let collected = collect(directory, &bounds, SystemTime::now(), trust).unwrap();
        assert!(collected.failed.is_empty(), "{:?}", collected.failed);
        collected.leftovers
    };
    // The build looks whether there is a file before or after the collection, and makes none if there is.
    let building = BuildLock::try_take(directory, &digest, trust).unwrap();
    assert!(building.is_some());
    assert_eq!((collect(true), collect(false)), (0, 0));
    assert!(lease.exists());
    drop(building);
    assert_eq!((collect(true), collect(false)), (2, 2));
    assert_eq!(fs::read_dir(directory).unwrap().count(), 0);
}
