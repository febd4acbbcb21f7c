//! Limits on the resources that an image may take, and the amounts that it has taken so far.

use super::error::Limit;
use super::measure::Measure;

/// Limits on the resources that an image may take. Exceeding one is an error that names the entry.
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
    /// Tar headers of all layers, including those of whiteouts, of replaced files and of long names, and the runs
    /// without data of each sparse file but one. Default: 1 048 576.
    pub entries: u64,
    /// Declared sizes of the regular files of all layers in bytes, holes included. Default: 16 GiB.
    pub logical_bytes: u64,
    /// Bytes that one layer may decompress to. Default: 32 GiB.
    pub layer_bytes: u64,
    /// Bytes that all layers together may decompress to. A layer that an image lists twice counts twice. Skipped
    /// contents and bytes after the end of an archive count. A second pass over a layer does not, because it
    /// decompresses bytes that were counted. Default: 64 GiB.
    pub unpacked_bytes: u64,
    /// Decompressed bytes for each compressed byte of a gzip layer. Deflate reaches 1032. Not applied to the first
    /// [`ratio_floor`](Self::ratio_floor) bytes of a layer, nor to zstd, which reaches 32 768 on zeros:
    /// [`layer_bytes`](Self::layer_bytes) and [`unpacked_bytes`](Self::unpacked_bytes) bound it. Default: 1100.
    pub ratio: u64,
    /// Decompressed bytes that a layer may have whatever its ratio. Default: 16 MiB.
    pub ratio_floor: u64,
    /// Bytes of the window of a zstd frame, which the decoder holds in memory. No decoder reads windows beyond 2 GiB.
    /// Default: 128 MiB.
    pub zstd_window: u64,
    /// Bytes of a path, after normalisation, and once symlinks among the parents are followed. Default: 4096.
    pub path: usize,
    /// Bytes of one component of a path. Default: 255, which is also the most that squashfs can hold.
    pub name: usize,
    /// Components of a path, and once symlinks among the parents are followed. Default: 1024.
    pub depth: usize,
    /// Bytes of all names and values of one entry's extended attributes, dropped ones included. Default: 64 KiB.
    pub xattr_bytes: usize,
    /// Extended attributes of one entry, dropped ones included. Default: 1024.
    pub xattrs: usize,
    /// Bytes of memory for everything that is kept of the entries until the image is finished. Entries, directories,
    /// names, links, attributes and their tables are each charged with the most that they can cost, whatever the
    /// allocator does and in whichever order they come. An entry with a name of 20 bytes takes 286 bytes, a
    /// directory 384 more. Default: 384 MiB.
    pub metadata_bytes: u64,
    /// Bytes of one extended header (PAX records, GNU long name). Default: 1 MiB.
    pub header_bytes: usize,
    /// Runs of data in one sparse file. Default: 262 144.
    pub sparse_segments: usize,
    /// Layers of an image. Default: 1024.
    pub layers: usize,
    /// Path components walked in the whole image: those of each entry's parent and of each link's target whenever it is
    /// looked up, with those of every symlink on the way. Long names and names in large directories count more. Without
    /// this limit, a million entries below a link of 255 links of 2000 components each would take days. Default: 2²⁶.
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

/// The amounts of its [`Limits`] that the layers of one image have used so far. All layers share one budget, one after
/// the other.
#[derive(Clone, Debug)]
pub struct Budget {
    limits: Limits,
    entries: u64,
    logical_bytes: u64,
    metadata_bytes: u64,
    /// The largest value of `metadata` so far.
    metadata_peak: u64,
    unpacked_bytes: u64,
}

impl Budget {
    /// Makes a budget of which nothing is used.
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

    /// Returns the limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns the number of tar headers and of empty runs of sparse files read so far.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Returns the bytes that the regular files read so far declare.
    #[must_use]
    pub fn logical_bytes(&self) -> u64 {
        self.logical_bytes
    }

    pub(super) fn take_entries(&mut self, count: u64) -> Result<(), Limit> {
        self.entries = self.entries.saturating_add(count);
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

    /// Returns the number of decompressed bytes so far.
    pub(crate) fn unpacked_bytes(&self) -> u64 {
        self.unpacked_bytes
    }

    /// Takes the amounts of a layer whose archive an earlier build read.
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

    /// Takes a charge back, because the memory is free again.
    pub(crate) fn return_metadata(&mut self, bytes: u64) {
        self.metadata_bytes = self.metadata_bytes.saturating_sub(bytes);
    }

    /// Returns the largest number of bytes of memory that were charged at the same time.
    #[must_use]
    pub fn metadata_peak(&self) -> u64 {
        self.metadata_peak
    }

    /// Returns the number of decompressed bytes that the image may still have.
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

    /// Callers that set no limits rely on the defaults, so none may change silently.
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
