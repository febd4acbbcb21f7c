//! The layout of a recall file: a [head](super::head), sections, then their directory, then the footer.
//!
//! ```text
//!  ├── head ──┼── section ── section ── … ──┼── directory (JSON) ──┼── footer ──┤
//!  footer: magic, 8 bytes │ version, 4 │ length of the directory, 4 │ checksum, 32
//! ```

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use ociget::{DiffId, Digest};
use serde::{Deserialize, Serialize};
use sqfs_writer::Fingerprint;

use super::damaged::damaged;
use super::head::{self, Name, VERSION};
use super::section::{End, Section};
use crate::artifact::FORMAT;
use crate::layer::Limits;
use crate::zeroed::zeroed;

const MAGIC: [u8; 8] = *b"HPCCRCLL";
const FOOTER: usize = 48;
/// Largest directory in bytes.
const LENGTH_MAX: u32 = head::LAYERS_MAX * head::LAYER;

/// The contents of a recall file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Directory {
    /// The rules by which layers were read and bodies were divided.
    pub(super) rules: Rules,
    /// The root of the artifact's record, as hex. The places refer to this artifact.
    pub(super) root: String,
    /// In the order in which they were read.
    pub(super) layers: Vec<LayerPart>,
    pub(super) fragments: Section,
    pub(super) documents: Section,
}

/// The parameters that must be equal for entries and fingerprints to mean the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rules {
    format: u32,
    fingerprints: u32,
}

impl Rules {
    pub(super) const CURRENT: Self = Self {
        format: FORMAT,
        fingerprints: Fingerprint::SCHEME,
    };
}

/// One layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LayerPart {
    /// Digest of what the blob decompresses to.
    diff_id: String,
    /// Digest of the blob with which this was verified.
    blob: String,
    pub(super) size: u64,
    pub(super) entries: u64,
    pub(super) headers: u64,
    pub(super) logical_bytes: u64,
    pub(super) unpacked_bytes: u64,
    pub(super) caps: Caps,
    /// Whether the artifact holds every file of the layer.
    pub(super) whole: bool,
    pub(super) list: Section,
    pub(super) places: Section,
    /// Bodies that the list lacks, and that were read in a second pass over the archive.
    pub(super) recovered: Section,
}

impl LayerPart {
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a field, and this is where they come together"
    )]
    pub(super) fn new(
        diff_id: &DiffId,
        blob: &Digest,
        size: u64,
        entries: u64,
        counts: crate::flatten::Counts,
        caps: Caps,
        whole: bool,
        list: Section,
        places: Section,
        recovered: Section,
    ) -> Self {
        Self {
            diff_id: diff_id.to_string(),
            blob: blob.to_string(),
            size,
            entries,
            headers: counts.entries,
            logical_bytes: counts.logical_bytes,
            unpacked_bytes: counts.unpacked_bytes,
            caps,
            whole,
            list,
            places,
            recovered,
        }
    }

    /// Returns the digest of the compressed layer, as text.
    pub(super) fn blob(&self) -> &str {
        &self.blob
    }

    /// Returns how the head of the file names it.
    pub(super) fn name(&self) -> Name {
        Name::new(&self.diff_id, &self.blob, self.size)
    }

    /// Returns the largest number of attributes of one of its entries.
    pub(super) fn xattrs(&self) -> u64 {
        self.caps.xattrs
    }

    /// Returns whether it is this layer, and would also be read under these limits.
    pub(super) fn is(&self, layer: &ociget::Layer, limits: &Limits) -> bool {
        self.diff_id == layer.diff_id.to_string()
            && self.blob == layer.descriptor.digest.to_string()
            && self.size == layer.descriptor.size
            && self.caps.fit(limits)
    }
}

/// The limits on one layer under which it was read. Limits that allow as much would have read it, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Caps {
    layer_bytes: u64,
    ratio: u64,
    ratio_floor: u64,
    zstd_window: u64,
    path: u64,
    name: u64,
    depth: u64,
    xattr_bytes: u64,
    xattrs: u64,
    header_bytes: u64,
    sparse_segments: u64,
}

impl Caps {
    pub(super) fn of(limits: &Limits) -> Self {
        let Limits {
            layer_bytes,
            ratio,
            ratio_floor,
            zstd_window,
            path,
            name,
            depth,
            xattr_bytes,
            xattrs,
            header_bytes,
            sparse_segments,
            // These are charged with what a known layer takes of them, as with one that is read.
            entries: _,
            logical_bytes: _,
            unpacked_bytes: _,
            metadata_bytes: _,
            layers: _,
            link_steps: _,
        } = *limits;
        Self {
            layer_bytes,
            ratio,
            ratio_floor,
            zstd_window,
            path: path as u64,
            name: name as u64,
            depth: depth as u64,
            xattr_bytes: xattr_bytes as u64,
            xattrs: xattrs as u64,
            header_bytes: header_bytes as u64,
            sparse_segments: sparse_segments as u64,
        }
    }

    fn fit(&self, limits: &Limits) -> bool {
        let allowed = Self::of(limits);
        let pairs = [
            (self.layer_bytes, allowed.layer_bytes),
            (self.ratio, allowed.ratio),
            (self.ratio_floor, allowed.ratio_floor),
            (self.zstd_window, allowed.zstd_window),
            (self.path, allowed.path),
            (self.name, allowed.name),
            (self.depth, allowed.depth),
            (self.xattr_bytes, allowed.xattr_bytes),
            (self.xattrs, allowed.xattrs),
            (self.header_bytes, allowed.header_bytes),
            (self.sparse_segments, allowed.sparse_segments),
        ];
        pairs.iter().all(|(needed, allowed)| needed <= allowed)
    }
}

