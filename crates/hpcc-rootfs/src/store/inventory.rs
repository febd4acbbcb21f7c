//! What is in the store, with everything a scheduler or a person asks about it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ociget::Digest;

use super::name;
use super::note::Note;
use super::record::Record;
use super::{Error, read};

/// An artifact as it lies in the store. The damaged ones are listed as well.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Artifact {
    /// The identity.
    pub digest: Digest,
    /// The absolute path.
    pub path: PathBuf,
    /// Bytes of the file, its record included.
    pub size: u64,
    /// When it was written.
    pub built: SystemTime,
    /// When it was last pulled or read.
    pub last_used: SystemTime,
    /// The reference it was last built from, where that is known.
    pub source: Option<String>,
    /// What its record says, or what is wrong with it.
    pub record: Result<Record, Error>,
}

/// The digests of the artifacts in a directory, sorted; a missing directory is empty.
pub(crate) fn digests(directory: &Path) -> io::Result<Vec<Digest>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut digests = Vec::new();
    for entry in entries {
        let entry = entry?;
        let digest = entry.file_name().to_str().and_then(name::digest);
        let Some(digest) = digest else { continue };
        match entry.file_type() {
            Ok(kind) if kind.is_file() => digests.push(digest),
            Ok(_) => {}
            // Removed since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    digests.sort();
    Ok(digests)
}

/// Everything about one artifact, or `None` if it is not there.
pub(crate) fn artifact(directory: &Path, digest: Digest) -> io::Result<Option<Artifact>> {
    let path = directory.join(name::artifact(&digest));
    let metadata = match fs::symlink_metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let record = read(&path, &digest).map_err(|source| Error::Artifact {
        path: path.clone(),
        source: source.into(),
    });
    Ok(Some(Artifact {
        size: metadata.len(),
        built: metadata.modified()?,
        last_used: metadata.accessed()?,
        source: Note::read(directory, &digest).source,
        record,
        digest,
        path,
    }))
}
