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
use crate::error::Error;

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

/// The references that were pulled to an artifact, with the times of the last pulls.
type Times = BTreeMap<String, u64>;

/// Returns the references of a note. That of a version that kept no times has the reference of the last build.
pub(super) fn times(directory: &Path, digest: &Digest, note: &Note) -> Times {
    if let Some(references) = &note.references {
        return references.clone();
    }
    let source = note.source.as_deref().and_then(full_reference);
    let source = source.filter(|source| source.digest.is_none());
    let time = || inventory::built(directory, digest).map_or(0, note::milliseconds);
    source
        .map(|source| (source.text, time()))
        .into_iter()
        .collect()
}

/// Returns the references that were pulled to an artifact, with the times of the last pulls.
///
/// # Errors
/// Returns an error if the note cannot be read now.
pub(super) fn references(directory: &Path, digest: &Digest, trust: Trust) -> io::Result<Times> {
    let note = Note::read(directory, digest, trust)?;
    Ok(times(directory, digest, &note))
}

/// Returns the artifacts that a reference was last pulled to: one, or several if their order is unknown. They may have
/// been removed. If the note of the last one is lost, there is none: the reference does not mean an older artifact.
///
/// # Errors
/// Returns an error if the last one may be that of a note that cannot be read now.
pub(super) fn last(directory: &Path, reference: &str, trust: Trust) -> Result<Vec<Digest>, Error> {
    let digests = noted(directory);
    let digests = digests.map_err(|source| Error::store("list the store", directory, source))?;
    let (mut newest, mut found, mut unread) = (0, Vec::new(), None);
    for digest in digests {
        let note = match Note::read(directory, &digest, trust) {
            Ok(note) => note,
            Err(source) => {
                let path = directory.join(name::note(&digest));
                unread = Some(Error::store("read the note", &path, source));
                continue;
            }
        };
        let Some(time) = times(directory, &digest, &note).remove(reference) else {
            continue;
        };
        if time > newest {
            found.clear();
        }
        if time >= newest {
            newest = time;
            found.push((digest, note.moved.contains(&time)));
        }
    }
    found.retain(|(_, has_moved)| !has_moved);
    match unread {
        Some(error) if found.is_empty() => Err(error),
        _ => Ok(found.into_iter().map(|(digest, _)| digest).collect()),
    }
}

