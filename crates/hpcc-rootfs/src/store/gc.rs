//! Frees disk space: removes the least recently used artifacts first, and none that is pinned.

use std::collections::HashSet;
use std::hash::Hash;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use ociget::Digest;

use super::inventory::{self, Artifact};
use super::lease_file::{self, Unleased};
use super::lock::BuildLock;
use super::name::{self, Beside};
use super::sweep::{Act, Swept};
use super::trust::Trust;
use super::{entry, lease, sweep, tags};
use crate::error::Error;
use crate::regular_file;

/// Bounds on what may stay. Without a bound, only leftovers and quarantined artifacts are removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bounds {
    /// Largest total size in bytes of all artifacts, with the files beside them.
    pub max_size: Option<u64>,
    /// Longest time since an artifact was last used.
    pub max_age: Option<Duration>,
    /// Whether nothing is removed, and [`Collected`] lists what would be.
    pub dry_run: bool,
}

/// The result of a collection.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Collected {
    /// Removed artifacts, least recently used first.
    pub removed: Vec<Artifact>,
    /// Artifacts beyond the bounds that stay because they are pinned or being built at this moment.
    pub pinned: Vec<Digest>,
    /// Artifacts that stay although their records cannot be believed, least recently used first. The next pull of each
    /// builds it again; [`Store::verify`](crate::Store::verify) quarantines it unless other users own it or can write
    /// to it.
    pub unusable: Vec<Artifact>,
    /// Files that could not be removed, locked or looked at, each with the reason. They stay, and the others were
    /// removed all the same.
    pub failed: Vec<Error>,
    /// Bytes of the remaining artifacts, and of the files beside them. Artifacts of unknown size are not counted.
    pub remaining_bytes: u64,
    /// Number of other files that were removed: leftovers of terminated builds, quarantined artifacts, and locks, lease
    /// files and notes of artifacts that no longer exist. A note stays while an older artifact has one of its
    /// references.
    pub leftovers: u64,
}

/// Removes artifacts beyond the bounds, and all files that belong to no artifact.
pub(crate) fn collect(
    directory: &Path,
    bounds: &Bounds,
    now: SystemTime,
    trust: Trust,
) -> io::Result<Collected> {
    let mut artifacts = Vec::new();
    let mut failed = Vec::new();
    for digest in inventory::digests(directory)? {
        match inventory::measured(directory, digest, trust) {
            Ok(artifact) => artifacts.extend(artifact),
            // It may have been built a moment ago.
            Err(error) => failed.push(error),
        }
    }
    artifacts.sort_by(|a, b| (a.last_used, &a.digest).cmp(&(b.last_used, &b.digest)));
    let mut collected = Collected {
        remaining_bytes: artifacts.iter().map(bytes).sum(),
        failed,
        ..Collected::default()
    };
    let act = if bounds.dry_run {
        Act::Count
    } else {
        Act::Remove
    };
    for artifact in artifacts {
        let too_much = bounds
            .max_size
            .is_some_and(|max| collected.remaining_bytes > max);
        let unusable = artifact.record.is_err();
        // A time of last use in the future means no age.
        let age = now.duration_since(artifact.last_used).unwrap_or_default();
        if !too_much && bounds.max_age.is_none_or(|max| age <= max) {
            if unusable {
                collected.unusable.push(artifact);
            }
            continue;
        }
        let outcome = match act {
            Act::Remove => remove(directory, &artifact, trust),
            Act::Count => is_removable(directory, &artifact, trust),
        };
        match outcome {
            Ok(true) => {
                collected.remaining_bytes =
                    collected.remaining_bytes.saturating_sub(bytes(&artifact));
                collected.removed.push(artifact);
            }
            Ok(false) => collected.pinned.push(artifact.digest),
            Err(error) => collected.failed.push(error),
        }
    }
    let removed = collected.removed.iter();
    let removed = Removed(removed.map(|artifact| artifact.path.as_path()).collect());
    let gone = |path: &Path| Ok(removed.has(&path) || entry::gone(path)?);
    let mut swept = Swept::default();
    let ended = leftovers(&mut swept, directory, trust, act, gone);
    collected.leftovers = swept.removed;
    collected.failed.extend(swept.failed);
    // The artifacts that were removed are reported all the same.
    if let Err(error) = ended
        && error.kind() != io::ErrorKind::NotFound
    {
        let error = Error::store("remove leftovers from", directory, error);
        collected.failed.push(error);
    }
    Ok(collected)
}

