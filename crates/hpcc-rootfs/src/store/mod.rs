//! The store: one directory of finished artifacts, named by the digests of their images.
//!
//! Every path and every rename of this crate is in this room. A file with an artifact's name is
//! complete, or it is not there.

mod artifact;
mod key;
mod name;
mod record;
mod staging;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ociget::{Digest, SourceSpec};
use rustix::fs::{Mode, OFlags};

pub(crate) use artifact::{ArtifactWriter, SealedArtifact};
pub(crate) use staging::StagedFile;

pub use key::{FORMAT, Key};
pub use record::{CHUNK, Record, RecordError};

use crate::agent::Agent;
use crate::error::Error;
use crate::options::Options;
use crate::progress::Event;
use crate::pull::{self, Destination};
use crate::summary::Summary;

/// A directory of images that are ready to boot.
///
/// Cloning is cheap and gives another handle of the same store.
///
/// A store has one directory, one platform, agents by architecture and one set of options. Two
/// stores that differ in those and share a directory replace each other's artifacts: the file
/// belongs to the digest, whatever it was built with. Give each its own directory.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    options: Options,
}

/// An artifact that is in the store.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Pulled {
    /// The identity: the digest to ask the store for from now on.
    pub digest: Digest,
    /// The absolute path of the artifact.
    pub path: PathBuf,
    /// What its record says.
    pub record: Record,
    /// What the build did, or `None` if the artifact was there already.
    pub built: Option<Summary>,
}

impl Store {
    /// Opens the store in a directory. The directory is not needed, made or changed before the
    /// first pull.
    ///
    /// # Errors
    /// [`Error::Store`] if there is something else than a directory, or the current directory, to
    /// which a relative path relates, is gone.
    pub fn open(directory: impl AsRef<Path>, options: Options) -> Result<Self, Error> {
        let given = directory.as_ref();
        let failed = |source| Error::store("open the store", given, source);
        let directory = std::path::absolute(given).map_err(failed)?;
        match fs::metadata(&directory) {
            Ok(metadata) if !metadata.is_dir() => {
                return Err(failed(io::ErrorKind::NotADirectory.into()));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        Ok(Self {
            inner: Arc::new(Inner { directory, options }),
        })
    }

    /// The directory, as an absolute path.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.inner.directory
    }

    /// What the store was opened with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    /// The digests of all finished artifacts, sorted. Files with other names are skipped without a
    /// look inside; a missing directory is an empty list.
    ///
    /// # Errors
    /// [`Error::Store`] if the directory can't be read.
    pub fn existing_images(&self) -> Result<Vec<Digest>, Error> {
        let failed = |source| Error::store("list the store", self.directory(), source);
        let entries = match fs::read_dir(self.directory()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut digests = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let digest = entry.file_name().to_str().and_then(name::digest);
            let Some(digest) = digest else { continue };
            match entry.file_type() {
                Ok(kind) if kind.is_file() => digests.push(digest),
                Ok(_) => {}
                // Removed since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
        }
        digests.sort();
        Ok(digests)
    }

    /// The absolute path of the artifact of an image, whether it is built or not.
    #[must_use]
    pub fn path_for(&self, digest: &Digest) -> PathBuf {
        self.directory().join(name::artifact(digest))
    }

    /// Removes an artifact. A VM that has it open keeps it; a missing one is fine. Returns whether
    /// it was there.
    ///
    /// # Errors
    /// [`Error::Store`] if the file can't be removed.
    pub fn untag_image(&self, digest: &Digest) -> Result<bool, Error> {
        let path = self.path_for(digest);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::store("remove the artifact", &path, error)),
        }
    }

    /// The record of an artifact, or `None` if the artifact is not there.
    ///
    /// # Errors
    /// [`Error::Artifact`] if the file is damaged or none of ours.
    pub fn record(&self, digest: &Digest) -> Result<Option<Record>, Error> {
        let path = self.path_for(digest);
        match read(&path) {
            Ok(record) if record.key.identity == *digest => Ok(Some(record)),
            Ok(_) => Err(Error::Artifact {
                path,
                source: RecordError::Damaged("it belongs to another image"),
            }),
            Err(RecordError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Artifact { path, source }),
        }
    }

