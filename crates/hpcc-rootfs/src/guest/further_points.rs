//! The mount points that the options name in addition to those of every guest.
//!
//! A guest follows a symlink of the image when it mounts, so the names on the way must be directories. A directory or
//! file that the image has in its place, with the required type, stays as it is.

use std::collections::BTreeSet;

use sqfs_writer::{Kind, Metadata, NodeId, Tree};

use super::mount_points;
use crate::artifact::MountPoint;
use crate::error::Error;
use crate::flatten;

/// Makes the missing mount points, with their parents. Returns those that were made, sorted.
///
/// `tree` must have the mount points of every guest, and must not have `/.hpcc` yet. `empty` returns an empty file.
///
/// # Errors
/// Returns [`Error::MountPoint`] if the image has a symlink or something else on the way or in its place, if a mount of
/// every guest hides it, if it hides one of those, or if it has more than `depth` names.
pub(crate) fn ensure<B>(
    tree: &mut Tree<B>,
    wanted: &[MountPoint],
    depth: usize,
    time: u32,
    mut empty: impl FnMut() -> Result<B, Error>,
) -> Result<Vec<String>, Error> {
    let mut wanted: Vec<_> = wanted.iter().collect();
    wanted.sort();
    wanted.dedup();
    let walks = |tree: &Tree<B>| -> Vec<_> {
        let walks = mount_points::names().map(|name| (name, flatten::walk_to(tree, name)));
        let walks = walks.filter_map(|(name, walk)| Some((name, walk?)));
        walks.collect()
    };
    let covered: BTreeSet<_> = walks(tree).iter().map(|(_, walk)| walk.target).collect();
    let mut made = Vec::new();
    let mut directories = Vec::new();
    for point in wanted {
        let refused = |problem: String| Error::MountPoint {
            path: point.to_string(),
            problem,
        };
        let names = point.names().count();
        if names > depth {
            return Err(refused(format!(
                "it is {names} names deep, the limit is {depth}; raise it with Limits::depth"
            )));
        }
        let mut place = NodeId::ROOT;
        let mut path = String::new();
        let mut names = point.names().peekable();
        while let Some(name) = names.next() {
            if covered.contains(&place) {
                return Err(refused(format!(
                    "a guest mounts something else over {path}, which hides it"
                )));
            }
            path = format!("{path}/{name}");
            let file = point.is_file() && names.peek().is_none();
            let last = names.peek().is_none();
            let found = tree.lookup(place, name.as_bytes())?;
            place = match found.and_then(|found| Some((found, tree.get(found)?.kind()))) {
                Some((found, Kind::Directory(_))) if !file => found,
                Some((found, Kind::File(_))) if file => found,
                Some((_, Kind::Symlink(target))) => {
                    return Err(refused(format!(
                        "{path} is a symlink of the image to {}; name a path without symlinks",
                        target.escape_ascii()
                    )));
                }
                Some(_) => {
                    let expected = if file { "file" } else { "directory" };
                    return Err(refused(format!(
                        "the image has {path} as something else than a {expected}"
                    )));
                }
                None => {
                    if last {
                        made.push(point.to_string());
                    }
                    let (mode, kind) = if file {
                        (0o644, Kind::File(empty()?))
                    } else {
                        (0o755, Kind::directory())
                    };
                    let metadata = Metadata::new(mode).with_mtime(time);
                    tree.insert(place, name.as_bytes(), metadata, kind)?
                }
            };
        }
        if !point.is_file() {
            directories.push((point, place));
        }
    }
    for (name, walk) in walks(tree) {
        let hidden = |place| place == walk.target || walk.passed.contains(&place);
        let hides = directories
            .iter()
            .find(|(_, place)| walk.links > 0 && hidden(*place));
        if let Some((point, _)) = hides {
            return Err(Error::MountPoint {
                path: point.to_string(),
                problem: format!(
                    "the symlink /{} of the image leads through it, and every guest mounts over that",
                    name.escape_ascii()
                ),
            });
        }
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a tree of directories, symlinks (`name->target`) and files (`name!`), with the mount points of every
    /// guest.
    fn tree(entries: &[&str]) -> Tree<()> {
        let mut tree = Tree::new(Metadata::new(0o755));
        for entry in entries {
            let (path, kind) = if let Some((path, target)) = entry.split_once("->") {
                (path, Kind::Symlink(target.as_bytes().into()))
            } else if let Some(path) = entry.strip_suffix('!') {
                (path, Kind::File(()))
            } else {
                (*entry, Kind::directory())
            };
            let (way, name) = path.rsplit_once('/').unwrap_or(("", path));
            let walk = flatten::walk_to(&tree, way.as_bytes());
            let place = walk.map_or(NodeId::ROOT, |walk| walk.target);
            let metadata = Metadata::new(0o700);
            tree.insert(place, name.as_bytes(), metadata, kind).unwrap();
        }
        mount_points::ensure(&mut tree, 7).unwrap();
        tree
    }

    fn ensured(tree: &mut Tree<()>, points: &[&str]) -> Result<Vec<String>, String> {
        let points: Vec<MountPoint> = points.iter().map(|point| point.parse().unwrap()).collect();
        ensure(tree, &points, 9, 7, || Ok(())).map_err(|error| error.to_string())
    }

    #[test]
    fn missing_points_are_made_and_existing_ones_stay() {
        let mut tree = tree(&["etc", "etc/hosts!", "srv"]);
        let points = [
            "/srv",
            "/data/a/b",
            "/etc/resolv.conf:file",
            "/etc/hosts:file",
            "/srv",
        ];
        let made = ensured(&mut tree, &points).unwrap();
        assert_eq!(made, ["/data/a/b", "/etc/resolv.conf:file"]);
        let mode = |tree: &Tree<()>, way: &[u8], name: &[u8]| {
            let place = flatten::walk_to(tree, way).map_or(NodeId::ROOT, |walk| walk.target);
            let node = tree.lookup(place, name).unwrap().unwrap();
            tree.get(node).unwrap().metadata().mode
        };
        assert_eq!(mode(&tree, b"", b"srv"), 0o700);
        assert_eq!(mode(&tree, b"data", b"a"), 0o755);
        assert_eq!(mode(&tree, b"etc", b"hosts"), 0o700);
        assert_eq!(mode(&tree, b"etc", b"resolv.conf"), 0o644);
        assert_eq!(ensured(&mut tree, &points).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn symlink_of_the_image_is_not_followed_to_mount_point() {
        for (entries, point) in [
            (&["etc->proc/1/root/.hpcc"][..], "/etc/x:file"),
            (
                &["etc", "etc/resolv.conf->../.hpcc/agent"],
                "/etc/resolv.conf:file",
            ),
            (
                &["etc", "etc/resolv.conf->nowhere"],
                "/etc/resolv.conf:file",
            ),
            (&["data->/.hpcc"], "/data"),
            (&["var", "var/run->/run"], "/var/run/x"),
            (&["loop->loop"], "/loop/x"),
        ] {
            let error = ensured(&mut tree(entries), &[point]).unwrap_err();
            assert!(error.contains("symlink of the image"), "{point}: {error}");
        }
    }

    #[test]
    fn wrong_types_and_hidden_places_are_refused() {
        for (entries, points, says) in [
            (&["x!"][..], &["/x"][..], "than a directory"),
            (&["x!"], &["/x/y"], "than a directory"),
            (&["x"], &["/x:file"], "than a file"),
            (&[], &["/x:file", "/x/y"], "than a directory"),
            (&[], &["/x", "/x:file"], "than a file"),
            // The image has `/run` elsewhere.
            (
                &["var", "var/run", "run->var/run"],
                &["/var/run/x"],
                "over /var/run",
            ),
            (
                &["data", "data/tmp", "tmp->data/tmp"],
                &["/data"],
                "/tmp of the image leads through",
            ),
            (
                &["data", "tmp->data"],
                &["/data"],
                "/tmp of the image leads through",
            ),
        ] {
            let error = ensured(&mut tree(entries), points).unwrap_err();
            assert!(error.contains(says), "{points:?}: {error}");
        }
        let deep = ensured(
            &mut tree(&[]),
            &["/1/2/3/4/5/6/7/8/9", "/a/b/c/d/e/f/g/h/i/j"],
        );
        assert!(deep.unwrap_err().contains("10 names deep, the limit is 9"));
        // The directory itself exists in any case.
        assert!(
            ensured(&mut tree(&[]), &["/run", "/tmp"])
                .unwrap()
                .is_empty()
        );
    }
}
