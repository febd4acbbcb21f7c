//! Path lookup as a kernel does it, which is stricter than the lookup of tools that unpack layers.

use std::collections::BTreeSet;

use sqfs_writer::{Kind, NodeId, Tree};

/// The number of symlinks that Linux follows in one lookup (path_resolution(7)).
const MAX_LINKS: u32 = 40;

/// The path that a kernel takes from the root to a directory.
#[derive(Debug)]
pub(crate) struct Walk {
    /// The directory at the end.
    pub(crate) target: NodeId,
    /// Every directory in which the kernel looks up a name, `..` included. These are nodes, so a directory counts under
    /// every name that leads to it.
    pub(crate) passed: BTreeSet<NodeId>,
    /// The number of symlinks that the kernel follows.
    pub(crate) links: u32,
}

/// Returns the path from the root to the directory that a mount at that name of the root would cover.
///
/// Returns `None` if a kernel finds no such directory: a name on the path does not exist or is not a directory, or the
/// path has too many symlinks. A path that ends in the root is `None` as well, because nothing must be mounted over the
/// root.
pub(crate) fn walk_to<B>(tree: &Tree<B>, name: &[u8]) -> Option<Walk> {
    let mut directory = NodeId::ROOT;
    let mut passed = BTreeSet::new();
    let mut links = 0;
    // The rest of the path: the innermost target last.
    let mut rests = vec![name];
    while let Some(rest) = rests.pop() {
        let slash = rest.iter().position(|byte| *byte == b'/');
        let (name, after) = slash.map_or((rest, &[][..]), |at| (&rest[..at], &rest[at + 1..]));
        if slash.is_some() {
            rests.push(after);
        }
        if matches!(name, b"" | b".") {
            continue;
        }
        passed.insert(directory);
        if name == b".." {
            directory = tree.get(directory)?.as_directory()?.parent();
            continue;
        }
        let next = tree.lookup(directory, name).ok()??;
        directory = match tree.get(next)?.kind() {
            Kind::Directory(_) => next,
            Kind::Symlink(target) => {
                links += 1;
                if links > MAX_LINKS || target.is_empty() {
                    return None;
                }
                rests.push(target);
                match target.starts_with(b"/") {
                    true => NodeId::ROOT,
                    false => directory,
                }
            }
            _ => return None,
        };
    }
    (directory != NodeId::ROOT).then_some(Walk {
        target: directory,
        passed,
        links,
    })
}
