//! Manifests and indexes: read from the very bytes that were hashed, refused by name if they are
//! anything else than an image.

use serde::Deserialize;

use crate::digest::{Digest, DigestError};
use crate::json::null_is_empty;
use crate::media_type::MediaType;
use crate::platform::{Platform, PlatformError, RawPlatform};
use crate::printable::text;

/// Most bytes a manifest, an index or a config may have: 4 MiB, what registries accept.
pub const MAX_DOCUMENT: u64 = 4 << 20;

/// What a manifest says about a blob or another manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Descriptor {
    /// What it is.
    pub media_type: MediaType,
    /// What its bytes hash to.
    pub digest: Digest,
    /// How many bytes it has; never above `i64::MAX`.
    pub size: u64,
    /// Where else it may be had, as the document has it: of foreign layers, which need not be in
    /// the registry. Empty for everything else.
    pub urls: Vec<String>,
}

/// One image, or a choice of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manifest {
    /// A manifest of one image.
    Image(ImageManifest),
    /// An index or manifest list.
    Index(Index),
}

/// The manifest of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageManifest {
    /// Docker's or the OCI's.
    pub media_type: MediaType,
    /// The image config.
    pub config: Descriptor,
    /// The layers, oldest first. Their media types are all [`MediaType::Layer`].
    pub layers: Vec<Descriptor>,
}

/// Images of several platforms, and indexes of such.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Index {
    /// Docker's or the OCI's.
    pub media_type: MediaType,
    /// Images and nested indexes, in the document's order. Whatever else rides along in an index
    /// (signatures, attestations) is left out.
    pub entries: Vec<IndexEntry>,
}

/// One image or nested index of an [`Index`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexEntry {
    /// The manifest.
    pub descriptor: Descriptor,
    /// What it runs on, where the index says so.
    pub platform: Option<Platform>,
    /// Why the platform that the index gives it is not one. Such an entry is not chosen, and does not
    /// cost the others.
    pub unusable: Option<PlatformError>,
    /// The annotation `org.opencontainers.image.ref.name`: the tag, in a layout's `index.json`.
    pub ref_name: Option<String>,
}

/// Why a document is not the manifest of an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Not JSON, a field missing or of the wrong type, a negative size, a key twice.
    #[error("not a valid manifest: {}", text(.0))]
    Json(#[from] serde_json::Error),
    /// A digest in it is not one.
    #[error("its {field} has no valid digest: {reason}")]
    Digest {
        /// Which descriptor.
        field: &'static str,
        /// What is wrong.
        reason: DigestError,
    },
    /// A size in it cannot be.
    #[error("its {field} claims {size} bytes; {max} is the most")]
    Size {
        /// Which descriptor.
        field: &'static str,
        /// As claimed.
        size: u64,
        /// The most that is taken.
        max: u64,
    },
    /// It can be read in two ways (CVE-2021-41190).
    #[error("ambiguous: {}", text(.0))]
    Ambiguous(String),
    /// Well formed, and nothing that this client unpacks.
    #[error("not supported: {}", text(.0))]
    Unsupported(String),
    /// An image config breaks a rule.
    #[error("not a valid image config: {}", text(.0))]
    Config(String),
    /// What it is for cannot be the name of a platform.
    #[error(transparent)]
    Platform(#[from] PlatformError),
}

impl Manifest {
    /// Reads a manifest or index.
    ///
    /// `content_type` is the header it came with, or the media type of the descriptor that named
    /// it; where that is a manifest type, the document has to be of that type.
    ///
    /// # Errors
    /// [`ManifestError`], with the reason.
    pub fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Self, ManifestError> {
        let raw: RawManifest = crate::json::parse(bytes)?;
        if raw.schema_version == 1 || raw.fs_layers.is_some() {
            return Err(unsupported(
                "a Docker schema 1 manifest; push the image again with a current tool",
            ));
        }
        if raw.schema_version != 2 {
            return Err(unsupported(&format!(
                "schemaVersion {}",
                raw.schema_version
            )));
        }
        let media_type = media_type_of(&raw, content_type)?;
        if media_type.is_index() {
            Index::from_raw(media_type, raw).map(Self::Index)
        } else {
            ImageManifest::from_raw(media_type, raw).map(Self::Image)
        }
    }

    /// What the document is.
    #[must_use]
    pub fn media_type(&self) -> MediaType {
        match self {
            Self::Image(manifest) => manifest.media_type,
            Self::Index(index) => index.media_type,
        }
    }
}

impl ImageManifest {
    fn from_raw(media_type: MediaType, raw: RawManifest) -> Result<Self, ManifestError> {
        let config = raw
            .config
            .ok_or_else(|| ManifestError::Config("the manifest names none".to_owned()))?;
        if MediaType::parse(&config.media_type).is_none_or(|kind| !kind.is_config()) {
            let kind = raw.artifact_type.as_deref().unwrap_or(&config.media_type);
            return Err(unsupported(&format!(
                "an artifact of type {kind:?}, not a container image"
            )));
        }
        let layers = raw
            .layers
            .ok_or_else(|| unsupported("an image manifest without the field layers"))?;
        Ok(Self {
            media_type,
            config: config.check("config", MAX_DOCUMENT)?,
            layers: layers
                .into_iter()
                .map(|layer| layer.check("layer", MAX_SIZE))
                .collect::<Result<_, _>>()?,
        })
    }
}

impl Index {
    fn from_raw(media_type: MediaType, raw: RawManifest) -> Result<Self, ManifestError> {
        let mut entries = Vec::new();
        for mut raw in raw.manifests.unwrap_or_default() {
            let is_manifest = MediaType::parse(&raw.media_type)
                .is_some_and(|kind| kind.is_index() || kind.is_manifest());
            let attestation = raw.annotations.contains_key("vnd.docker.reference.type");
            if !is_manifest || attestation || raw.artifact_type.is_some() {
                continue;
            }
            let (platform, unusable) = match RawPlatform::entry(raw.platform.take()) {
                Ok(platform) => (platform, None),
                Err(reason) => (None, Some(reason)),
            };
            if platform.as_ref().is_some_and(Platform::is_unknown) {
                continue;
            }
            let ref_name = raw.annotations.get("org.opencontainers.image.ref.name");
            entries.push(IndexEntry {
                ref_name: ref_name.cloned().flatten(),
                platform,
                unusable,
                descriptor: raw.check("manifest entry", MAX_DOCUMENT)?,
            });
        }
        Ok(Self {
            media_type,
            entries,
        })
    }
}

/// Sizes are signed 64-bit numbers in every other implementation.
const MAX_SIZE: u64 = i64::MAX.unsigned_abs();

/// Both kinds at once, so that a document that tries to be both is seen.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawManifest {
    schema_version: u64,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    manifests: Option<Vec<RawDescriptor>>,
    fs_layers: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    media_type: String,
    digest: String,
    size: u64,
    artifact_type: Option<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    urls: Vec<String>,
    #[serde(default)]
    platform: serde_json::Value,
    #[serde(default, deserialize_with = "null_is_empty")]
    annotations: std::collections::BTreeMap<String, Option<String>>,
}

