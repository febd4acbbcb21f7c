//! A disk that turns out to be full when an artifact is synced.

use std::fs::{self, File};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;

use super::handle::Store;
use crate::error::Error;
use crate::options::Options;
use crate::staging::{Files, Kernel};

/// A disk that says at the first syncs that what was written has no place on it.
#[derive(Debug)]
struct FullAtSync {
    errno: Errno,
    failures: u32,
    syncs: AtomicU32,
}

impl Files for FullAtSync {
    fn sync(&self, file: &File) -> Result<(), Errno> {
        match self.syncs.fetch_add(1, Ordering::Relaxed) < self.failures {
            true => Err(self.errno),
            false => Kernel.sync(file),
        }
    }
}

/// Writes an archive with one file, which is an image as it is.
pub(super) fn archive(path: &Path, name: &str) -> String {
    let mut archive = tar::Builder::new(File::create(path).unwrap());
    let mut header = tar::Header::new_ustar();
    header.set_size(5);
    header.set_mode(0o644);
    archive
        .append_data(&mut header, name, &b"bytes"[..])
        .unwrap();
    archive.finish().unwrap();
    format!("tar:{}", path.display())
}

fn names(directory: &Path, prefix: &str) -> usize {
    let names = fs::read_dir(directory).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(prefix)).count()
}

#[test]
fn full_disk_at_sync_drops_the_data_for_later_builds() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    for (errno, failures, syncs, is_pulled) in [
        (Errno::NOSPC, 0, 1, true),
        (Errno::NOSPC, 1, 2, true),
        (Errno::DQUOT, 1, 2, true),
        // It is not the other file that took the space.
        (Errno::NOSPC, 2, 2, false),
        (Errno::IO, 1, 1, false),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let image = archive(&directory.path().join("archive"), "file");
        let cache = directory.path().join("store");
        let mut options = Options {
            no_agent: true,
            threads: NonZeroUsize::MIN,
            ..Options::default()
        };
        options.store.min_free = 0;
        let files = Arc::new(FullAtSync {
            errno,
            failures,
            syncs: AtomicU32::new(0),
        });
        let store = Store::open_with(&cache, options, Arc::clone(&files) as _).unwrap();
        let pulled = runtime.block_on(store.pull_image(&image, None));
        let case = format!("{errno:?} {failures}");
        assert_eq!(files.syncs.load(Ordering::Relaxed), syncs, "{case}");
        assert_eq!(names(&cache, "sha256-"), usize::from(is_pulled), "{case}");
        assert_eq!(names(&cache, ".staged-"), 0, "{case}");
        assert_eq!(
            names(&cache, ".recall-"),
            usize::from(failures == 0),
            "{case}"
        );
        match pulled {
            Ok(pulled) => {
                assert!(is_pulled, "{case}");
                assert_eq!(store.verify(&pulled.digest).unwrap(), Some(Vec::new()));
            }
            Err(error) => {
                let is_full = matches!(error, Error::NoSpace { .. });
                assert_eq!(
                    (is_pulled, is_full),
                    (false, errno == Errno::NOSPC),
                    "{case}"
                );
            }
        }
    }
}
