//! Images in an OCI image layout: a directory with `oci-layout`, `index.json` and `blobs/`, or a
//! tar file of one.
//!
//! The directory is the caller's word and may be anything, symlinks included. What is in it is
//! not: names below it are made from checked digests alone, and no symlink is followed, so that
//! a layout from a stranger cannot make us read (and by its hash, confirm) another file.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{Mode, OFlags};
use serde::Deserialize;

use crate::blob::BlobStream;
use crate::digest::Digest;
use crate::error::Error;
use crate::future::BoxFuture;
use crate::manifest::{Descriptor, Index, IndexEntry, Manifest};
use crate::regular_file;
use crate::source::agreed::agreed;
use crate::source::archive::Archive;
use crate::source::section::Section;
use crate::source::{Document, Source};

/// An OCI image layout in a directory or a tar file.
#[derive(Clone, Debug)]
pub struct LayoutSource {
    place: Place,
    tag: Option<String>,
    pin: Option<Digest>,
}

#[derive(Clone, Debug)]
enum Place {
    Directory(PathBuf),
    Archive(Archive),
}

impl LayoutSource {
    /// The image `tag` of the layout in `dir`, or its only image. Opens nothing yet.
    #[must_use]
    pub fn new(dir: PathBuf, tag: Option<String>) -> Self {
        Self {
            place: Place::Directory(dir),
            tag,
            pin: None,
        }
    }

    /// The image `tag` of the layout in the tar file `file`, or its only image. Opens nothing
    /// yet, and unpacks nothing.
    #[must_use]
    pub fn archive(file: PathBuf, tag: Option<String>) -> Self {
        Self {
            place: Place::Archive(Archive::new(file)),
            tag,
            pin: None,
        }
    }

    /// Keeps to the image with this digest, whatever the tag says.
    pub(crate) fn pinned(self, pin: Option<Digest>) -> Self {
        Self { pin, ..self }
    }

    async fn find_root(&self, expected: Option<&Digest>) -> Result<Document, Error> {
        let pin = agreed(self.pin.as_ref(), expected)?;
        let index = self.index().await?;
        let descriptor = match pin {
            None => self.choose(&index)?.descriptor.clone(),
            Some(digest) => {
                let named = index
                    .entries
                    .iter()
                    .find(|e| e.descriptor.digest == *digest);
                match named {
                    Some(entry) => entry.descriptor.clone(),
                    // Not at the top: perhaps one of an index's. The blob says.
                    None => return self.unnamed_root(digest, &index).await,
                }
            }
        };
        self.read_manifest(&descriptor).await
    }

