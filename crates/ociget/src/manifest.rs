//! Manifests and indexes: read from the very bytes that were hashed, refused by name if they are
//! anything else than an image.

mod descriptor;
mod error;

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::digest::Digest;
use crate::go_json::Keys;
use crate::media_type::MediaType;
use crate::platform::{Platform, PlatformError, RawPlatform};

pub use crate::manifest::descriptor::Descriptor;
pub(crate) use crate::manifest::descriptor::{MAX_SIZE, RawDescriptor, RawEntry};
pub use crate::manifest::error::{EntryError, ManifestError};

/// Most bytes a manifest, an index or a config may have: 4 MiB, what registries accept.
pub const MAX_DOCUMENT: u64 = 4 << 20;

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
    /// Annotations of the manifest. Values that are not strings are left out.
    pub annotations: BTreeMap<String, String>,
}

/// Images of several platforms, and indexes of such.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Index {
    /// Docker's or the OCI's.
    pub media_type: MediaType,
    /// Images and nested indexes, in the document's order.
    pub entries: Vec<IndexEntry>,
    /// Entries that are not images, in the document's order: attestations, signatures, other
    /// artifacts. [`resolve`](crate::resolve) never chooses one of them. An entry whose digest or size
    /// is not valid is left out.
    pub others: Vec<OtherEntry>,
    /// Images and nested indexes whose entry is not valid, in the document's order.
    /// [`resolve`](crate::resolve) passes over them, and reports one if no other entry fits.
    pub unusable: Vec<UnusableEntry>,
    /// Annotations of the index. Values that are not strings are left out.
    pub annotations: BTreeMap<String, String>,
}

/// One image or nested index of an [`Index`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexEntry {
    /// The manifest.
    pub descriptor: Descriptor,
    /// Its platform, if the index has one.
    pub platform: Option<Platform>,
    /// Reason why the platform that the index gives it is not one. Such an entry is not chosen, and does not
    /// cost the others.
    pub unusable: Option<PlatformError>,
    /// The annotation `org.opencontainers.image.ref.name`: the tag, in a layout's `index.json`.
    pub ref_name: Option<String>,
    /// Its place in the document, from 0, everything counted that the document lists.
    pub(crate) position: usize,
}

/// An entry of an [`Index`] without a digest, a size or other fields that this crate can use.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnusableEntry {
    /// Its platform, if the index has a valid one.
    pub platform: Option<Platform>,
    /// The annotation `org.opencontainers.image.ref.name`.
    pub ref_name: Option<String>,
    /// Its place in the document, from 0, everything counted that the document lists.
    pub position: usize,
    /// Reason why it cannot be used.
    pub reason: EntryError,
}

impl UnusableEntry {
    /// Returns the error of a document whose entry this is, if this entry is the one that is needed.
    pub(crate) fn error(&self) -> ManifestError {
        ManifestError::Entry {
            position: self.position,
            reason: self.reason.clone(),
        }
    }
}

/// An entry of an [`Index`] that is not an image.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OtherEntry {
    /// The manifest or blob, with its annotations.
    pub descriptor: Descriptor,
    /// Reason why the entry is not an image.
    pub kind: OtherKind,
}

/// Reason why an entry of an [`Index`] is not an image.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OtherKind {
    /// An attestation manifest of BuildKit: it has the annotation `vnd.docker.reference.type`.
    Attestation {
        /// The annotation `vnd.docker.reference.digest`: the image that the attestation is about.
        /// `None` if the annotation is missing or not a digest.
        subject: Option<Digest>,
    },
    /// The entry has an `artifactType` that is not the type of an image config.
    Artifact,
    /// A manifest for the platform `unknown/unknown`.
    UnknownPlatform,
    /// The media type is neither that of a manifest nor that of an index.
    NotManifest,
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
        let raw: RawManifest = crate::json::parse_as_go(bytes, KEYS)?;
        let version = raw.schema_version.unwrap_or_default();
        let is_later = raw.config.is_some() || raw.manifests.is_some();
        if raw.fs_layers.is_some() || version == 1 && !is_later {
            return Err(unsupported(
                "a Docker schema 1 manifest; push the image again with a current tool",
            ));
        }
        // Programs in Go that do not set it write none, or 0.
        if !matches!(version, 0 | 2) {
            return Err(unsupported(&format!("schemaVersion {version}")));
        }
        let media_type = media_type_of(&raw, content_type)?;
        if media_type.is_index() {
            Index::from_raw(media_type, raw).map(Self::Index)
        } else {
            ImageManifest::from_raw(media_type, raw).map(Self::Image)
        }
    }

    /// Returns the media type of the document.
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
        let mut config = raw
            .config
            .ok_or_else(|| ManifestError::Config("the manifest names none".to_owned()))?;
        if media_type == MediaType::DockerManifest && is_old_config(&config.media_type) {
            DOCKER_CONFIG.clone_into(&mut config.media_type);
        }
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
            annotations: strings(raw.annotations),
            config: config.check("config", MAX_DOCUMENT)?,
            layers: layers
                .unwrap_or_default()
                .into_iter()
                .map(|layer| layer.check("layer", MAX_SIZE))
                .collect::<Result<_, _>>()?,
        })
    }
}

const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// Whether a Docker manifest whose config has this type is an image of old: registries and tools
/// stored configs as bytes of no type, and what they guessed of them stayed.
fn is_old_config(media_type: &str) -> bool {
    let name = media_type.split(';').next().unwrap_or_default().trim();
    matches!(
        name.to_ascii_lowercase().as_str(),
        "" | "application/octet-stream" | "application/json" | "text/html" | "text/plain"
    )
}

