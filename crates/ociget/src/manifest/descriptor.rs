//! Descriptors: references from one document to a blob or another document.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::digest::Digest;
use crate::json::{lenient, null_is_empty};
use crate::manifest::error::{EntryError, ManifestError};
use crate::media_type::MediaType;
use crate::platform::{Platform, RawPlatform};

/// Sizes are signed 64-bit numbers in every other implementation.
pub(crate) const MAX_SIZE: u64 = i64::MAX.unsigned_abs();

/// Reference of a manifest to a blob or another manifest.
///
/// ```
/// use ociget::{Descriptor, Digest, MediaType};
///
/// let chart = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
/// let descriptor = Descriptor::new(chart, Digest::of(b"chart"), 5);
/// assert_eq!(descriptor.media_type, MediaType::Other);
/// assert_eq!(descriptor.media_type_name(), chart);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Descriptor {
    /// Its media type. [`MediaType::Other`] for everything that is not a part of an image;
    /// [`media_type_name`](Self::media_type_name) then returns the name.
    pub media_type: MediaType,
    /// The digest of its bytes.
    pub digest: Digest,
    /// Number of its bytes; never above `i64::MAX` if it comes from a document.
    pub size: u64,
    /// Other places of the blob, as the document lists them, for foreign layers, which need not be in the registry.
    /// Empty for everything else.
    pub urls: Vec<String>,
    /// The field `artifactType`, as the document has it.
    pub artifact_type: Option<String>,
    /// Annotations, as the document has them.
    pub annotations: BTreeMap<String, String>,
    name: Box<str>,
}

impl Descriptor {
    /// Makes a descriptor from a media type, a digest and a size in bytes.
    ///
    /// The media type may be any text. Every other field is empty.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        let name = media_type.into();
        Self {
            media_type: MediaType::parse(&name).unwrap_or(MediaType::Other),
            digest,
            size,
            urls: Vec::new(),
            artifact_type: None,
            annotations: BTreeMap::new(),
            name: name.into(),
        }
    }

    /// Returns the media type as the document spells it.
    #[must_use]
    pub fn media_type_name(&self) -> &str {
        &self.name
    }
}

/// A descriptor as it stands in JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RawDescriptor {
    #[serde(default, deserialize_with = "null_is_empty")]
    pub(super) media_type: String,
    digest: String,
    size: u64,
    pub(super) artifact_type: Option<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    urls: Vec<String>,
    #[serde(default)]
    pub(super) platform: serde_json::Value,
    /// `None` for a value that is not a string.
    #[serde(default, deserialize_with = "annotations")]
    pub(super) annotations: BTreeMap<String, Option<String>>,
}

/// One element of the list of an index. Another element that is not valid does not make it unreadable.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct RawEntry(serde_json::Value);

impl RawEntry {
    /// Returns the descriptor.
    ///
    /// # Errors
    /// Returns [`EntryError::Fields`] if the element is not an object, or lacks a field, or has one of the
    /// wrong type.
    pub(crate) fn read(self) -> Result<RawDescriptor, EntryError> {
        crate::json::from_value(self.0).map_err(|error| EntryError::Fields(error.to_string()))
    }

    /// Returns the size if it is a number that is negative or not whole, of which readers make different sizes.
    pub(super) fn impossible_size(&self) -> Option<&serde_json::Number> {
        let size = self.0.get("size")?.as_number()?;
        size.as_u64().is_none().then_some(size)
    }

    /// Returns the platform if it is valid, also of an element that is not.
    pub(super) fn platform(&self) -> Option<Platform> {
        let platform = self.0.get("platform").cloned().unwrap_or_default();
        RawPlatform::entry(platform).ok().flatten()
    }

    /// Returns the annotation `name`, also of an element that is not valid.
    pub(super) fn annotation(&self, name: &str) -> Option<String> {
        let found = self.0.get("annotations")?.get(name)?;
        found.as_str().map(str::to_owned)
    }
}

/// Annotations, of which those that are not text have no value: they are no reason to refuse an image.
fn annotations<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Option<String>>, D::Error> {
    let members: BTreeMap<String, serde_json::Value> = lenient(deserializer)?;
    let text = |value| match value {
        serde_json::Value::String(text) => Some(text),
        _ => None,
    };
    let members = members.into_iter();
    Ok(members.map(|(name, value)| (name, text(value))).collect())
}

impl RawDescriptor {
    /// Returns the descriptor of a part of an image.
    ///
    /// # Errors
    /// Returns [`ManifestError`] if the media type is not one of an image's parts, or a layer's where
    /// `field` is `layer`, if the digest is not valid, and if the size is above `max`.
    pub(super) fn check(self, field: &'static str, max: u64) -> Result<Descriptor, ManifestError> {
        let unsupported = |what: String| Err(ManifestError::Unsupported(what));
        match MediaType::parse(&self.media_type) {
            Some(MediaType::Layer { .. }) => {}
            Some(_) if field == "layer" => {
                return unsupported(format!("a layer of type {:?}", self.media_type));
            }
            Some(_) => {}
            None if self.media_type.contains("+encrypted") => {
                return unsupported(format!(
                    "an encrypted layer ({:?}); decrypt the image first",
                    self.media_type
                ));
            }
            None => return unsupported(format!("a {field} of type {:?}", self.media_type)),
        }
        self.within(field, max)
    }

    /// Returns the descriptor, whatever its media type is.
    ///
    /// # Errors
    /// Returns [`ManifestError`] if the digest is not valid or the size is above `i64::MAX`.
    pub(crate) fn any(self) -> Result<Descriptor, ManifestError> {
        self.within("descriptor", MAX_SIZE)
    }

    fn within(self, field: &'static str, max: u64) -> Result<Descriptor, ManifestError> {
        self.up_to(max).map_err(|error| error.of(field))
    }

    /// Returns the descriptor of content that has at most `max` bytes.
    pub(super) fn up_to(self, max: u64) -> Result<Descriptor, EntryError> {
        if self.size > max {
            let size = self.size;
            return Err(EntryError::Size { size, max });
        }
        let digest = self.digest.parse().map_err(EntryError::Digest)?;
        let mut descriptor = Descriptor::new(self.media_type, digest, self.size);
        // In other blobs they could only lead the client to hosts that it has no reason to contact.
        if descriptor.media_type.is_foreign() {
            descriptor.urls = self.urls;
        }
        descriptor.artifact_type = self.artifact_type;
        let annotation = |(name, value): (String, Option<String>)| Some((name, value?));
        descriptor.annotations = self
            .annotations
            .into_iter()
            .filter_map(annotation)
            .collect();
        Ok(descriptor)
    }
}
