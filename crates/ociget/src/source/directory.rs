//! An image in a directory as skopeo and podman write it under `dir:`: `manifest.json`, and beside it
//! config and layers by the hex digits of their digests. Of an image for several platforms
//! `manifest.json` is the index, and each manifest is `<hex>.manifest.json`.
//!
//! What is in the directory is verified by what names it. Nothing names `manifest.json` but the digest
//! that a caller expects.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::background;
use crate::blob::BlobStream;
use crate::digest::{Algorithm, Digest};
use crate::error::Error;
use crate::future::BoxFuture;
use crate::manifest::Descriptor;
use crate::source::agreed::agreed;
use crate::source::section::Section;
use crate::source::{Document, Source, beneath, kind};

const MANIFEST: &str = "manifest.json";

/// An image in a directory as `skopeo copy … dir:DIR` writes it.
#[derive(Clone, Debug)]
pub struct DirectorySource {
    dir: PathBuf,
    pin: Option<Digest>,
}

impl DirectorySource {
    /// Returns the image in `dir`, without opening it.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, pin: None }
    }

    /// Refuses every image but the one with this digest.
    pub(crate) fn pinned(self, pin: Option<Digest>) -> Self {
        Self { pin, ..self }
    }

    async fn find_root(&self, expected: Option<&Digest>) -> Result<Document, Error> {
        let pin = agreed(self.pin.as_ref(), expected)?;
        let section = match self.open(MANIFEST).await {
            Err(Error::Io { .. }) if !self.dir.join(MANIFEST).exists() => {
                return Err(kind::mistaken("dir", &self.dir, kind::of(&self.dir)));
            }
            outcome => outcome?,
        };
        let at = section.path.display().to_string();
        let bytes = section.read().await?;
        let algorithm = pin.map_or(Algorithm::Sha256, Digest::algorithm);
        let mut hasher = algorithm.hasher();
        hasher.update(&bytes);
        let found = hasher.finish();
        match pin {
            Some(pin) if *pin != found => match self.manifest_section(pin).await {
                Ok(section) => self.document(section, pin).await,
                Err(_) => Err(Error::Absent {
                    at: self.dir.display().to_string(),
                    what: pin.to_string(),
                    available: found.to_string(),
                }),
            },
            _ => Document::verified(at, found, bytes, None),
        }
    }

    async fn document(&self, section: Section, digest: &Digest) -> Result<Document, Error> {
        let at = section.path.display().to_string();
        Document::verified(at, digest.clone(), section.read().await?, None)
    }

    async fn read_manifest(&self, descriptor: &Descriptor) -> Result<Document, Error> {
        let section = self.manifest_section(&descriptor.digest).await?;
        if section.length != descriptor.size {
            let found = section.length.to_string();
            return Err(Error::size(
                &section.path.display().to_string(),
                descriptor.size,
                found,
            ));
        }
        self.document(section, &descriptor.digest).await
    }

    async fn manifest_section(&self, digest: &Digest) -> Result<Section, Error> {
        self.open_first(&names(digest, ".manifest.json")).await
    }

    async fn open_blob(&self, descriptor: &Descriptor) -> Result<BlobStream, Error> {
        let digest = &descriptor.digest;
        let mut choice = names(digest, "").to_vec();
        // The first version of the format.
        choice.push(format!("{}.tar", digest.hex()));
        let section = self.open_first(&choice).await?;
        let at = section.path.display().to_string();
        if section.length != descriptor.size {
            let found = section.length.to_string();
            return Err(Error::size(&at, descriptor.size, found));
        }
        Ok(BlobStream::new(descriptor, at, Box::new(section)))
    }

    /// The first of these files that is there; if none is, the error names the first.
    async fn open_first(&self, names: &[String]) -> Result<Section, Error> {
        let mut failure = None;
        for name in names {
            match self.open(name).await {
                Err(Error::Io { source, path })
                    if source.kind() == std::io::ErrorKind::NotFound =>
                {
                    failure.get_or_insert(Error::Io { path, source });
                }
                outcome => return outcome,
            }
        }
        Err(failure.unwrap_or_else(|| Error::Usage("no file was named".to_owned())))
    }

    async fn open(&self, name: &str) -> Result<Section, Error> {
        let (dir, path) = (self.dir.clone(), self.dir.join(name));
        let names = [name.to_owned()];
        let opening = background::run(move || beneath::open(&dir, &names));
        let outcome = match opening.await {
            Ok(outcome) => outcome,
            Err(stopped) => Err(stopped),
        };
        match outcome {
            Ok((file, length)) => Ok(Section::whole(Arc::new(file), path, length)),
            Err(source) => Err(Error::Io { path, source }),
        }
    }

    /// Returns its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }
}

/// The names that versions of the format give to what has this digest.
fn names(digest: &Digest, suffix: &str) -> [String; 2] {
    let (algorithm, hex) = (digest.algorithm(), digest.hex());
    let dashed = format!("{}-{hex}{suffix}", algorithm.as_str());
    match algorithm {
        Algorithm::Sha256 => [format!("{hex}{suffix}"), dashed],
        _ => [dashed, format!("{hex}{suffix}")],
    }
}

impl Source for DirectorySource {
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
        Box::pin(self.read_manifest(descriptor))
    }

    fn blob<'a>(&'a self, descriptor: &'a Descriptor) -> BoxFuture<'a, Result<BlobStream, Error>> {
        Box::pin(self.open_blob(descriptor))
    }
}
