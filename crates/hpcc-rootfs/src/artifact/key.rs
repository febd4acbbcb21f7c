//! Everything the bytes of an artifact are a function of.

use std::fmt;

use ociget::Digest;
use serde::{Deserialize, Serialize};
use sqfs_writer::Compressor;

use super::mount_point::MountPoint;
use super::options::ImageOptions;

/// Counts changes of the bytes that the same input gives. It moves when, and only when, the
/// encoder, the flattening rules, the guest's files or the record change what is written.
pub const FORMAT: u32 = 3;

/// What an artifact was made from and how: equal keys, equal bytes.
///
/// Threads, caps, the network, the clock, the tag and the host are not in it, because none of them
/// may change a byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Key {
    /// [`FORMAT`] of the program that wrote it.
    pub format: u32,
    /// The digest the user gave: of an image manifest or of an index.
    #[serde(with = "text")]
    pub identity: Digest,
    /// The digest of the image manifest that was chosen; the identity itself if that is one.
    #[serde(with = "text")]
    pub manifest: Digest,
    /// `os/architecture[/variant]` as it was asked for.
    pub platform: String,
    /// SHA-256 of the agent, or `None` for an image without one.
    #[serde(with = "optional_text")]
    pub agent: Option<Digest>,
    /// The files beside the agent, sorted by their paths. Not in the record of an image without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub injected: Vec<Injected>,
    /// Codec and level, as [`sqfs_writer::Compressor`] displays itself.
    pub compressor: String,
    /// Bytes in a data block.
    pub block_size: u32,
    /// Whether the ends of files larger than a block go into fragments.
    pub tails: bool,
    /// The time of what is ours in the image, in seconds since 1970.
    pub time: u32,
    /// Whether a dm-verity hash tree follows the image. Not in the record of an artifact without one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub verity: bool,
    /// The mount points that were asked for, sorted, as [`MountPoint`] displays itself. Not in the record of an image
    /// without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mount_points: Vec<String>,
}

impl Key {
    pub(crate) fn new(
        identity: Digest,
        manifest: Digest,
        platform: String,
        supplies: Digests,
        options: &ImageOptions,
    ) -> Self {
        let mut mount_points: Vec<_> = options.mount_points.iter().collect();
        mount_points.sort();
        mount_points.dedup();
        let mount_points = mount_points.into_iter().map(MountPoint::to_string);
        Self {
            format: FORMAT,
            identity,
            manifest,
            platform,
            agent: supplies.agent,
            injected: supplies.injected,
            compressor: options.compressor.to_string(),
            block_size: options.block_size,
            tails: options.tails,
            time: options.time,
            verity: options.verity,
            mount_points: mount_points.collect(),
        }
    }

    /// Returns the options that the key was made with, or `None` if it names a codec, a level or a
    /// mount point that this program does not have.
    pub(crate) fn image_options(&self) -> Option<ImageOptions> {
        let gzip = (1..=9).map(|level| Compressor::Gzip { level });
        let zstd = (1..=22).map(|level| Compressor::Zstd { level });
        let xz = (0..=9).map(|level| Compressor::Xz { level });
        let lz4 = [false, true].map(|high| Compressor::Lz4 { high });
        let all = gzip.chain(zstd).chain(xz).chain(lz4);
        let compressor = all
            .chain([Compressor::None])
            .find(|compressor| compressor.to_string() == self.compressor)?;
        let mount_points = self.mount_points.iter().map(|point| point.parse().ok());
        Some(ImageOptions {
            compressor,
            block_size: self.block_size,
            tails: self.tails,
            time: self.time,
            verity: self.verity,
            mount_points: mount_points.collect::<Option<_>>()?,
        })
    }

    /// In which respects two keys differ, for people: `agent, block_size`.
    pub(crate) fn difference(&self, other: &Self) -> Vec<&'static str> {
        let fields = [
            ("format", self.format != other.format),
            ("identity", self.identity != other.identity),
            ("manifest", self.manifest != other.manifest),
            ("platform", self.platform != other.platform),
            ("agent", self.agent != other.agent),
            ("set of injected files", self.injected != other.injected),
            ("compressor", self.compressor != other.compressor),
            ("block size", self.block_size != other.block_size),
            ("tails", self.tails != other.tails),
            ("time", self.time != other.time),
            ("hash tree", self.verity != other.verity),
            (
                "set of mount points",
                self.mount_points != other.mount_points,
            ),
        ];
        fields
            .into_iter()
            .filter_map(|(name, differs)| differs.then_some(name))
            .collect()
    }
}

/// A file that was put into an image beside the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Injected {
    /// Where it is, from `/.hpcc` on: `secrets/token`.
    pub path: String,
    /// SHA-256 of its content.
    #[serde(with = "text")]
    pub digest: Digest,
    /// Its permissions.
    pub mode: u16,
}

/// Digests of the files of the host that are in an artifact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digests {
    pub(crate) agent: Option<Digest>,
    pub(crate) injected: Vec<Injected>,
}

/// Digests in JSON are their usual text.
mod text {
    use super::{Digest, fmt};
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        digest: &impl fmt::Display,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(digest)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Digest, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// The same for one that may be missing.
mod optional_text {
    use super::Digest;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "the signature is serde's")]
    pub(super) fn serialize<S: Serializer>(
        digest: &Option<Digest>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match digest {
            Some(digest) => serializer.collect_str(digest),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Digest>, D::Error> {
        Option::<String>::deserialize(deserializer)?
            .map(|text| text.parse().map_err(D::Error::custom))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_options_come_back_from_a_key() {
        let digest = Digest::of(b"image");
        for compressor in [
            Compressor::Gzip { level: 9 },
            Compressor::Zstd { level: 3 },
            Compressor::Zstd { level: 22 },
            Compressor::Xz { level: 0 },
            Compressor::Lz4 { high: true },
            Compressor::Lz4 { high: false },
            Compressor::None,
        ] {
            let options = ImageOptions {
                compressor,
                block_size: 4096,
                tails: false,
                time: 7,
                verity: true,
                mount_points: ["/data", "/etc/resolv.conf:file"]
                    .map(|point| point.parse().unwrap())
                    .into(),
            };
            let mut key = Key::new(
                digest.clone(),
                digest.clone(),
                "linux/amd64".into(),
                Digests::default(),
                &options,
            );
            assert_eq!(key.image_options(), Some(options));
            key.compressor = "zstd 23".into();
            assert_eq!(key.image_options(), None);
        }
    }
}
