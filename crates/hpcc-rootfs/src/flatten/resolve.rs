//! Resolves paths, with every symlink on the way followed inside the root.

use sqfs_writer::{Kind, NodeId, Tree};

use super::error::{EntryProblem, Halt};
use super::marker::RESERVED;
use super::steps::Steps;

/// The number of symlinks that careful path resolvers in user space follow; the kernel stops at 40.
const MAX_LINKS: u32 = 255;

/// The place of a directory, which may not exist.
#[derive(Debug)]
pub(super) struct Place {
    /// The last directory on the way that exists.
    pub(super) directory: NodeId,
    /// Names that would have to be created below it. The first of these may exist as something other than a directory.
    pub(super) missing: Vec<Box<[u8]>>,
    /// Whether a symlink was on the way, so that the spelled path gives neither depth nor length.
    pub(super) followed: bool,
    /// Names that were missing, and that `..` took back. The path leads elsewhere once one of them is a symlink.
    taken_back: Vec<Spot>,
    /// Lengths of the names of all directories on the way, the missing ones included.
    names: Vec<usize>,
}

/// A directory and a name in it, which are the same however the path to it was spelled. For a name below missing
/// directories, the name is a slash and the hash of the path from the last directory that exists.
pub(super) type Spot = (NodeId, Box<[u8]>);

impl Place {
    /// Returns the spot of that name in this place.
    pub(super) fn spot(&self, name: &[u8]) -> Spot {
        if self.missing.is_empty() {
            return (self.directory, name.into());
        }
        // A hash, because symlinks can make the path hundreds of times longer than the entry.
        let mut path = blake3::Hasher::new();
        for missing in &self.missing {
            path.update(missing).update(b"/");
        }
        let hash = path.update(name).finalize();
        (self.directory, [&b"/"[..], hash.as_bytes()].concat().into())
    }

    /// Returns the names on the way that did not exist, that one included. As long as all of them stay empty, the path
    /// leads to the same place.
    pub(super) fn absent(self, name: &[u8]) -> impl Iterator<Item = Spot> {
        let mut missing = self.missing.into_iter();
        let first = missing.next().unwrap_or_else(|| name.into());
        std::iter::once((self.directory, first)).chain(self.taken_back)
    }

    /// Returns the number of directories that contain that name, plus one for the name itself.
    pub(super) fn depth(&self) -> usize {
        self.names.len() + 1
    }

    /// Returns the number of bytes of the path without symlinks, down to that name.
    pub(super) fn length(&self, name: &[u8]) -> usize {
        let directories = self.names.iter().map(|length| length + 1);
        directories.sum::<usize>() + name.len()
    }

    /// Returns whether that name in this place is reserved, or below a reserved name.
    pub(super) fn is_reserved(&self, name: &[u8]) -> bool {
        let first = self.missing.first().map_or(name, |first| first);
        self.directory == NodeId::ROOT && first == RESERVED
    }
}

/// Resolves `path`, the last component included.
///
/// `..` occurs only in symlink targets. At the root it stays at the root; after a missing name it takes that name back.
pub(super) fn resolve<B>(
    tree: &Tree<B>,
    path: &[u8],
    steps: &mut Steps<'_>,
) -> Result<Place, Halt> {
    let mut place = Place {
        directory: NodeId::ROOT,
        missing: Vec::new(),
        followed: false,
        taken_back: Vec::new(),
        names: Vec::new(),
    };
    let mut links = 0;
    // The rest of the path: the innermost target last.
    let mut rests = vec![path];
    while let Some(rest) = rests.pop() {
        if rest.is_empty() {
            continue;
        }
        let slash = rest.iter().position(|byte| *byte == b'/');
        let (name, after) = slash.map_or((rest, &[][..]), |at| (&rest[..at], &rest[at + 1..]));
        rests.push(after);
        steps.take(1)?;
        match name {
            b"" | b"." => continue,
            b".." => {
                place.names.pop();
                match place.missing.pop() {
                    None => place.directory = parent(tree, place.directory),
                    Some(name) if place.missing.is_empty() => {
                        place.taken_back.push((place.directory, name));
                    }
                    Some(_) => {}
                }
                continue;
            }
            _ => {}
        }
        let next = match place.missing.is_empty() {
            true => {
                steps.take(further_steps(tree, place.directory, name))?;
                tree.lookup(place.directory, name)?
            }
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
                    return Err(EntryProblem::SymlinkLoop.into());
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

/// Returns the number of steps, beyond the first, that looking up a name takes: long names are compared byte by byte,
/// and names of a large directory are in no cache.
fn further_steps<B>(tree: &Tree<B>, directory: NodeId, name: &[u8]) -> u64 {
    let directory = tree.get(directory).and_then(|node| node.as_directory());
    let entries = directory.map_or(1, |directory| directory.len().max(1));
    let bytes = u64::try_from(name.len()).unwrap_or(u64::MAX);
    bytes / 16 + u64::from(entries.ilog2() / 8)
}

/// Returns the parent of a directory.
pub(super) fn parent<B>(tree: &Tree<B>, directory: NodeId) -> NodeId {
    tree.get(directory)
        .and_then(|node| node.as_directory())
        .map_or(NodeId::ROOT, |directory| directory.parent())
}
