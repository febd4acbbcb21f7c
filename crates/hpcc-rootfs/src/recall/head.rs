//! The head of a recall file: eight bytes for each layer, so that a file of no use is not read any further.
//!
//! ```text
//!  │ magic, 8 bytes │ version, 4 │ number of layers, 4 │ rules of the blocks, 8 │ 8 bytes for each layer │
//! ```
//!
//! It is not checked: a wrong one makes a build read a directory in vain, or miss a layer.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use sqfs_writer::Fingerprint;

use super::damaged::damaged;
use crate::artifact::{FORMAT, ImageOptions};

const MAGIC: [u8; 8] = *b"HPCCHEAD";

/// The version of the whole file.
pub(super) const VERSION: u32 = 5;

/// Bytes before the layers.
const FIXED: usize = 24;

/// Bytes for each layer.
const NAME: usize = 8;

/// Bytes that are read at once, which hold 61 layers.
const FIRST: usize = 512;

/// Largest number of layers of an image that is written down.
pub(super) const LAYERS_MAX: u32 = 1 << 12;

/// Bytes that a file may have for each layer, however small the layer is: some 900 for its part of the directory, and the
/// rest for its sections and its part of the image's documents.
pub(super) const LAYER: u32 = 1280;

/// A prefix of a hash. Its lowest bit says of a layer whether the artifact holds all of its files.
fn hash(text: &str) -> u64 {
    let hash = blake3::hash(text.as_bytes());
    hash.as_bytes()
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// A layer in a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name(u64);

impl Name {
    pub(super) fn new(diff_id: &str, blob: &str, size: u64) -> Self {
        Self(hash(&format!("{diff_id} {blob} {size}")) & !1)
    }
}

/// The parameters that must be equal for stored blocks to be equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BlockRules(u64);

impl BlockRules {
    /// Returns the rules of an image with these options.
    pub(crate) fn of(options: &ImageOptions) -> Self {
        let ImageOptions {
            compressor,
            block_size,
            tails,
            ..
        } = options;
        let scheme = Fingerprint::SCHEME;
        Self(hash(&format!(
            "{FORMAT} {scheme} {compressor} {block_size} {tails}"
        )))
    }
}

/// Returns the length of a head in bytes.
pub(super) fn length(layers: usize) -> u64 {
    FIXED.saturating_add(layers.saturating_mul(NAME)) as u64
}

/// Makes the head of a file with these layers, and whether the artifact holds all files of each.
pub(super) fn encode(
    rules: BlockRules,
    layers: impl ExactSizeIterator<Item = (Name, bool)>,
) -> io::Result<Vec<u8>> {
    let count = u32::try_from(layers.len()).map_err(io::Error::other)?;
    let mut bytes = Vec::from(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(count.to_le_bytes());
    bytes.extend(rules.0.to_le_bytes());
    for (Name(name), is_whole) in layers {
        bytes.extend((name | u64::from(is_whole)).to_le_bytes());
    }
    Ok(bytes)
}

/// Calls `visit` with the layers of a file, and whether the artifact holds all files of each. A file with other rules
/// has none. Returns the number of bytes that were read.
///
/// # Errors
/// Returns an error if the file has no head of this version.
pub(crate) fn read(
    file: &File,
    rules: BlockRules,
    mut visit: impl FnMut(Name, bool),
) -> io::Result<u64> {
    let mut bytes = vec![0; FIRST];
    let mut filled = fill(file, &mut bytes, 0)?;
    let word = |bytes: &[u8], at: usize| {
        let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    };
    let [version, count] = [word(&bytes, 8) & u64::from(u32::MAX), word(&bytes, 8) >> 32];
    let is_cut = filled < FIXED;
    if is_cut || bytes.first_chunk() != Some(&MAGIC) || version != u64::from(VERSION) {
        return Err(damaged("it is not a recall file of this version"));
    }
    if word(&bytes, 16) != rules.0 {
        return Ok(filled as u64);
    }
    let count = u32::try_from(count).ok().filter(|n| *n <= LAYERS_MAX);
    let count = count.ok_or_else(|| damaged("its head has too many layers"))?;
    let end = usize::try_from(length(usize::try_from(count).map_err(io::Error::other)?));
    let end = end.map_err(io::Error::other)?;
    if end > bytes.len() {
        bytes.resize(end, 0);
        let rest = bytes.get_mut(FIRST..).unwrap_or_default();
        filled = filled.saturating_add(fill(file, rest, FIRST as u64)?);
    }
    if filled < end {
        return Err(damaged("its head is cut off"));
    }
    for name in bytes.get(FIXED..end).unwrap_or_default().chunks(NAME) {
        let name = word(name, 0);
        visit(Name(name & !1), name & 1 == 1);
    }
    Ok(filled as u64)
}

/// Reads until the buffer is full or the file ends. Returns the number of bytes.
fn fill(file: &File, into: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::ImageOptions;

    fn head(count: u64) -> (Vec<(Name, bool)>, Vec<u8>) {
        let layers: Vec<_> = (0..count)
            .map(|n| (Name::new("diff", "blob", n), n % 3 == 0))
            .collect();
        let rules = BlockRules::of(&ImageOptions::default());
        let bytes = encode(rules, layers.iter().copied()).unwrap();
        assert_eq!(bytes.len() as u64, length(usize::try_from(count).unwrap()));
        (layers, bytes)
    }

    fn read_back(bytes: &[u8], options: &ImageOptions) -> io::Result<Vec<(Name, bool)>> {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(bytes, 0).unwrap();
        let mut found = Vec::new();
        read(&file, BlockRules::of(options), |name, is_whole| {
            found.push((name, is_whole));
        })?;
        Ok(found)
    }

    #[test]
    fn heads_of_few_and_many_layers_come_back() {
        let options = ImageOptions::default();
        for count in [0, 1, 60, 61, 62, 1000] {
            let (layers, bytes) = head(count);
            assert_eq!(read_back(&bytes, &options).unwrap(), layers);
            let longer = [&bytes[..], &[7; 1000]].concat();
            assert_eq!(read_back(&longer, &options).unwrap(), layers);
            assert!(read_back(&bytes[..bytes.len() - 1], &options).is_err());
        }
    }

    #[test]
    fn head_with_other_rules_has_no_layers() {
        let (_, bytes) = head(3);
        for change in [
            |options: &mut ImageOptions| options.block_size = 4096,
            |options: &mut ImageOptions| options.tails = !options.tails,
            |options: &mut ImageOptions| options.compressor = crate::Compressor::Gzip { level: 9 },
        ] {
            let mut options = ImageOptions::default();
            change(&mut options);
            assert_eq!(read_back(&bytes, &options).unwrap(), []);
        }
        let mut options = ImageOptions::default();
        (options.time, options.verity) = (9, true);
        assert_eq!(read_back(&bytes, &options).unwrap().len(), 3);
    }

    #[test]
    fn head_that_announces_too_many_layers_takes_no_memory() {
        let (_, mut bytes) = head(3);
        bytes[12..16].fill(0xFF);
        assert!(read_back(&bytes, &ImageOptions::default()).is_err());
    }
}
