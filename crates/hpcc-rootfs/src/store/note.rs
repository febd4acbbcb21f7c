//! What is known locally and belongs in no artifact: where it came from, and how the files in it that are
//! the host's are recognized without hashing them again.
//!
//! A note is a convenience. It may be missing, torn or stale; then something is unknown or takes
//! longer, and nothing is wrong.

use std::io::Read as _;
use std::path::Path;

use ociget::Digest;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::name;
use super::trust::Trust;
use crate::guest::Memory;
use crate::regular_file;
use crate::staging::{StagedFile, Staging};

/// What claims to be longer is no note.
const LENGTH_MAX: u64 = 64 * 1024;

/// The note beside an artifact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    /// The reference that was pulled last.
    pub(crate) source: Option<String>,
    /// What in it is the host's.
    #[serde(flatten)]
    pub(crate) supplies: Memory,
}

impl Note {
    /// The note, or an empty one. The note of another user is not read: it could lie about the files of
    /// the host.
    pub(crate) fn read(directory: &Path, digest: &Digest, trust: Trust) -> Self {
        let path = directory.join(name::note(digest));
        let Ok(file) = regular_file::open(&path, OFlags::NOFOLLOW) else {
            return Self::default();
        };
        if trust.file(&file, &path).is_err() {
            return Self::default();
        }
        let mut text = Vec::new();
        match file.take(LENGTH_MAX).read_to_end(&mut text) {
            Ok(_) => serde_json::from_slice(&text).unwrap_or_default(),
            Err(_) => Self::default(),
        }
    }

    /// Writes the note, or leaves it: nobody has to fail for want of a convenience.
    pub(crate) fn write(&self, directory: &Path, digest: &Digest) {
        let written = serde_json::to_vec(self)
            .map_err(std::io::Error::from)
            .and_then(|text| {
                let mut staged = StagedFile::create(directory, Staging::new(0, None))?;
                staged.write_all_at(&text, 0)?;
                staged.publish_carelessly(name::note(digest).as_ref())
            });
        if let Err(error) = written {
            tracing::debug!(%digest, %error, "no note was written");
        }
    }
}
