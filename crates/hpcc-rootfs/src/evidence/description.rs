//! The description that the build wrote into the image.

use ociget::Digest;
use serde::Deserialize;

use super::error::EvidenceError;
use crate::tables::{ReadAt, Tables};

/// Path of the description.
const PATH: &[u8] = b"/.hpcc/image.json";
/// Largest description in bytes: that of the largest config that a client accepts, escaped, and a margin.
const LENGTH_MAX: usize = 64 << 20;

/// Path of the image's config, which is stored byte for byte. Artifacts of format 2 and earlier have no such file.
const CONFIG: &[u8] = b"/.hpcc/image-config.json";

/// The build's description of the inputs of the image.
#[derive(Debug)]
pub(super) struct Description {
    image: ImageText,
    /// SHA-256 of the image's config, if the artifact holds it.
    pub(super) config: Option<Digest>,
}

/// The parts of `/.hpcc/image.json` that name the inputs of the image.
#[derive(Debug, Deserialize)]
struct ImageText {
    identity: String,
    manifest: String,
    /// Oldest first.
    layers: Vec<LayerText>,
}

#[derive(Debug, Deserialize)]
struct LayerText {
    digest: String,
    diff_id: String,
}

/// A layer of the image.
#[derive(Debug)]
pub(super) struct Layer {
    /// Digest of the blob that the registry holds.
    pub(super) blob: Digest,
    /// Digest of the tar in it.
    pub(super) diff_id: Digest,
}

impl Description {
    pub(super) fn read(artifact: &dyn ReadAt) -> Result<Self, EvidenceError> {
        let read = |path| Tables::open(artifact)?.contents(path, LENGTH_MAX);
        let contents = read(PATH)?.ok_or(EvidenceError::Description("does not exist"))?;
        Self::parse(&contents, read(CONFIG)?.as_deref())
    }

    /// Parses the description and hashes the config, if the artifact holds it.
    pub(super) fn parse(contents: &[u8], config: Option<&[u8]>) -> Result<Self, EvidenceError> {
        let image = serde_json::from_slice(contents)
            .map_err(|_| EvidenceError::Description("does not have the expected members"))?;
        let config = config.map(Digest::of);
        Ok(Self { image, config })
    }

    /// Returns whether it describes the image with these digests.
    pub(super) fn is_of(&self, identity: &Digest, manifest: &Digest) -> bool {
        self.image.identity == identity.to_string() && self.image.manifest == manifest.to_string()
    }

    pub(super) fn layers(&self) -> Result<Vec<Layer>, EvidenceError> {
        let digest = |text: &str| {
            let digest = text.parse();
            digest.map_err(|_| EvidenceError::Description("names a layer by no digest"))
        };
        let layer = |layer: &LayerText| {
            Ok(Layer {
                blob: digest(&layer.digest)?,
                diff_id: digest(&layer.diff_id)?,
            })
        };
        self.image.layers.iter().map(layer).collect()
    }
}
