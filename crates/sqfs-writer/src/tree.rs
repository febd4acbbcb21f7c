//! The inode tree: names lead to nodes, nodes hold content, and both can change until the image is finished.
//!
//! ```text
//!   (directory, name) ──────► NodeId ──────► Node { metadata, kind, links }
//!        the namespace          │               the inodes
//!   a second name (hard link) ──┘
//! ```
//!
//! Names and nodes are separate on purpose. A hard link is a second name of the same node, and replacing a name leaves the
//! node to its other names. File systems behave so, and merging by name does not.
//!
//! The tree is generic over `B`, the handle of a file's content, and never looks at it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use smallvec::SmallVec;

use crate::error::{Error, TreeError};
use crate::metadata::Metadata;
use crate::pieces::Pieces;

/// Length of the longest name of a directory entry, in bytes.
pub const NAME_MAX: usize = 255;

/// Handle of a node of one [`Tree`]. No other node gets it, even after the node was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    /// The root of every tree.
    pub const ROOT: Self = Self(0);

    /// Returns the index among all nodes that ever existed, below [`Tree::slots`].
    pub(crate) fn index(self) -> usize {
        self.0 as usize
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
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind<B> {
    /// A directory. [`Directory::default`] is empty, and callers can make no other.
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

/// A name in a directory.
type Name = SmallVec<[u8; 16]>;

/// The entries of a directory, in bytewise order of their names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Directory {
    #[expect(
        clippy::box_collection,
        reason = "most nodes are files, and would be as large as a map too"
    )]
    entries: Box<BTreeMap<Name, NodeId>>,
    parent: u32,
}

impl Directory {
    /// Returns the directory that this one is in; the root is its own parent.
    #[must_use]
    pub fn parent(&self) -> NodeId {
        NodeId(self.parent)
    }

    /// Returns the node of that name.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<NodeId> {
        self.entries.get(name).copied()
    }

    /// Returns names and nodes in bytewise order of the names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], NodeId)> {
        self.entries.iter().map(|(name, id)| (name.as_slice(), *id))
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

/// Returns an empty directory, because a copy would hold the same nodes a second time.
impl Clone for Directory {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// One inode: metadata, content, and the number of names that lead to it.
#[derive(Debug)]
pub struct Node<B> {
    metadata: Metadata,
    kind: Kind<B>,
    links: u32,
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

/// A tree of inodes under construction.
///
/// ```
/// use sqfs_writer::{Kind, Metadata, NodeId, Tree};
///
/// let mut tree = Tree::new(Metadata::new(0o755));
/// let file = tree.insert(NodeId::ROOT, b"old", Metadata::new(0o644), Kind::File("content"))?;
/// tree.link(NodeId::ROOT, b"other", file)?;
/// // The node stays, because it has another name.
/// tree.insert(NodeId::ROOT, b"old", Metadata::new(0o644), Kind::File("new"))?;
/// assert_eq!(tree.lookup(NodeId::ROOT, b"other")?, Some(file));
/// assert_eq!(tree.get(file).map(|node| node.links()), Some(1));
/// # Ok::<(), sqfs_writer::Error>(())
/// ```
#[derive(Debug)]
pub struct Tree<B> {
    /// Slots are not reused, so that a stale handle leads nowhere instead of to another node.
    nodes: Pieces<Option<Node<B>>>,
    live: usize,
}

impl<B> Tree<B> {
    /// Returns a tree of a root directory with this metadata.
    ///
    /// Drops mode bits above `0o7777`, which all other functions refuse.
    #[must_use]
    pub fn new(mut root: Metadata) -> Self {
        root.mode &= 0o7777;
        let mut nodes = Pieces::new();
        nodes.push(Some(Node {
            metadata: root,
            kind: Kind::directory(),
            links: 1,
        }));
        Self { nodes, live: 1 }
    }

    /// Returns the number of inodes, the root included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live
    }

    /// Returns `false`, because there is always a root.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Returns a node, or `None` if it is no longer in the tree.
    #[must_use]
    pub fn get(&self, id: NodeId) -> Option<&Node<B>> {
        self.nodes.get(id.index())?.as_ref()
    }

