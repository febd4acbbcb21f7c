//! Which artifact a reference was last pulled to.
//!
//! The notes of all artifacts record when each reference was pulled to them, and the newest of them counts. When the
//! artifact is removed or quarantined, its note stays as long as an artifact of the store has one of its references
//! with an older time. Without the note, that older artifact would silently become the meaning of the reference. So
//! there are never more notes without an artifact than references in the notes of artifacts.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use ociget::Digest;

use super::entry;
use super::full_reference::full_reference;
use super::inventory;
use super::name::{self, Beside};
use super::note::{self, Note};
use super::note_lock::NoteLock;
use super::trust::Trust;

/// Returns the digests of all notes in a directory, including those of artifacts that are gone; sorted.
pub(super) fn noted(directory: &Path) -> io::Result<Vec<Digest>> {
    let mut digests = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        if let Some(Beside::Note(digest)) = name.to_str().and_then(name::classify) {
            digests.push(digest);
        }
    }
    digests.sort();
    Ok(digests)
}

/// Returns the references that were pulled to an artifact, with the times of the last pulls. A note of a version that
/// kept no times has the reference of the last build.
pub(super) fn references(directory: &Path, digest: &Digest, trust: Trust) -> BTreeMap<String, u64> {
    let note = Note::read(directory, digest, trust);
    if let Some(references) = note.references {
        return references;
    }
    let source = note.source.as_deref().and_then(full_reference);
    let source = source.filter(|source| source.digest.is_none());
    let time = || inventory::built(directory, digest).map_or(0, note::milliseconds);
    source
        .map(|source| (source.text, time()))
        .into_iter()
        .collect()
}

/// Returns the time in milliseconds since 1970 at which a reference was last pulled, and to which artifacts: one, or
/// several if their order is unknown. They may have been removed.
pub(super) fn last(
    directory: &Path,
    reference: &str,
    trust: Trust,
) -> io::Result<(u64, Vec<Digest>)> {
    let (mut newest, mut found) = (0, Vec::new());
    for digest in noted(directory)? {
        let references = references(directory, &digest, trust);
        let Some(time) = references.get(reference).copied() else {
            continue;
        };
        if time > newest {
            found.clear();
        }
        if time >= newest {
            newest = time;
            found.push(digest);
        }
    }
    Ok((newest, found))
}

/// Returns all artifacts that a reference was ever pulled to, as far as notes tell.
pub(super) fn holders(directory: &Path, reference: &str, trust: Trust) -> Vec<Digest> {
    let mut holders = noted(directory).unwrap_or_default();
    holders.retain(|digest| references(directory, digest, trust).contains_key(reference));
    holders
}

/// Writes into all other notes with a reference that it was pulled to this artifact since. Returns the time of the last
/// pull of the reference. The caller has the lock on the notes, and writes that of the artifact next.
///
/// An error on writing is no reason to fail: that note cannot be changed, so it is removed, and if it cannot be removed
/// either, the times still tell which artifact counts.
pub(super) fn take_over(directory: &Path, reference: &str, digest: &Digest, trust: Trust) -> u64 {
    let mut newest = 0;
    for other in noted(directory).unwrap_or_default() {
        let references = references(directory, &other, trust);
        let Some(time) = references.get(reference).copied() else {
            continue;
        };
        newest = newest.max(time);
        let mut note = Note::read(directory, &other, trust);
        if other != *digest && note.moved.insert(time) {
            note.references = Some(references);
            if note.try_write(directory, &other).is_err() {
                let _ = disown(directory, reference, &other, trust);
            }
        }
    }
    newest
}

/// Returns whether a reference was pulled to another artifact as well.
fn is_elsewhere(directory: &Path, reference: &str, digest: &Digest, trust: Trust) -> bool {
    let holders = holders(directory, reference, trust);
    holders.iter().any(|holder| holder != digest)
}

/// Removes a reference from the note of an artifact, for which it no longer stands. A note that cannot be replaced, as
/// on a full disk, goes as a whole: its other references are then unknown, and none is wrong.
///
/// # Errors
/// Returns an error if the note cannot be replaced, and another artifact has one of its other references. Without the
/// note, that artifact would become the meaning of the reference.
pub(super) fn disown(
    directory: &Path,
    reference: &str,
    digest: &Digest,
    trust: Trust,
) -> io::Result<()> {
    let mut note = Note::read(directory, digest, trust);
    let mut references = references(directory, digest, trust);
    references.remove(reference);
    let is_needed = references
        .keys()
        .any(|own| is_elsewhere(directory, own, digest, trust));
    note.references = Some(references);
    match note.try_write(directory, digest) {
        Err(error) if is_needed => Err(error),
        Err(_) => entry::remove(&directory.join(name::note(digest))).map(drop),
        Ok(()) => Ok(()),
    }
}

/// Adds the time of the pull to the note of an artifact that is about to be removed.
pub(super) fn settle(directory: &Path, digest: &Digest, trust: Trust) {
    let lacks_times = |note: &Note| note.references.is_none() && note.source.is_some();
    if !lacks_times(&Note::read(directory, digest, trust)) {
        return;
    }
    let _lock = NoteLock::take(directory);
    let mut note = Note::read(directory, digest, trust);
    if lacks_times(&note) {
        note.references = Some(references(directory, digest, trust));
        note.write(directory, digest);
    }
}

/// Removes a reference from all notes that have no later time of it, because the artifact that it was last pulled to
/// cannot keep it. The caller has the lock on the notes.
pub(super) fn forget(directory: &Path, reference: &str, time: u64, trust: Trust) {
    for digest in noted(directory).unwrap_or_default() {
        let mut references = references(directory, &digest, trust);
        if references.get(reference).is_some_and(|own| *own <= time) {
            references.remove(reference);
            let mut note = Note::read(directory, &digest, trust);
            note.references = Some(references);
            note.write(directory, &digest);
        }
    }
}