    /// Makes sure that the artifact of an image is in the store, and says where.
    ///
    /// `image` is a reference (`debian:12`, `ghcr.io/org/name@sha256:…`) or, with a prefix, another
    /// source. `expected` pins it to the digest of a manifest or of an index; a digest in the
    /// reference does the same. If the artifact is there with the same key, this returns at once,
    /// without network. A damaged artifact, or one with another key, is replaced.
    ///
    /// Dropping the future stops the build and leaves nothing behind.
    ///
    /// # Errors
    /// Every [`Error`]; nothing was published then, and nothing is left behind.
    pub async fn pull_image(
        &self,
        image: &str,
        expected: Option<&Digest>,
    ) -> Result<Pulled, Error> {
        let options = self.options();
        options.check()?;
        let agent = pull::agent(options).await?;
        let spec: SourceSpec = image.parse()?;
        let pinned = pinned(&spec, expected);
        if let Some(identity) = pinned
            && let Some(there) = self.up_to_date(identity, &agent)
        {
            return Ok(there);
        }
        let source = pull::source(&spec, options)?;
        // What a tag stands for costs less than what it leads to; where that is here, it was all.
        let held = match pinned {
            Some(_) => None,
            None => source.identity().await?,
        };
        if let Some(identity) = &held
            && let Some(there) = self.up_to_date(identity, &agent)
        {
            return Ok(there);
        }
        let image = pull::resolve(&*source, expected, options).await?;
        if pinned.is_none()
            && held.is_none()
            && let Some(there) = self.up_to_date(image.identity.get(), &agent)
        {
            return Ok(there);
        }
        let directory = self.directory();
        fs::create_dir_all(directory)
            .map_err(|error| Error::store("create the store", directory, error))?;
        let destination = Destination {
            directory: directory.to_owned(),
            name: name::artifact(image.identity.get()).into(),
        };
        let digest = image.identity.get().clone();
        let (record, summary) =
            pull::pull(&*source, image, Some(agent), options, destination).await?;
        Ok(Pulled {
            path: self.path_for(&digest),
            digest,
            record,
            built: Some(summary),
        })
    }

    /// The artifact, if it is there and its key says that a build would write the same bytes.
    fn up_to_date(&self, identity: &Digest, agent: &Agent) -> Option<Pulled> {
        let options = self.options();
        let outdated = |because: &str| {
            options.progress.tell(&Event::Outdated {
                digest: identity,
                because,
            });
            None
        };
        let record = match self.record(identity) {
            Ok(record) => record?,
            Err(Error::Artifact { source, .. }) => return outdated(&source.to_string()),
            Err(error) => return outdated(&error.to_string()),
        };
        let key = Key::new(
            identity.clone(),
            // Identity and platform determine it; only the network could tell.
            record.key.manifest.clone(),
            options.platform.to_string(),
            Some(agent.digest().clone()),
            &options.image,
        );
        if record.key != key {
            let fields = record.key.difference(&key).join(", ");
            return outdated(&format!("built with another {fields}"));
        }
        Some(Pulled {
            digest: identity.clone(),
            path: self.path_for(identity),
            record,
            built: None,
        })
    }
}

/// The identity, where it is known without asking. Two digests that contradict each other are the
/// source's to complain about.
fn pinned<'a>(spec: &'a SourceSpec, expected: Option<&'a Digest>) -> Option<&'a Digest> {
    let own = match spec {
        SourceSpec::Registry(reference) => reference.digest(),
        _ => None,
    };
    match (own, expected) {
        (Some(own), Some(expected)) => (own == expected).then_some(own),
        (own, expected) => own.or(expected),
    }
}

/// The record of an artifact anywhere, in a store or not.
///
/// # Errors
/// [`Error::Store`] if the file can't be read, [`Error::Artifact`] if it is damaged or none of ours.
pub fn read_record(path: impl AsRef<Path>) -> Result<Record, Error> {
    let path = path.as_ref();
    read(path).map_err(|source| match source {
        RecordError::Io(source) => Error::store("read", path, source),
        source => Error::Artifact {
            path: path.to_owned(),
            source,
        },
    })
}

/// Opens without following a symlink in the last component: an artifact is a file.
fn read(path: &Path) -> Result<Record, RecordError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from)?;
    Record::read(&File::from(file))
}
