//! Reads artifacts, in a store or not.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use ociget::Digest;
use rustix::fs::OFlags;

use super::lease;
use super::trust::Trust;
use crate::artifact::{Damage, Record, RecordError, verify};
use crate::error::Error;
use crate::regular_file;

/// The record of an artifact anywhere, in a store or not.
///
/// # Errors
/// [`Error::Store`] if the file can't be read, [`Error::Artifact`] if it is damaged or none of ours.
pub fn read_record(path: impl AsRef<Path>) -> Result<Record, Error> {
    let path = path.as_ref();
    let record = open_artifact(path)
        .map_err(RecordError::Io)
        .and_then(|file| Record::read(&file));
    record.map_err(|source| artifact_error(path, source))
}

/// Opens an artifact anywhere, in a store or not, for reading: its record, or its
/// [`tables`](crate::tables). Symlinks are followed. Nothing but a regular file is opened, and none is
/// waited for.
///
/// # Errors
/// Returns what the system says, or which type the file has.
pub fn open_artifact(path: impl AsRef<Path>) -> io::Result<File> {
    // Looking at an artifact is no use of it.
    regular_file::open(path.as_ref(), OFlags::NOATIME)
}

/// Reads an artifact anywhere, in a store or not, and compares it with its record. An empty list
/// says that it is sound. The file stays where it is.
///
/// # Errors
/// [`Error::Store`] if the file can't be read, [`Error::Artifact`] if its record can't be believed.
pub fn verify_file(path: impl AsRef<Path>) -> Result<Vec<Damage>, Error> {
    let path = path.as_ref();
    let failed = |source| Error::store("verify", path, source);
    let file = open_artifact(path).map_err(failed)?;
    let record = Record::read(&file).map_err(|source| artifact_error(path, source))?;
    verify(&file, &record).map_err(failed)
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