    async fn unnamed_root(&self, digest: &Digest, index: &Index) -> Result<Document, Error> {
        let path = blob_path(digest);
        match self.read(&path).await {
            Ok(bytes) => self.document(&path, digest, bytes),
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::Absent {
                    at: self.root_path().display().to_string(),
                    what: digest.to_string(),
                    available: names(index),
                })
            }
            Err(error) => Err(error),
        }
    }

    async fn read_manifest(&self, descriptor: &Descriptor) -> Result<Document, Error> {
        let path = blob_path(&descriptor.digest);
        let bytes = self.read(&path).await?;
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if size != descriptor.size {
            return Err(Error::size(
                &self.shown(&path),
                descriptor.size,
                size.to_string(),
            ));
        }
        self.document(&path, &descriptor.digest, bytes)
    }

    fn document(&self, path: &[String], digest: &Digest, bytes: Bytes) -> Result<Document, Error> {
        Document::verified(self.shown(path), digest.clone(), bytes, None)
    }

    /// `index.json`, of a layout that says it is one.
    async fn index(&self) -> Result<Index, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Marker {
            image_layout_version: String,
        }
        let marker = self.read(&["oci-layout".to_owned()]).await?;
        let version = serde_json::from_slice(&marker).map(|m: Marker| m.image_layout_version);
        if !matches!(version.as_deref(), Ok("1.0.0")) {
            return Err(Error::Unsupported {
                at: self.shown(&["oci-layout".to_owned()]),
                what: "a layout of another version than 1.0.0".to_owned(),
            });
        }
        let path = ["index.json".to_owned()];
        let bytes = self.read(&path).await?;
        let at = self.shown(&path);
        match Manifest::parse(&bytes, None).map_err(|reason| Error::document(&at, reason))? {
            Manifest::Index(index) => Ok(index),
            Manifest::Image(_) => Err(Error::Unsupported {
                at,
                what: "an image manifest in place of an index".to_owned(),
            }),
        }
    }

    fn choose<'a>(&self, index: &'a Index) -> Result<&'a IndexEntry, Error> {
        let fits = |entry: &&IndexEntry| self.tag.is_none() || entry.ref_name == self.tag;
        let (mut found, unusable): (Vec<_>, Vec<_>) = index
            .entries
            .iter()
            .filter(fits)
            .partition(|entry| entry.unusable.is_none());
        let reason = unusable.iter().find_map(|entry| entry.unusable.clone());
        if let (true, Some(reason)) = (found.is_empty(), reason) {
            let at = self.shown(&["index.json".to_owned()]);
            return Err(Error::document(&at, reason.into()));
        }
        let mut found = found.drain(..);
        let at = self.root_path().display().to_string();
        match (found.next(), &self.tag) {
            (Some(entry), _) => {
                // One image may be listed twice, under two tags; two images are a question.
                if found.all(|other| other.descriptor.digest == entry.descriptor.digest) {
                    return Ok(entry);
                }
                Err(Error::Usage(format!(
                    "{at} holds several images: {}; write {}:{at}:TAG or name a digest",
                    names(index),
                    self.prefix()
                )))
            }
            (None, tag) => Err(Error::Absent {
                at,
                what: tag.clone().unwrap_or_else(|| "any image".to_owned()),
                available: names(index),
            }),
        }
    }

    async fn open_blob(&self, descriptor: &Descriptor) -> Result<BlobStream, Error> {
        let path = blob_path(&descriptor.digest);
        let at = self.shown(&path);
        let section = self.open(&path).await?;
        if section.length != descriptor.size {
            let found = section.length.to_string();
            return Err(Error::size(&at, descriptor.size, found));
        }
        Ok(BlobStream::new(descriptor, at, Box::new(section)))
    }

    /// A whole document.
    async fn read(&self, path: &[String]) -> Result<Bytes, Error> {
        self.open(path).await?.read().await
    }

    async fn open(&self, names: &[String]) -> Result<Section, Error> {
        let dir = match &self.place {
            Place::Directory(dir) => dir.clone(),
            Place::Archive(archive) => return archive.section(&names.join("/")).await,
        };
        let path = dir.join(names.join("/"));
        let names = names.to_vec();
        let opening = tokio::task::spawn_blocking(move || open_beneath(&dir, &names));
        let outcome = match opening.await {
            Ok(outcome) => outcome,
            Err(stopped) => Err(std::io::Error::other(stopped)),
        };
        match outcome {
            Ok((file, length)) => Ok(Section {
                file: Arc::new(file),
                path,
                offset: 0,
                length,
            }),
            Err(source) => Err(Error::Io { path, source }),
        }
    }

    fn root_path(&self) -> &Path {
        match &self.place {
            Place::Directory(dir) => dir,
            Place::Archive(archive) => archive.path(),
        }
    }

    fn prefix(&self) -> &'static str {
        match &self.place {
            Place::Directory(_) => "oci",
            Place::Archive(_) => "oci-archive",
        }
    }

    fn shown(&self, path: &[String]) -> String {
        self.root_path().join(path.join("/")).display().to_string()
    }
}

impl Source for LayoutSource {
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

fn blob_path(digest: &Digest) -> [String; 3] {
    [
        "blobs".to_owned(),
        digest.algorithm().as_str().to_owned(),
        digest.hex().to_owned(),
    ]
}

/// Opens a regular file, name by name, none of which may be a symlink.
fn open_beneath(dir: &Path, names: &[String]) -> std::io::Result<(File, u64)> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let mut at: OwnedFd = rustix::fs::open(dir, flags | OFlags::DIRECTORY, Mode::empty())?;
    for (depth, name) in names.iter().enumerate() {
        let kind = if depth + 1 < names.len() {
            OFlags::DIRECTORY
        } else {
            // Opening a fifo waits for a writer unless told otherwise.
            OFlags::NONBLOCK
        };
        at = match rustix::fs::openat(
            &at,
            name.as_str(),
            flags | kind | OFlags::NOFOLLOW,
            Mode::empty(),
        ) {
            Ok(next) => next,
            Err(error) => {
                let status =
                    rustix::fs::statat(&at, name.as_str(), rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
                let is_link = status.is_ok_and(|status| {
                    rustix::fs::FileType::from_raw_mode(status.st_mode).is_symlink()
                });
                if is_link {
                    return Err(std::io::Error::other(format!(
                        "{name} is a symlink, which is not followed in an image layout"
                    )));
                }
                return Err(error.into());
            }
        };
    }
    let file = File::from(at);
    let metadata = file.metadata()?;
    regular_file::is_regular(&metadata)?;
    Ok((file, metadata.len()))
}

/// What a layout holds, for a message.
fn names(index: &Index) -> String {
    let names: Vec<String> = index
        .entries
        .iter()
        .map(|entry| match &entry.ref_name {
            Some(tag) => format!("{tag} ({})", entry.descriptor.digest),
            None => entry.descriptor.digest.to_string(),
        })
        .collect();
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}
