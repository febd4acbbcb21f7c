//! The image config: what it runs on, what its layers hash to unpacked, and how to start it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;

use crate::digest::{DiffId, Digest};
use crate::go_json::{Keys, as_go_reads};
use crate::json::{null_is_empty, one_or_many, texts};
use crate::manifest::ManifestError;
use crate::platform::{HalfPlatform, Platform, RawPlatform};

/// An image config, as far as a rootfs needs it, and the bytes for whoever needs more.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageConfig {
    /// What the image runs on. `None` if the config leaves system or architecture out, as some
    /// old tools did.
    pub platform: Option<Platform>,
    /// System and architecture where the config has one of them alone.
    pub(crate) half: HalfPlatform,
    /// One for each layer, oldest first.
    pub diff_ids: Vec<DiffId>,
    /// How to start it.
    pub runtime: RuntimeConfig,
    /// The document as it was hashed.
    pub raw: Bytes,
}

/// The `config` object of an image config: defaults for whoever starts a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[non_exhaustive]
pub struct RuntimeConfig {
    /// `NAME=value`.
    #[serde(deserialize_with = "null_is_empty")]
    pub env: Vec<String>,
    /// The program and its first arguments; empty if the image has none.
    #[serde(deserialize_with = "one_or_many")]
    pub entrypoint: Vec<String>,
    /// Arguments after the entrypoint, or the command where there is no entrypoint.
    #[serde(deserialize_with = "one_or_many")]
    pub cmd: Vec<String>,
    /// Empty means `/`.
    #[serde(deserialize_with = "null_is_empty")]
    pub working_dir: String,
    /// `user`, `uid`, `user:group`, …; empty means root.
    #[serde(deserialize_with = "null_is_empty")]
    pub user: String,
    /// Anything.
    #[serde(deserialize_with = "texts")]
    pub labels: BTreeMap<String, String>,
}

impl ImageConfig {
    /// Reads a config.
    ///
    /// # Errors
    /// [`ManifestError`] if it is not JSON, has a key twice, has no list of layers, or one of
    /// them is not a digest.
    pub fn parse(raw: Bytes) -> Result<Self, ManifestError> {
        let invalid = |error: serde_json::Error| ManifestError::Config(error.to_string());
        let text = as_go_reads(&raw, KEYS);
        let RawConfig { config, rootfs } = crate::json::parse(&text).map_err(invalid)?;
        let platform: RawPlatform = serde_json::from_slice(&text).map_err(invalid)?;
        // Readers in Go do not look at the type, so that tools forgot to write it.
        if !matches!(&*rootfs.kind, "layers" | "") {
            return Err(ManifestError::Config(format!(
                "rootfs.type is {:?}, not \"layers\"",
                rootfs.kind
            )));
        }
        let diff_id = |text: String| match text.parse::<Digest>() {
            Ok(digest) => Ok(DiffId(digest)),
            Err(reason) => Err(ManifestError::Digest {
                field: "rootfs.diff_ids",
                reason,
            }),
        };
        Ok(Self {
            platform: platform.config()?,
            half: platform.half()?,
            diff_ids: rootfs
                .diff_ids
                .into_iter()
                .map(diff_id)
                .collect::<Result<_, _>>()?,
            runtime: config,
            raw,
        })
    }
}

/// The fields that are read, and those beside them that hold keys of others.
const KEYS: Keys = Keys {
    known: &[
        "config",
        "rootfs",
        "type",
        "diff_ids",
        "os",
        "architecture",
        "variant",
        "os.version",
        "os.features",
        "Env",
        "Entrypoint",
        "Cmd",
        "WorkingDir",
        "User",
        "Labels",
        "Volumes",
        "ExposedPorts",
        "Healthcheck",
        "history",
        "container_config",
    ],
    maps: &[
        "Labels",
        "Volumes",
        "ExposedPorts",
        "Healthcheck",
        "history",
        "container_config",
    ],
};

#[derive(Deserialize)]
struct RawConfig {
    #[serde(default, deserialize_with = "null_is_empty")]
    config: RuntimeConfig,
    rootfs: RawRootfs,
}

#[derive(Deserialize)]
struct RawRootfs {
    #[serde(default, rename = "type", deserialize_with = "null_is_empty")]
    kind: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    diff_ids: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn parse(text: &str) -> Result<ImageConfig, ManifestError> {
        ImageConfig::parse(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn what_a_rootfs_needs_is_read_and_the_rest_kept() {
        let text = format!(
            r#"{{"os":"linux","architecture":"arm64","variant":"v8","history":[],"x":{{}},
            "config":{{"Env":["A=b"],"Entrypoint":["/init"],"Cmd":null,"WorkingDir":"/w","User":"7:8",
            "Labels":{{"k":"v"}},"ExposedPorts":{{}}}},
            "rootfs":{{"type":"layers","diff_ids":["{D}"]}}}}"#
        );
        let config = parse(&text).unwrap();
        assert_eq!(config.platform.unwrap().to_string(), "linux/arm64/v8");
        assert_eq!(config.diff_ids, [DiffId(Digest::of(b""))]);
        assert_eq!(config.runtime.env, ["A=b"]);
        assert_eq!(config.runtime.entrypoint, ["/init"]);
        assert!(config.runtime.cmd.is_empty());
        assert_eq!(config.runtime.working_dir, "/w");
        assert_eq!(config.runtime.user, "7:8");
        assert_eq!(config.runtime.labels["k"], "v");
        assert_eq!(config.raw, text.as_bytes());
    }

    #[test]
    fn little_is_needed_and_nonsense_refused() {
        let bare = parse(r#"{"rootfs":{"type":"layers","diff_ids":null},"config":null}"#).unwrap();
        assert_eq!(bare.platform, None);
        assert_eq!(bare.runtime, RuntimeConfig::default());
        for (text, says) in [
            ("{}", "rootfs"),
            (r#"{"rootfs":{"type":"tree"}}"#, "tree"),
            (
                r#"{"rootfs":{"type":"layers","diff_ids":["x"]}}"#,
                "diff_ids",
            ),
            (
                r#"{"os":"linux","os":"plan9","rootfs":{"type":"layers"}}"#,
                "twice",
            ),
            (
                r#"{"os":"linux","architecture":"amd64","variant":"\u001b[31m","rootfs":{"type":"layers"}}"#,
                "variant is \"\\u{1b}[31m\"",
            ),
            (
                r#"{"config":{"Env":"A=b"},"rootfs":{"type":"layers"}}"#,
                "expected a sequence",
            ),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}\n{error}");
        }
    }
}
