//! The metadata: a tree in, the tables of the image out.
//!
//! Inodes and listings refer to each other by place, so both tables grow together, directory by
//! directory from the leaves to the root; [`order`] says in which order.

mod ids;
mod inode;
mod listing;
mod order;
mod queue;
mod stored;
mod xattrs;

pub(crate) use queue::{MetadataBlocks, MetadataQueue};
pub(crate) use xattrs::{XattrTables, XattrWriter};

use crate::data::{FileData, Lists};
use std::io::Write;

use crate::error::{Error, TreeError};
use crate::format::{InodeNumber, InodeRef};
use crate::growth::{self, Growth as _};
use crate::output::Output;
use crate::tree::{Directory, Node, NodeId, Tree};
use inode::{Common, InodeWriter, inode_type};
use listing::{Line, Listing, ListingWriter};
use order::{Numbers, post_order};
use queue::{Place, Table};

/// The tables of a tree, except the inode table.
pub(crate) struct Tables {
    pub(crate) directories: MetadataBlocks,
    pub(crate) xattrs: XattrTables,
    /// By inode number, from 1 on.
    pub(crate) refs: Vec<InodeRef>,
    pub(crate) ids: Vec<u32>,
    pub(crate) root: InodeRef,
}

/// Place of an inode that is not written yet.
const UNWRITTEN: Place = Place {
    block: u32::MAX,
    offset: u16::MAX,
};

/// Inodes are handed to the sink in pieces of at least this size: they are the first table.
const PIECE: usize = 128 << 10;

impl Tables {
    /// Writes the inode table, and keeps the tables that follow it.
    pub(crate) fn build<W: Write>(
        tree: &Tree<FileData>,
        lists: &Lists,
        queue: &mut MetadataQueue,
        xattrs: XattrWriter,
        image: &mut Output<W>,
    ) -> Result<Self, Error> {
        let order = post_order(tree, queue.cancel())?;
        let numbers = Numbers::new(tree, &order, queue.cancel())?;
        let mut builder = Builder {
            tree,
            places: Places::new(numbers)?,
            inodes: InodeWriter::new(lists, xattrs),
            listings: ListingWriter::default(),
            pending: Vec::new(),
        };
        for &id in &order {
            builder.add(id, queue, image)?;
        }
        let root = builder.add_root(queue)?;
        builder.listings.finish(queue)?;
        queue.end(&[Table::Inodes, Table::Listings, Table::Xattrs])?;
        let mut inodes = queue.finish(Table::Inodes);
        std::mem::take(&mut inodes.bytes).write_to(image)?;
        let root = inodes.resolve(root)?;
        let mut refs = growth::with_capacity(builder.places.places.len())?;
        for place in builder.places.places {
            queue.cancel().tick()?;
            refs.push(inodes.resolve(place)?);
        }
        let (ids, sets) = builder.inodes.finish();
        Ok(Self {
            directories: queue.finish(Table::Listings),
            xattrs: sets.finish(queue)?,
            refs,
            ids: ids.into_vec(),
            root,
        })
    }
}

struct Builder<'t> {
    tree: &'t Tree<FileData>,
    places: Places,
    inodes: InodeWriter<'t>,
    listings: ListingWriter,
    /// Listings whose directories have no inode yet, because their parents had no turn yet. In
    /// post-order those of one parent are next to each other, at the end, in order of their names.
    pending: Vec<Listing>,
}

