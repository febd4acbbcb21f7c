//! Content under its digest, and the names that point to it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::Pieces;
use crate::{Failure, Result};

/// Returns `sha256:` and the digest of some bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Returns a SHA-256 as it is written.
pub(super) fn hex(hash: &[u8]) -> String {
    let mut digest = String::from("sha256:");
    for byte in hash {
        digest.push_str(&format!("{byte:02x}"));
    }
    digest
}

/// Description of a thing to which a manifest points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Media type.
    pub media_type: String,
    /// Its digest, `sha256:…`.
    pub digest: String,
    /// Its length in bytes.
    pub size: u64,
    platform: Option<Value>,
    annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// Returns the descriptor for another platform: `{"os": …, "architecture": …}`.
    #[must_use]
    pub fn with_platform(mut self, platform: Value) -> Self {
        self.platform = Some(platform);
        self
    }

    /// Returns the descriptor with one more annotation.
    #[must_use]
    pub fn with_annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.into(), value.into());
        self
    }

    /// Returns the descriptor as JSON of a manifest.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut json = json!({
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": self.size,
        });
        if let Some(platform) = &self.platform {
            json["platform"] = platform.clone();
        }
        if !self.annotations.is_empty() {
            json["annotations"] = json!(self.annotations);
        }
        json
    }
}

/// The bytes of a blob: in memory, in a file that is read as it is served, or in pieces.
#[derive(Clone, Debug)]
pub enum Content {
    /// Bytes that the builder made.
    Memory(Arc<[u8]>),
    /// A file of an image layout, and its length.
    File(PathBuf, u64),
    /// Pieces that may occur many times.
    Pieces(Arc<Pieces>),
}

impl Content {
    /// Returns the length in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Memory(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            Self::File(_, size) => *size,
            Self::Pieces(pieces) => pieces.size(),
        }
    }

    /// Returns up to `most` bytes from `offset` on; nothing at the end.
    pub fn read_at(&self, offset: u64, most: usize) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Memory(bytes) => {
                let start = usize::try_from(offset)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                let end = start.saturating_add(most).min(bytes.len());
                Ok(bytes[start..end].to_vec())
            }
            Self::File(path, _) => {
                let mut buffer = vec![0; most];
                let read = File::open(path)?.read_at(&mut buffer, offset)?;
                buffer.truncate(read);
                Ok(buffer)
            }
            Self::Pieces(pieces) => Ok(pieces.read_at(offset, most).to_vec()),
        }
    }

    /// Returns all of it.
    pub fn bytes(&self) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Memory(bytes) => Ok(bytes.to_vec()),
            Self::File(path, _) => fs::read(path),
            Self::Pieces(pieces) => Ok(pieces.bytes()),
        }
    }
}

/// Blobs, manifests and tags of one repository.
#[derive(Clone, Debug, Default)]
pub struct Store {
    blobs: BTreeMap<String, (String, Content)>,
    tags: BTreeMap<String, Descriptor>,
}

impl Store {
    /// Returns an empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts bytes in under their own digest.
    pub fn add(&mut self, media_type: &str, bytes: impl Into<Vec<u8>>) -> Descriptor {
        let bytes = bytes.into();
        self.insert(media_type, sha256(&bytes), Content::Memory(bytes.into()))
    }

    /// Puts bytes in under a digest that need not be theirs.
    pub fn add_as(&mut self, media_type: &str, digest: &str, bytes: &[u8]) -> Descriptor {
        self.insert(media_type, digest.into(), Content::Memory(bytes.into()))
    }

    /// Makes `tag` point to something in the store.
    pub fn tag(&mut self, tag: &str, target: &Descriptor) {
        self.tags.insert(tag.into(), target.clone());
    }

    /// Returns the descriptor that a tag points to.
    #[must_use]
    pub fn tagged(&self, tag: &str) -> Option<&Descriptor> {
        self.tags.get(tag)
    }