impl RawDescriptor {
    fn check(self, field: &'static str, max: u64) -> Result<Descriptor, ManifestError> {
        let media_type = match MediaType::parse(&self.media_type) {
            Some(media_type) => media_type,
            None if self.media_type.contains("+encrypted") => {
                return Err(unsupported(&format!(
                    "an encrypted layer ({:?}); decrypt the image first",
                    self.media_type
                )));
            }
            None => {
                return Err(unsupported(&format!(
                    "a {field} of type {:?}",
                    self.media_type
                )));
            }
        };
        if field == "layer" && !matches!(media_type, MediaType::Layer { .. }) {
            return Err(unsupported(&format!(
                "a layer of type {:?}",
                self.media_type
            )));
        }
        if self.size > max {
            return Err(ManifestError::Size {
                field,
                size: self.size,
                max,
            });
        }
        Ok(Descriptor {
            media_type,
            digest: self
                .digest
                .parse()
                .map_err(|reason| ManifestError::Digest { field, reason })?,
            size: self.size,
            // Of others they are an invitation to places that nobody needs to see.
            urls: match media_type.is_foreign() {
                true => self.urls,
                false => Vec::new(),
            },
        })
    }
}

/// Settles what the document is, from what it says, what it was sent as, and which fields it has.
/// All that say something have to say the same.
fn media_type_of(
    raw: &RawManifest,
    content_type: Option<&str>,
) -> Result<MediaType, ManifestError> {
    let shape = match (&raw.manifests, raw.config.is_some() || raw.layers.is_some()) {
        (Some(_), true) => {
            return Err(ManifestError::Ambiguous(
                "it has the fields of an index and those of an image manifest".to_owned(),
            ));
        }
        (Some(_), false) => MediaType::OciIndex,
        (None, true) => MediaType::OciManifest,
        (None, false) => return Err(unsupported("neither an image manifest nor an index")),
    };
    let said = match raw.media_type.as_deref() {
        None | Some("") => None,
        Some(text) => Some(
            MediaType::parse(text)
                .filter(|kind| kind.is_index() || kind.is_manifest())
                .ok_or_else(|| unsupported(&format!("a manifest of type {text:?}")))?,
        ),
    };
    // `application/json` and the like say nothing.
    let sent = content_type.and_then(MediaType::parse);
    if let (Some(said), Some(sent)) = (said, sent)
        && said != sent
    {
        return Err(ManifestError::Ambiguous(format!(
            "its mediaType is {:?}, it was sent as {:?}",
            raw.media_type.as_deref().unwrap_or_default(),
            content_type.unwrap_or_default()
        )));
    }
    let media_type = said.or(sent).unwrap_or(shape);
    if media_type.is_index() != shape.is_index() {
        return Err(ManifestError::Ambiguous(
            "its media type and its fields are not of one kind".to_owned(),
        ));
    }
    Ok(media_type)
}

fn unsupported(what: &str) -> ManifestError {
    ManifestError::Unsupported(what.to_owned())
}

#[cfg(test)]
mod tests;
