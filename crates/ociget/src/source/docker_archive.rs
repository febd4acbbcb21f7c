//! Images in what `docker save` writes: a tar file with `manifest.json`, configs and layers.
//!
//! Such an archive has no manifest in a registry's sense, so one is made: the config by its hash,
//! each layer under the digest that vouches for it. A plain tar is its DiffID of the config. A
//! compressed layer in `blobs/sha256/<hex>` is what its name promises. The names of other compressed layers
//! mean something else with each tool (crane, jib, kaniko and ko have the digest, rules_docker an
//! id), so those are hashed when the manifest is made, and the DiffID vouches for what is in them. All
//! of it is verified as it is read, and the config by its name, so that the digest of the manifest
//! that was made stands for the whole image.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use crate::blob::BlobStream;
use crate::config::ImageConfig;
use crate::digest::{Digest, Verified};
use crate::error::Error;
use crate::future::BoxFuture;
use crate::go_json::Keys;
use crate::joint::{Drivers, Once};
use crate::json::null_is_empty;
use crate::manifest::Descriptor;
use crate::open_archive::OpenArchive;
use crate::reference::Reference;
use crate::source::agreed::agreed;
use crate::source::archive::Archive;
use crate::source::arriving::plan::Plan;
use crate::source::docker_layers::Layers;
use crate::source::made;
use crate::source::tar_headers::clean;
use crate::source::{Document, Source, verify};

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// An image in the output of `docker save`.
#[derive(Clone, Debug)]
pub struct DockerArchiveSource {
    archive: Archive,
    tag: Option<String>,
    pin: Option<Digest>,
    image: Arc<Once<Arc<Found>>>,
}

/// One image of the archive.
#[derive(Debug)]
struct Found {
    digest: Verified<Digest>,
    manifest: bytes::Bytes,
    /// Name of the member by the digest that the manifest has for it.
    members: Vec<(Digest, String)>,
}

/// An element of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    layers: Vec<String>,
}

/// The keys of `manifest.json`, which jib and containerify begin in lower case.
const KEYS: Keys = Keys {
    known: &["Config", "RepoTags", "Layers", "LayerSources"],
    maps: &["LayerSources"],
    records: &[],
};

impl DockerArchiveSource {
    /// Returns the image `tag` (`app:v1`) of the archive, the image with the number `N` (`@N`, from 0) in its
    /// `manifest.json`, or its only image. Opens nothing yet, and unpacks nothing.
    #[must_use]
    pub fn new(file: PathBuf, tag: Option<String>) -> Self {
        Self {
            archive: Archive::new("docker-archive", file),
            tag,
            pin: None,
            image: Arc::new(Once::new(Drivers::All)),
        }
    }

    /// Opens the file with `opener`.
    pub(crate) fn opened_by(self, opener: Arc<dyn OpenArchive>) -> Self {
        Self {
            archive: self.archive.opened_by(opener),
            ..self
        }
    }

    /// Refuses every image but the one with this digest.
    pub(crate) fn pinned(self, pin: Option<Digest>) -> Self {
        Self { pin, ..self }
    }

    async fn find_root(&self, expected: Option<&Digest>) -> Result<Document, Error> {
        let pin = agreed(self.pin.as_ref(), expected)?;
        let found = self.found().await?;
        if let Some(expected) = pin
            && expected != found.digest.get()
        {
            return Err(Error::Absent {
                at: self.at(),
                what: expected.to_string(),
                available: found.digest.get().to_string(),
            });
        }
        Ok(Document {
            digest: found.digest.clone(),
            bytes: found.manifest.clone(),
            content_type: Some(MANIFEST.to_owned()),
            at: self.at(),
            identity: None,
        })
    }

    async fn open_blob(&self, descriptor: &Descriptor) -> Result<BlobStream, Error> {
        let found = self.found().await?;
        let member = found
            .members
            .iter()
            .find(|(digest, _)| *digest == descriptor.digest);
        let Some((_, name)) = member else {
            return Err(Error::Absent {
                at: self.at(),
                what: descriptor.digest.to_string(),
                available: "other layers".to_owned(),
            });
        };
        let section = self.archive.section(name).await?;
        let at = section.path.display().to_string();
        if section.length != descriptor.size {
            let found = section.length.to_string();
            return Err(Error::size(&at, descriptor.size, found));
        }
        Ok(BlobStream::new(descriptor, at, Box::new(section)))
    }

    async fn found(&self) -> Result<&Found, Error> {
        let find = || {
            let source = self.clone();
            async move { source.find().await.map(Arc::new) }
        };
        self.image.get_or_make(find).await.map(|found| &**found)
    }

    async fn find(&self) -> Result<Found, Error> {
        let list = self.archive.landmark("manifest.json").await?;
        let at = list.path.display().to_string();
        let text = list.read().await?;
        let entries: Vec<Entry> = crate::json::parse_as_go(&text, KEYS)
            .map_err(|error| Error::document(&at, error.into()))?;
        let entry = self.choose(&entries)?;
        let (config, config_digest, parsed) = self.config(&entry.config).await?;
        if entry.layers.len() != parsed.diff_ids.len() {
            return Err(Error::Inconsistent {
                at,
                reason: format!(
                    "it lists {} layers, the config's rootfs.diff_ids {}",
                    entry.layers.len(),
                    parsed.diff_ids.len()
                ),
            });
        }
        if entry.layers.len() > MAX_LAYERS {
            return Err(Error::Unsupported {
                at,
                what: format!("more than {MAX_LAYERS} layers"),
            });
        }
        let mut members = vec![(config_digest.clone(), config)];
        let mut layers = Vec::new();
        let mut known = Layers::default();
        for (name, diff_id) in entry.layers.iter().zip(&parsed.diff_ids) {
            let name = self.member(name)?;
            let layer = known.layer(&self.archive, &name, &diff_id.0).await?;
            members.push((layer.digest.clone(), name));
            layers.push(layer);
        }
        let manifest = made::manifest(MANIFEST, CONFIG, &parsed.raw, &layers)
            .map_err(|error| Error::document(&at, error.into()))?;
        Ok(Found {
            digest: verify(&at, Digest::of(&manifest), &manifest)?,
            manifest,
            members,
        })
    }

