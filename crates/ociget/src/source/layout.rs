//! Images in an OCI image layout: a directory with `oci-layout`, `index.json` and `blobs/`, or a
//! tar file of one.
//!
//! The directory is the caller's word and may be anything, symlinks included. What is in it is
//! not: names below it are made from checked digests alone, and a symlink is followed only as long as it
//! stays in the directory, so that a layout from a stranger cannot make us read (and by its hash,
//! confirm) another file.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;

use crate::background;
use crate::blob::BlobStream;
use crate::digest::Digest;
use crate::error::Error;
use crate::future::BoxFuture;
use crate::manifest::{Descriptor, Index, IndexEntry, Manifest};
use crate::open_archive::OpenArchive;
use crate::reference::Reference;
use crate::source::agreed::agreed;
use crate::source::archive::Archive;
use crate::source::arriving::plan::Plan;
use crate::source::kind::{self, Kind};
use crate::source::made;
use crate::source::section::Section;
use crate::source::{Document, Source, beneath};

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

/// The file that every layout has.
const MARKER: &str = "oci-layout";

/// `index.json`.
struct Listing {
    at: String,
    bytes: Bytes,
    index: Index,
}

/// The entry that a tag, or the lack of one, selects.
enum Choice<'a> {
    One(&'a IndexEntry),
    /// An index of the platforms that `index.json` itself lists.
    Platforms(Document),
}

impl LayoutSource {
    /// Returns the image `tag` of the layout in `dir`, the image with the number `N` (`@N`, from 0) in its
    /// `index.json`, or its only image. Opens nothing yet.
    #[must_use]
    pub fn new(dir: PathBuf, tag: Option<String>) -> Self {
        Self {
            place: Place::Directory(dir),
            tag,
            pin: None,
        }
    }

    /// Returns the image `tag` of the layout in the tar file `file`, or its only image. Opens nothing
    /// yet, and unpacks nothing.
    #[must_use]
    pub fn archive(file: PathBuf, tag: Option<String>) -> Self {
        Self {
            place: Place::Archive(Archive::new("oci-archive", file)),
            tag,
            pin: None,
        }
    }

    /// Opens the file of an archive with `opener`.
    pub(crate) fn opened_by(self, opener: Arc<dyn OpenArchive>) -> Self {
        let place = match self.place {
            Place::Archive(archive) => Place::Archive(archive.opened_by(opener)),
            place @ Place::Directory(_) => place,
        };
        Self { place, ..self }
    }

    /// Selects the image with this digest, regardless of the tag.
    pub(crate) fn pinned(self, pin: Option<Digest>) -> Self {
        Self { pin, ..self }
    }

    async fn find_root(&self, expected: Option<&Digest>) -> Result<Document, Error> {
        let pin = agreed(self.pin.as_ref(), expected)?;
        let listing = self.listing().await?;
        let Some(digest) = pin else {
            return match self.choose(&listing)? {
                Choice::One(entry) => self.read_manifest(&entry.descriptor).await,
                Choice::Platforms(document) => Ok(document),
            };
        };
        let mut entries = listing.index.entries.iter();
        match entries.find(|entry| entry.descriptor.digest == *digest) {
            Some(entry) => self.read_manifest(&entry.descriptor).await,
            // Not at the top level, so perhaps an entry of an index. The blob has the answer.
            None => self.unnamed_root(digest, &listing).await,
        }
    }

