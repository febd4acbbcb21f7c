//! The parameters that a kernel needs to check an image against its tree.

use std::fmt;

use ociget::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::block::{BLOCK, DIGEST};

/// Keeps the salt apart from other uses of the same digest.
const SALT_DOMAIN: &[u8] = b"hpcc-rootfs dm-verity salt v1\0";
/// Keeps the UUID apart from other uses of the same digest.
const UUID_DOMAIN: &[u8] = b"hpcc-rootfs dm-verity uuid v1\0";

/// The dm-verity parameters of a sealed artifact. Hash type 1, SHA-256, and blocks of 4096 bytes are the same for all
/// artifacts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Verity {
    pub(super) root: Root,
    pub(super) salt: Salt,
    pub(super) uuid: Uuid,
    /// Number of blocks that the tree covers, each of 4096 bytes: the image with its padding.
    pub data_blocks: u64,
    /// Offset in bytes of the verity superblock in the artifact. The tree begins 4096 bytes after it.
    pub hash_offset: u64,
}

impl Verity {
    /// Returns the root digest as 64 hex digits. A kernel that receives it rejects every changed byte.
    #[must_use]
    pub fn root(&self) -> String {
        self.root.to_string()
    }

    /// Returns the salt as 64 hex digits.
    #[must_use]
    pub fn salt(&self) -> String {
        self.salt.to_string()
    }

    /// Returns the UUID in the superblock, in the usual form with four hyphens.
    #[must_use]
    pub fn uuid(&self) -> String {
        self.uuid.to_string()
    }

    /// Returns the length of the image that the tree covers, or 0 if the tree does not follow the image.
    pub(crate) fn covered(&self) -> u64 {
        let length = self.data_blocks.checked_mul(BLOCK as u64);
        length
            .filter(|length| *length == self.hash_offset)
            .unwrap_or_default()
    }

    /// Returns the offset of the tree in blocks of 4096 bytes, as a device-mapper table names it.
    #[must_use]
    pub fn hash_start(&self) -> u64 {
        self.hash_offset / BLOCK as u64 + 1
    }

    /// Returns the length of the image in sectors of 512 bytes, as a device-mapper table names it.
    #[must_use]
    pub fn sectors(&self) -> u64 {
        self.data_blocks.saturating_mul(BLOCK as u64 / 512)
    }
}

/// The root digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Root(pub(super) [u8; DIGEST]);

/// The bytes that each digest begins with. No two images have the same salt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Salt(pub(super) [u8; DIGEST]);

impl Salt {
    /// Returns the salt of an image with this manifest. The agent does not affect it, so that an image with another
    /// agent has the same digests for all blocks that stay the same.
    pub(crate) fn of(manifest: &Digest) -> Self {
        Self(derived(SALT_DOMAIN, manifest))
    }
}

/// The UUID of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Uuid(pub(super) [u8; 16]);

impl Uuid {
    /// Returns the UUID of an image with this manifest, of version 8 (RFC 9562, section 5.8).
    pub(crate) fn of(manifest: &Digest) -> Self {
        let (head, _) = split(derived(UUID_DOMAIN, manifest));
        let mut number = u128::from_be_bytes(head);
        number = number & !(0xF << 76) | 0x8 << 76;
        number = number & !(0x3 << 62) | 0x2 << 62;
        Self(number.to_be_bytes())
    }
}

fn derived(domain: &[u8], manifest: &Digest) -> [u8; DIGEST] {
    let mut hasher = Sha256::new();
    hasher.update(domain);
    hasher.update(manifest.to_string());
    hasher.finalize().into()
}

fn split(bytes: [u8; DIGEST]) -> ([u8; 16], [u8; 16]) {
    let ([head, tail], _) = bytes.as_chunks() else {
        return ([0; 16], [0; 16]);
    };
    (*head, *tail)
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.0)
    }
}

impl fmt::Display for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.0)
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl From<Root> for String {
    fn from(root: Root) -> Self {
        root.to_string()
    }
}

impl From<Salt> for String {
    fn from(salt: Salt) -> Self {
        salt.to_string()
    }
}

impl From<Uuid> for String {
    fn from(uuid: Uuid) -> Self {
        uuid.to_string()
    }
}

impl TryFrom<String> for Root {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        bytes(text.as_bytes()).map(Self)
    }
}

impl TryFrom<String> for Salt {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        bytes(text.as_bytes()).map(Self)
    }
}

impl TryFrom<String> for Uuid {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let uuid = bytes(text.replace('-', "").as_bytes()).map(Self)?;
        match uuid.to_string() == text {
            true => Ok(uuid),
            false => Err("the hyphens of the UUID are misplaced"),
        }
    }
}

fn hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// Reads lower-case hex digits, two per byte.
fn bytes<const N: usize>(text: &[u8]) -> Result<[u8; N], &'static str> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_chunks();
    if pairs.len() != N || !rest.is_empty() {
        return Err("the number of hex digits is wrong");
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let pair = digit(*high).zip(digit(*low));
        *byte = pair
            .map(|(high, low)| high << 4 | low)
            .ok_or("not a hex digit")?;
    }
    Ok(bytes)
}
