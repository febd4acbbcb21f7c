//! Removes leftovers of terminated builds, and no file that has a living owner.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::entry::{gone, has_name, remove};
use super::name::{self, Beside};
use super::note_lock::NoteLock;
use super::tags;
use super::trust::Trust;
use crate::error::Error;
use crate::regular_file;

/// The outcome of removing files one by one. A file that cannot be removed must not keep the others.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    /// Number of files that were removed.
    pub(crate) removed: u64,
    /// Files that could not be removed, each with the reason.
    pub(crate) failed: Vec<Error>,
}

impl Swept {
    /// Counts one file: `true` if it was removed, `false` if it may stay.
    pub(crate) fn count(&mut self, path: &Path, outcome: io::Result<bool>) {
        match outcome {
            Ok(removed) => self.removed += u64::from(removed),
            Err(error) => self.failed.push(Error::store("remove", path, error)),
        }
    }
}

/// Whether files are removed, or counted as if they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Remove,
    Count,
}

impl Act {
    /// Removes a file as [`remove`] does, or returns what that would return.
    pub(crate) fn remove(self, path: &Path) -> io::Result<bool> {
        if self == Self::Remove {
            return remove(path);
        }
        match fs::symlink_metadata(path) {
            Ok(metadata) => Ok(!metadata.is_dir()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Removes staged files whose owner is gone, recall files whose artifact is gone, and notes whose artifact is gone and
/// that no reference needs.
///
/// A staged file has a living owner exactly if its lock is held: see [`StagedFile`](crate::staging::StagedFile).
pub(crate) fn sweep(directory: &Path, trust: Trust) -> io::Result<Swept> {
    let mut swept = Swept::default();
    sweep_as(&mut swept, directory, trust, Act::Remove, gone)?;
    Ok(swept)
}

/// Sweeps, or only counts. `gone` returns whether an artifact is gone. Files that were removed before an error are
/// counted all the same.
pub(crate) fn sweep_as(
    swept: &mut Swept,
    directory: &Path,
    trust: Trust,
    act: Act,
    gone: impl Fn(&Path) -> io::Result<bool>,
) -> io::Result<()> {
    // Determined when the first note without an artifact is found.
    let mut needed = None;
    let mut notes = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        match entry.file_name().to_str().and_then(name::classify) {
            Some(Beside::Staged) => swept.count(&path, remove_staged(&path, trust, act)),
            Some(beside @ (Beside::Note(_) | Beside::Recall(_))) => {
                let (digest, is_note) = match beside {
                    Beside::Note(digest) => (digest, true),
                    Beside::Recall(digest) => (digest, false),
                    _ => continue,
                };
                let artifact = directory.join(name::artifact(&digest));
                let outcome = match gone(&artifact) {
                    Ok(true) if is_note => {
                        let needed = match &mut needed {
                            Some(needed) => needed,
                            none => none.insert(tags::needed(directory, trust, &gone)?),
                        };
                        match needed.contains(&digest) {
                            true => Ok(false),
                            false => {
                                notes.push((path, artifact));
                                continue;
                            }
                        }
                    }
                    Ok(true) => act.remove(&path),
                    outcome => outcome,
                };
                swept.count(&path, outcome);
            }
            _ => {}
        }
    }
    remove_notes(swept, (directory, trust), &notes, act, gone);
    Ok(())
}

/// Removes notes, each given with the path of its artifact. The lock is taken once for all of them, because a stopped
/// process can keep it: then one wait is lost. Counting changes no note and needs no lock.
fn remove_notes(
    swept: &mut Swept,
    (directory, trust): (&Path, Trust),
    notes: &[(PathBuf, PathBuf)],
    act: Act,
    gone: impl Fn(&Path) -> io::Result<bool>,
) {
    let _lock = (act == Act::Remove && !notes.is_empty()).then(|| NoteLock::take(directory, trust));
    for (path, artifact) in notes {
        // Another process may have published the artifact and noted a tag since.
        let outcome = match gone(artifact) {
            Ok(true) => act.remove(path),
            outcome => outcome.map(|_| false),
        };
        swept.count(path, outcome);
    }
}

fn remove_staged(path: &Path, trust: Trust, act: Act) -> io::Result<bool> {
    // Only trusted users can publish in this directory, so no build owns this file, locked or not.
    match rustix::fs::lstat(path) {
        Ok(stat) if trust.is_foreign(&stat) => return act.remove(path),
        Ok(_) => {}
        Err(Errno::NOENT) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    let file = match regular_file::open_to_lock(path) {
        Ok(file) => file,
        // The file was published or removed since it was listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        // A symlink, a FIFO or a socket. This program never creates one, so it has no owner.
        Err(error) if regular_file::is_other_type(&error) => return act.remove(path),
        Err(error) => return Err(error),
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) if has_name(&file, path)? => act.remove(path),
        Ok(()) | Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use ociget::Digest;

    use super::*;
    use crate::staging::{StagedFile, Staging};

    #[test]
    fn only_what_has_no_living_owner_goes() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let digest = Digest::of(b"image");
        let alive = at(".staged-1-0");
        fs::write(&alive, b"").unwrap();
        let owner = fs::File::open(&alive).unwrap();
        rustix::fs::flock(&owner, FlockOperation::LockExclusive).unwrap();
        for name in [
            ".staged-1-1",
            ".staged-foreign",
            "sha256-x.sqsh",
            &name::note(&digest),
            &name::lock(&digest),
            &name::bad(&digest),
        ] {
            fs::write(at(name), b"").unwrap();
        }
        fs::write(at("victim"), b"precious").unwrap();
        std::os::unix::fs::symlink(at("victim"), at(".staged-1-2")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at(".staged-1-3")).unwrap();
        fs::create_dir(at(".staged-1-4")).unwrap();
        fs::create_dir(at(&name::note(&Digest::of(b"other")))).unwrap();

        let sweep = || sweep(directory.path(), Trust::Everyone).unwrap();
        assert_eq!(sweep().removed, 4);
        for gone in [".staged-1-1", ".staged-1-2", ".staged-1-3"] {
            assert!(fs::symlink_metadata(at(gone)).is_err(), "{gone}");
        }
        assert_eq!(fs::read(at("victim")).unwrap(), b"precious");
        assert!(at(".staged-1-4").exists());
        assert!(!at(&name::note(&digest)).exists());
        assert!(alive.exists());
        assert!(at(".staged-foreign").exists());
        drop(owner);
        assert_eq!(sweep().removed, 1);
        assert!(!alive.exists());
    }

    #[test]
    fn held_lock_delays_removal_of_many_notes_only_once() {
        let directory = tempfile::tempdir().unwrap();
        let notes = 50;
        for number in 0..notes {
            let digest = Digest::of(format!("image {number}").as_bytes());
            fs::write(directory.path().join(name::note(&digest)), b"").unwrap();
        }
        let other = fs::File::create(directory.path().join(name::NOTES_LOCK)).unwrap();
        rustix::fs::flock(&other, FlockOperation::LockShared).unwrap();
        let start = std::time::Instant::now();
        let swept = sweep(directory.path(), Trust::Everyone).unwrap();
        assert_eq!(swept.removed, notes);
        // One wait takes 2 s, and one for each note would take 100 s.
        assert!(start.elapsed() < std::time::Duration::from_secs(40));
    }

    #[test]
    fn a_file_on_its_way_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let mut staged = StagedFile::create(directory.path(), Staging::new(0, None)).unwrap();
        staged.write_all_at(b"content", 0).unwrap();
        let swept = sweep(directory.path(), Trust::Everyone).unwrap();
        assert_eq!(swept.removed, 0);
        staged.publish("name".as_ref()).unwrap();
        assert_eq!(fs::read(directory.path().join("name")).unwrap(), b"content");
    }
}