    async fn unnamed_root(&self, digest: &Digest, listing: &Listing) -> Result<Document, Error> {
        let path = blob_path(digest);
        let absent = match self.read(&path).await {
            Ok(bytes) => return self.document(&path, digest, bytes),
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Error::Absent {
                    at: self.shown_root(),
                    what: digest.to_string(),
                    available: names(&listing.index),
                }
            }
            Err(error) => return Err(error),
        };
        match self.choose(listing) {
            Ok(Choice::Platforms(document)) if document.digest.get() == digest => Ok(document),
            _ => Err(absent),
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

    /// Reads `index.json` of a directory that declares itself a layout.
    async fn listing(&self) -> Result<Listing, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Marker {
            image_layout_version: String,
        }
        let marker = self.marker().await?.read().await?;
        let version = crate::json::read(&marker).map(|m: Marker| m.image_layout_version);
        if !matches!(version.as_deref(), Ok("1.0.0")) {
            return Err(Error::Unsupported {
                at: self.shown(&[MARKER.to_owned()]),
                what: "a layout of another version than 1.0.0".to_owned(),
            });
        }
        let path = ["index.json".to_owned()];
        let bytes = self.read(&path).await?;
        let at = self.shown(&path);
        match Manifest::parse(&bytes, None).map_err(|reason| Error::document(&at, reason))? {
            Manifest::Index(index) => Ok(Listing { at, bytes, index }),
            Manifest::Image(_) => Err(Error::Unsupported {
                at,
                what: "an image manifest in place of an index".to_owned(),
            }),
        }
    }

    /// Reads the file that every layout has. If it is missing, the error describes the directory.
    async fn marker(&self) -> Result<Section, Error> {
        let dir = match &self.place {
            Place::Archive(archive) => return archive.landmark(MARKER).await,
            Place::Directory(dir) => dir,
        };
        match self.open(&[MARKER.to_owned()]).await {
            Err(Error::Io { path, source }) => match kind::of(dir) {
                Some(Kind::Layout) if source.kind() == io::ErrorKind::NotFound => {
                    Err(kind::mistaken("oci", dir, Some(Kind::Layout)))
                }
                None | Some(Kind::Layout) => Err(Error::Io { path, source }),
                other => Err(kind::mistaken("oci", dir, other)),
            },
            outcome => outcome,
        }
    }

    fn choose<'a>(&self, listing: &'a Listing) -> Result<Choice<'a>, Error> {
        let number = self.tag.as_deref().and_then(|tag| tag.strip_prefix('@'));
        let has_tag = |name: &Option<String>| self.tag.is_none() || *name == self.tag;
        let entries = &listing.index.entries;
        // A tag that is one counts before one that is the name of an image.
        let is_name = number.is_none() && !entries.iter().any(|entry| has_tag(&entry.ref_name));
        let fits = |entry: &&IndexEntry| match (number, &self.tag) {
            (Some(number), _) => number.parse() == Ok(entry.position),
            (None, Some(name)) if is_name => is_named(entry, name),
            (None, _) => has_tag(&entry.ref_name),
        };
        let (found, unusable): (Vec<_>, Vec<_>) = listing
            .index
            .entries
            .iter()
            .filter(fits)
            .partition(|entry| entry.unusable.is_none());
        let reason = unusable.iter().find_map(|entry| entry.unusable.clone());
        if let (true, Some(reason)) = (found.is_empty(), reason) {
            return Err(Error::document(&listing.at, reason.into()));
        }
        let damaged = listing.index.unusable.iter().find(|entry| match number {
            Some(number) => number.parse() == Ok(entry.position),
            None => has_tag(&entry.ref_name),
        });
        if let (true, Some(entry)) = (found.is_empty(), damaged) {
            return Err(Error::document(&listing.at, entry.error()));
        }
        let Some(first) = found.first() else {
            return Err(Error::Absent {
                at: self.shown_root(),
                what: self.tag.clone().unwrap_or_else(|| "any image".to_owned()),
                available: names(&listing.index),
            });
        };
        // One image may be listed twice, under two tags; two images are a question.
        let digest = &first.descriptor.digest;
        if found.iter().all(|other| other.descriptor.digest == *digest) {
            return Ok(Choice::One(first));
        }
        if are_platforms_of_one(&found) {
            // Without a tag it is the index as it stands.
            let bytes = match self.tag {
                None => listing.bytes.clone(),
                Some(_) => made::index(&found)
                    .map_err(|error| Error::document(&listing.at, error.into()))?,
            };
            let digest = Digest::of(&bytes);
            let document = Document::verified(listing.at.clone(), digest, bytes, None)?;
            return Ok(Choice::Platforms(document));
        }
        Err(Error::Usage(format!(
            "{0} holds several images: {1}; write {2}:{3}:TAG, {2}:{3}:NAME:TAG, or {2}:{3}:@N for the image of that \
             number, or name a digest with Request::parse",
            self.shown_root(),
            names(&listing.index),
            self.prefix(),
            self.root_path().display()
        )))
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

    fn root_path(&self) -> &Path {
        match &self.place {
            Place::Directory(dir) => dir,
            Place::Archive(archive) => archive.path(),
        }
    }

    fn shown_root(&self) -> String {
        match &self.place {
            Place::Directory(dir) => dir.display().to_string(),
            Place::Archive(archive) => archive.shown(),
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

    fn announce<'a>(&'a self, needed: &'a [Digest], once: Option<&'a Digest>) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if let Place::Archive(archive) = &self.place {
                let name = |digest: &Digest| blob_path(digest).join("/");
                let plan = Plan {
                    needed: needed.iter().map(name).collect(),
                    once: once.map(name),
                };
                archive.plan(plan).await;
            }
        })
    }

    fn finish(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            match &self.place {
                Place::Archive(archive) => archive.finish().await,
                Place::Directory(_) => Ok(()),
            }
        })
    }
}