/// The paths of the artifacts that were removed. In a dry run they still exist. Each file of the store is looked up in it.
struct Removed<P>(HashSet<P>);

impl<P: Eq + Hash> Removed<P> {
    fn has(&self, path: &P) -> bool {
        self.0.contains(path)
    }
}

/// Returns the bytes of an artifact and the files beside it.
fn bytes(artifact: &Artifact) -> u64 {
    artifact.size.saturating_add(artifact.beside)
}

/// Removes an artifact unless it is pinned. Its lock makes sure that no build publishes under its name between the
/// check and the removal.
fn remove(directory: &Path, artifact: &Artifact, trust: Trust) -> Result<bool, Error> {
    let lock = match lock_to_remove(directory, &artifact.digest, trust)? {
        Excluded::Locked(lock) => Some(lock),
        Excluded::Unlockable => None,
        Excluded::Busy => return Ok(false),
    };
    let removed = || {
        // A file that cannot be opened is not an artifact of this user. It stays, and its error is reported.
        let Some(file) = lease::open(&artifact.path)? else {
            return Ok(true);
        };
        // Held until the name is removed. `None` if a process leases it.
        let Some(_unleased) = Unleased::try_take(directory, &artifact.digest, trust)? else {
            return Ok(false);
        };
        tags::settle(directory, &artifact.digest, trust);
        // Without the lock, a build may have replaced it since.
        if lock.is_none() && !entry::has_name(&file, &artifact.path)? {
            return Ok(false);
        }
        entry::remove(&artifact.path)?;
        Ok(true)
    };
    removed().map_err(|error| Error::store("remove", &artifact.path, error))
}

/// Whether builds of an artifact are kept out while it is removed.
enum Excluded {
    Locked(BuildLock),
    /// There is no lock file, and no disk space for one: no build holds it, and none can take it.
    Unlockable,
    /// A build holds the lock.
    Busy,
}

/// Takes the lock of an artifact that is to be removed. A symlink, a FIFO or a socket in place of its file is removed
/// first, because no build can lock that either. A directory stays, which is an error.
fn lock_to_remove(directory: &Path, digest: &Digest, trust: Trust) -> Result<Excluded, Error> {
    let path = directory.join(name::lock(digest));
    let take = || match BuildLock::try_take(directory, digest, trust) {
        Err(error) if regular_file::is_other_type(&error) => match entry::remove(&path)? {
            true => BuildLock::try_take(directory, digest, trust),
            false => Err(error),
        },
        taken => taken,
    };
    match take() {
        Ok(Some(lock)) => Ok(Excluded::Locked(lock)),
        Ok(None) => Ok(Excluded::Busy),
        Err(error) if lease_file::is_full(&error) && entry::gone(&path).is_ok_and(|gone| gone) => {
            Ok(Excluded::Unlockable)
        }
        Err(error) => Err(Error::store("lock", &path, error)),
    }
}

/// Returns whether [`remove`] would remove an artifact.
fn is_removable(directory: &Path, artifact: &Artifact, trust: Trust) -> Result<bool, Error> {
    let path = directory.join(name::lock(&artifact.digest));
    let is_free = match BuildLock::is_free(directory, &artifact.digest, trust) {
        Err(error) if regular_file::is_other_type(&error) => match Act::Count.remove(&path) {
            Ok(false) => Err(error),
            removed => removed,
        },
        is_free => is_free,
    };
    if !is_free.map_err(|error| Error::store("lock", &path, error))? {
        return Ok(false);
    }
    let could = || match lease::open(&artifact.path)? {
        None => Ok(true),
        Some(_) => Unleased::could_be_taken(directory, &artifact.digest, trust),
    };
    could().map_err(|error| Error::store("remove", &artifact.path, error))
}