impl Builder<'_> {
    /// Writes the inodes of the children of a directory, then its listing.
    fn add<W: Write>(
        &mut self,
        id: NodeId,
        queue: &mut MetadataQueue,
        image: &mut Output<W>,
    ) -> Result<(), Error> {
        let directory = as_directory(self.tree, id)?;
        let mut subdirectories: u32 = 0;
        let mut name_bytes = 0;
        for (name, child) in directory.iter() {
            queue.cancel().tick()?;
            name_bytes += name.len();
            subdirectories += u32::from(node(self.tree, child)?.as_directory().is_some());
        }
        let first = self.pending.len().saturating_sub(subdirectories as usize);
        let mut pending = std::mem::take(&mut self.pending);
        let mut listings = pending.drain(first..);
        for (name, child) in directory.iter() {
            queue.cancel().tick()?;
            let (number, place) = self.places.get(child)?;
            if place == UNWRITTEN {
                let place = self.add_child(queue, id, name, child, number, &mut listings)?;
                self.places.set(number, place);
                // In the loop and not after the directory, because the size of its inodes is not bounded.
                if queue.len(Table::Inodes) >= PIECE {
                    queue.take(Table::Inodes).write_to(image)?;
                }
            }
        }
        drop(listings);
        self.pending = pending;
        let lines = directory.iter().map(|(name, child)| {
            let (number, inode) = self.places.get(child)?;
            Ok(Line {
                name,
                inode,
                number,
                inode_type: inode_type(node(self.tree, child)?.kind()),
            })
        });
        let listing = self
            .listings
            .write(queue, name_bytes, lines, subdirectories)?;
        self.pending.try_push(listing)?;
        Ok(())
    }

    fn add_child(
        &mut self,
        queue: &mut MetadataQueue,
        parent: NodeId,
        name: &[u8],
        child: NodeId,
        number: InodeNumber,
        listings: &mut impl Iterator<Item = Listing>,
    ) -> Result<Place, Error> {
        let node = node(self.tree, child)?;
        let common = Common {
            metadata: node.metadata(),
            number,
            links: node.links(),
            path: &|| self.tree.path(parent, name),
        };
        if let Some(place) = self.inodes.other(queue, common, node.kind())? {
            return Ok(place);
        }
        let listing = listings.next().ok_or(TreeError::Stale)?;
        let (parent, _) = self.places.get(parent)?;
        self.inodes.directory(queue, common, parent, &listing)
    }

    fn add_root(&mut self, queue: &mut MetadataQueue) -> Result<Place, Error> {
        let (number, _) = self.places.get(NodeId::ROOT)?;
        let listing = self.pending.pop().ok_or(TreeError::Stale)?;
        let common = Common {
            metadata: node(self.tree, NodeId::ROOT)?.metadata(),
            number,
            links: 1,
            path: &|| "/".into(),
        };
        // No inode has the number after the last one, so no reader takes the root for a child of the root.
        let unused = InodeNumber(number.0.saturating_add(1));
        let place = self.inodes.directory(queue, common, unused, &listing)?;
        self.places.set(number, place);
        Ok(place)
    }
}

/// Numbers of inodes, and their places once they are written.
struct Places {
    numbers: Numbers,
    places: Vec<Place>,
}

impl Places {
    fn new(numbers: Numbers) -> Result<Self, Error> {
        let count = numbers.count() as usize;
        let mut places = growth::with_capacity(count)?;
        places.resize(count, UNWRITTEN);
        Ok(Self { numbers, places })
    }

    fn get(&self, id: NodeId) -> Result<(InodeNumber, Place), Error> {
        let number = self.numbers.get(id).ok_or(TreeError::Stale)?;
        let place = self.places.get(number.0 as usize - 1);
        Ok((number, *place.ok_or(TreeError::Stale)?))
    }

    fn set(&mut self, number: InodeNumber, place: Place) {
        if let Some(slot) = self.places.get_mut(number.0 as usize - 1) {
            *slot = place;
        }
    }
}

fn node(tree: &Tree<FileData>, id: NodeId) -> Result<&Node<FileData>, Error> {
    Ok(tree.get(id).ok_or(TreeError::Stale)?)
}

fn as_directory(tree: &Tree<FileData>, id: NodeId) -> Result<&Directory, Error> {
    Ok(node(tree, id)?
        .as_directory()
        .ok_or(TreeError::NotADirectory)?)
}