/// Returns all artifacts that a reference was ever pulled to, as far as notes tell.
pub(super) fn holders(directory: &Path, reference: &str, trust: Trust) -> Vec<Digest> {
    let mut holders = noted(directory).unwrap_or_default();
    holders.retain(|digest| {
        let references = references(directory, digest, trust);
        references.is_ok_and(|references| references.contains_key(reference))
    });
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
        let Ok(mut note) = Note::read(directory, &other, trust) else {
            continue;
        };
        let references = times(directory, &other, &note);
        let Some(time) = references.get(reference).copied() else {
            continue;
        };
        newest = newest.max(time);
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
/// Returns an error if the note cannot be read now. Returns an error if it cannot be replaced, and another artifact has
/// one of its other references: without the note, that artifact would become the meaning of the reference.
pub(super) fn disown(
    directory: &Path,
    reference: &str,
    digest: &Digest,
    trust: Trust,
) -> io::Result<()> {
    let mut note = Note::read(directory, digest, trust)?;
    let mut references = times(directory, digest, &note);
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

/// Adds the time of the pull to the note of an artifact that is about to be removed or replaced.
pub(super) fn settle(directory: &Path, digest: &Digest, trust: Trust) {
    let lacking = || {
        let note = Note::read(directory, digest, trust).ok();
        note.filter(|note| note.references.is_none() && note.source.is_some())
    };
    if lacking().is_none() {
        return;
    }
    let _lock = NoteLock::take(directory, trust);
    if let Some(mut note) = lacking() {
        note.references = Some(times(directory, digest, &note));
        note.write(directory, digest);
    }
}

/// Removes a reference from all notes that have no later time of it, because the artifact that it was last pulled to
/// cannot keep it. The caller has the lock on the notes.
pub(super) fn forget(directory: &Path, reference: &str, time: u64, trust: Trust) {
    for digest in noted(directory).unwrap_or_default() {
        let Ok(mut note) = Note::read(directory, &digest, trust) else {
            continue;
        };
        let mut references = times(directory, &digest, &note);
        if references.get(reference).is_some_and(|own| *own <= time) {
            references.remove(reference);
            note.references = Some(references);
            note.write(directory, &digest);
        }
    }
}

/// Returns the artifacts that are gone and whose notes have to stay: those that a reference was last pulled to, if an
/// artifact of the store has the reference as well, and those whose notes cannot be read now. If the note of an artifact
/// of the store cannot be read, all of them stay.
pub(super) fn needed(
    directory: &Path,
    trust: Trust,
    gone: impl Fn(&Path) -> io::Result<bool>,
) -> io::Result<BTreeSet<Digest>> {
    let mut newest: BTreeMap<String, u64> = BTreeMap::new();
    let (mut held, mut orphans) = (BTreeSet::new(), Vec::new());
    let (mut needed, mut is_held_known) = (BTreeSet::new(), true);
    for digest in noted(directory)? {
        // A file whose metadata cannot be read may be an artifact.
        let is_orphan = gone(&directory.join(name::artifact(&digest))).unwrap_or(false);
        let Ok(references) = references(directory, &digest, trust) else {
            match is_orphan {
                true => drop(needed.insert(digest)),
                false => is_held_known = false,
            }
            continue;
        };
        for (reference, time) in &references {
            let newest = newest.entry(reference.clone()).or_default();
            *newest = (*newest).max(*time);
        }
        match is_orphan {
            true => orphans.push((digest, references)),
            false => held.extend(references.into_keys()),
        }
    }
    let is_needed = |references: &BTreeMap<String, u64>| {
        let mut references = references.iter();
        references.any(|(name, time)| held.contains(name) && newest.get(name) == Some(time))
    };
    orphans.retain(|(_, references)| !is_held_known || is_needed(references));
    needed.extend(orphans.into_iter().map(|(digest, _)| digest));
    Ok(needed)
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
            let left = references(directory.path(), &digest, Trust::Everyone).unwrap();
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
        let references = references(directory.path(), &digest, Trust::Everyone).unwrap();
        let time = references["docker://docker.io/library/debian:latest"];
        assert!(time > 1_000_000_000_000, "{time}");
    }

    /// A power cut leaves an empty note (borgbackup/borg#1195).
    #[test]
    fn tag_does_not_go_back_when_a_note_is_lost() {
        let notes: [Noted<'_>; 2] = [("old", true, &[("a", 1)]), ("new", true, &[("a", 2)])];
        let new = Digest::of(b"new");
        for (spoil, expected) in [
            (
                (|_| Ok(())) as fn(&Path) -> io::Result<()>,
                &[new.clone()][..],
            ),
            (|note| std::fs::remove_file(note), &[]),
            (|note| std::fs::write(note, ""), &[]),
            (|note| std::fs::write(note, r#"{"source":"a","refere"#), &[]),
        ] {
            let directory = directory(&notes);
            take_over(directory.path(), "a", &new, Trust::Everyone);
            spoil(&directory.path().join(name::note(&new))).unwrap();
            let last = last(directory.path(), "a", Trust::Everyone).unwrap();
            assert_eq!(last, expected);
        }
    }

    /// Two tags of one artifact have two times, so that one of them can move without the other.
    #[test]
    fn moved_tag_takes_no_other_with_it() {
        let [old, new] = ["old", "new"].map(|image| Digest::of(image.as_bytes()));
        let mut note = Note::default();
        for reference in ["a", "b"] {
            let time = note.free_time(reference, 1000);
            note.add(reference, time);
        }
        let directory = directory(&[("new", true, &[("a", 2)])]);
        note.write(directory.path(), &old);
        take_over(directory.path(), "a", &new, Trust::Everyone);
        let last = |reference| last(directory.path(), reference, Trust::Everyone).unwrap();
        assert_eq!((last("a"), last("b")), (vec![new], vec![old]));
    }
}