impl Directory {
    /// Writes the directory after the sections.
    pub(super) fn write(&self, end: &mut End) -> io::Result<()> {
        let json = serde_json::to_vec(self)?;
        let length = u32::try_from(json.len())
            .ok()
            .filter(|length| *length <= LENGTH_MAX);
        let length = length.ok_or_else(|| damaged("there are too many layers to remember"))?;
        let mut footer = Vec::with_capacity(FOOTER);
        footer.extend_from_slice(&MAGIC);
        footer.extend_from_slice(&VERSION.to_le_bytes());
        footer.extend_from_slice(&length.to_le_bytes());
        let mut hasher = blake3::Hasher::new();
        hasher.update(&json).update(&footer);
        footer.extend_from_slice(hasher.finalize().as_bytes());
        end.write(&json)?;
        end.write(&footer)
    }

    /// Reads the directory of a file, if the file is complete and has this version. Takes what it reads off `bytes`, also
    /// if the directory is of no use.
    pub(super) fn read(file: &File, bytes: &mut u64) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let mut footer = [0; FOOTER];
        let at = length.checked_sub(FOOTER as u64);
        let at = at.ok_or_else(|| damaged("the file is too short"))?;
        file.read_exact_at(&mut footer, at)?;
        let (head, checksum) = footer.split_at(16);
        let head: [u8; 16] = head.try_into().map_err(io::Error::other)?;
        let [magic @ .., _, _, _, _, _, _, _, _] = head;
        let number = |at: usize| {
            let word = head.get(at..).and_then(|rest| rest.first_chunk());
            word.map_or(0, |word| u32::from_le_bytes(*word))
        };
        if magic != MAGIC || number(8) != VERSION {
            return Err(damaged("it is not a recall file of this version"));
        }
        let json_length = Some(number(12)).filter(|length| *length <= LENGTH_MAX);
        let start = json_length.and_then(|length| at.checked_sub(length.into()));
        let start = start.ok_or_else(|| damaged("its directory is too long"))?;
        *bytes = bytes.saturating_sub(at - start);
        let mut json = zeroed(usize::try_from(at - start).map_err(io::Error::other)?)?;
        file.read_exact_at(&mut json, start)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&json).update(&head);
        if hasher.finalize().as_bytes() != checksum {
            return Err(damaged("its checksum does not match"));
        }
        let directory: Self = serde_json::from_slice(&json)?;
        let layers = directory.layers.iter();
        let sections = layers.flat_map(|layer| [&layer.list, &layer.places, &layer.recovered]);
        let mut sections = sections.chain([&directory.fragments, &directory.documents]);
        let within = |section: &Section| {
            let end = section.offset.checked_add(section.length);
            end.is_some_and(|end| end <= start)
        };
        let within = sections.all(within);
        drop(sections);
        if !within {
            return Err(damaged("a section lies after the end of the file"));
        }
        Ok(directory)
    }
}

#[cfg(test)]
mod tests {
    use ociget::Algorithm;

    use super::*;
    use crate::staging::{Spare, StagedFile, Staging};

    #[test]
    fn directory_of_the_most_layers_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let staged = StagedFile::create(directory.path(), Staging::new(0, None)).unwrap();
        let mut end = End {
            file: Spare::new(staged),
            offset: 0,
            most: u64::MAX,
        };
        let section = Section {
            offset: 0,
            length: 0,
            checksum: blake3::hash(b"section").to_string(),
        };
        let counts = crate::flatten::Counts {
            entries: 1 << 20,
            logical_bytes: 1 << 40,
            unpacked_bytes: 1 << 40,
        };
        let layers = (0..head::LAYERS_MAX).map(|n| {
            // The longest digests.
            let mut hasher = Algorithm::Sha512.hasher();
            hasher.update(&n.to_le_bytes());
            let blob = hasher.finish();
            let [list, places, recovered] = [(); 3].map(|()| section.clone());
            let (diff_id, caps) = (DiffId(blob.clone()), Caps::of(&Limits::default()));
            LayerPart::new(
                &diff_id,
                &blob,
                1 << 40,
                1 << 20,
                counts,
                caps,
                true,
                list,
                places,
                recovered,
            )
        });
        let written = Directory {
            rules: Rules::CURRENT,
            root: section.checksum.clone(),
            layers: layers.collect(),
            fragments: section.clone(),
            documents: section.clone(),
        };
        written.write(&mut end).unwrap();
        let staged = end.file.take().unwrap();
        let path = directory.path().join("file");
        staged.publish("file".as_ref()).unwrap();
        let mut bytes = u64::MAX;
        let read = Directory::read(&File::open(path).unwrap(), &mut bytes);
        assert_eq!(read.unwrap(), written);
    }

    #[test]
    fn directory_of_no_use_is_charged_as_well() {
        let json = vec![b' '; 1000];
        let mut footer = Vec::from(MAGIC);
        footer.extend(VERSION.to_le_bytes());
        footer.extend(1000_u32.to_le_bytes());
        footer.extend([0; 32]);
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[json, footer].concat(), 0).unwrap();
        let mut bytes = 1500;
        Directory::read(&file, &mut bytes).unwrap_err();
        assert_eq!(bytes, 500);
        Directory::read(&file, &mut bytes).unwrap_err();
        assert_eq!(bytes, 0);
    }
}
