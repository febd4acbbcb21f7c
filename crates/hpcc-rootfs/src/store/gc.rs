//! Frees disk space: removes unusable artifacts first, then the least recently used ones, and none that is pinned.
//!
//! Other processes pull meanwhile. An artifact that was used or replaced since it was measured stays.

use std::collections::HashSet;
use std::fs::File;
use std::hash::Hash;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use ociget::Digest;

use super::inventory::{self, Artifact, Measured};
use super::lease_file::{self, Unleased};
use super::lock::BuildLock;
use super::name::{self, Beside};
use super::note_lock;
use super::sweep::{Act, Swept};
use super::trust::Trust;
use super::{entry, lease, sweep, tags};
use crate::error::Error;
use crate::regular_file;
use crate::units::Size;

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
    /// Removed artifacts: first those whose records cannot be believed, then the others, each least recently used first.
    /// The size of one whose record cannot be believed is at most what it takes on the disk.
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
        match measured(directory, digest, trust) {
            Ok(artifact) => artifacts.extend(artifact),
            // It may have been built a moment ago.
            Err(error) => failed.push(error),
        }
    }
    artifacts.sort_by_cached_key(|measured| order(&measured.artifact));
    let all = artifacts.iter().map(|measured| bytes(&measured.artifact));
    let mut collected = Collected {
        remaining_bytes: all.sum::<Size>().0,
        failed,
        ..Collected::default()
    };
    let act = if bounds.dry_run {
        Act::Count
    } else {
        Act::Remove
    };
    for measured in artifacts {
        let artifact = &measured.artifact;
        let too_much = bounds
            .max_size
            .is_some_and(|max| collected.remaining_bytes > max);
        // A time of last use in the future means no age.
        let age = now.duration_since(artifact.last_used).unwrap_or_default();
        if !too_much && bounds.max_age.is_none_or(|max| age <= max) {
            if artifact.record.is_err() {
                collected.unusable.push(measured.artifact);
            }
            continue;
        }
        let outcome = match act {
            Act::Remove => remove(directory, &measured, trust),
            Act::Count => is_removable(directory, artifact, trust),
        };
        let others = collected.remaining_bytes.saturating_sub(bytes(artifact));
        match outcome {
            Ok(Outcome::Removed) => {
                collected.remaining_bytes = others;
                collected.removed.push(measured.artifact);
            }
            Ok(Outcome::Gone) => collected.remaining_bytes = others,
            Ok(Outcome::Wanted(bytes)) => {
                collected.remaining_bytes = others.saturating_add(bytes);
            }
            Ok(Outcome::Pinned) => collected.pinned.push(measured.artifact.digest),
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

/// Measures an artifact as [`inventory::measured`] does. If its record cannot be believed, no build wrote its size, and it
/// has at most the bytes that it takes on the disk.
fn measured(directory: &Path, digest: Digest, trust: Trust) -> Result<Option<Measured>, Error> {
    let mut found = inventory::measured(directory, digest, trust)?;
    if let Some(Measured { artifact, disk, .. }) = &mut found
        && artifact.record.is_err()
    {
        artifact.size = artifact.size.min(*disk);
    }
    Ok(found)
}

/// Returns whether no pull can use an artifact, now or later. Another user may have set its times.
fn is_useless(artifact: &Artifact) -> bool {
    let record = artifact.record.as_ref();
    record.is_err_and(|error| !error.is_transient())
}

/// Returns what artifacts are sorted by, those first that go first.
fn order(artifact: &Artifact) -> (bool, SystemTime, Digest) {
    let (used, digest) = (artifact.last_used, artifact.digest.clone());
    (!is_useless(artifact), used, digest)
}

/// Returns the bytes of an artifact and the files beside it.
fn bytes(artifact: &Artifact) -> u64 {
    artifact.size.saturating_add(artifact.beside)
}

/// What became of an artifact that is beyond the bounds.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Removed,
    /// It is leased or being built.
    Pinned,
    /// It was used or replaced since it was measured, and has this many bytes now.
    Wanted(u64),
    /// Another process removed it.
    Gone,
}

/// Removes an artifact unless it is pinned, or was used or replaced since it was measured. Its lock makes sure that no
/// build publishes under its name between the check and the removal.
fn remove(directory: &Path, measured: &Measured, trust: Trust) -> Result<Outcome, Error> {
    let artifact = &measured.artifact;
    let failed = |error| Error::store("remove", &artifact.path, error);
    let lock = match lock_to_remove(directory, &artifact.digest, trust)? {
        Excluded::Locked(lock) => Some(lock),
        Excluded::Unlockable => None,
        Excluded::Busy => return Ok(Outcome::Pinned),
    };
    // A file that cannot be opened is not an artifact of this user. It stays, and its error is reported.
    let Some(file) = lease::open(&artifact.path).map_err(failed)? else {
        return Ok(Outcome::Gone);
    };
    let file = File::from(file);
    // This may wait for the lock on the notes, so it comes before the last look at the artifact.
    tags::settle(directory, &artifact.digest, trust);
    // On overlayfs the lease file says when the artifact was used, and the next step may make that file.
    let is_same = measured.is_same(&file).map_err(failed)?
        && (is_useless(artifact) || measured.is_unused(directory, &file)?);
    // Held until the name is removed. `None` if a process leases it.
    let unleased = Unleased::try_take(directory, &artifact.digest, trust).map_err(failed)?;
    let Some(_unleased) = unleased else {
        return Ok(Outcome::Pinned);
    };
    // Without the lock, a build may have replaced it since.
    let is_named = lock.is_some() || entry::has_name(&file, &artifact.path).map_err(failed)?;
    if !is_named || !is_same {
        let now = self::measured(directory, artifact.digest.clone(), trust)?;
        let now = now.map(|now| bytes(&now.artifact));
        return Ok(now.map_or(Outcome::Gone, Outcome::Wanted));
    }
    match entry::remove(&artifact.path).map_err(failed)? {
        true => Ok(Outcome::Removed),
        false => Ok(Outcome::Gone),
    }
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

/// Returns what [`remove`] would make of an artifact.
fn is_removable(directory: &Path, artifact: &Artifact, trust: Trust) -> Result<Outcome, Error> {
    let path = directory.join(name::lock(&artifact.digest));
    let is_free = match BuildLock::is_free(directory, &artifact.digest, trust) {
        Err(error) if regular_file::is_other_type(&error) => match Act::Count.remove(&path) {
            Ok(false) => Err(error),
            removed => removed,
        },
        is_free => is_free,
    };
    if !is_free.map_err(|error| Error::store("lock", &path, error))? {
        return Ok(Outcome::Pinned);
    }
    let could = || match lease::open(&artifact.path)? {
        None => Ok(Outcome::Gone),
        Some(_) => match Unleased::could_be_taken(directory, &artifact.digest, trust)? {
            true => Ok(Outcome::Removed),
            false => Ok(Outcome::Pinned),
        },
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
    if act == Act::Remove {
        let removed = note_lock::remove_file(directory, trust);
        swept.count(&directory.join(name::NOTES_LOCK), removed.map(|()| false));
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
mod tests;