    fn choose<'a>(&self, entries: &'a [Entry]) -> Result<&'a Entry, Error> {
        let Some(tag) = &self.tag else {
            return match entries {
                [entry] => Ok(entry),
                [] => Err(self.absent("any image", "nothing")),
                _ => Err(Error::Usage(format!(
                    "{} holds several images: {}; write docker-archive:FILE:NAME:TAG, or \
                     docker-archive:FILE:@N for the image of that number",
                    self.at(),
                    names(entries)
                ))),
            };
        };
        if let Some(number) = tag.strip_prefix('@') {
            let found = number
                .parse()
                .ok()
                .and_then(|number: usize| entries.get(number));
            return found.ok_or_else(|| self.absent(tag, &names(entries)));
        }
        // `app:v1` and `docker.io/library/app:v1` are one name.
        let long = |text: &str| text.parse::<Reference>().map(|name| name.to_string()).ok();
        let wanted = long(tag);
        let has_tag = |entry: &&Entry| {
            let mut tags = entry.repo_tags.iter();
            tags.any(|found| found == tag || wanted.is_some() && long(found) == wanted)
        };
        let mut found = entries.iter().filter(has_tag);
        let first = found
            .next()
            .ok_or_else(|| self.absent(tag, &names(entries)))?;
        // One image may be listed twice. Of two images with one tag each reader would take another one.
        let is_first = |other: &Entry| other.config == first.config && other.layers == first.layers;
        match found.all(is_first) {
            true => Ok(first),
            false => Err(Error::Usage(format!(
                "{} holds several images with the tag {tag}: {}; write docker-archive:FILE:@N for the image of that \
                 number",
                self.at(),
                names(entries)
            ))),
        }
    }

    /// The member of the config, its digest, and its content.
    async fn config(&self, name: &str) -> Result<(String, Digest, ImageConfig), Error> {
        let name = self.member(name)?;
        let section = self.archive.section(&name).await?;
        let at = section.path.display().to_string();
        let text = section.read().await?;
        // `<hex>.json`, `sha256:<hex>`, or `blobs/sha256/<hex>`: the name is a promise where it is a
        // digest.
        let stem = name.rsplit('/').next().unwrap_or_default();
        let stem = stem.strip_suffix(".json").unwrap_or(stem);
        let stem = stem.strip_prefix("sha256:").unwrap_or(stem);
        let digest = format!("sha256:{stem}")
            .parse()
            .unwrap_or_else(|_| Digest::of(&text));
        let digest = verify(&at, digest, &text)?.into_inner();
        let config = ImageConfig::parse(text).map_err(|reason| Error::document(&at, reason))?;
        Ok((name, digest, config))
    }

    fn member(&self, name: &str) -> Result<String, Error> {
        clean("", name).ok_or_else(|| Error::Inconsistent {
            at: self.at(),
            reason: format!("its manifest.json names {name:?}, which is not in the archive"),
        })
    }

    fn absent(&self, what: &str, available: &str) -> Error {
        Error::Absent {
            at: self.at(),
            what: what.to_owned(),
            available: available.to_owned(),
        }
    }

    fn at(&self) -> String {
        self.archive.shown()
    }
}

/// Most layers of one image: each may have to be read once before anything is known of it.
const MAX_LAYERS: usize = 4096;

/// The images of an archive, for a message: tags, and the numbers of those that have none, or one of another image.
fn names(entries: &[Entry]) -> String {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for tag in entries.iter().flat_map(|entry| &entry.repo_tags) {
        *counts.entry(tag).or_default() += 1;
    }
    let is_shared = |tag: &String| counts.get(&**tag).is_some_and(|count| *count > 1);
    let names =
        entries
            .iter()
            .enumerate()
            .map(|(number, entry)| match entry.repo_tags.join(", ") {
                tags if tags.is_empty() => format!("@{number} (without a tag)"),
                tags if entry.repo_tags.iter().any(is_shared) => format!("@{number} ({tags})"),
                tags => tags,
            });
    names.collect::<Vec<_>>().join(", ")
}

impl Source for DockerArchiveSource {
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
        // There are no indexes in such an archive, so that there is one manifest only.
        Box::pin(self.find_root(Some(&descriptor.digest)))
    }

    fn blob<'a>(&'a self, descriptor: &'a Descriptor) -> BoxFuture<'a, Result<BlobStream, Error>> {
        Box::pin(self.open_blob(descriptor))
    }

    fn announce<'a>(&'a self, needed: &'a [Digest], once: Option<&'a Digest>) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let Some(found) = self.image.get() else {
                return;
            };
            let name = |digest: &Digest| {
                let member = found.members.iter().find(|(of, _)| of == digest);
                member.map(|(_, name)| name.clone())
            };
            let plan = Plan {
                needed: needed.iter().filter_map(name).collect(),
                once: once.and_then(name),
            };
            self.archive.plan(plan).await;
        })
    }

    fn finish(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.archive.finish())
    }
}
