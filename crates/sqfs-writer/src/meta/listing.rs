//! Directory listings, and the index of the large ones.

use super::queue::{Link, MetadataQueue, Place, Table};
use crate::error::Error;
use crate::format::{
    DIR_COUNT_MAX, DirEntry, DirHeader, Field, InodeNumber, InodeType, METADATA_SIZE,
};
use crate::growth::Growth as _;

/// The position of a listing, for the inode of its directory.
pub(crate) struct Listing {
    pub(crate) place: Place,
    /// Bytes of headers and entries.
    pub(crate) len: u64,
    pub(crate) subdirectories: u32,
    /// Empty for a listing of at most one metadata block.
    pub(crate) index: Vec<IndexPoint>,
}

/// A header that can be reached without reading the bytes before it.
pub(crate) struct IndexPoint {
    /// Position of the header, in bytes of the listing.
    pub(crate) offset: u32,
    /// The metadata block it begins in.
    pub(crate) block: u32,
    /// The first name after it.
    pub(crate) name: Box<[u8]>,
}

/// One line of a listing.
#[derive(Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) inode: Place,
    pub(crate) number: InodeNumber,
    pub(crate) inode_type: InodeType,
}

/// Writes listings, one after the other.
#[derive(Default)]
pub(crate) struct ListingWriter {
    /// Entries after a header whose count is not known yet.
    run: Vec<u8>,
}

/// The entries that will follow one header.
struct Run {
    block: u32,
    number: InodeNumber,
    count: u16,
}

impl ListingWriter {
    /// Writes the listing of a directory: `lines` in bytewise order of the names, whose lengths
    /// and number decide beforehand whether it gets an index.
    pub(crate) fn write<'a>(
        &mut self,
        queue: &mut MetadataQueue,
        name_bytes: usize,
        lines: impl ExactSizeIterator<Item = Result<Line<'a>, Error>>,
        subdirectories: u32,
    ) -> Result<Listing, Error> {
        let indexed = DirHeader::SIZE + lines.len() * DirEntry::SIZE + name_bytes > METADATA_SIZE;
        let mut listing = Listing {
            place: queue.place(Table::Listings),
            len: 0,
            subdirectories,
            index: Vec::new(),
        };
        let mut indexed_block = listing.place.block;
        let mut run: Option<Run> = None;
        for line in lines {
            queue.cancel().tick()?;
            let line = line?;
            let inode = line.inode;
            let delta = match &run {
                Some(run) if self.fits(queue, run, inode.block, indexed) => {
                    delta(run.number, line.number)
                }
                _ => None,
            };
            if delta.is_none() {
                self.end_run(queue, run.take(), &mut listing)?;
                let place = queue.place(Table::Listings);
                if indexed && place.block != indexed_block {
                    indexed_block = place.block;
                    listing.add_index_point(place, line.name)?;
                }
            }
            let run = run.get_or_insert(Run {
                block: inode.block,
                number: line.number,
                count: 0,
            });
            run.count += 1;
            let entry = DirEntry {
                offset: inode.offset,
                inode_number: delta.unwrap_or(0),
                entry_type: line.inode_type.basic(),
                // A name is 1..=255 bytes long; the tree has seen to that.
                size: u16::try_from(line.name.len().saturating_sub(1)).unwrap_or(u16::MAX),
            };
            self.run.extend_from_slice(&entry.to_bytes());
            self.run.extend_from_slice(line.name);
        }
        self.end_run(queue, run.take(), &mut listing)?;
        Ok(listing)
    }

    /// Returns whether one more entry can follow the header of `run`, apart from its number.
    fn fits(&self, queue: &MetadataQueue, run: &Run, block: u32, indexed: bool) -> bool {
        usize::from(run.count) < DIR_COUNT_MAX
            && run.block == block
            // An index has one point for each metadata block, and a point is a header. So the
            // first entry that begins in a new block gets one.
            && !(indexed && DirHeader::SIZE + self.run.len() >= queue.room(Table::Listings))
    }

    fn end_run(
        &mut self,
        queue: &mut MetadataQueue,
        run: Option<Run>,
        listing: &mut Listing,
    ) -> Result<(), Error> {
        let Some(run) = run else { return Ok(()) };
        let header = DirHeader {
            count: u32::from(run.count) - 1,
            start_block: 0,
            inode_number: run.number,
        };
        let link = Link {
            at: DirHeader::START_BLOCK,
            table: Table::Inodes,
            block: run.block,
        };
        queue.write(Table::Listings, &header.to_bytes(), &[link])?;
        queue.write(Table::Listings, &self.run, &[])?;
        listing.len += (DirHeader::SIZE + self.run.len()) as u64;
        self.run.clear();
        Ok(())
    }

    /// Sees to it that the table has at least one block.
    pub(crate) fn finish(self, queue: &mut MetadataQueue) -> Result<(), Error> {
        if queue.is_empty(Table::Listings) {
            // Kernels before 5.11 refuse an empty directory table, even if no directory has an entry. No reader uses
            // this header.
            queue.write(Table::Listings, &[0; DirHeader::SIZE], &[])?;
        }
        Ok(())
    }
}

impl Listing {
    /// Readers find a header at the position of the listing plus the point's offset, modulo the
    /// size of a metadata block, in the block that the point names.
    fn add_index_point(&mut self, place: Place, name: &[u8]) -> Result<(), Error> {
        // More points than the inode can count are not an error, because names after the last one are found by reading
        // on.
        if self.index.len() >= usize::from(u16::MAX) {
            return Ok(());
        }
        if let Ok(offset) = u32::try_from(self.len) {
            self.index.try_push(IndexPoint {
                offset,
                block: place.block,
                name: name.into(),
            })?;
        }
        Ok(())
    }
}

/// Returns the difference of this number to that of the header, if it fits.
fn delta(from: InodeNumber, to: InodeNumber) -> Option<i16> {
    i16::try_from(i64::from(to.0) - i64::from(from.0)).ok()
}

#[cfg(test)]
mod tests;
