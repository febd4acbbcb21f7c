//! Manifests and configs for images that come without them.

use bytes::Bytes;
use serde::Serialize;
use serde_json::json;

use crate::digest::Digest;
use crate::manifest::IndexEntry;
use crate::media_type::MediaType;

/// A layer of a manifest that is made.
#[derive(Debug)]
pub(crate) struct MadeLayer {
    pub(crate) media_type: &'static str,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    schema_version: u32,
    media_type: &'static str,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: &'static str,
    digest: String,
    size: u64,
}

/// The manifest of a type, of a config and layers, oldest first.
pub(crate) fn manifest(
    media_type: &'static str,
    config_type: &'static str,
    config: &[u8],
    layers: &[MadeLayer],
) -> Result<Bytes, serde_json::Error> {
    let layers = layers.iter().map(|layer| Descriptor {
        media_type: layer.media_type,
        digest: layer.digest.to_string(),
        size: layer.size,
    });
    let made = Made {
        schema_version: 2,
        media_type,
        config: Descriptor {
            media_type: config_type,
            digest: Digest::of(config).to_string(),
            size: u64::try_from(config.len()).unwrap_or(u64::MAX),
        },
        layers: layers.collect(),
    };
    Ok(serde_json::to_vec(&made)?.into())
}

/// An index of these entries.
pub(crate) fn index(entries: &[&IndexEntry]) -> Result<Bytes, serde_json::Error> {
    let entry = |entry: &&IndexEntry| {
        let descriptor = &entry.descriptor;
        let platform = entry.platform.as_ref().map(|platform| {
            json!({
                "os": platform.os(),
                "architecture": platform.architecture(),
                "variant": platform.variant(),
            })
        });
        json!({
            "mediaType": descriptor.media_type.manifest_name(),
            "digest": descriptor.digest.to_string(),
            "size": descriptor.size,
            "platform": platform,
        })
    };
    let manifests: Vec<_> = entries.iter().map(entry).collect();
    let made = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OciIndex.manifest_name(),
        "manifests": manifests,
    });
    Ok(serde_json::to_vec(&made)?.into())
}

/// The config of an image of one layer, of which nothing else is known.
pub(crate) fn config(diff_id: &Digest) -> Bytes {
    let config = format!(r#"{{"rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#);
    config.into_bytes().into()
}
