//! A root file system in one tar file, such as `docker export` writes it.
//!
//! It has no config and no manifest, so this module makes both: a config that has only the layer's
//! DiffID, and a manifest of that one layer. The image is named by the digest of the tar, uncompressed.
//! That digest is computed before anything is read, and the tar must then still have it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::background;
use crate::blob::{BlobBody, BlobStream};
use crate::digest::{Algorithm, Digest, Verified};
use crate::error::Error;
use crate::future::BoxFuture;
use crate::joint::{Drivers, Once};
use crate::manifest::Descriptor;
use crate::open_archive::{OpenArchive, OpenedArchive, PlainFiles, Wanted};
use crate::source::agreed::agreed;
use crate::source::kind::{self, Kind};
use crate::source::made::{self, MadeLayer};
use crate::source::section::Section;
use crate::source::{Document, Source, verify};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A root file system in a tar file.
#[derive(Clone, Debug)]
pub struct TarSource {
    path: PathBuf,
    pin: Option<Digest>,
    max: u64,
    opener: Arc<dyn OpenArchive>,
    image: Arc<Once<Arc<Found>>>,
}

#[derive(Debug)]
struct Found {
    file: Arc<File>,
    length: u64,
    /// Of the tar.
    identity: Verified<Digest>,
    config: Bytes,
    manifest: Bytes,
}

impl TarSource {
    /// Returns the root file system in the tar file `file`, without opening it.
    #[must_use]
    pub fn new(file: PathBuf) -> Self {
        Self {
            path: file,
            pin: None,
            max: u64::MAX,
            opener: Arc::new(PlainFiles),
            image: Arc::new(Once::new(Drivers::All)),
        }
    }

    /// Opens the file with `opener`.
    pub(crate) fn opened_by(self, opener: Arc<dyn OpenArchive>) -> Self {
        Self { opener, ..self }
    }

    /// Refuses a file with more than `bytes`.
    pub(crate) fn limited(self, bytes: u64) -> Self {
        Self { max: bytes, ..self }
    }

    /// Refuses every file but the one with this digest.
    pub(crate) fn pinned(self, pin: Option<Digest>) -> Self {
        Self { pin, ..self }
    }

    async fn found(&self) -> Result<&Found, Error> {
        let find = || {
            let source = self.clone();
            async move { source.find().await.map(Arc::new) }
        };
        self.image.get_or_make(find).await.map(|found| &**found)
    }

    async fn find(&self) -> Result<Found, Error> {
        let (path, opener) = (self.path.clone(), Arc::clone(&self.opener));
        let algorithm = self
            .pin
            .as_ref()
            .map_or(Algorithm::Sha256, Digest::algorithm);
        // Dropped with the future, and the thread notices.
        let wanted = Arc::new(());
        let max = self.max;
        let seen = Arc::downgrade(&wanted);
        let opening = background::run(move || {
            let wanted: Wanted = Arc::new(move || seen.strong_count() > 0);
            let file = match opener.open(&path, &wanted)? {
                OpenedArchive::File(file) => Arc::new(file),
                OpenedArchive::Stream(stream) => stream.into_file(&wanted)?,
            };
            let kind = kind::of_tar(&file);
            // What is not seen to be a tar file here may be one that the reader of layers understands.
            if matches!(
                kind,
                Kind::OciArchive | Kind::DockerArchive | Kind::OldDockerArchive
            ) {
                return Ok(Err(kind));
            }
            // A sparse file has any length at no cost, and would be read for hours.
            let length = file.metadata()?.len();
            if length > max {
                return Err(io::Error::other(format!(
                    "it has {length} bytes, and a layer may have {max}; if it is to be trusted, raise the limit with \
                     Options::max_tar"
                )));
            }
            let (length, identity) = hash(&file, algorithm, &*wanted)?;
            if length == 0 {
                return Err(kind::empty());
            }
            Ok(Ok((file, length, identity)))
        });
        let failed = |source| Error::Io {
            path: self.path.clone(),
            source,
        };
        let (file, length, identity) = match opening.await {
            Ok(Ok(Ok(found))) => found,
            Ok(Ok(Err(kind))) => return Err(kind::mistaken("tar", &self.path, Some(kind))),
            Ok(Err(_)) if self.path != Path::new("-") && self.path.is_dir() => {
                return Err(kind::mistaken("tar", &self.path, kind::of(&self.path)));
            }
            Ok(Err(error)) => return Err(failed(error)),
            Err(stopped) => return Err(failed(stopped)),
        };
        let (at, digest) = (self.at(), identity.get().clone());
        let layer = MadeLayer {
            media_type: LAYER,
            digest: digest.clone(),
            size: length,
        };
        let config = made::config(&digest);
        let manifest = made::manifest(MANIFEST, CONFIG, &config, &[layer])
            .map_err(|error| Error::document(&at, error.into()))?;
        Ok(Found {
            file,
            length,
            identity,
            config,
            manifest,
        })
    }

