//! Inodes: the basic form wherever its values fit, else the extended one.

use super::ids::Ids;
use super::listing::Listing;
use super::queue::{Link, MetadataQueue, Place, Table};
use super::xattrs::XattrWriter;
use crate::data::{Content, FileData, Lists};
use crate::error::Error;
use crate::format::{
    DevInode, DirIndex, DirInode, FileInode, InodeHeader, InodeNumber, InodeType, IpcInode,
    LDirInode, LFileInode, SYMLINK_MAX, SymlinkInode, XattrIndex, device_number,
};
use crate::metadata::Metadata;
use crate::tree::{Device, Kind};

/// Flushed at this size, so that the block words of a huge file are never all in memory.
const SCRATCH_MAX: usize = 64 << 10;

/// The readers' 3 bytes for `.` and `..`, which are in no listing.
const DOTS: u64 = 3;

/// The type of a node.
pub(crate) fn inode_type<B>(kind: &Kind<B>) -> InodeType {
    match kind {
        Kind::Directory(_) => InodeType::Directory,
        Kind::File(_) => InodeType::File,
        Kind::Symlink(_) => InodeType::Symlink,
        Kind::BlockDevice(_) => InodeType::BlockDevice,
        Kind::CharDevice(_) => InodeType::CharDevice,
        Kind::Fifo => InodeType::Fifo,
        Kind::Socket => InodeType::Socket,
    }
}

/// The fields of an inode apart from its contents.
#[derive(Clone, Copy)]
pub(crate) struct Common<'a> {
    pub(crate) metadata: &'a Metadata,
    pub(crate) number: InodeNumber,
    pub(crate) links: u32,
    /// Makes the path, for messages.
    pub(crate) path: &'a dyn Fn() -> String,
}

/// Writes inodes, one after the other, and collects what they refer to.
pub(crate) struct InodeWriter<'r> {
    scratch: Vec<u8>,
    /// The positions of metadata blocks in `scratch`.
    links: Vec<Link>,
    lists: &'r Lists,
    ids: Ids,
    xattrs: XattrWriter,
}

impl<'r> InodeWriter<'r> {
    pub(crate) fn new(lists: &'r Lists, xattrs: XattrWriter) -> Self {
        Self {
            scratch: Vec::new(),
            links: Vec::new(),
            lists,
            ids: Ids::default(),
            xattrs,
        }
    }

    pub(crate) fn directory(
        &mut self,
        queue: &mut MetadataQueue,
        common: Common<'_>,
        parent: InodeNumber,
        listing: &Listing,
    ) -> Result<Place, Error> {
        let xattr = self
            .xattrs
            .add(queue, &common.metadata.xattrs, common.path)?;
        let nlink = listing.subdirectories.saturating_add(2);
        let size = listing.len + DOTS;
        let basic = u16::try_from(size).ok();
        let basic = basic.filter(|_| xattr == XattrIndex::NONE && listing.index.is_empty());
        if let Some(file_size) = basic {
            let inode = DirInode {
                start_block: 0,
                nlink,
                file_size,
                offset: listing.place.offset,
                parent_inode: parent,
            };
            self.begin(common, InodeType::Directory.basic())?;
            self.link(DirInode::START_BLOCK, listing.place.block);
            self.scratch.extend_from_slice(&inode.to_bytes());
            return self.end(queue);
        }
        let file_size =
            u32::try_from(size).map_err(|_| common.limit("listing size", size, u32::MAX.into()))?;
        let inode = LDirInode {
            nlink,
            file_size,
            start_block: 0,
            parent_inode: parent,
            i_count: u16::try_from(listing.index.len()).unwrap_or(u16::MAX),
            offset: listing.place.offset,
            xattr,
        };
        self.begin(common, InodeType::Directory.extended())?;
        self.link(LDirInode::START_BLOCK, listing.place.block);
        self.scratch.extend_from_slice(&inode.to_bytes());
        let names = listing.index.iter().map(|point| point.name.len());
        let points = listing.index.len();
        self.links.try_reserve(points)?;
        self.scratch
            .try_reserve(points * size_of::<DirIndex>() + names.sum::<usize>())?;
        for point in &listing.index {
            let index = DirIndex {
                index: point.offset,
                start_block: 0,
                size: u32::try_from(point.name.len().saturating_sub(1)).unwrap_or(u32::MAX),
            };
            self.link(DirIndex::START_BLOCK, point.block);
            self.scratch.extend_from_slice(&index.to_bytes());
            self.scratch.extend_from_slice(&point.name);
        }
        self.end(queue)
    }

    /// Writes an inode that is not a directory; [`directory`](Self::directory) writes those.
    pub(crate) fn other(
        &mut self,
        queue: &mut MetadataQueue,
        common: Common<'_>,
        kind: &Kind<FileData>,
    ) -> Result<Option<Place>, Error> {
        let inode_type = inode_type(kind);
        match kind {
            Kind::Directory(_) => Ok(None),
            Kind::File(data) => self.file(queue, common, *data).map(Some),
            Kind::Symlink(target) => self.symlink(queue, common, target).map(Some),
            Kind::BlockDevice(device) | Kind::CharDevice(device) => {
                let rdev = rdev(common, *device)?;
                let nlink = common.links;
                self.special(
                    queue,
                    common,
                    inode_type,
                    &DevInode { nlink, rdev }.to_bytes(),
                )
                .map(Some)
            }
            Kind::Fifo | Kind::Socket => {
                let nlink = common.links;
                self.special(queue, common, inode_type, &IpcInode { nlink }.to_bytes())
                    .map(Some)
            }
        }
    }

