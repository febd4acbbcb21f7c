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
    /// Files that could not be removed, each with the reason. The others were removed all the same.
    pub failed: Vec<Error>,
    /// Bytes of the remaining artifacts, and of the files beside them.
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
    for digest in inventory::digests(directory)? {
        artifacts.extend(inventory::artifact(directory, digest, trust));
    }
    artifacts.sort_by(|a, b| (a.last_used, &a.digest).cmp(&(b.last_used, &b.digest)));
    let mut collected = Collected {
        remaining_bytes: artifacts.iter().map(bytes).sum(),
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
            Err(error) => {
                let error = Error::store("remove", &artifact.path, error);
                collected.failed.push(error);
            }
        }
    }
    let removed = collected.removed.iter();
    let removed = Removed(removed.map(|artifact| artifact.path.as_path()).collect());
    let gone = |path: &Path| Ok(removed.has(&path) || entry::gone(path)?);
    let leftovers = leftovers(directory, trust, act, gone)?;
    collected.leftovers = leftovers.removed;
    collected.failed.extend(leftovers.failed);
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
fn remove(directory: &Path, artifact: &Artifact, trust: Trust) -> io::Result<bool> {
    let _lock = match BuildLock::try_take(directory, &artifact.digest, trust) {
        Ok(Some(lock)) => lock,
        Ok(None) => return Ok(false),
        // No build can take such a lock either, so keep the artifact, which may be the last one for a while.
        Err(error) if regular_file::is_other_type(&error) => return Ok(false),
        Err(error) => return Err(error),
    };
    // A file that cannot be opened is not an artifact of this user. It stays, and its error is reported.
    if lease::open(&artifact.path)?.is_none() {
        return Ok(true);
    }
    // Held until the name is removed. `None` if a process leases it.
    match Unleased::try_take(directory, &artifact.digest, trust)? {
        Some(_unleased) => {
            tags::settle(directory, &artifact.digest, trust);
            entry::remove(&artifact.path)?;
            Ok(true)
        }
        None => Ok(false),
    }
}

/// Returns whether [`remove`] would remove an artifact.
fn is_removable(directory: &Path, artifact: &Artifact, trust: Trust) -> io::Result<bool> {
    match BuildLock::is_free(directory, &artifact.digest, trust) {
        Ok(true) => {}
        Ok(false) => return Ok(false),
        Err(error) if regular_file::is_other_type(&error) => return Ok(false),
        Err(error) => return Err(error),
    }
    if lease::open(&artifact.path)?.is_none() {
        return Ok(true);
    }
    Unleased::could_be_taken(directory, &artifact.digest, trust)
}

/// Removes files that belong to no artifact.
fn leftovers(
    directory: &Path,
    trust: Trust,
    act: Act,
    gone: impl Fn(&Path) -> io::Result<bool>,
) -> io::Result<Swept> {
    let mut swept = sweep::sweep_as(directory, trust, act, &gone)?;
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
    Ok(swept)
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
