//! The result of a build, in numbers.

use std::fmt;
use std::time::Duration;

use ociget::{Digest, printable};

use crate::flatten;
use crate::timings::Timings;
use crate::units::{Count, Size, Span};

/// The result of a build, and how long it took.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Summary {
    /// Counts of flattening: entries, whiteouts, and bytes that were not written because a newer layer replaces them.
    pub flattened: flatten::Report,
    /// Counts of the writer: bytes, blocks, fragments, holes.
    pub image: sqfs_writer::Summary,
    /// Paths of mount points that a guest could not mount over, or not safely, in bytewise order. A directory replaces
    /// each of them.
    pub replaced_mount_points: Vec<String>,
    /// Mount points of [`ImageOptions::mount_points`](crate::ImageOptions::mount_points) that the image did not have, sorted.
    pub made_mount_points: Vec<String>,
    /// Members of the image's config that have another type than in the specification, which `/.hpcc/image.json`
    /// therefore leaves empty.
    pub mistyped_members: Vec<&'static str>,
    /// Reason why a guest cannot execute the agent in this image or may not be able to, or `None` if no reason is known.
    pub agent_problem: Option<String>,
    /// Time from the first byte of the newest layer until all names were final: download, inflation, flattening and
    /// compression, which overlap.
    pub reading: Duration,
    /// Time of writing the files that this program adds, and the tables.
    pub sealing: Duration,
    /// The time of each stage.
    pub timings: Timings,
    /// Layers and bytes that were taken from earlier builds.
    pub reuse: Reuse,
}

/// Layers and bytes that a build copied from the artifacts of earlier builds, instead of fetching and compressing them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reuse {
    /// Number of layers that were not fetched.
    pub layers: usize,
    /// Number of bytes that were copied: stored blocks and fragments, and ends of files from fragments that were
    /// decompressed.
    pub bytes: u64,
    /// Images from whose artifacts the bytes were copied.
    pub sources: Vec<Digest>,
}

impl Summary {
    /// Returns how many extended attributes were left out because squashfs cannot store their names, both of the layers
    /// and of other files of the image.
    #[must_use]
    pub fn dropped_xattrs(&self) -> u64 {
        let layers = self.flattened.unstorable_xattrs;
        layers.saturating_add(self.image.dropped_xattrs)
    }
}

/// Several lines for people, with the values of the fields.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            flattened, image, ..
        } = self;
        writeln!(
            f,
            "layers:    {}, {} of files, {}, {} of replaced files not written",
            Count(flattened.entries, "entry"),
            Size(flattened.logical_bytes),
            Count(flattened.whiteouts, "whiteout"),
            Size(flattened.skipped_bytes),
        )?;
        writeln!(
            f,
            "image:     {}, {} in {} and {}, {} of holes, {} unused",
            Count(image.inodes.into(), "inode"),
            Size(image.image_bytes),
            Count(image.blocks, "block"),
            Count(image.fragments.into(), "fragment"),
            Size(image.hole_bytes),
            Size(image.dead_bytes),
        )?;
        if self.reuse.layers > 0 || self.reuse.bytes > 0 {
            writeln!(
                f,
                "reuse:     {} not fetched, {} copied from {}",
                Count::of(self.reuse.layers, "layer"),
                Size(self.reuse.bytes),
                Count::of(self.reuse.sources.len(), "earlier artifact"),
            )?;
        }
        for (count, what) in [
            (
                Count(flattened.reserved, "entry"),
                " that tried to reach /.hpcc",
            ),
            (
                Count(flattened.hidden, "entry"),
                " below whiteouts or of aufs",
            ),
            (Count(flattened.acls, "access control list"), ""),
            (
                Count(self.dropped_xattrs(), "extended attribute"),
                " that squashfs cannot hold",
            ),
            (
                Count(flattened.overlay_xattrs, "extended attribute"),
                " of overlay file systems",
            ),
        ] {
            if count.0 > 0 {
                writeln!(f, "note:      {count}{what}, dropped")?;
            }
        }
        if flattened.clamped_times > 0 {
            writeln!(
                f,
                "note:      {} with a time before 1970 or after 2106, set to the nearest that squashfs can hold",
                Count(flattened.clamped_times, "entry")
            )?;
        }
        if !flattened.layers_read_again.is_empty() {
            writeln!(
                f,
                "note:      {} read a second time, for files that looked replaced",
                Count::of(flattened.layers_read_again.len(), "layer")
            )?;
        }
        for path in &self.replaced_mount_points {
            writeln!(
                f,
                "note:      {path} cannot be mounted over safely; replaced with a directory"
            )?;
        }
        for path in &self.made_mount_points {
            let path = printable::name(path.as_bytes());
            writeln!(f, "note:      {path} was created as a mount point")?;
        }
        for member in &self.mistyped_members {
            writeln!(
                f,
                "note:      {member} of the image's config has another type than in the OCI specification; image.json leaves it empty"
            )?;
        }
        if let Some(problem) = &self.agent_problem {
            writeln!(f, "warning:   {problem}")?;
        }
        write!(
            f,
            "time:      {:.2} reading layers, {:.2} sealing, {:.2} publishing",
            Span(self.reading),
            Span(self.sealing),
            Span(self.timings.publish.busy),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_point_with_a_line_break_stays_on_its_line() {
        let summary = Summary {
            made_mount_points: vec!["/a\nwarning: b".to_owned()],
            ..Summary::default()
        };
        let text = summary.to_string();
        let expected = r"note:      /a\nwarning: b was created as a mount point";
        assert!(text.lines().any(|line| line == expected), "{text}");
    }
}
