//! Lists the artifacts of the store, with the details that a scheduler or a person needs.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ociget::Digest;

use super::full_reference;
use super::last_use;
use super::name;
use super::note::Note;
use super::reading::read;
use super::trust::Trust;
use crate::artifact::Record;
use crate::error::Error;
use crate::units::Size;

/// An artifact of the store. Damaged artifacts are listed as well.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Artifact {
    /// The identity.
    pub digest: Digest,
    /// The absolute path.
    pub path: PathBuf,
    /// Bytes of the file, its record included.
    pub size: u64,
    /// Number of names that the file has. Removing the artifact frees the space of the file only if it is 1.
    pub links: u64,
    /// Bytes of the files beside it, which are removed with it: its note, and its recall file.
    pub beside: u64,
    /// Time at which it was written.
    pub built: SystemTime,
    /// Time at which it was last pulled or read.
    pub last_used: SystemTime,
    /// The reference that it was last built from, if known, with an absolute path if it has one.
    pub source: Option<String>,
    /// The references that were pulled to it without a digest, in their full form as messages show it and sorted, as
    /// `docker://docker.io/library/debian:12`. Another artifact may have been pulled by the same reference since.
    pub references: Vec<String>,
    /// Its record, or the error of reading it.
    pub record: Result<Record, Error>,
}

/// Returns the digests of the artifacts in a directory, sorted; a missing directory is empty.
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
            // The file was removed since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // One file whose metadata cannot be read must not hide the others.
            Err(_) => digests.push(digest),
        }
    }
    digests.sort();
    Ok(digests)
}

/// Returns the details of one artifact, or `None` if it does not exist. If its metadata cannot be read, the reason is
/// the only detail.
pub(crate) fn artifact(directory: &Path, digest: Digest, trust: Trust) -> Option<Artifact> {
    match measured(directory, digest.clone(), trust) {
        Ok(found) => found.map(|found| found.artifact),
        Err(error) => Some(described(directory, digest, trust, UNKNOWN, Err(error))),
    }
}

/// An artifact, and what tells whether it was replaced or used since it was measured.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) artifact: Artifact,
    /// Bytes that the file takes on the disk.
    pub(super) disk: u64,
    /// Device and inode.
    file: (u64, u64),
    /// The time of last use after its record was read, which moves the time of another user's file.
    used: SystemTime,
}

impl Measured {
    /// Returns whether an open file is the measured one.
    pub(super) fn is_same(&self, open: &File) -> io::Result<bool> {
        let metadata = open.metadata()?;
        Ok((metadata.dev(), metadata.ino()) == self.file)
    }

    /// Returns whether no pull has used the artifact since. `open` is its file.
    pub(super) fn is_unused(&self, directory: &Path, open: &File) -> Result<bool, Error> {
        let artifact = &self.artifact;
        let accessed = open.metadata().and_then(|metadata| metadata.accessed());
        let accessed = accessed.map_err(|error| Error::store("look at", &artifact.path, error))?;
        Ok(last_use::of(directory, &artifact.digest, accessed)? == self.used)
    }
}

/// Returns the details of one artifact, or `None` if it does not exist.
///
/// # Errors
/// Returns the reason if its size or its times cannot be read. Nothing may be removed for its size or its age then.
pub(super) fn measured(
    directory: &Path,
    digest: Digest,
    trust: Trust,
) -> Result<Option<Measured>, Error> {
    let path = directory.join(name::artifact(&digest));
    let failed = |error| Error::store("look at", &path, error);
    let metadata = match fs::symlink_metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let accessed = metadata.accessed().map_err(failed)?;
    let measures = Measures {
        size: metadata.len(),
        links: metadata.nlink(),
        built: metadata.modified().map_err(failed)?,
        last_used: last_use::of(directory, &digest, accessed)?,
    };
    let record = read(&path, &digest, trust).map_err(|source| Error::Artifact {
        path: path.clone(),
        source: source.into(),
    });
    let mut used = measures.last_used;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        match fs::symlink_metadata(&path).and_then(|metadata| metadata.accessed()) {
            Ok(accessed) => used = last_use::of(directory, &digest, accessed)?,
            // It is gone, which its removal finds as well.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(Some(Measured {
        artifact: described(directory, digest, trust, measures, record),
        disk: on_disk(&metadata),
        file: (metadata.dev(), metadata.ino()),
        used,
    }))
}

/// Returns the number of bytes that a file takes on the disk.
pub(super) fn on_disk(metadata: &fs::Metadata) -> u64 {
    metadata.blocks().saturating_mul(512)
}

/// What the file system knows about an artifact.
struct Measures {
    size: u64,
    links: u64,
    built: SystemTime,
    last_used: SystemTime,
}

/// The measures of an artifact that cannot be measured.
const UNKNOWN: Measures = Measures {
    size: 0,
    links: 1,
    built: SystemTime::UNIX_EPOCH,
    last_used: SystemTime::UNIX_EPOCH,
};

fn described(
    directory: &Path,
    digest: Digest,
    trust: Trust,
    measures: Measures,
    record: Result<Record, Error>,
) -> Artifact {
    let note = Note::read(directory, &digest, trust).unwrap_or_default();
    let references = note.references.iter().flatten();
    let mut references: Vec<_> = references
        .map(|(full, _)| full_reference::shown(full))
        .collect();
    references.sort();
    Artifact {
        path: directory.join(name::artifact(&digest)),
        size: measures.size,
        links: measures.links,
        beside: beside(directory, &digest, trust),
        built: measures.built,
        last_used: measures.last_used,
        source: source(note),
        references,
        record,
        digest,
    }
}

/// Returns the reference that an artifact was last built from. A relative path, as in the note of an older version, means
/// nothing without its directory; then it is the reference that was pulled, if that is one.
fn source(note: Note) -> Option<String> {
    let source = note.source?;
    let mut references = note.references.into_iter().flatten();
    match (references.next(), references.next()) {
        (Some((only, _)), None) if full_reference::is_relative(&source) => {
            Some(full_reference::plain(only).unwrap_or(source))
        }
        _ => Some(source),
    }
}

/// Returns the number of bytes of the files beside an artifact that are removed with it. Those that other users can
/// write do not count, and of a sparse one only what it takes on the disk: no build wrote that size.
fn beside(directory: &Path, digest: &Digest, trust: Trust) -> u64 {
    let names = [name::note(digest), name::recall(digest)];
    let paths = names.map(|name| directory.join(name)).into_iter();
    let trusted = paths.filter(|path| trust.named(path).is_ok());
    let found = trusted.filter_map(|path| fs::symlink_metadata(path).ok());
    let sizes = found.map(|metadata| metadata.len().min(on_disk(&metadata)));
    sizes.sum::<Size>().0
}

/// Returns when an artifact was written, if it exists.
pub(crate) fn built(directory: &Path, digest: &Digest) -> Option<SystemTime> {
    let metadata = fs::symlink_metadata(directory.join(name::artifact(digest)));
    metadata.and_then(|metadata| metadata.modified()).ok()
}