/// Returns the artifacts that are gone and whose notes have to stay: those that a reference was last pulled to, if an
/// artifact of the store has the reference as well.
pub(super) fn needed(
    directory: &Path,
    trust: Trust,
    gone: impl Fn(&Path) -> io::Result<bool>,
) -> io::Result<BTreeSet<Digest>> {
    let mut newest: BTreeMap<String, u64> = BTreeMap::new();
    let (mut held, mut orphans) = (BTreeSet::new(), Vec::new());
    for digest in noted(directory)? {
        let references = references(directory, &digest, trust);
        for (reference, time) in &references {
            let newest = newest.entry(reference.clone()).or_default();
            *newest = (*newest).max(*time);
        }
        // A file whose metadata cannot be read may be an artifact.
        match gone(&directory.join(name::artifact(&digest))).unwrap_or(false) {
            true => orphans.push((digest, references)),
            false => held.extend(references.into_keys()),
        }
    }
    let is_needed = |references: &BTreeMap<String, u64>| {
        let mut references = references.iter();
        references.any(|(name, time)| held.contains(name) && newest.get(name) == Some(time))
    };
    let needed = orphans
        .into_iter()
        .filter(|(_, references)| is_needed(references));
    Ok(needed.map(|(digest, _)| digest).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An artifact, whether it exists, and the references that were pulled to it, with seconds.
    type Noted<'a> = (&'a str, bool, &'a [(&'a str, u64)]);

    /// Makes a directory with notes.
    fn directory(notes: &[Noted<'_>]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (image, exists, references) in notes {
            let digest = Digest::of(image.as_bytes());
            let mut note = Note::default();
            for (reference, seconds) in *references {
                note.add(reference, *seconds * 1000);
            }
            note.write(directory.path(), &digest);
            if *exists {
                std::fs::write(directory.path().join(name::artifact(&digest)), "").unwrap();
            }
        }
        directory
    }

    fn is_needed(directory: &tempfile::TempDir, image: &str) -> bool {
        let needed = needed(directory.path(), Trust::Everyone, entry::gone).unwrap();
        needed.contains(&Digest::of(image.as_bytes()))
    }

    #[test]
    fn note_stays_while_an_older_artifact_has_its_reference() {
        for (notes, needed) in [
            (
                &[("new", false, &[("a", 2)][..]), ("old", true, &[("a", 1)])][..],
                true,
            ),
            (
                &[("new", true, &[("a", 2)]), ("old", true, &[("a", 1)])],
                false,
            ),
            // No artifact has the reference, so none can be mistaken for it.
            (
                &[("new", false, &[("a", 2)]), ("old", false, &[("a", 1)])],
                false,
            ),
            (
                &[("new", false, &[("a", 2)]), ("old", true, &[("b", 1)])],
                false,
            ),
            (&[("new", false, &[("a", 2)])], false),
            // Another artifact was pulled since.
            (
                &[("new", false, &[("a", 2)]), ("old", true, &[("a", 3)])],
                false,
            ),
            (
                &[
                    ("new", false, &[("a", 2)]),
                    ("old", true, &[("a", 1)]),
                    ("newest", false, &[("a", 3)]),
                ],
                false,
            ),
            (
                &[
                    ("new", false, &[("a", 2), ("b", 9)]),
                    ("old", true, &[("a", 1), ("b", 1)]),
                    ("newest", true, &[("a", 3)]),
                ],
                true,
            ),
        ] {
            assert_eq!(is_needed(&directory(notes), "new"), needed, "{notes:?}");
        }
    }

    #[test]
    fn note_without_which_an_older_artifact_counts_is_needed() {
        let notes: [Noted<'_>; 2] = [
            ("old", true, &[("a", 1), ("b", 1)]),
            ("new", true, &[("b", 3), ("c", 3)]),
        ];
        let directory = directory(&notes);
        let is_elsewhere = |reference: &str| {
            let digest = Digest::of(b"new");
            is_elsewhere(directory.path(), reference, &digest, Trust::Everyone)
        };
        assert!(is_elsewhere("b"));
        assert!(!is_elsewhere("c") && !is_elsewhere("d"));
    }

    #[test]
    fn reference_without_room_is_forgotten_by_older_notes() {
        let notes: [Noted<'_>; 2] = [
            ("old", true, &[("a", 1), ("b", 1)]),
            ("later", true, &[("a", 3)]),
        ];
        let directory = directory(&notes);
        forget(directory.path(), "a", 2000, Trust::Everyone);
        let left = |image: &str| {
            let digest = Digest::of(image.as_bytes());
            let left = references(directory.path(), &digest, Trust::Everyone);
            left.into_keys().collect::<Vec<_>>()
        };
        assert_eq!(left("old"), ["b"]);
        assert_eq!(left("later"), ["a"]);
    }

    #[test]
    fn note_without_times_says_them_before_its_artifact_goes() {
        let directory = directory(&[("old", true, &[])]);
        let digest = Digest::of(b"old");
        let note = Note {
            source: Some("debian".to_owned()),
            ..Note::default()
        };
        note.write(directory.path(), &digest);
        settle(directory.path(), &digest, Trust::Everyone);
        std::fs::remove_file(directory.path().join(name::artifact(&digest))).unwrap();
        let references = references(directory.path(), &digest, Trust::Everyone);
        let time = references["docker://docker.io/library/debian:latest"];
        assert!(time > 1_000_000_000_000, "{time}");
    }
}