    async fn find_root(&self, expected: Option<&Digest>) -> Result<Document, Error> {
        let pin = agreed(self.pin.as_ref(), expected)?;
        let found = self.found().await?;
        if let Some(pin) = pin
            && pin != found.identity.get()
        {
            return Err(Error::Absent {
                at: self.at(),
                what: pin.to_string(),
                available: found.identity.get().to_string(),
            });
        }
        let (at, bytes) = (self.at(), found.manifest.clone());
        Ok(Document {
            digest: verify(&at, Digest::of(&bytes), &bytes)?,
            bytes,
            content_type: Some(MANIFEST.to_owned()),
            at,
            identity: Some(found.identity.clone()),
        })
    }

    async fn open_blob(&self, descriptor: &Descriptor) -> Result<BlobStream, Error> {
        let found = self.found().await?;
        let body: Box<dyn BlobBody> = if descriptor.digest == *found.identity.get() {
            let file = Arc::clone(&found.file);
            Box::new(Section::whole(file, self.path.clone(), found.length))
        } else {
            Box::new(Made(Some(found.config.clone())))
        };
        Ok(BlobStream::new(descriptor, self.at(), body))
    }

    fn at(&self) -> String {
        match self.path == Path::new("-") {
            true => "standard input".to_owned(),
            false => self.path.display().to_string(),
        }
    }
}

/// Reads `file` to its end: its length and digest.
fn hash(
    file: &File,
    algorithm: Algorithm,
    wanted: impl Fn() -> bool,
) -> io::Result<(u64, Verified<Digest>)> {
    let mut buffer = vec![0; 1 << 20];
    let mut hasher = algorithm.hasher();
    let mut at = 0;
    loop {
        if !wanted() {
            return Err(io::Error::other("the archive is no longer needed"));
        }
        let read = match file.read_at(&mut buffer, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            outcome => outcome?,
        };
        let bytes = buffer.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            return Ok((at, hasher.proof()));
        }
        hasher.update(bytes);
        at = at.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
    }
}

/// A document that was made, as a blob.
struct Made(Option<Bytes>);

impl BlobBody for Made {
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Error>> {
        let next = self.0.take();
        Box::pin(async { Ok(next) })
    }
}

impl Source for TarSource {
    fn root<'a>(&'a self, expected: Option<&'a Digest>) -> BoxFuture<'a, Result<Document, Error>> {
        Box::pin(self.find_root(expected))
    }

    fn identity(&self) -> BoxFuture<'_, Result<Option<Digest>, Error>> {
        Box::pin(async { Ok(self.pin.clone()) })
    }

    fn manifest<'a>(
        &'a self,
        descriptor: &'a Descriptor,
    ) -> BoxFuture<'a, Result<Document, Error>> {
        // Nothing names a manifest here; resolving begins with the one there is.
        Box::pin(async {
            Err(Error::Absent {
                at: self.at(),
                what: descriptor.digest.to_string(),
                available: "a root file system".to_owned(),
            })
        })
    }

    fn blob<'a>(&'a self, descriptor: &'a Descriptor) -> BoxFuture<'a, Result<BlobStream, Error>> {
        Box::pin(self.open_blob(descriptor))
    }
}
