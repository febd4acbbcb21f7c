//! Images in what `docker save` writes: a tar file with `manifest.json`, configs and layers.
//!
//! Such an archive has no manifest in a registry's sense, so one is made: the config by its hash,
//! each layer under the digest that vouches for it. A plain tar is its DiffID of the config; a
//! compressed layer, which newer versions keep as `blobs/sha256/<hex>`, is what its name says. All
//! of it is verified as it is read, and the config by its name, so that the digest of the manifest
//! that was made stands for the whole image.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::blob::BlobStream;
use crate::config::ImageConfig;
use crate::digest::{Digest, Verified};
use crate::error::Error;
use crate::future::BoxFuture;
use crate::json::null_is_empty;
use crate::manifest::Descriptor;
use crate::reference::Reference;
use crate::source::agreed::agreed;
use crate::source::archive::Archive;
use crate::source::section::Section;
use crate::source::tar_index::clean;
use crate::source::{Document, Source, verify};

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const PLAIN: &str = "application/vnd.docker.image.rootfs.diff.tar";
const GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// An image in the output of `docker save`.
#[derive(Clone, Debug)]
pub struct DockerArchiveSource {
    archive: Archive,
    tag: Option<String>,
    pin: Option<Digest>,
    image: Arc<OnceCell<Found>>,
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    schema_version: u32,
    media_type: &'static str,
    config: MadeDescriptor,
    layers: Vec<MadeDescriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MadeDescriptor {
    media_type: &'static str,
    digest: String,
    size: u64,
}

impl DockerArchiveSource {
    /// The image `tag` (`app:v1`) of the archive, or its only image. Opens nothing yet, and
    /// unpacks nothing.
    #[must_use]
    pub fn new(file: PathBuf, tag: Option<String>) -> Self {
        Self {
            archive: Archive::new(file),
            tag,
            pin: None,
            image: Arc::default(),
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
        self.image.get_or_try_init(|| self.find()).await
    }

    async fn find(&self) -> Result<Found, Error> {
        let list = self.archive.section("manifest.json").await?;
        let at = list.path.display().to_string();
        let text = list.read().await?;
        let entries: Vec<Entry> =
            crate::json::parse(&text).map_err(|error| Error::document(&at, error.into()))?;
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
        let mut members = vec![(config_digest.clone(), config)];
        let mut layers = Vec::new();
        for (name, diff_id) in entry.layers.iter().zip(&parsed.diff_ids) {
            let name = self.member(name)?;
            let section = self.archive.section(&name).await?;
            let size = section.length;
            let (media_type, digest) = self.layer(&name, section, &diff_id.0).await?;
            layers.push(MadeDescriptor {
                media_type,
                digest: digest.to_string(),
                size,
            });
            members.push((digest, name));
        }
        let made = Made {
            schema_version: 2,
            media_type: MANIFEST,
            config: MadeDescriptor {
                media_type: CONFIG,
                digest: config_digest.to_string(),
                size: u64::try_from(parsed.raw.len()).unwrap_or(u64::MAX),
            },
            layers,
        };
        let manifest =
            serde_json::to_vec(&made).map_err(|error| Error::document(&at, error.into()))?;
        Ok(Found {
            digest: verify(&at, Digest::of(&manifest), &manifest)?,
            manifest: manifest.into(),
            members,
        })
    }

    fn choose<'a>(&self, entries: &'a [Entry]) -> Result<&'a Entry, Error> {
        let names: Vec<&str> = entries
            .iter()
            .flat_map(|entry| entry.repo_tags.iter().map(String::as_str))
            .collect();
        let Some(tag) = &self.tag else {
            return match entries {
                [entry] => Ok(entry),
                [] => Err(self.absent("any image", "nothing")),
                _ => Err(Error::Usage(format!(
                    "{} holds several images: {}; write docker-archive:FILE:NAME:TAG",
                    self.at(),
                    names.join(", ")
                ))),
            };
        };
        // `app:v1` and `docker.io/library/app:v1` are one name.
        let long = |text: &str| text.parse::<Reference>().map(|name| name.to_string()).ok();
        let wanted = long(tag);
        entries
            .iter()
            .find(|entry| {
                let mut tags = entry.repo_tags.iter();
                tags.any(|found| found == tag || wanted.is_some() && long(found) == wanted)
            })
            .ok_or_else(|| self.absent(tag, &names.join(", ")))
    }

    /// The config's member, its digest, and what it says.
    async fn config(&self, name: &str) -> Result<(String, Digest, ImageConfig), Error> {
        let name = self.member(name)?;
        let section = self.archive.section(&name).await?;
        let at = section.path.display().to_string();
        let text = section.read().await?;
        // `<hex>.json`, or `blobs/sha256/<hex>`: the name is a promise where it is a digest.
        let stem = name.rsplit('/').next().unwrap_or_default();
        let stem = stem.strip_suffix(".json").unwrap_or(stem);
        let digest = format!("sha256:{stem}")
            .parse()
            .unwrap_or_else(|_| Digest::of(&text));
        let digest = verify(&at, digest, &text)?.into_inner();
        let config = ImageConfig::parse(text).map_err(|reason| Error::document(&at, reason))?;
        Ok((name, digest, config))
    }

    /// What a layer is, and the digest that it has to have.
    async fn layer(
        &self,
        name: &str,
        section: Section,
        diff_id: &Digest,
    ) -> Result<(&'static str, Digest), Error> {
        let at = section.path.display().to_string();
        let start = Section {
            length: section.length.min(4),
            ..section
        };
        let start = start.read().await?;
        let media_type = match start.get(..4) {
            Some([0x1f, 0x8b, ..]) => GZIP,
            Some([0x28, 0xb5, 0x2f, 0xfd]) => ZSTD,
            _ => return Ok((PLAIN, diff_id.clone())),
        };
        let named = name
            .strip_prefix("blobs/sha256/")
            .and_then(|hex| format!("sha256:{hex}").parse().ok());
        match named {
            Some(digest) => Ok((media_type, digest)),
            None => Err(Error::Unsupported {
                at,
                what: "a compressed layer whose name is not its digest".to_owned(),
            }),
        }
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
        self.archive.path().display().to_string()
    }
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
}
