//! Where a path leads for a kernel, which is stricter than whoever unpacks layers.

use sqfs_writer::{Kind, NodeId, Tree};

/// As many symlinks as Linux follows in one lookup (path_resolution(7)).
const MAX_LINKS: u32 = 40;

/// The directory that mounting at that name of the root would cover, or `None` where a kernel would
/// find none: something is missing on the way, is no directory, or takes too many symlinks. The root
/// itself is no place to mount at either.
pub(crate) fn mount_target<B>(tree: &Tree<B>, name: &[u8]) -> Option<NodeId> {
    let mut directory = NodeId::ROOT;
    let mut links = 0;
    // What is still to be walked: the innermost target last.
    let mut rests = vec![name];
    while let Some(rest) = rests.pop() {
        let slash = rest.iter().position(|byte| *byte == b'/');
        let (name, after) = slash.map_or((rest, &[][..]), |at| (&rest[..at], &rest[at + 1..]));
        if slash.is_some() {
            rests.push(after);
        }
        directory = match name {
            b"" | b"." => directory,
            b".." => tree.get(directory)?.as_directory()?.parent(),
            _ => {
                let next = tree.lookup(directory, name).ok()??;
                match tree.get(next)?.kind() {
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
                }
            }
        };
    }
    (directory != NodeId::ROOT).then_some(directory)
}