impl Index {
    fn from_raw(media_type: MediaType, raw: RawManifest) -> Result<Self, ManifestError> {
        let mut index = Self {
            media_type,
            entries: Vec::new(),
            others: Vec::new(),
            unusable: Vec::new(),
            annotations: strings(raw.annotations),
        };
        for (position, entry) in raw.manifests.unwrap_or_default().into_iter().enumerate() {
            if let Some(size) = entry.impossible_size() {
                let reason = format!("entry {position} of its manifests has the size {size}");
                return Err(ManifestError::Json(serde::de::Error::custom(reason)));
            }
            let (platform, ref_name) = (entry.platform(), entry.annotation(REF_NAME));
            // An entry that is not valid must not make the other images of the index unusable.
            let read = entry.read().and_then(|raw| index.add(position, raw));
            if let Err(reason) = read {
                index.unusable.push(UnusableEntry {
                    platform,
                    ref_name,
                    position,
                    reason,
                });
            }
        }
        Ok(index)
    }

    /// Adds an entry to the list that it belongs to.
    fn add(&mut self, position: usize, mut raw: RawDescriptor) -> Result<(), EntryError> {
        if let Some(kind) = OtherKind::of(&raw) {
            self.add_other(raw, kind);
            return Ok(());
        }
        if raw.media_type.is_empty() {
            return Err(EntryError::Fields("it names no mediaType".to_owned()));
        }
        let raw_platform = raw.platform.take();
        let features = RawPlatform::features(&raw_platform);
        let (platform, unusable) = match RawPlatform::entry(raw_platform) {
            // Windows needs features that are no secret; on Linux they are layers of other kinds.
            Ok(Some(platform)) if platform.os() == "linux" && !features.is_empty() => {
                (None, Some(PlatformError::features(&platform, &features)))
            }
            Ok(platform) => (platform, None),
            Err(reason) => (None, Some(reason)),
        };
        if platform.as_ref().is_some_and(Platform::is_unknown) {
            self.add_other(raw, OtherKind::UnknownPlatform);
            return Ok(());
        }
        let ref_name = raw.annotations.get(REF_NAME);
        self.entries.push(IndexEntry {
            ref_name: ref_name.cloned().flatten(),
            position,
            platform,
            unusable,
            descriptor: raw.up_to(MAX_DOCUMENT)?,
        });
        Ok(())
    }

    /// Adds an entry that is not an image, unless its descriptor is not valid.
    fn add_other(&mut self, raw: RawDescriptor, kind: OtherKind) {
        let descriptor = raw.any().ok();
        self.others
            .extend(descriptor.map(|descriptor| OtherEntry { descriptor, kind }));
    }
}

/// The annotation that holds the tag, in a layout's `index.json`.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

impl OtherKind {
    /// Returns why `raw` is not an image, as far as its platform does not matter.
    fn of(raw: &RawDescriptor) -> Option<Self> {
        let is_manifest = MediaType::parse(&raw.media_type)
            .is_some_and(|kind| kind.is_index() || kind.is_manifest());
        let annotation = |name: &str| raw.annotations.get(name).cloned().flatten();
        if raw.annotations.contains_key("vnd.docker.reference.type") {
            let subject = annotation("vnd.docker.reference.digest");
            return Some(Self::Attestation {
                subject: subject.and_then(|text| text.parse().ok()),
            });
        }
        // By the specification it is the type of the entry's config.
        let is_artifact = |kind: &str| {
            !kind.is_empty() && !MediaType::parse(kind).is_some_and(MediaType::is_config)
        };
        if raw.artifact_type.as_deref().is_some_and(is_artifact) {
            return Some(Self::Artifact);
        }
        (!is_manifest && !raw.media_type.is_empty()).then_some(Self::NotManifest)
    }
}

/// The fields that are read of manifests of any kind. All readers have the same, so that they refuse the same documents
/// for a field in two spellings.
const FIELDS: &[&str] = &[
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "blobs",
    "manifests",
    "fsLayers",
    "digest",
    "size",
    "urls",
    "platform",
    "annotations",
    "os",
    "architecture",
    "variant",
    "os.version",
    "os.features",
    "data",
    "subject",
];

/// The fields of images and indexes, and those that hold keys of others.
const KEYS: Keys = Keys {
    known: FIELDS,
    maps: &["annotations", "data", "subject"],
    records: &[],
};

/// The fields of manifests of any kind, whose subject is read as well.
pub(crate) const ARTIFACT_KEYS: Keys = Keys {
    known: FIELDS,
    maps: &["annotations", "data"],
    records: &[],
};

/// Both kinds at once, so that a document that tries to be both is seen.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawManifest {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<RawDescriptor>,
    /// `Some(None)` is `null`, which Go writes for an empty list.
    #[serde(default, deserialize_with = "crate::json::present")]
    layers: Option<Option<Vec<RawDescriptor>>>,
    manifests: Option<Vec<RawEntry>>,
    fs_layers: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    annotations: serde_json::Value,
}

/// Returns the members of an object that are strings. An annotation is no reason to refuse an image.
pub(crate) fn strings(object: serde_json::Value) -> BTreeMap<String, String> {
    let serde_json::Value::Object(members) = object else {
        return BTreeMap::new();
    };
    let member = |(name, value)| match value {
        serde_json::Value::String(text) => Some((name, text)),
        _ => None,
    };
    members.into_iter().filter_map(member).collect()
}

/// Determines the type of the document from its own field, its `Content-Type`, and its other fields.
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