fn blob_path(digest: &Digest) -> [String; 3] {
    [
        "blobs".to_owned(),
        digest.algorithm().as_str().to_owned(),
        digest.hex().to_owned(),
    ]
}

/// The annotation that holds the whole name of an image. Docker and containerd write it beside a tag that several
/// images may have.
pub(crate) const IMAGE_NAME: &str = "io.containerd.image.name";

/// The whole name of an image, if its entry has one.
fn image_name(entry: &IndexEntry) -> Option<&str> {
    let name = entry.descriptor.annotations.get(IMAGE_NAME)?;
    (!name.is_empty()).then_some(name)
}

/// The name by which people know the image of an entry.
fn shown_name(entry: &IndexEntry) -> Option<&str> {
    image_name(entry).or(entry.ref_name.as_deref())
}

/// Whether the entry is of the image `name`, in a short or a long form.
fn is_named(entry: &IndexEntry, name: &str) -> bool {
    let tag = entry.ref_name.as_deref().filter(|tag| is_whole(tag));
    let mut names = image_name(entry).into_iter().chain(tag);
    names.any(|found| are_one(found, name))
}

/// Whether a tag is the whole name of an image. A tag alone reads as the name of a repository, and is none.
fn is_whole(tag: &str) -> bool {
    tag.contains([':', '/'])
}

fn are_one(name: &str, other: &str) -> bool {
    let long = |text: &str| text.parse::<Reference>().map(|name| name.to_string()).ok();
    name == other || long(name).is_some_and(|name| Some(name) == long(other))
}

/// Whether the tag `tag` is the whole name `name`, in a short or a long form.
pub(crate) fn is_name(tag: &str, name: &str) -> bool {
    tag == name || is_whole(tag) && are_one(tag, name)
}

/// Whether these entries are one image for several platforms: each names another platform, and all
/// have the same tag and the same name, or none.
fn are_platforms_of_one(entries: &[&IndexEntry]) -> bool {
    entries.iter().enumerate().all(|(index, entry)| {
        let mut others = entries.iter().skip(index + 1);
        let differs = |other: &IndexEntry| match (&entry.platform, &other.platform) {
            (Some(one), Some(other)) => !one.is_same(other),
            _ => false,
        };
        entry.platform.is_some()
            && others.all(|other| {
                other.ref_name == entry.ref_name
                    && image_name(other) == image_name(entry)
                    && differs(other)
            })
    })
}

/// Returns the names in a layout, for a message. An entry whose name is not its own, or that has none, gets its number.
fn names(index: &Index) -> String {
    let mut counts: HashMap<Option<&str>, usize> = HashMap::new();
    for entry in &index.entries {
        *counts.entry(shown_name(entry)).or_default() += 1;
    }
    let names: Vec<String> = index
        .entries
        .iter()
        .map(|entry| {
            let (digest, position) = (&entry.descriptor.digest, entry.position);
            match shown_name(entry) {
                Some(name) if counts.get(&Some(name)) == Some(&1) => format!("{name} ({digest})"),
                Some(name) => format!("@{position} {name} ({digest})"),
                None => format!("@{position} ({digest})"),
            }
        })
        .collect();
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}
