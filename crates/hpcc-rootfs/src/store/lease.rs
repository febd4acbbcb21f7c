//! Pins an artifact for as long as a VM may need it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ociget::Digest;
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use super::entry::has_name;
use super::trust::{Fault, Trust};
use crate::regular_file;

/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(1);
/// How long somebody may hold the artifact exclusively. Ours do so for moments only; a stranger who
/// keeps it is no reason to wait for ever.
const PATIENCE: Duration = Duration::from_secs(5);

/// An artifact that `gc` leaves alone as long as this lives.
///
/// It is a shared `flock` on the artifact itself, given back on drop or when the process dies. A VM
/// that is another program can hold one of its own: `flock --shared FILE firecracker …`.
///
/// ```no_run
/// # fn example(store: &hpcc_rootfs::Store) -> Result<(), Box<dyn std::error::Error>> {
/// let digest = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".parse()?;
/// if let Some(lease) = store.lease(&digest)? {
///     // `gc` keeps the file until `lease` is dropped.
///     println!("booting from {}", lease.path().display());
/// }
/// # Ok(())
/// # }
/// ```
///
/// [`Store::untag_image`](crate::Store::untag_image) and a rebuild with another key do not ask for
/// leases: the name goes, the open file stays.
#[derive(Debug)]
pub struct Lease {
    file: OwnedFd,
    digest: Digest,
    path: PathBuf,
}

impl Lease {
    /// Which image.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The absolute path of the artifact.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Pins the file at `path`, or says `None` if there is none.
    pub(crate) fn take(
        path: PathBuf,
        digest: &Digest,
        trust: Trust,
    ) -> Result<Option<Self>, Fault> {
        Self::take_within(PATIENCE, path, digest, trust)
    }

    pub(crate) fn take_within(
        patience: Duration,
        path: PathBuf,
        digest: &Digest,
        trust: Trust,
    ) -> Result<Option<Self>, Fault> {
        let start = Instant::now();
        loop {
            let Some(file) = open(&path)? else {
                return Ok(None);
            };
            trust.file(&file, &path)?;
            // Held exclusively for a moment by whoever just published or collects it.
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) if start.elapsed() < patience => {
                    std::thread::sleep(PAUSE);
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            // What was collected or replaced meanwhile pins nothing.
            if has_name(&file, &path)? {
                return Ok(Some(Self {
                    file,
                    digest: digest.clone(),
                    path,
                }));
            }
        }
    }
}

/// The artifact's descriptor, open for reading: it stays the same file even if the name goes.
impl AsFd for Lease {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Opens an artifact, or says `None` if there is none. A symlink in its place is not followed, and nothing
/// but a regular file is opened.
///
/// Reading it is no use of it: a list or a verification that moved the time of last access would
/// change what is collected next. Only the owner may ask the kernel for that; others do without.
pub(crate) fn open(path: &Path) -> io::Result<Option<OwnedFd>> {
    match regular_file::open(path, OFlags::NOFOLLOW | OFlags::NOATIME) {
        Ok(file) => Ok(Some(file.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_holds_an_artifact_exclusively_is_waited_for_but_not_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("artifact");
        std::fs::write(&path, "content").unwrap();
        let digest = Digest::of(b"content");
        let held = std::fs::File::open(&path).unwrap();
        held.lock().unwrap();
        let take = |patience| Lease::take_within(patience, path.clone(), &digest, Trust::Everyone);
        let error = take(Duration::from_millis(20)).unwrap_err();
        assert!(
            matches!(&error, Fault::Io(error) if error.kind() == io::ErrorKind::WouldBlock),
            "{error}"
        );
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| take(Duration::from_secs(600)));
            std::thread::sleep(Duration::from_millis(20));
            held.unlock().unwrap();
            assert!(waits.join().unwrap().unwrap().is_some());
        });
    }
}