/// Removes files that belong to no artifact.
fn leftovers(
    swept: &mut Swept,
    directory: &Path,
    trust: Trust,
    act: Act,
    gone: impl Fn(&Path) -> io::Result<bool>,
) -> io::Result<()> {
    sweep::sweep_as(swept, directory, trust, act, &gone)?;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        match entry.file_name().to_str().and_then(name::classify) {
            Some(Beside::Bad(_)) => swept.count(&path, act.remove(&path)),
            Some(Beside::Lock(digest)) => {
                let artifact = directory.join(name::artifact(&digest));
                let outcome = gone(&artifact).and_then(|gone| match act {
                    _ if !gone => Ok(false),
                    Act::Remove => remove_lock(directory, &digest, trust),
                    Act::Count => match BuildLock::is_free(directory, &digest, trust) {
                        Err(error) if regular_file::is_other_type(&error) => act.remove(&path),
                        outcome => outcome,
                    },
                });
                swept.count(&path, outcome);
            }
            Some(Beside::Lease(digest)) => {
                let artifact = directory.join(name::artifact(&digest));
                let outcome = gone(&artifact).and_then(|gone| match act {
                    _ if !gone => Ok(false),
                    Act::Remove => remove_lease_file(directory, &digest, trust),
                    Act::Count => match Unleased::could_be_taken(directory, &digest, trust)? {
                        true if is_unbuilt(directory, &digest, trust)? => act.remove(&path),
                        _ => Ok(false),
                    },
                });
                swept.count(&path, outcome);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Removes the lease file of an artifact that is gone, unless a lease holds it. The lock makes sure that the artifact
/// does not come back meanwhile: its build found the file and made none.
fn remove_lease_file(directory: &Path, digest: &Digest, trust: Trust) -> io::Result<bool> {
    let lock = match BuildLock::try_take(directory, digest, trust) {
        Ok(Some(lock)) => Some(lock),
        Ok(None) => return Ok(false),
        // No build can lock that either.
        Err(error) if regular_file::is_other_type(&error) => None,
        // The lock file went before it, and there is no disk space for another. An empty file can wait.
        Err(error) if lease_file::is_full(&error) => return Ok(false),
        Err(error) => return Err(error),
    };
    let removed = match entry::gone(&directory.join(name::artifact(digest)))? {
        true => lease_file::remove_unless_held(directory, digest, trust),
        false => return Ok(false),
    };
    // Made for this if it did not exist.
    lock.map_or(Ok(()), |lock| lock.remove(directory, digest))?;
    removed
}

/// Returns whether no process builds an artifact.
fn is_unbuilt(directory: &Path, digest: &Digest, trust: Trust) -> io::Result<bool> {
    match BuildLock::is_free(directory, digest, trust) {
        Err(error) if regular_file::is_other_type(&error) => Ok(true),
        outcome => outcome,
    }
}

/// Removes a lock file. A process that opened it and has not locked it yet notices that it has lost its name.
fn remove_lock(directory: &Path, digest: &Digest, trust: Trust) -> io::Result<bool> {
    match BuildLock::try_take(directory, digest, trust) {
        Ok(Some(lock)) => lock.remove(directory, digest).map(|()| true),
        Ok(None) => Ok(false),
        // A symlink, a FIFO or a socket that another user planted.
        Err(error) if regular_file::is_other_type(&error) => {
            entry::remove(&directory.join(name::lock(digest)))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::hash::Hasher;

    use super::*;

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
        assert_eq!(std::fs::read_dir(directory).unwrap().count(), 0);
    }
}
