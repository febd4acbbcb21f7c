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

use std::collections::btree_map::{Entry, IntoValues};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::{Error, TreeError, shortened, shown};
use crate::metadata::Metadata;
use crate::pieces::Pieces;

use self::node::Name;
pub use self::node::{Device, Directory, Kind, Node, NodeId};

/// Length of the longest name of a directory entry, in bytes.
pub const NAME_MAX: usize = 255;

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
    /// Number of the tree in this process, 1 or more, which shows whose a handle is.
    number: u32,
}

impl<B> Tree<B> {
    /// Returns a tree of a root directory with this metadata.
    ///
    /// Drops mode bits above `0o7777`, which all other functions refuse.
    #[must_use]
    pub fn new(mut root: Metadata) -> Self {
        root.mode &= 0o7777;
        let nodes = Pieces::of(Some(Node {
            metadata: root,
            kind: Kind::directory(),
            links: 1,
        }));
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_add(1)
            .max(1);
        let mut tree = Self {
            nodes,
            live: 1,
            number,
        };
        if let Ok(root) = tree.directory_mut(NodeId::ROOT) {
            root.tree = number;
        }
        tree
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
        self.nodes.get(self.index(id)?)?.as_ref()
    }

    /// Returns the index of a node of this tree.
    fn index(&self, id: NodeId) -> Option<usize> {
        (id == NodeId::ROOT || id.tree == self.number).then_some(id.index())
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
            .filter_map(|(index, node)| Some((NodeId::new(index, self.number), node.as_ref()?)))
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
        let index = u32::try_from(self.nodes.len()).map_err(|_| Error::Limit {
            what: "number of nodes",
            entry: "the tree".into(),
            value: self.nodes.len() as u64,
            max: u32::MAX.into(),
        })?;
        if let Kind::Directory(new) = &mut kind {
            (new.parent, new.tree) = (directory.index, self.number);
        }
        self.directory(directory).map_err(|error| error.at(name))?;
        self.nodes.try_push(Some(Node {
            metadata,
            kind,
            links: 1,
        }))?;
        let old = self
            .directory_mut(directory)?
            .entries
            .insert(Name::from_slice(name), index);
        self.live += 1;
        if let Some(old) = old {
            self.unlink(old);
        }
        Ok(NodeId::new(index, self.number))
    }

    /// Adds a hard link: one more name for a node that is not a directory. The node that had the name loses it.
    ///
    /// # Errors
    /// As [`insert`](Self::insert), and [`Error::Tree`] if `target` is a directory or stale.
    pub fn link(&mut self, directory: NodeId, name: &[u8], target: NodeId) -> Result<(), Error> {
        check_name(name)?;
        self.directory(directory).map_err(|error| error.at(name))?;
        self.check_target(target).map_err(|error| error.at(name))?;
        let node = self.node_mut(target).map_err(|error| error.at(name))?;
        node.links = node.links.checked_add(1).ok_or(Error::Limit {
            what: "link count",
            entry: shown(name),
            value: u64::from(u32::MAX) + 1,
            max: u32::MAX.into(),
        })?;
        let old = self
            .directory_mut(directory)
            .map_err(|error| error.at(name))?
            .entries
            .insert(Name::from_slice(name), target.index);
        if let Some(old) = old {
            self.unlink(old);
        }
        Ok(())
    }

    /// Checks that a node can get one more name.
    pub(crate) fn check_target(&self, target: NodeId) -> Result<(), TreeError> {
        match self.get(target).map(Node::kind) {
            None => Err(TreeError::Stale),
            Some(Kind::Directory(_)) => Err(TreeError::LinkToDirectory),
            Some(_) => Ok(()),
        }
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
    /// Returns the first error of `content`, or [`Error::Shortage`] if there is no memory for the handles.
    pub fn try_map<C, E: From<Error>>(
        self,
        mut content: impl FnMut(NodeId, B) -> Result<C, E>,
    ) -> Result<Tree<C>, E> {
        let mut map = |id, node: Node<B>| -> Result<Node<C>, E> {
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
        let (live, number) = (self.live, self.number);
        let mut nodes = Pieces::new();
        // Piece by piece, so that the nodes are never in memory twice.
        for (index, node) in (0u32..).zip(self.nodes.into_values()) {
            let node = node.map(|node| map(NodeId::new(index, number), node));
            nodes
                .try_push(node.transpose()?)
                .map_err(|error| E::from(error.into()))?;
        }
        Ok(Tree {
            nodes,
            live,
            number,
        })
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
        let parts = names.iter().rev();
        shortened(
            parts
                .map(|name| format!("/{}", name.escape_ascii()))
                .collect(),
        )
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
        let index = self.index(id).ok_or(TreeError::Stale)?;
        let slot = self.nodes.get_mut(index).and_then(Option::as_mut);
        slot.ok_or(TreeError::Stale)
    }

    /// Removes one name of a node. It is a loop and no recursion, because images choose the depth. The names below are not
    /// collected, because images choose their number as well.
    fn unlink(&mut self, index: u32) {
        let mut next = Some(index);
        let mut below = Vec::new();
        while let Some(index) = next.or_else(|| next_in(&mut below)) {
            next = None;
            let Some(slot) = self.nodes.get_mut(index as usize) else {
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
                below.push(directory.entries.into_values());
            }
            self.live -= 1;
        }
    }
}

/// Returns the next name of the innermost directory that has one left.
fn next_in(below: &mut Vec<IntoValues<Name, u32>>) -> Option<u32> {
    loop {
        match below.last_mut()?.next() {
            Some(index) => return Some(index),
            None => below.pop(),
        };
    }
}

pub(crate) fn check_name(name: &[u8]) -> Result<(), Error> {
    let reason = match name {
        b"" => "it is empty",
        b"." | b".." => "it has a meaning of its own",
        _ if name.len() > NAME_MAX => "it is longer than 255 bytes",
        _ if name.contains(&b'/') => "it holds a slash",
        _ if name.contains(&0) => "it holds a NUL byte",
        _ => return Ok(()),
    };
    Err(Error::Name {
        name: shown(name),
        path: None,
        reason,
    })
}

pub(crate) fn check_mode(metadata: &Metadata) -> Result<(), TreeError> {
    if metadata.mode > 0o7777 {
        return Err(TreeError::Mode);
    }
    Ok(())
}

mod node;
#[cfg(test)]
mod tests;
