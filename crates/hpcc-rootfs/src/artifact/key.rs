//! Everything that determines the bytes of an artifact.

use std::fmt;

use ociget::Digest;
use serde::{Deserialize, Serialize};
use sqfs_writer::Compressor;

use super::mount_point::MountPoint;
use super::options::ImageOptions;

/// Version of the bytes that a given input produces. It changes when, and only when, the encoder, the flattening rules,
/// the guest's files or the record change what is written.
pub const FORMAT: u32 = 5;

/// The inputs and options that an artifact was made from. Equal keys mean equal bytes.
///
/// Threads, limits, the network, the clock, the tag and the host are not part of it, because none of them may change a
/// byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Key {
    /// [`FORMAT`] of the program that wrote it.
    pub format: u32,
    /// The digest the user gave: of an image manifest or of an index.
    #[serde(with = "text")]
    pub identity: Digest,
    /// The digest of the image manifest that was chosen. Equals the identity if that is an image manifest.
    #[serde(with = "text")]
    pub manifest: Digest,
    /// The requested platform, as `os/architecture[/variant]`.
    pub platform: String,
    /// SHA-256 of the agent, or `None` for an image without one.
    #[serde(with = "optional_text")]
    pub agent: Option<Digest>,
    /// The files beside the agent, sorted by their paths. Absent from the record of an image that has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub injected: Vec<Injected>,
    /// Codec and level, as [`sqfs_writer::Compressor`] displays itself.
    pub compressor: String,
    /// Bytes in a data block.
    pub block_size: u32,
    /// Whether the ends of files larger than a block go into fragments.
    pub tails: bool,
    /// Timestamp of what this program adds to the image, in seconds since 1970.
    pub time: u32,
    /// Whether a dm-verity hash tree follows the image. Absent from the record of an artifact that has none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub verity: bool,
    /// The mount points that the options name, sorted, as [`MountPoint`] displays itself. Absent from the record of an
    /// image that has none.
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

    /// Returns the names of the fields in which two keys differ, for people: `agent, block_size`.
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

/// A file that is injected into an image beside the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Injected {
    /// Its path below `/.hpcc`: `secrets/token`.
    pub path: String,
    /// SHA-256 of its contents.
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

/// Digests in JSON, in their usual text form.
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

/// Optional digests in JSON, in their usual text form.
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
    use proptest::prelude::*;

    use super::*;

    /// Everything that a caller chooses, in a form that can be compared.
    #[derive(Clone, Debug, PartialEq)]
    struct Chosen {
        platform: &'static str,
        agent: Option<&'static [u8]>,
        /// Path, contents and mode; at most one for each path.
        injected: Vec<(&'static str, &'static [u8], u16)>,
        image: ImageOptions,
    }

    impl Chosen {
        fn key(&self) -> Key {
            let image = Digest::of(b"image");
            let injected = self.injected.iter().map(|(path, content, mode)| Injected {
                path: (*path).to_owned(),
                digest: Digest::of(content),
                mode: *mode,
            });
            let digests = Digests {
                agent: self.agent.map(Digest::of),
                injected: injected.collect(),
            };
            let platform: ociget::Platform = self.platform.parse().unwrap();
            let platform = platform.to_string();
            Key::new(image.clone(), image, platform, digests, &self.image)
        }

        /// Returns a copy with each field taken from `other` whose bit is set.
        fn mixed(&self, other: &Self, bits: u16) -> Self {
            let mut mixed = self.clone();
            let mut bit = 1;
            let mut is_other = || {
                bit *= 2;
                bits & (bit / 2) != 0
            };
            macro_rules! mix {
                ($($field:ident).+) => {
                    if is_other() {
                        mixed.$($field).+ = other.$($field).+.clone();
                    }
                };
            }
            mix!(platform);
            mix!(agent);
            mix!(injected);
            mix!(image.compressor);
            mix!(image.block_size);
            mix!(image.tails);
            mix!(image.time);
            mix!(image.verity);
            mix!(image.mount_points);
            mixed
        }
    }

    fn chosen() -> impl Strategy<Value = Chosen> {
        use proptest::sample::{select, subsequence};
        let platforms = vec!["linux/arm", "linux/arm64", "linux/arm64/v8", "linux/arm/v8"];
        let files = vec!["a", "a:600", "b/a", "b"];
        let contents: Vec<&[u8]> = vec![b"1", b"2"];
        let file = move |path| {
            (
                Just(path),
                select(contents.clone()),
                select(vec![0o600, 0o644]),
            )
        };
        let injected = subsequence(files.clone(), 0..=files.len())
            .prop_flat_map(move |paths| paths.into_iter().map(&file).collect::<Vec<_>>());
        let compressor = prop_oneof![
            (1..=9u32).prop_map(|level| Compressor::Gzip { level }),
            (1..=22).prop_map(|level| Compressor::Zstd { level }),
            (0..=9u32).prop_map(|level| Compressor::Xz { level }),
            any::<bool>().prop_map(|high| Compressor::Lz4 { high }),
            Just(Compressor::None),
        ];
        let names = ["/x", "/x:file", "/x/y", "/x/y:file", "/x:", "/:file"];
        let points = names
            .iter()
            .flat_map(|name| [false, true].map(|file| MountPoint::new(name, file).unwrap()));
        let points: Vec<_> = points.collect();
        let points = subsequence(points.clone(), 0..=points.len());
        let booleans = (any::<bool>(), any::<bool>());
        let sizes = (select(vec![4096, 131_072]), select(vec![0, 1, u32::MAX]));
        let image = (compressor, sizes, booleans, points).prop_map(
            |(compressor, sizes, booleans, mount_points)| ImageOptions {
                compressor,
                block_size: sizes.0,
                tails: booleans.0,
                time: sizes.1,
                verity: booleans.1,
                mount_points,
            },
        );
        let agents: Vec<Option<&'static [u8]>> = vec![None, Some(b"1"), Some(b"2")];
        (select(platforms), select(agents), injected, image).prop_map(
            |(platform, agent, injected, mut image)| {
                image.mount_points.sort();
                Chosen {
                    platform,
                    agent,
                    injected,
                    image,
                }
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn keys_are_equal_exactly_if_all_choices_are(one in chosen(), two in chosen(), bits in 0..512u16) {
            let other = one.mixed(&two, bits);
            let (a, b) = (one.key(), other.key());
            let text = |key: &Key| serde_json::to_string(key).unwrap();
            prop_assert_eq!(a == b, one == other);
            prop_assert_eq!(text(&a) == text(&b), one == other);
            prop_assert_eq!(a.difference(&b).is_empty(), one == other);
            prop_assert_eq!(a.image_options(), Some(one.image));
            prop_assert_eq!(serde_json::from_str::<Key>(&text(&b)).unwrap(), b);
        }
    }

    #[test]
    fn order_and_repetition_of_mount_points_change_no_key() {
        let key = |points: &[&str]| {
            let points = points.iter().map(|point| point.parse().unwrap());
            let options = ImageOptions {
                mount_points: points.collect(),
                ..ImageOptions::default()
            };
            let image = Digest::of(b"image");
            Key::new(
                image.clone(),
                image,
                "linux/arm".into(),
                Digests::default(),
                &options,
            )
        };
        assert_eq!(key(&["/b", "/a", "//a/."]), key(&["/a", "/b"]));
    }

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
