//! The media types of images, Docker's and the OCI's, by what they mean.

use std::fmt;

/// The compression of a layer's tar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// A plain tar.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// Media type of a document in a descriptor or a `Content-Type` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MediaType {
    /// An OCI image manifest.
    OciManifest,
    /// An OCI image index.
    OciIndex,
    /// A Docker schema 2 manifest.
    DockerManifest,
    /// A Docker manifest list.
    DockerManifestList,
    /// An OCI image config.
    OciConfig,
    /// A Docker image config.
    DockerConfig,
    /// A file system layer.
    Layer {
        /// The compression of its tar.
        compression: Compression,
        /// It need not be in the registry: `foreign` in Docker's words, `nondistributable` in the OCI's.
        foreign: bool,
    },
    /// Anything else: an artifact, a signature, a chart.
    /// [`Descriptor::media_type_name`](crate::Descriptor::media_type_name) has the text.
    Other,
}

/// All media types of manifests, for `Accept`. Registries convert, or answer 404, if a client
/// leaves one out.
pub(crate) const ACCEPT_MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// Those, and whatever else a registry keeps as a manifest.
pub(crate) const ACCEPT_ANY: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.oci.artifact.manifest.v1+json, */*;q=0.1";

impl MediaType {
    /// Parses known names, and ignores parameters such as `; charset=utf-8`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.split(';').next().unwrap_or_default().trim();
        let layer = |compression, foreign| {
            Some(Self::Layer {
                compression,
                foreign,
            })
        };
        match name.to_ascii_lowercase().as_str() {
            "application/vnd.oci.image.manifest.v1+json" => Some(Self::OciManifest),
            "application/vnd.oci.image.index.v1+json" => Some(Self::OciIndex),
            "application/vnd.docker.distribution.manifest.v2+json" => Some(Self::DockerManifest),
            "application/vnd.docker.distribution.manifest.list.v2+json" => {
                Some(Self::DockerManifestList)
            }
            "application/vnd.oci.image.config.v1+json" => Some(Self::OciConfig),
            "application/vnd.docker.container.image.v1+json" => Some(Self::DockerConfig),
            "application/vnd.oci.image.layer.v1.tar"
            | "application/vnd.docker.image.rootfs.diff.tar" => layer(Compression::None, false),
            "application/vnd.oci.image.layer.v1.tar+gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip" => {
                layer(Compression::Gzip, false)
            }
            "application/vnd.oci.image.layer.v1.tar+zstd"
            | "application/vnd.docker.image.rootfs.diff.tar.zstd" => {
                layer(Compression::Zstd, false)
            }
            "application/vnd.oci.image.layer.nondistributable.v1.tar"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar" => {
                layer(Compression::None, true)
            }
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => {
                layer(Compression::Gzip, true)
            }
            "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar.zstd" => {
                layer(Compression::Zstd, true)
            }
            _ => None,
        }
    }

    /// The name of a manifest's or index's type; `None` of others, whose names have several forms.
    pub(crate) fn manifest_name(self) -> Option<&'static str> {
        match self {
            Self::OciManifest => Some("application/vnd.oci.image.manifest.v1+json"),
            Self::OciIndex => Some("application/vnd.oci.image.index.v1+json"),
            Self::DockerManifest => Some("application/vnd.docker.distribution.manifest.v2+json"),
            Self::DockerManifestList => {
                Some("application/vnd.docker.distribution.manifest.list.v2+json")
            }
            Self::OciConfig | Self::DockerConfig | Self::Layer { .. } | Self::Other => None,
        }
    }

    /// Returns whether this is an index or manifest list.
    #[must_use]
    pub fn is_index(self) -> bool {
        matches!(self, Self::OciIndex | Self::DockerManifestList)
    }

    /// Returns whether this is the manifest of one image.
    #[must_use]
    pub fn is_manifest(self) -> bool {
        matches!(self, Self::OciManifest | Self::DockerManifest)
    }

    /// Returns whether this is a layer that need not be in the registry.
    #[must_use]
    pub fn is_foreign(self) -> bool {
        matches!(self, Self::Layer { foreign: true, .. })
    }

    /// Returns whether this is the config of an image.
    #[must_use]
    pub fn is_config(self) -> bool {
        matches!(self, Self::OciConfig | Self::DockerConfig)
    }
}

impl MediaType {
    /// Returns a noun for a document of this type, for people.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::OciManifest => "an OCI manifest",
            Self::OciIndex => "an OCI index",
            Self::DockerManifest => "a Docker manifest",
            Self::DockerManifestList => "a Docker manifest list",
            Self::OciConfig | Self::DockerConfig => "a config",
            Self::Layer { .. } => "a layer",
            Self::Other => "something else",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_what_the_specifications_say() {
        for name in ACCEPT_MANIFESTS.split(", ") {
            let media_type = MediaType::parse(name).unwrap();
            assert!(media_type.is_index() != media_type.is_manifest(), "{name}");
        }
        let gzip = MediaType::Layer {
            compression: Compression::Gzip,
            foreign: false,
        };
        for (text, expected) in [
            ("application/vnd.oci.image.layer.v1.tar+gzip", Some(gzip)),
            (
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
                Some(gzip),
            ),
            (
                "Application/vnd.oci.image.layer.v1.tar+gzip; x=y",
                Some(gzip),
            ),
            (
                "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
                None,
            ),
            (
                "application/vnd.docker.distribution.manifest.v1+prettyjws",
                None,
            ),
            ("application/json", None),
            ("", None),
        ] {
            assert_eq!(MediaType::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn layer_names_give_compression_and_where_bytes_are() {
        for (suffix, compression) in [
            ("", Compression::None),
            ("gzip", Compression::Gzip),
            ("zstd", Compression::Zstd),
        ] {
            let (plus, dot) = match suffix {
                "" => (String::new(), String::new()),
                suffix => (format!("+{suffix}"), format!(".{suffix}")),
            };
            for (name, foreign) in [
                (
                    format!("application/vnd.oci.image.layer.v1.tar{plus}"),
                    false,
                ),
                (
                    format!("application/vnd.docker.image.rootfs.diff.tar{dot}"),
                    false,
                ),
                (
                    format!("application/vnd.oci.image.layer.nondistributable.v1.tar{plus}"),
                    true,
                ),
                (
                    format!("application/vnd.docker.image.rootfs.foreign.diff.tar{dot}"),
                    true,
                ),
            ] {
                let expected = MediaType::Layer {
                    compression,
                    foreign,
                };
                assert_eq!(MediaType::parse(&name), Some(expected), "{name}");
                assert_eq!(expected.is_foreign(), foreign, "{name}");
                assert!(!expected.is_config(), "{name}");
                assert_eq!(expected.manifest_name(), None, "{name}");
            }
        }
    }

    #[test]
    fn manifest_types_have_the_names_they_are_read_from() {
        let kinds = [
            (MediaType::OciManifest, "an OCI manifest"),
            (MediaType::OciIndex, "an OCI index"),
            (MediaType::DockerManifest, "a Docker manifest"),
            (MediaType::DockerManifestList, "a Docker manifest list"),
        ];
        for (kind, noun) in kinds {
            assert_eq!(kind.manifest_name().and_then(MediaType::parse), Some(kind));
            assert_eq!(kind.noun(), noun);
            assert!(!kind.is_config() && !kind.is_foreign(), "{noun}");
        }
        for config in [MediaType::OciConfig, MediaType::DockerConfig] {
            assert!(config.is_config() && config.manifest_name().is_none());
        }
    }
}
