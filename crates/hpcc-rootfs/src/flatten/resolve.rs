//! Where a path leads, with every symlink on the way followed inside the root.

use sqfs_writer::{Kind, NodeId, Tree};

use super::RESERVED;
use super::error::EntryProblem;

/// As many as careful path resolvers in user space follow; the kernel stops at 40.
const MAX_LINKS: u32 = 255;

/// Where a directory is, or would be.
#[derive(Debug)]
pub(super) struct Place {
    /// The last directory on the way that exists.
    pub(super) directory: NodeId,
    /// What would have to be made below it. The first of these may exist as something else than a
    /// directory.
    pub(super) missing: Vec<Box<[u8]>>,
    /// Whether a symlink was on the way, so that the path tells neither depth nor length.
    pub(super) followed: bool,
    /// Lengths of the names of all directories on the way, the missing ones included.
    names: Vec<usize>,
}

/// A place and a name in it, however they were spelled: the directory, and the path from there.
pub(super) type Spot = (NodeId, Box<[u8]>);

impl Place {
    /// That name in this place.
    pub(super) fn spot(&self, name: &[u8]) -> Spot {
        let missing = self.missing.iter().map(|name| &**name);
        let path: Vec<_> = missing.chain([name]).collect();
        (self.directory, path.join(&b'/').into())
    }

    /// How many directories that name would be in, and one for itself.
    pub(super) fn depth(&self) -> usize {
        self.names.len() + 1
    }

    /// Bytes of the path that leads there without any symlink, down to that name.
    pub(super) fn length(&self, name: &[u8]) -> usize {
        let directories = self.names.iter().map(|length| length + 1);
        directories.sum::<usize>() + name.len()
    }

    /// Whether that name in this place is ours, or below what is ours.
    pub(super) fn is_reserved(&self, name: &[u8]) -> bool {
        let first = self.missing.first().map_or(name, |first| first);
        self.directory == NodeId::ROOT && first == RESERVED
    }
}

/// How much work symlinks may make us do, over a whole image.
#[derive(Debug)]
pub(super) struct Steps {
    left: u64,
    max: u64,
}

impl Steps {
    pub(super) fn new(max: u64) -> Self {
        Self { left: max, max }
    }

    fn take(&mut self) -> Result<(), EntryProblem> {
        self.left = self
            .left
            .checked_sub(1)
            .ok_or(EntryProblem::LinkSteps(self.max))?;
        Ok(())
    }
}

/// Follows `path`, the last component included.
///
/// `..` occurs in symlink targets alone. At the root it stays at the root; behind something that
/// is not there it takes that back.
pub(super) fn resolve<B>(
    tree: &Tree<B>,
    path: &[u8],
    steps: &mut Steps,
) -> Result<Place, EntryProblem> {
    let mut place = Place {
        directory: NodeId::ROOT,
        missing: Vec::new(),
        followed: false,
        names: Vec::new(),
    };
    let mut links = 0;
    // What is still to be walked: the innermost target last.
    let mut rests = vec![path];
    while let Some(rest) = rests.pop() {
        if rest.is_empty() {
            continue;
        }
        let slash = rest.iter().position(|byte| *byte == b'/');
        let (name, after) = slash.map_or((rest, &[][..]), |at| (&rest[..at], &rest[at + 1..]));
        rests.push(after);
        if place.followed {
            steps.take()?;
        }
        match name {
            b"" | b"." => continue,
            b".." => {
                place.names.pop();
                if place.missing.pop().is_none() {
                    place.directory = parent(tree, place.directory);
                }
                continue;
            }
            _ => {}
        }
        let next = match place.missing.is_empty() {
            true => tree.lookup(place.directory, name)?,
            false => None,
        };
        match next.and_then(|id| Some((id, tree.get(id)?.kind()))) {
            Some((id, Kind::Directory(_))) => {
                place.directory = id;
                place.names.push(name.len());
            }
            Some((_, Kind::Symlink(target))) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(EntryProblem::SymlinkLoop);
                }
                place.followed = true;
                if target.starts_with(b"/") {
                    place.directory = NodeId::ROOT;
                    place.names.clear();
                }
                rests.push(target);
            }
            _ => {
                place.missing.push(name.into());
                place.names.push(name.len());
            }
        }
    }
    Ok(place)
}

/// The directory that a directory is in.
pub(super) fn parent<B>(tree: &Tree<B>, directory: NodeId) -> NodeId {
    tree.get(directory)
        .and_then(|node| node.as_directory())
        .map_or(NodeId::ROOT, |directory| directory.parent())
}
