//! The note beside an artifact: local metadata that belongs in no artifact. It holds the origin of the artifact, and
//! how its host files are recognized without hashing them again.
//!
//! A note is a convenience. It may be missing, torn or stale; then something is unknown or takes longer, and nothing is
//! wrong. Notes are not synced, so a power cut may leave an empty one.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use ociget::Digest;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::name;
use super::trust::{Fault, Trust};
use crate::guest::Memory;
use crate::regular_file;
use crate::staging::{StagedFile, Staging};

/// Longest note in bytes; a longer file is not a note.
const LENGTH_MAX: u64 = 64 * 1024;
/// Largest number of references that are kept, and of bytes of each in JSON. Together they leave half of a note to other
/// fields.
const REFERENCES_MAX: usize = 32;
const REFERENCE_MAX: usize = 1024;

/// The note beside an artifact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    /// The reference that was pulled last.
    pub(crate) source: Option<String>,
    /// The references that were pulled to this artifact without a digest, in their full form, each with the
    /// time of the last pull in milliseconds since 1970. `None` in a note of a version that kept no times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) references: Option<BTreeMap<String, u64>>,
    /// The times of those that were pulled to another artifact since. At most one note has a reference with a time that is
    /// not in this list. So the next pull to that artifact has to read no other note, and a reference does not go back to
    /// an older artifact if the note of the newest one is lost.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) moved: BTreeSet<u64>,
    /// How the host files in it are recognized.
    #[serde(flatten)]
    pub(crate) supplies: Memory,
}

impl Note {
    /// Returns the note, or an empty one if it is missing or torn. The note of another user is not read, because it could
    /// lie about the host files.
    ///
    /// # Errors
    /// Returns an error if a note of this user cannot be read now. What it says is unknown then, so it must neither be
    /// replaced nor taken for an empty one.
    pub(crate) fn read(directory: &Path, digest: &Digest, trust: Trust) -> io::Result<Self> {
        let path = directory.join(name::note(digest));
        let file = match regular_file::open(&path, OFlags::NOFOLLOW) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) if regular_file::is_other_type(&error) => return Ok(Self::default()),
            Err(error) => {
                return match trust.named(&path) {
                    Err(Fault::Untrusted(_)) => Ok(Self::default()),
                    _ => Err(error),
                };
            }
        };
        match trust.file(&file, &path) {
            Ok(()) => {}
            Err(Fault::Untrusted(_)) => return Ok(Self::default()),
            Err(Fault::Io(error)) => return Err(error),
        }
        let mut text = Vec::new();
        file.take(LENGTH_MAX).read_to_end(&mut text)?;
        Ok(serde_json::from_slice(&text).unwrap_or_default())
    }

    /// Adds a reference that was just pulled to this artifact, with the time in milliseconds since 1970. Returns the
    /// references that were dropped because there are too many, the least recently pulled ones, with their times. The
    /// added one stays, whatever the clock says.
    pub(crate) fn add(&mut self, reference: &str, time: u64) -> Vec<(String, u64)> {
        let mut gone = Vec::new();
        let length = serde_json::to_string(reference).map_or(usize::MAX, |json| json.len());
        if length > REFERENCE_MAX {
            return gone;
        }
        let references = self.references.get_or_insert_default();
        references.insert(reference.to_owned(), time);
        while references.len() > REFERENCES_MAX {
            let others = references.iter().filter(|(other, _)| *other != reference);
            let oldest = others.min_by_key(|(_, time)| **time);
            let Some(oldest) = oldest.map(|(reference, _)| reference.clone()) else {
                break;
            };
            gone.extend(references.remove_entry(&oldest));
        }
        // Two references of an older note may have one time.
        self.moved
            .retain(|time| references.values().any(|own| own == time));
        gone
    }

    /// Returns the first time from `time` on that no other reference has, because [`moved`](Self::moved) names references
    /// by their times.
    pub(crate) fn free_time(&self, reference: &str, time: u64) -> u64 {
        let others = self.references.iter().flatten();
        let taken: BTreeSet<u64> = others
            .filter(|(other, _)| *other != reference)
            .map(|(_, time)| *time)
            .collect();
        let mut times = time..=u64::MAX;
        times.find(|time| !taken.contains(time)).unwrap_or(time)
    }

    /// Returns the time of the last pull of a reference, if no other note can have it with a later time.
    pub(crate) fn settled(&self, reference: &str) -> Option<u64> {
        let time = self.references.as_ref()?.get(reference).copied();
        time.filter(|time| !self.moved.contains(time))
    }

    /// Writes the note. A failure is ignored, because the note is only a convenience.
    pub(crate) fn write(&self, directory: &Path, digest: &Digest) {
        if let Err(error) = self.try_write(directory, digest) {
            tracing::debug!(%digest, %error, "no note was written");
        }
    }

    /// Writes the note, if another one would be wrong without it.
    pub(crate) fn try_write(&self, directory: &Path, digest: &Digest) -> io::Result<()> {
        let text = serde_json::to_vec(self)?;
        let mut staged = StagedFile::create(directory, Staging::new(0, None))?;
        staged.write_all_at(&text, 0)?;
        staged.publish_carelessly(name::note(digest).as_ref())
    }
}

/// Returns milliseconds since 1970.
pub(crate) fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn note_keeps_the_references_pulled_last() {
        let mut note = Note::default();
        let mut gone = 0;
        for number in 0..100 {
            let reference = format!("docker://h/{number:0>1000}");
            gone += note.add(&reference, number * 1000).len();
        }
        note.add(&"x".repeat(REFERENCE_MAX + 1), 200_000);
        // A note with it would be too long to be read.
        note.add(&"\u{1b}".repeat(REFERENCE_MAX / 2), 200_000);
        let references = note.references.clone().unwrap();
        assert_eq!(
            (references.len(), gone),
            (REFERENCES_MAX, 100 - REFERENCES_MAX)
        );
        let oldest = references.values().min();
        assert_eq!(oldest, Some(&68_000));
        let text = serde_json::to_vec(&note).unwrap();
        assert!(text.len() as u64 <= LENGTH_MAX);
        assert_eq!(serde_json::from_slice::<Note>(&text).unwrap(), note);
        // The clock was set back.
        let gone = note.add("docker://h/new", 7);
        assert_eq!(gone.len(), 1);
        assert_eq!(note.references.unwrap().get("docker://h/new"), Some(&7));
    }
}
