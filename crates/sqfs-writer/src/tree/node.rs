//! Nodes: handles, types, metadata, and the entries of directories.

use std::collections::BTreeMap;
use std::fmt;

use smallvec::SmallVec;

use crate::metadata::Metadata;
use crate::text::Text;

/// Handle of a node of one [`Tree`](crate::Tree). No other node gets it, even after the node was removed, and in another
/// tree it leads nowhere. Handles of one tree are ordered by the creation of their nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId {
    pub(super) index: u32,
    /// Number of the tree; 0 for the root, which every tree has.
    pub(super) tree: u32,
}

impl NodeId {
    /// The root of every tree.
    pub const ROOT: Self = Self { index: 0, tree: 0 };

    pub(super) fn new(index: u32, tree: u32) -> Self {
        match index {
            0 => Self::ROOT,
            _ => Self { index, tree },
        }
    }

    /// Returns the index among all nodes that ever existed, below the number of slots of the tree.
    pub(crate) fn index(self) -> usize {
        self.index as usize
    }
}

/// Major and minor number of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Device {
    /// Major number, `0..=0xFFF` in the encoding that squashfs stores.
    pub major: u32,
    /// Minor number, `0..=0xF_FFFF`.
    pub minor: u32,
}

/// Type of a node, with its content.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind<B> {
    /// A directory. [`Directory::default`] is empty, and callers can make no other. So is a clone, which therefore differs
    /// from a directory with entries.
    Directory(Directory),
    /// A regular file with the handle of its content.
    File(B),
    /// A symbolic link with its target in bytes, which is never interpreted.
    Symlink(Box<[u8]>),
    /// A character device. The number 0:0 has no special meaning.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
}

impl<B> Kind<B> {
    /// Returns an empty directory.
    #[must_use]
    pub fn directory() -> Self {
        Self::Directory(Directory::default())
    }

    /// Returns whether this is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        matches!(self, Self::Directory(_))
    }
}

/// Shows the target of a symlink as text.
impl<B: fmt::Debug> fmt::Debug for Kind<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(directory) => f.debug_tuple("Directory").field(directory).finish(),
            Self::File(content) => f.debug_tuple("File").field(content).finish(),
            Self::Symlink(target) => f.debug_tuple("Symlink").field(&Text(target)).finish(),
            Self::CharDevice(device) => f.debug_tuple("CharDevice").field(device).finish(),
            Self::BlockDevice(device) => f.debug_tuple("BlockDevice").field(device).finish(),
            Self::Fifo => f.write_str("Fifo"),
            Self::Socket => f.write_str("Socket"),
        }
    }
}

/// A name in a directory.
pub(super) type Name = SmallVec<[u8; 16]>;

/// The entries of a directory, in bytewise order of their names.
///
/// A clone has none, because two directories cannot hold the same nodes. It differs from an original that has entries.
#[derive(Default)]
pub struct Directory {
    /// By index of their nodes.
    #[expect(
        clippy::box_collection,
        reason = "most nodes are files, and would be as large as a map too"
    )]
    pub(super) entries: Box<BTreeMap<Name, u32>>,
    pub(super) parent: u32,
    /// Number of the tree that it is in. Here and not with each entry, because there are many of those.
    pub(super) tree: u32,
}

impl Directory {
    /// Returns the directory that this one is in; the root is its own parent.
    #[must_use]
    pub fn parent(&self) -> NodeId {
        NodeId::new(self.parent, self.tree)
    }

    /// Returns the node of that name.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<NodeId> {
        let index = self.entries.get(name)?;
        Some(NodeId::new(*index, self.tree))
    }

    /// Returns names and nodes in bytewise order of the names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], NodeId)> {
        let entries = self.entries.iter();
        entries.map(|(name, index)| (name.as_slice(), NodeId::new(*index, self.tree)))
    }

    /// Returns the number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Directories are equal if their entries are.
impl PartialEq for Directory {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl Eq for Directory {}

/// Shows names as text.
impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.entries.iter();
        f.debug_map()
            .entries(entries.map(|(name, index)| (Text(name), index)))
            .finish()
    }
}

impl Clone for Directory {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// One inode: metadata, content, and the number of names that lead to it.
#[derive(Debug)]
pub struct Node<B> {
    pub(super) metadata: Metadata,
    pub(super) kind: Kind<B>,
    pub(super) links: u32,
}

impl<B> Node<B> {
    /// Returns permissions, owner, time and extended attributes.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Returns its type and content.
    #[must_use]
    pub fn kind(&self) -> &Kind<B> {
        &self.kind
    }

    /// Returns the number of names that lead to the node, 1 or more. Always 1 for a directory: the writer computes the
    /// link count that file systems show for it, 2 and 1 for each subdirectory.
    #[must_use]
    pub fn links(&self) -> u32 {
        self.links
    }

    /// Returns its entries if it is a directory.
    #[must_use]
    pub fn as_directory(&self) -> Option<&Directory> {
        match &self.kind {
            Kind::Directory(directory) => Some(directory),
            _ => None,
        }
    }
}
