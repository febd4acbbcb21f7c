//! Finds the files whose bytes lie in a range of an image.

use std::fmt;
use std::ops::{ControlFlow, Range};

use ociget::printable;

use super::error::Error;
use super::inode::{Content, File};
use super::opened::Tables;
use super::read_at::ReadAt;

/// Number of names that are kept for a range; the others are only counted.
const NAMES_KEPT: usize = 16;
/// Bytes of all names that are kept.
const BYTES_KEPT: usize = 1 << 20;

/// The files that have contents in a range of an image, by every name they have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Owners {
    /// The first 16 paths in the order of the image, as `/usr/bin/env`; fewer if they would take more than 1 MiB for
    /// all ranges together.
    pub paths: Vec<Vec<u8>>,
    /// Number of all paths.
    pub total: u64,
    /// Whether all paths are known, because the tables could be read to their end. Otherwise there may be others.
    pub complete: bool,
}

impl Owners {
    /// Finds the owners of each range. The ranges are in order and do not overlap. Tables that cannot be read to their
    /// end are no error, because they may be what is damaged.
    pub(crate) fn find(source: &dyn ReadAt, ranges: &[Range<u64>]) -> Vec<Self> {
        let mut owners = vec![Self::default(); ranges.len()];
        let read = Tables::open(source).and_then(|mut tables| tables.owners(ranges, &mut owners));
        for owner in &mut owners {
            owner.complete = read.is_ok();
        }
        owners
    }

    /// Returns the owners of a range without contents of files.
    pub(crate) fn none() -> Self {
        Self {
            complete: true,
            ..Self::default()
        }
    }

    fn add(&mut self, path: &[u8], room: &mut usize) {
        self.total += 1;
        if self.paths.len() < NAMES_KEPT && path.len() <= *room {
            *room -= path.len();
            self.paths.push(path.to_vec());
        }
    }
}

/// Displays `files /a, /b and 3 more`; unprintable characters in names are escaped.
impl fmt::Display for Owners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.total, self.complete) {
            (0, true) => return f.write_str("no file's content"),
            (0, false) => {
                return f
                    .write_str("the tables can't be read to their end, so files are not known");
            }
            (1, _) => "file ",
            _ => "files ",
        })?;
        for (number, path) in self.paths.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}{}", printable::name(path))?;
        }
        let more = self.total.saturating_sub(self.paths.len() as u64);
        if more > 0 {
            write!(f, " and {more} more")?;
        }
        if !self.complete {
            f.write_str(", and perhaps others, because not all tables can be read")?;
        }
        Ok(())
    }
}

impl Tables<'_> {
    fn owners(&mut self, ranges: &[Range<u64>], owners: &mut [Owners]) -> Result<(), Error> {
        let mut room = BYTES_KEPT;
        self.inodes(|tables, path, inode| {
            let Content::File(file) = &inode.content else {
                return Ok(ControlFlow::Continue(()));
            };
            let [blocks, fragment] = tables.places(file)?;
            let hit = |place: &Range<u64>| {
                let start = ranges.partition_point(|range| range.end <= place.start);
                let end = ranges.partition_point(|range| range.start < place.end);
                start..if place.is_empty() { start } else { end }
            };
            let (blocks, fragment) = (hit(&blocks), hit(&fragment));
            // One file may claim to lie in every range.
            let hits = blocks.len() + fragment.len();
            tables.metadata.charge(32 * hits as u64)?;
            let also = fragment.filter(|index| !blocks.contains(index));
            for index in blocks.clone().chain(also) {
                if let Some(owners) = owners.get_mut(index) {
                    owners.add(path, &mut room);
                }
            }
            Ok(ControlFlow::<()>::Continue(()))
        })
        .map(drop)
    }

    /// Returns the range of a file's blocks, and of the fragment with its tail. Either may be empty.
    fn places(&mut self, file: &File) -> Result<[Range<u64>; 2], Error> {
        let place = |start: u64, length: u64| start..start.saturating_add(length);
        let blocks = place(file.start, self.stored(file)?);
        let fragment = match file.fragment {
            Some(index) => {
                let (start, length) = self.fragment(index)?;
                place(start, length)
            }
            None => 0..0,
        };
        Ok([blocks, fragment])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_while_there_is_room_and_counted_always() {
        let mut owners = Owners::default();
        let mut room = 7;
        for path in [&b"/abc"[..], b"/too long", b"/de", b"/"] {
            owners.add(path, &mut room);
        }
        assert_eq!(owners.paths, [&b"/abc"[..], b"/de"]);
        assert_eq!((owners.total, room), (4, 0));
        for _ in 0..20 {
            owners.add(b"", &mut room);
        }
        assert_eq!((owners.total, owners.paths.len()), (24, NAMES_KEPT));
    }

    #[test]
    fn a_range_without_files_is_known_to_have_none() {
        assert_eq!(Owners::none().to_string(), "no file's content");
    }

    /// A file may claim to lie in every range of a long list.
    #[test]
    fn every_range_that_a_file_lies_in_takes_steps() {
        let mut options = sqfs_writer::Options::default();
        options.compressor = sqfs_writer::Compressor::None;
        options.block_size = 4096;
        let image = std::io::Cursor::new(Vec::new());
        let mut image = sqfs_writer::ImageWriter::new(image, &options).unwrap();
        let metadata = sqfs_writer::Metadata::new(0o644);
        image.file("/f", metadata, &[b'x'; 4096][..]).unwrap();
        let image = image.finish().unwrap().0.into_inner();
        let source = image.as_slice();
        let steps = |count: u64| {
            let ranges: Vec<_> = (0..count).map(|n| 96 + 2 * n..97 + 2 * n).collect();
            let mut owners = vec![Owners::default(); ranges.len()];
            let mut tables = Tables::open(&source).unwrap();
            let before = tables.metadata.work();
            tables.owners(&ranges, &mut owners).unwrap();
            assert!(owners.iter().all(|owners| owners.total == 1));
            before - tables.metadata.work()
        };
        assert_eq!(steps(1001) - steps(1), 32 * 1000);
    }
}
