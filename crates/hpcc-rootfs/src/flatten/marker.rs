//! Which names are files, and which are markers for tools that apply the layer.

use sqfs_writer::{Error, NodeId, Tree};

use super::error::EntryProblem;

/// The name in the root that is reserved for this program. Entries of an image with this name are dropped.
pub const RESERVED: &[u8] = b".hpcc";

const PREFIX: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Bookkeeping files of aufs that old engines packed into layers.
const AUFS: [&[u8]; 3] = [b".wh..wh.aufs", b".wh..wh.orph", b".wh..wh.plnk"];

/// The directory in the root in which aufs kept files with several names. A layer that docker packed from aufs has the
/// contents of such a file here, and hard links to it under its other names.
const AUFS_LINKS: &[u8] = b".wh..wh.plnk";

/// The meaning of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role<'a> {
    /// A file like any other.
    File,
    /// Remove this name from this directory, as far as older layers have put it there.
    Whiteout { directory: &'a [u8], name: &'a [u8] },
    /// Remove everything from this directory that older layers have put there.
    Opaque { directory: &'a [u8] },
    /// Below a marker, or internal to aufs: not part of the image.
    Hidden,
    /// In aufs' directory of files with several names. Not part of the image under this name, but hard links of the
    /// same layer may lead to it.
    LinkTarget,
    /// Reserved for this program.
    Reserved,
}

/// Returns the meaning of a path. Only the name matters, not whether a marker is a file or a directory.
pub(super) fn role(path: &[u8]) -> Result<Role<'_>, EntryProblem> {
    let (directory, name) = split(path);
    if path.split(|byte| *byte == b'/').next() == Some(RESERVED) {
        return Ok(Role::Reserved);
    }
    let is_marker = |component: &[u8]| component.starts_with(PREFIX);
    if let Some(below) = below_aufs_links(path)
        && !below.split(|byte| *byte == b'/').any(is_marker)
    {
        return Ok(Role::LinkTarget);
    }
    if directory.split(|byte| *byte == b'/').any(is_marker) {
        return Ok(Role::Hidden);
    }
    let Some(hidden) = name.strip_prefix(PREFIX) else {
        return Ok(Role::File);
    };
    match hidden {
        _ if name == OPAQUE => Ok(Role::Opaque { directory }),
        _ if AUFS.contains(&name) => Ok(Role::Hidden),
        b"" | b"." | b".." => Err(EntryProblem::Whiteout),
        name => Ok(Role::Whiteout { directory, name }),
    }
}

/// Returns whether a normalised path is in aufs' directory of files with several names.
pub(super) fn is_link_target(path: &[u8]) -> bool {
    below_aufs_links(path).is_some()
}

fn below_aufs_links(path: &[u8]) -> Option<&[u8]> {
    path.strip_prefix(AUFS_LINKS)?.strip_prefix(b"/")
}

/// Removes aufs' directory of files with several names from a tree. The files keep their other names.
pub(super) fn remove_link_targets<B>(tree: &mut Tree<B>) -> Result<(), Error> {
    tree.remove(NodeId::ROOT, AUFS_LINKS).map(drop)
}

/// Returns the directory and the last component of a normalised path.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// Returns the name of the marker that removes this path.
pub(super) fn whiteout_name(path: &[u8]) -> Vec<u8> {
    let (directory, name) = split(path);
    join(directory, &[PREFIX, name].concat())
}

/// Returns the name of the marker that empties this directory.
pub(super) fn opaque_name(path: &[u8]) -> Vec<u8> {
    join(path, OPAQUE)
}

/// Returns the path of a name in a directory.
pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match directory {
        b"" => name.to_vec(),
        _ => [directory, b"/", name].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_alone_decides_what_an_entry_is_for() {
        let whiteout = |directory, name| Role::Whiteout { directory, name };
        let table: [(&[u8], Role<'_>); 20] = [
            (b"", Role::File),
            (b"a/b", Role::File),
            (b"a/.whx", Role::File),
            (b".wh.a", whiteout(b"", b"a")),
            (b"a/.wh.b", whiteout(b"a", b"b")),
            (b"a/.wh....", whiteout(b"a", b"...")),
            (b".wh..wh..opq", Role::Opaque { directory: b"" }),
            (b"a/.wh..wh..opq", Role::Opaque { directory: b"a" }),
            (b".wh..wh..opqX", whiteout(b"", b".wh..opqX")),
            (b"a/.wh..wh.b", whiteout(b"a", b".wh.b")),
            (b".wh..wh.aufs", Role::Hidden),
            (b"a/.wh..wh.plnk/1.2", Role::Hidden),
            (b"a/.wh.b/c", Role::Hidden),
            (b".wh..wh.plnk", Role::Hidden),
            (b".wh..wh.plnk/1.2", Role::LinkTarget),
            (b".wh..wh.plnk/1.2/.wh.a", Role::Hidden),
            (b".wh..wh.plnkX/1.2", Role::Hidden),
            (b".hpcc", Role::Reserved),
            (b".hpcc/.wh.agent", Role::Reserved),
            (b"a/.hpcc", Role::File),
        ];
        for (path, expected) in table {
            assert_eq!(role(path), Ok(expected), "{}", path.escape_ascii());
        }
        for bad in [&b".wh."[..], b"a/.wh.", b".wh..", b"a/.wh..."] {
            assert_eq!(role(bad), Err(EntryProblem::Whiteout));
        }
    }

    #[test]
    fn markers_are_read_as_what_they_are_written_for() {
        for path in [&b"a"[..], b"a/b", b"a/b/c"] {
            let (directory, name) = split(path);
            let whiteout = whiteout_name(path);
            assert_eq!(role(&whiteout), Ok(Role::Whiteout { directory, name }));
            let opaque = opaque_name(path);
            assert_eq!(role(&opaque), Ok(Role::Opaque { directory: path }));
        }
    }
}
