//! Pins an artifact for as long as a VM may need it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ociget::Digest;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::entry::has_name;
use super::lock_file::Held;
use super::trust::{Fault, Trust};
use super::{lease_file, name};
use crate::error::lacks_resources;
use crate::regular_file;

/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(1);
/// How long to wait for the lease file. Only `gc` holds it exclusively, for moments, and a process that keeps it must
/// not block this one forever.
const PATIENCE: Duration = Duration::from_secs(5);

/// An artifact that `gc` keeps as long as this value lives.
///
/// A lease is a shared `flock` on `.lease-<algorithm>-<hex>`, a file of the store beside the artifact. It is released
/// on drop or when the process dies. A VM that is another program can hold its own lease: `flock --shared --close
/// LEASE-FILE firecracker …`. Locks on the artifact itself, which a jail may hold, mean nothing.
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
/// [`Store::untag_image`](crate::Store::untag_image) and a rebuild with another key do not check leases: the name is
/// removed or replaced, and the open file stays. A lease belongs to the digest, so the artifact that a rebuild puts in
/// place of the leased one is pinned as well.
#[derive(Debug)]
pub struct Lease {
    file: OwnedFd,
    /// The lock. `None` if nothing can be removed from the file system, or in a store of another user.
    pin: Option<Held>,
    digest: Digest,
    path: PathBuf,
}

impl Lease {
    /// Returns the digest of the image.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Returns the absolute path of the artifact.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Pins the artifact of `digest`. Returns `None` if it does not exist.
    pub(crate) fn take(
        directory: &Path,
        digest: &Digest,
        trust: Trust,
    ) -> Result<Option<Self>, Fault> {
        Self::take_within(PATIENCE, directory, digest, trust)
    }

    pub(crate) fn take_within(
        patience: Duration,
        directory: &Path,
        digest: &Digest,
        trust: Trust,
    ) -> Result<Option<Self>, Fault> {
        let start = Instant::now();
        loop {
            // Opened before it is pinned, so that no file is created for an artifact that does not exist.
            let Some(mut lease) = Self::open(directory, digest, trust)? else {
                return Ok(None);
            };
            match lease_file::share(directory, digest, trust) {
                Ok(Some(pin)) => lease.pin = Some(pin),
                Ok(None) if start.elapsed() < patience => {
                    std::thread::sleep(PAUSE);
                    continue;
                }
                Ok(None) => return Err(Errno::WOULDBLOCK.into()),
                // Nothing can be removed from a read-only file system.
                Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {}
                Err(error) => return Err(about_the_file(directory, digest, error).into()),
            }
            // The name may have been removed or replaced meanwhile, so that it differs from the opened file.
            if has_name(&lease.file, &lease.path)? {
                return Ok(Some(lease));
            }
        }
    }

    /// Opens the artifact of `digest` without pinning it. In a store of another user no file is created, and its owner
    /// may remove the name. The open file stays.
    pub(crate) fn open(
        directory: &Path,
        digest: &Digest,
        trust: Trust,
    ) -> Result<Option<Self>, Fault> {
        let path = directory.join(name::artifact(digest));
        let Some(file) = open(&path)? else {
            return Ok(None);
        };
        trust.file(&file, &path)?;
        Ok(Some(Self {
            file,
            pin: None,
            digest: digest.clone(),
            path,
        }))
    }
}

/// Adds the path of the lease file to an error, because the caller only named the artifact.
fn about_the_file(directory: &Path, digest: &Digest, error: io::Error) -> io::Error {
    let path = directory.join(name::lease(digest));
    // The error number says that the error is transient, and a message would hide the number.
    if lacks_resources(&error) {
        return error;
    }
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// The artifact's descriptor, open for reading. It stays the same file even if the name is removed.
impl AsFd for Lease {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Opens an artifact, or returns `None` if it does not exist. A symlink in its place is not followed, and only a
/// regular file is opened.
///
/// Reading does not count as use: if a list or a verification changed the time of last access, it would change what is
/// collected next. Only the owner may request this from the kernel; for other users the time changes.
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

    fn artifact(directory: &Path) -> (PathBuf, Digest) {
        let digest = Digest::of(b"content");
        let path = directory.join(name::artifact(&digest));
        std::fs::write(&path, "content").unwrap();
        (path, digest)
    }

    #[test]
    fn lease_waits_for_an_exclusive_lock_within_bounds() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let (_, digest) = artifact(directory);
        let held = std::fs::File::create(directory.join(name::lease(&digest))).unwrap();
        held.lock().unwrap();
        let take = |patience| Lease::take_within(patience, directory, &digest, Trust::Everyone);
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

    #[test]
    fn lock_on_the_artifact_does_not_block_leases() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let (path, digest) = artifact(directory);
        let held = std::fs::File::open(&path).unwrap();
        held.lock().unwrap();
        let lease = Lease::take_within(Duration::ZERO, directory, &digest, Trust::Everyone);
        assert!(lease.unwrap().is_some());
    }

    #[test]
    fn missing_artifact_gets_no_lease_file() {
        let directory = tempfile::tempdir().unwrap();
        let digest = Digest::of(b"content");
        let lease = Lease::take(directory.path(), &digest, Trust::Everyone);
        assert!(lease.unwrap().is_none());
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
    }
}
