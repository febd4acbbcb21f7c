//! How much an image may ask for, and how much it has asked for so far.

use super::error::Limit;
use super::measure::Measure;

/// Caps on what an image can make us do. Exceeding one is an error that names the entry.
///
/// ```
/// use hpcc_rootfs::layer::Limits;
///
/// let mut limits = Limits::default();
/// limits.entries = 100_000;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Tar headers of all layers, those of whiteouts, of replaced files and of long names included:
    /// 1 048 576.
    pub entries: u64,
    /// Declared sizes of the regular files of all layers in bytes, holes included: 16 GiB.
    pub logical_bytes: u64,
    /// Bytes that one layer may decompress to: 32 GiB.
    pub layer_bytes: u64,
    /// Bytes that all layers may decompress to together: 64 GiB. A layer that an image lists twice
    /// counts twice. Skipped contents and bytes after the end of an archive count. A second pass
    /// over a layer does not: it decompresses bytes that were counted.
    pub unpacked_bytes: u64,
    /// Decompressed bytes for each compressed byte of a gzip layer: 1100. Deflate reaches 1032.
    /// Not applied to the first [`ratio_floor`](Self::ratio_floor) bytes of a layer, nor to zstd,
    /// which reaches 32 768 on zeros: [`layer_bytes`](Self::layer_bytes) and
    /// [`unpacked_bytes`](Self::unpacked_bytes) bound it.
    pub ratio: u64,
    /// How many decompressed bytes a layer may have whatever its ratio: 16 MiB.
    pub ratio_floor: u64,
    /// Bytes of the window of a zstd frame: 128 MiB. A decoder holds as much in memory. The format
    /// has no windows beyond 2 GiB that a decoder would read.
    pub zstd_window: u64,
    /// Bytes of a path, after normalisation, and once symlinks among the parents are followed: 4096.
    pub path: usize,
    /// Bytes of one component of a path: 255, which is also the most that squashfs can hold.
    pub name: usize,
    /// Components of a path, and once symlinks among the parents are followed: 1024.
    pub depth: usize,
    /// Bytes of all names and values of one entry's extended attributes, dropped ones included:
    /// 64 KiB.
    pub xattr_bytes: usize,
    /// Extended attributes of one entry, dropped ones included: 1024.
    pub xattrs: usize,
    /// Bytes of memory for everything that is kept of the entries until the image is finished:
    /// 384 MiB. Entries, directories, names, links, attributes and their tables are each charged
    /// with the most that they can cost, whatever the allocator and the order make of them.
    /// `docs/flattening.md` lists the charges.
    pub metadata_bytes: u64,
    /// Bytes of one extended header (PAX records, GNU long name): 1 MiB.
    pub header_bytes: usize,
    /// Runs of data in one sparse file: 262 144.
    pub sparse_segments: usize,
    /// Layers of an image: 1024.
    pub layers: usize,
    /// Path components walked in the whole image, default 2²⁶: those of each entry's parent and of
    /// each link's target whenever it is looked up, with those of every symlink on the way. Long
    /// names and names in large directories count more. Without it, a million entries below a link
    /// of 255 links of 2000 components each would take days.
    pub link_steps: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 1 << 20,
            logical_bytes: 16 << 30,
            layer_bytes: 32 << 30,
            unpacked_bytes: 64 << 30,
            ratio: 1100,
            ratio_floor: 16 << 20,
            zstd_window: 128 << 20,
            path: 4096,
            name: 255,
            depth: 1024,
            xattr_bytes: 64 << 10,
            xattrs: 1024,
            metadata_bytes: 384 << 20,
            header_bytes: 1 << 20,
            sparse_segments: 1 << 18,
            layers: 1024,
            link_steps: 1 << 26,
        }
    }
}

/// What the layers of one image have used up of its [`Limits`] so far. The same budget is handed
/// from layer to layer.
#[derive(Clone, Debug)]
pub struct Budget {
    limits: Limits,
    entries: u64,
    logical_bytes: u64,
    metadata_bytes: u64,
    /// The largest value of that.
    metadata_peak: u64,
    unpacked_bytes: u64,
}

impl Budget {
    /// Nothing used yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: 0,
            logical_bytes: 0,
            metadata_bytes: 0,
            metadata_peak: 0,
            unpacked_bytes: 0,
        }
    }

    /// The caps.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Tar headers seen so far.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Bytes that the regular files seen so far declare.
    #[must_use]
    pub fn logical_bytes(&self) -> u64 {
        self.logical_bytes
    }

    pub(super) fn take_entry(&mut self) -> Result<(), Limit> {
        self.entries += 1;
        Limit::check(Measure::Entries, self.entries, self.limits.entries)
    }

    pub(super) fn take_bytes(&mut self, size: u64) -> Result<(), Limit> {
        self.logical_bytes = self.logical_bytes.saturating_add(size);
        Limit::check(
            Measure::LogicalBytes,
            self.logical_bytes,
            self.limits.logical_bytes,
        )
    }

    /// Decompressed bytes so far.
    pub(crate) fn unpacked_bytes(&self) -> u64 {
        self.unpacked_bytes
    }

    /// Takes what a layer took that was read before.
    pub(crate) fn take_known(
        &mut self,
        entries: u64,
        logical_bytes: u64,
        unpacked_bytes: u64,
    ) -> Result<(), Limit> {
        self.entries = self.entries.saturating_add(entries);
        Limit::check(Measure::Entries, self.entries, self.limits.entries)?;
        self.take_bytes(logical_bytes)?;
        self.add_unpacked(unpacked_bytes);
        Limit::check(
            Measure::UnpackedBytes,
            self.unpacked_bytes,
            self.limits.unpacked_bytes,
        )
    }

    /// Charges memory for what is kept of entries.
    pub(crate) fn take_metadata(&mut self, bytes: u64) -> Result<(), Limit> {
        self.metadata_bytes = self.metadata_bytes.saturating_add(bytes);
        self.metadata_peak = self.metadata_peak.max(self.metadata_bytes);
        Limit::check(
            Measure::MetadataBytes,
            self.metadata_bytes,
            self.limits.metadata_bytes,
        )
    }

    /// Takes a charge back: the memory is free again.
    pub(crate) fn return_metadata(&mut self, bytes: u64) {
        self.metadata_bytes = self.metadata_bytes.saturating_sub(bytes);
    }

    /// Bytes of memory that were charged at the same time, at most.
    #[must_use]
    pub fn metadata_peak(&self) -> u64 {
        self.metadata_peak
    }

    /// Decompressed bytes that the image may still have.
    pub(super) fn unpacked_left(&self) -> u64 {
        self.limits
            .unpacked_bytes
            .saturating_sub(self.unpacked_bytes)
    }

    /// Counts the decompressed bytes of a layer.
    pub(super) fn add_unpacked(&mut self, bytes: u64) {
        self.unpacked_bytes = self.unpacked_bytes.saturating_add(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is promised to those who set none: no default changes in silence.
    #[test]
    fn the_defaults() {
        let defaults = Limits {
            entries: 1_048_576,
            logical_bytes: 17_179_869_184,
            layer_bytes: 34_359_738_368,
            unpacked_bytes: 68_719_476_736,
            ratio: 1100,
            ratio_floor: 16_777_216,
            zstd_window: 134_217_728,
            path: 4096,
            name: 255,
            depth: 1024,
            xattr_bytes: 65_536,
            xattrs: 1024,
            metadata_bytes: 402_653_184,
            header_bytes: 1_048_576,
            sparse_segments: 262_144,
            layers: 1024,
            link_steps: 67_108_864,
        };
        assert_eq!(Limits::default(), defaults);
    }
}