    /// Returns the node of that name in a directory.
    ///
    /// # Errors
    /// Returns [`Error::Tree`] if `directory` is stale or not a directory.
    pub fn lookup(&self, directory: NodeId, name: &[u8]) -> Result<Option<NodeId>, Error> {
        Ok(self.directory(directory)?.get(name))
    }

    /// Returns the nodes that are in the tree with their handles, in order of creation.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node<B>)> {
        (0u32..)
            .zip(self.nodes.iter_from(0))
            .filter_map(|(index, node)| Some((NodeId(index), node.as_ref()?)))
    }

    /// Adds a new node under a name. The node that had the name loses it; a directory goes with everything below it.
    ///
    /// To change a directory and keep its entries, use [`set_metadata`](Self::set_metadata).
    ///
    /// # Errors
    /// - [`Error::Name`] if the name is empty, `.`, `..`, longer than [`NAME_MAX`] bytes, or contains `/` or NUL
    /// - [`Error::Tree`] if `directory` is stale or not a directory, or `metadata.mode` has bits above `0o7777`
    /// - [`Error::Limit`] for the 2³²nd node
    pub fn insert(
        &mut self,
        directory: NodeId,
        name: &[u8],
        metadata: Metadata,
        mut kind: Kind<B>,
    ) -> Result<NodeId, Error> {
        check_name(name)?;
        check_mode(&metadata).map_err(|error| error.at(name))?;
        let id = u32::try_from(self.nodes.len())
            .map(NodeId)
            .map_err(|_| Error::Limit {
                what: "number of nodes",
                entry: "the tree".into(),
                value: self.nodes.len() as u64,
                max: u32::MAX.into(),
            })?;
        if let Kind::Directory(new) = &mut kind {
            new.parent = directory.0;
        }
        let old = self
            .directory_mut(directory)
            .map_err(|error| error.at(name))?
            .entries
            .insert(Name::from_slice(name), id);
        self.nodes.push(Some(Node {
            metadata,
            kind,
            links: 1,
        }));
        self.live += 1;
        if let Some(old) = old {
            self.unlink(old);
        }
        Ok(id)
    }

    /// Adds a hard link: one more name for a node that is not a directory. The node that had the name loses it.
    ///
    /// # Errors
    /// As [`insert`](Self::insert), and [`Error::Tree`] if `target` is a directory or stale.
    pub fn link(&mut self, directory: NodeId, name: &[u8], target: NodeId) -> Result<(), Error> {
        check_name(name)?;
        self.directory(directory).map_err(|error| error.at(name))?;
        let node = self.node_mut(target).map_err(|error| error.at(name))?;
        if node.kind.is_directory() {
            return Err(TreeError::LinkToDirectory.at(name));
        }
        node.links = node.links.checked_add(1).ok_or(Error::Limit {
            what: "link count",
            entry: name.escape_ascii().to_string(),
            value: u64::from(u32::MAX) + 1,
            max: u32::MAX.into(),
        })?;
        let old = self
            .directory_mut(directory)
            .map_err(|error| error.at(name))?
            .entries
            .insert(Name::from_slice(name), target);
        if let Some(old) = old {
            self.unlink(old);
        }
        Ok(())
    }

    /// Removes a name, and everything below it if it is a directory. Returns whether it existed.
    ///
    /// # Errors
    /// Returns [`Error::Tree`] if `directory` is stale or not a directory.
    pub fn remove(&mut self, directory: NodeId, name: &[u8]) -> Result<bool, Error> {
        let directory = self
            .directory_mut(directory)
            .map_err(|error| error.at(name))?;
        match directory.entries.entry(Name::from_slice(name)) {
            Entry::Vacant(_) => Ok(false),
            Entry::Occupied(entry) => {
                let old = entry.remove();
                self.unlink(old);
                Ok(true)
            }
        }
    }

    /// Replaces the metadata of a node; content, entries and names stay.
    ///
    /// # Errors
    /// Returns [`Error::Tree`] if the node is stale or the mode has bits above `0o7777`.
    pub fn set_metadata(&mut self, id: NodeId, metadata: Metadata) -> Result<(), Error> {
        check_mode(&metadata)?;
        self.node_mut(id)?.metadata = metadata;
        Ok(())
    }

