//! One lease file per digest. Every [`Lease`](super::lease::Lease) locks it shared, and `gc` exclusively while it
//! removes the artifact.
//!
//! It is a separate file because artifacts leave the store: a jail that has one as a hard link or a bind mount can lock
//! it forever, and such a lock means nothing to the store. The rules on which users can hold this one are in
//! [`lock_file`](super::lock_file).

use std::io;
use std::path::Path;

use ociget::Digest;
use rustix::fs::FlockOperation;

use super::entry::remove;
use super::lock_file::{Held, Tried, busy, is_made, others_can_open, try_lock};
use super::name;
use super::trust::Trust;
use crate::regular_file;

/// Permission bits with which users other than the owner can reach the files in a directory.
const OTHERS_ENTER: u32 = 0o011;

/// Creates the file if it does not exist, so that another program can lock it. A file in the right state is checked and
/// not opened, because a pull of an existing artifact does this every time.
pub(super) fn make(directory: &Path, digest: &Digest, trust: Trust) -> io::Result<()> {
    if is_made(&directory.join(name::lease(digest)), trust) {
        return Ok(());
    }
    share(directory, digest, trust).map(drop)
}

/// Takes one of any number of leases, or returns `None` if the artifact is being removed.
pub(super) fn share(directory: &Path, digest: &Digest, trust: Trust) -> io::Result<Option<Held>> {
    let operation = FlockOperation::NonBlockingLockShared;
    lock(directory, digest, operation, trust)
}

/// The right to remove an artifact that is not leased. Released on drop.
#[derive(Debug)]
pub(super) struct Unleased {
    /// `None` if the file does not exist and cannot be created.
    _held: Option<Held>,
}

impl Unleased {
    /// Takes the right, or returns `None` if the artifact is leased.
    pub(super) fn try_take(
        directory: &Path,
        digest: &Digest,
        trust: Trust,
    ) -> io::Result<Option<Self>> {
        let operation = FlockOperation::NonBlockingLockExclusive;
        match lock(directory, digest, operation, trust) {
            Ok(held) => Ok(held.map(|held| Self { _held: Some(held) })),
            // An artifact cannot be leased if something else is in place of its lease file, or if there is no disk
            // space for one.
            Err(error) if regular_file::is_other_type(&error) || is_full(&error) => {
                Ok(Some(Self { _held: None }))
            }
            Err(error) => Err(error),
        }
    }

    /// Returns whether the right could be taken. Makes and removes no file.
    pub(super) fn could_be_taken(
        directory: &Path,
        digest: &Digest,
        trust: Trust,
    ) -> io::Result<bool> {
        let path = directory.join(name::lease(digest));
        match busy(&path, FlockOperation::NonBlockingLockExclusive, trust) {
            Ok(None) => Ok(true),
            Ok(Some(mode)) => is_strangers(directory, mode, trust),
            Err(error) if regular_file::is_other_type(&error) => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// Removes the file unless it is locked by a lease. Returns whether it was removed.
pub(super) fn remove_unless_held(
    directory: &Path,
    digest: &Digest,
    trust: Trust,
) -> io::Result<bool> {
    match Unleased::try_take(directory, digest, trust)? {
        Some(_unleased) => remove(&directory.join(name::lease(digest))),
        None => Ok(false),
    }
}

fn lock(
    directory: &Path,
    digest: &Digest,
    operation: FlockOperation,
    trust: Trust,
) -> io::Result<Option<Held>> {
    let path = directory.join(name::lease(digest));
    loop {
        match try_lock(&path, operation, trust)? {
            Tried::Locked(held) => return Ok(Some(held)),
            Tried::Busy { mode } if is_strangers(directory, mode, trust)? => {
                super::notice::replaced(&path, "what held it no longer keeps the artifact from gc");
                remove(&path)?;
            }
            Tried::Busy { .. } => return Ok(None),
        }
    }
}

/// Returns whether a user that the store does not trust may hold a file of this mode: others can open it, and the
/// directory lets them reach it.
fn is_strangers(directory: &Path, mode: u32, trust: Trust) -> io::Result<bool> {
    if !others_can_open(mode, trust) {
        return Ok(false);
    }
    Ok(rustix::fs::stat(directory)?.st_mode & OTHERS_ENTER != 0)
}

pub(super) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn owner() -> Trust {
        Trust::Owner(rustix::process::geteuid().as_raw())
    }

    #[test]
    fn leases_share_and_exclude_removal() {
        let directory = tempfile::tempdir().unwrap();
        let (directory, digest) = (directory.path(), Digest::of(b"image"));
        let path = directory.join(name::lease(&digest));
        let could = || Unleased::could_be_taken(directory, &digest, owner()).unwrap();
        assert!(could() && !path.exists(), "a look makes no file");
        let leases = [(); 2].map(|()| share(directory, &digest, owner()).unwrap().unwrap());
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let take = || Unleased::try_take(directory, &digest, owner()).unwrap();
        assert!(take().is_none() && !could());
        assert!(!remove_unless_held(directory, &digest, owner()).unwrap());
        drop(leases);
        assert!(could());
        let unleased = take().unwrap();
        assert!(share(directory, &digest, owner()).unwrap().is_none());
        drop(unleased);
        assert!(remove_unless_held(directory, &digest, owner()).unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn lease_file_is_made_again_only_if_it_is_wrong() {
        let directory = tempfile::tempdir().unwrap();
        let (directory, digest) = (directory.path(), Digest::of(b"image"));
        let path = directory.join(name::lease(&digest));
        let mode = || path.symlink_metadata().unwrap().permissions().mode() & 0o777;
        make(directory, &digest, owner()).unwrap();
        assert_eq!(mode(), 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        make(directory, &digest, owner()).unwrap();
        assert_eq!(mode(), 0o600, "the mode was corrected");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("victim", &path).unwrap();
        assert!(make(directory, &digest, owner()).is_err());
    }

    #[test]
    fn wide_lease_file_counts_only_where_others_cannot_reach_it() {
        let directory = tempfile::tempdir().unwrap();
        let (directory, digest) = (directory.path(), Digest::of(b"image"));
        let path = directory.join(name::lease(&digest));
        for (reach, is_leased) in [(0o700, true), (0o755, false), (0o711, false)] {
            let permissions = |path: &Path, mode| {
                let mode = std::fs::Permissions::from_mode(mode);
                std::fs::set_permissions(path, mode).unwrap();
            };
            permissions(directory, reach);
            let held = File::create(&path).unwrap();
            permissions(&path, 0o644);
            held.lock_shared().unwrap();
            let could = Unleased::could_be_taken(directory, &digest, owner()).unwrap();
            assert_eq!(could, !is_leased, "{reach:o}");
            let taken = Unleased::try_take(directory, &digest, owner()).unwrap();
            assert_eq!(taken.is_none(), is_leased, "{reach:o}");
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn foreign_file_in_place_of_lease_file_pins_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (directory, digest) = (directory.path(), Digest::of(b"image"));
        let path = directory.join(name::lease(&digest));
        std::os::unix::fs::symlink("victim", &path).unwrap();
        assert!(share(directory, &digest, owner()).is_err());
        assert!(Unleased::could_be_taken(directory, &digest, owner()).unwrap());
        assert!(remove_unless_held(directory, &digest, owner()).unwrap());
        assert!(!directory.join("victim").exists());
        assert!(std::fs::symlink_metadata(&path).is_err());
    }
}