    /// Returns media type and contents of the document or blob with this digest.
    #[must_use]
    pub fn get(&self, digest: &str) -> Option<(&str, &Content)> {
        let (media_type, content) = self.blobs.get(digest)?;
        Some((media_type, content))
    }

    /// Returns the digest of everything, with its size in bytes.
    pub fn sizes(&self) -> impl Iterator<Item = (&str, u64)> {
        let blobs = self.blobs.iter();
        blobs.map(|(digest, (_, content))| (digest.as_str(), content.size()))
    }

    /// Writes an OCI image layout; tags become `org.opencontainers.image.ref.name`.
    ///
    /// Docker's media types are written as they are, though most readers of layouts refuse them.
    pub fn write_layout(&self, directory: &Path) -> Result<()> {
        let doing = || Failure::when(format!("cannot write a layout to {}", directory.display()));
        let blobs = directory.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(doing())?;
        for (digest, (_, content)) in &self.blobs {
            let name = blobs.join(digest.trim_start_matches("sha256:"));
            fs::write(name, content.bytes().map_err(doing())?).map_err(doing())?;
        }
        let manifests: Vec<Value> = self
            .tags
            .iter()
            .map(|(tag, target)| target.clone().with_annotation(REF_NAME, tag).to_json())
            .collect();
        let index = json!({"schemaVersion": 2, "manifests": manifests});
        fs::write(directory.join("index.json"), index.to_string()).map_err(doing())?;
        let marker = json!({"imageLayoutVersion": "1.0.0"});
        fs::write(directory.join("oci-layout"), marker.to_string()).map_err(doing())
    }

    /// Takes over an OCI image layout that something else wrote. Bodies stay in their files.
    pub fn open_layout(directory: &Path) -> Result<Self> {
        let mut store = Self::new();
        let index = fs::read(directory.join("index.json")).map_err(Failure::when(format!(
            "no layout in {}",
            directory.display()
        )))?;
        for entry in members(&index, "manifests")? {
            let target = store.take(directory, &entry)?;
            if let Some(tag) = entry["annotations"][REF_NAME].as_str() {
                store.tag(tag, &target);
            }
        }
        Ok(store)
    }

    /// Takes in what a descriptor names, and what that names in turn.
    fn take(&mut self, directory: &Path, descriptor: &Value) -> Result<Descriptor> {
        let text = |field: &str| {
            descriptor[field]
                .as_str()
                .ok_or_else(|| Failure::new(format!("a descriptor lacks {field}: {descriptor}")))
        };
        let (media_type, digest) = (text("mediaType")?, text("digest")?);
        let path = directory.join("blobs").join(digest.replace(':', "/"));
        let size = fs::metadata(&path)
            .map_err(Failure::when(path.display()))?
            .len();
        let mut taken = self.insert(media_type, digest.into(), Content::File(path.clone(), size));
        if let Some(platform) = descriptor.get("platform") {
            taken = taken.with_platform(platform.clone());
        }
        if media_type.contains("manifest") || media_type.contains("index") {
            let mut document = Vec::new();
            File::open(&path)?.read_to_end(&mut document)?;
            for field in ["manifests", "config", "layers"] {
                for member in members(&document, field)? {
                    self.take(directory, &member)?;
                }
            }
        }
        Ok(taken)
    }

    pub(super) fn insert(
        &mut self,
        media_type: &str,
        digest: String,
        content: Content,
    ) -> Descriptor {
        let size = content.size();
        self.blobs
            .insert(digest.clone(), (media_type.into(), content));
        Descriptor {
            media_type: media_type.into(),
            digest,
            size,
            platform: None,
            annotations: BTreeMap::new(),
        }
    }
}

const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Returns the descriptors in one field of a document: none, one, or a list of them.
fn members(document: &[u8], field: &str) -> Result<Vec<Value>> {
    let mut document: Value = serde_json::from_slice(document)?;
    Ok(match document.get_mut(field).map(Value::take) {
        Some(Value::Array(list)) => list,
        Some(one) => vec![one],
        None => Vec::new(),
    })
}
