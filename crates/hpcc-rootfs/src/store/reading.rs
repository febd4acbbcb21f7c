//! Reads artifacts, in a store or not.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use ociget::Digest;
use rustix::fs::OFlags;

use super::lease;
use super::trust::Trust;
use crate::artifact::{Damage, Record, RecordError, drop_cached, verify};
use crate::error::Error;
use crate::regular_file;

/// Reads the record of an artifact anywhere, in a store or not.
///
/// # Errors
/// Returns [`Error::Store`] if the file cannot be read, and [`Error::Artifact`] if it is damaged or was not written by
/// this program.
pub fn read_record(path: impl AsRef<Path>) -> Result<Record, Error> {
    let path = path.as_ref();
    let record = open_artifact(path)
        .map_err(RecordError::Io)
        .and_then(|file| Record::read(&file));
    record.map_err(|source| artifact_error(path, source))
}

/// Opens an artifact anywhere, in a store or not, to read its record or its [`tables`](crate::tables). Symlinks are
/// followed. Only a regular file is opened, and opening never waits.
///
/// # Errors
/// Returns the error of the system, or one that names the type of the file.
pub fn open_artifact(path: impl AsRef<Path>) -> io::Result<File> {
    // Reading an artifact does not count as use.
    regular_file::open(path.as_ref(), OFlags::NOATIME)
}

/// Reads an artifact anywhere, in a store or not, and compares it with its record. Returns an empty list if it is
/// intact. The file stays where it is.
///
/// # Errors
/// Returns [`Error::Store`] if the file cannot be read, and [`Error::Artifact`] if its record cannot be believed.
pub fn verify_file(path: impl AsRef<Path>) -> Result<Vec<Damage>, Error> {
    let path = path.as_ref();
    let failed = |source| Error::store("verify", path, source);
    let file = open_artifact(path).map_err(failed)?;
    drop_cached(&file);
    let verdict = Record::read(&file).and_then(|record| verify(&file, &record));
    verdict.map_err(|source| match source {
        RecordError::Io(error) => failed(error),
        source => artifact_error(path, source),
    })
}

pub(super) fn artifact_error(path: &Path, source: RecordError) -> Error {
    match source {
        RecordError::Io(source) => Error::store("read", path, source),
        source => Error::Artifact {
            path: path.to_owned(),
            source: Arc::new(source),
        },
    }
}

pub(super) fn read(path: &Path, identity: &Digest, trust: Trust) -> Result<Record, RecordError> {
    let file = lease::open(path)?.ok_or(io::Error::from(io::ErrorKind::NotFound))?;
    trust.file(&file, path)?;
    Record::read(&File::from(file))?.of(identity)
}