    fn file(
        &mut self,
        queue: &mut MetadataQueue,
        common: Common<'_>,
        data: FileData,
    ) -> Result<Place, Error> {
        let xattr = self
            .xattrs
            .add(queue, &common.metadata.xattrs, common.path)?;
        let content = self.lists.content(data);
        let (content, words) = content.map_err(|reason| Error::Tree {
            entry: Some((common.path)()),
            reason,
        })?;
        let Content {
            start,
            sparse,
            fragment,
            offset,
        } = content;
        let basic = (u32::try_from(start), u32::try_from(data.len()));
        let plain = xattr == XattrIndex::NONE && common.links == 1 && sparse == 0;
        if let ((Ok(start_block), Ok(file_size)), true) = (basic, plain) {
            let inode = FileInode {
                start_block,
                fragment,
                offset,
                file_size,
            };
            self.begin(common, InodeType::File.basic())?;
            self.scratch.extend_from_slice(&inode.to_bytes());
        } else {
            let inode = LFileInode {
                start_block: start,
                file_size: data.len(),
                sparse,
                nlink: common.links,
                fragment,
                offset,
                xattr,
            };
            self.begin(common, InodeType::File.extended())?;
            self.scratch.extend_from_slice(&inode.to_bytes());
        }
        let place = queue.place(Table::Inodes);
        for (word, count) in words {
            for _ in 0..count {
                self.scratch.extend_from_slice(&word.0.to_le_bytes());
                if self.scratch.len() >= SCRATCH_MAX {
                    queue.write(Table::Inodes, &self.scratch, &[])?;
                    self.scratch.clear();
                }
            }
        }
        self.end(queue)?;
        Ok(place)
    }

    fn symlink(
        &mut self,
        queue: &mut MetadataQueue,
        common: Common<'_>,
        target: &[u8],
    ) -> Result<Place, Error> {
        if target.is_empty() {
            return Err(Error::EmptyTarget {
                entry: (common.path)(),
            });
        }
        if target.contains(&0) {
            return Err(Error::NulInTarget {
                entry: (common.path)(),
            });
        }
        if target.len() > SYMLINK_MAX {
            return Err(common.limit(
                "symlink target length",
                target.len() as u64,
                SYMLINK_MAX as u64,
            ));
        }
        let inode = SymlinkInode {
            nlink: common.links,
            symlink_size: u32::try_from(target.len()).unwrap_or(u32::MAX),
        };
        let bytes = [&inode.to_bytes(), target].concat();
        self.special(queue, common, InodeType::Symlink, &bytes)
    }

    /// Writes an inode of the types whose extended form is the basic one followed by an xattr index.
    fn special(
        &mut self,
        queue: &mut MetadataQueue,
        common: Common<'_>,
        inode_type: InodeType,
        bytes: &[u8],
    ) -> Result<Place, Error> {
        let xattr = self
            .xattrs
            .add(queue, &common.metadata.xattrs, common.path)?;
        if xattr == XattrIndex::NONE {
            self.begin(common, inode_type.basic())?;
            self.scratch.extend_from_slice(bytes);
        } else {
            self.begin(common, inode_type.extended())?;
            self.scratch.extend_from_slice(bytes);
            self.scratch.extend_from_slice(&xattr.0.to_le_bytes());
        }
        self.end(queue)
    }

    fn begin(&mut self, common: Common<'_>, inode_type: u16) -> Result<(), Error> {
        let mut id = |id| {
            let max = u64::from(Ids::MAX);
            self.ids.index(id)?.ok_or_else(|| {
                common.limit(
                    "number of different user and group ids up to that",
                    max + 1,
                    max,
                )
            })
        };
        let header = InodeHeader {
            inode_type,
            mode: common.metadata.mode,
            uid: id(common.metadata.uid)?,
            guid: id(common.metadata.gid)?,
            mtime: common.metadata.mtime,
            inode_number: common.number,
        };
        self.scratch.clear();
        self.links.clear();
        self.scratch.extend_from_slice(&header.to_bytes());
        Ok(())
    }

    /// Notes that the field `at` bytes after the end of the scratch buffer will be the position of a block of listings.
    fn link(&mut self, at: usize, block: u32) {
        self.links.push(Link {
            at: self.scratch.len() + at,
            table: Table::Listings,
            block,
        });
    }

    /// Writes what is in the scratch buffer, and returns where it begins.
    fn end(&mut self, queue: &mut MetadataQueue) -> Result<Place, Error> {
        let place = queue.place(Table::Inodes);
        queue.write(Table::Inodes, &self.scratch, &self.links)?;
        Ok(place)
    }

    /// Returns what the inodes refer to.
    pub(crate) fn finish(self) -> (Ids, XattrWriter) {
        (self.ids, self.xattrs)
    }
}

impl Common<'_> {
    fn limit(&self, what: &'static str, value: u64, max: u64) -> Error {
        Error::Limit {
            what,
            entry: (self.path)(),
            value,
            max,
        }
    }
}

fn rdev(common: Common<'_>, device: Device) -> Result<u32, Error> {
    device_number(device.major, device.minor).ok_or_else(|| {
        if device.major > 0xFFF {
            common.limit("device major number", device.major.into(), 0xFFF)
        } else {
            common.limit("device minor number", device.minor.into(), 0xF_FFFF)
        }
    })
}