    /// Returns the tree with other handles of contents. It calls `content` once for each inode that is a file, in order of
    /// creation.
    ///
    /// # Errors
    /// Returns the first error of `content`.
    pub fn try_map<C, E>(
        self,
        mut content: impl FnMut(NodeId, B) -> Result<C, E>,
    ) -> Result<Tree<C>, E> {
        let mut map = |id, node: Node<B>| {
            Ok(Node {
                metadata: node.metadata,
                kind: match node.kind {
                    Kind::File(body) => Kind::File(content(id, body)?),
                    Kind::Directory(directory) => Kind::Directory(directory),
                    Kind::Symlink(target) => Kind::Symlink(target),
                    Kind::CharDevice(device) => Kind::CharDevice(device),
                    Kind::BlockDevice(device) => Kind::BlockDevice(device),
                    Kind::Fifo => Kind::Fifo,
                    Kind::Socket => Kind::Socket,
                },
                links: node.links,
            })
        };
        let live = self.live;
        let mut nodes = Pieces::new();
        // Piece by piece, so that the nodes are never in memory twice.
        for (index, node) in (0u32..).zip(self.nodes.into_values()) {
            let node = node.map(|node| map(NodeId(index), node));
            nodes.push(node.transpose()?);
        }
        Ok(Tree { nodes, live })
    }

    /// Returns the number of nodes that ever existed.
    pub(crate) fn slots(&self) -> usize {
        self.nodes.len()
    }

    /// Returns the path of a name, for messages. Its time is linear in the entries, which an error may cost.
    pub(crate) fn path(&self, mut directory: NodeId, name: &[u8]) -> String {
        let mut names = vec![name];
        while let Some(parent) = self.get(directory).and_then(Node::as_directory) {
            if directory == NodeId::ROOT {
                break;
            }
            let child = directory;
            directory = parent.parent();
            let siblings = self.get(directory).and_then(Node::as_directory);
            names.extend(
                siblings
                    .and_then(|siblings| siblings.iter().find(|&(_, id)| id == child))
                    .map(|(name, _)| name),
            );
        }
        names
            .iter()
            .rev()
            .map(|name| format!("/{}", name.escape_ascii()))
            .collect()
    }

    fn directory(&self, id: NodeId) -> Result<&Directory, TreeError> {
        match &self.get(id).ok_or(TreeError::Stale)?.kind {
            Kind::Directory(directory) => Ok(directory),
            _ => Err(TreeError::NotADirectory),
        }
    }

    fn directory_mut(&mut self, id: NodeId) -> Result<&mut Directory, TreeError> {
        match &mut self.node_mut(id)?.kind {
            Kind::Directory(directory) => Ok(directory),
            _ => Err(TreeError::NotADirectory),
        }
    }

    fn node_mut(&mut self, id: NodeId) -> Result<&mut Node<B>, TreeError> {
        self.nodes
            .get_mut(id.index())
            .and_then(Option::as_mut)
            .ok_or(TreeError::Stale)
    }

    /// Removes one name of a node. It is a loop and no recursion, because images choose the depth.
    fn unlink(&mut self, id: NodeId) {
        let mut pending = vec![id];
        while let Some(id) = pending.pop() {
            let Some(slot) = self.nodes.get_mut(id.index()) else {
                continue;
            };
            let Some(node) = slot else { continue };
            node.links -= 1;
            if node.links > 0 {
                continue;
            }
            if let Some(Node {
                kind: Kind::Directory(directory),
                ..
            }) = slot.take()
            {
                pending.extend(directory.entries.into_values());
            }
            self.live -= 1;
        }
    }
}

fn check_name(name: &[u8]) -> Result<(), Error> {
    let reason = match name {
        b"" => "it is empty",
        b"." | b".." => "it has a meaning of its own",
        _ if name.len() > NAME_MAX => "it is longer than 255 bytes",
        _ if name.contains(&b'/') => "it holds a slash",
        _ if name.contains(&0) => "it holds a NUL byte",
        _ => return Ok(()),
    };
    Err(Error::Name {
        name: name.escape_ascii().to_string(),
        reason,
    })
}

fn check_mode(metadata: &Metadata) -> Result<(), TreeError> {
    if metadata.mode > 0o7777 {
        return Err(TreeError::Mode);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
