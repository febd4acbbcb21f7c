//! The directories of an image that a guest mounts over.
//!
//! A symlink leads a mount to the directory that it names. Once something is mounted there, names below that directory
//! no longer belong to the image: `/proc/1/root` is a directory of the image before a guest mounts `/proc`, and the
//! root of the file system after. So a path that leads through a directory under another mount ends in a different
//! directory than in the image, possibly in `/.hpcc`. A mount point with such a path is replaced by a directory. The
//! remaining paths end in the same directory as in the image, in whichever order a guest mounts, because no path passes
//! a directory that a mount covers, other than at its own end.

use sqfs_writer::{Kind, Metadata, NodeId, Tree};

use crate::error::Error;
use crate::flatten::{self, Walk};

/// Names in the root that a guest mounts over, with the mode of the directory that is made where the image has none.
const POINTS: [(&[u8], u16); 5] = [
    (b"proc", 0o755),
    (b"sys", 0o755),
    (b"dev", 0o755),
    (b"tmp", 0o1777),
    (b"run", 0o755),
];

/// Paths below a mount point that container runtimes mount over as well, with the mode of a directory that replaces
/// anything else.
///
/// A guest sees the image's entry there only if it does not mount the point itself first. The image's directories stay.
/// Nothing is made where the image has nothing.
const WITHIN: [(&[u8], u16); 4] = [
    (b"dev/shm", 0o1777),
    (b"dev/pts", 0o755),
    (b"dev/mqueue", 0o1777),
    (b"sys/fs/cgroup", 0o755),
];

/// Returns the names of the mount points in the root.
pub(super) fn names() -> impl Iterator<Item = &'static [u8]> {
    POINTS.iter().map(|(name, _)| *name)
}

/// Makes the missing mount points, and replaces by directories those that no guest can mount over safely. Returns the
/// paths of the replaced ones, in bytewise order.
///
/// These stay:
/// - a directory, whatever its mode;
/// - a symlink that leads a kernel to a directory other than the root, and leads neither through nor into a directory
///   that another mount point covers, nor through the one that it covers itself.
///
/// `tree` must not have `/.hpcc` yet, so that no symlink leads there.
///
/// # Errors
/// Returns an error only if the tree refuses one of the names above, which are all valid.
pub(crate) fn ensure<B>(tree: &mut Tree<B>, time: u32) -> Result<Vec<String>, Error> {
    let mut replaced = Vec::new();
    // A directory in place of a symlink changes the paths that led through the symlink, so all of them are walked
    // again. A directory stays, so this ends after one round for each mount point.
    loop {
        let walks = POINTS.map(|(name, _)| flatten::walk_to(tree, name));
        let unfit = unfit(&walks);
        if !unfit.contains(&true) {
            for (path, mode) in WITHIN {
                let mut names = path.split(|byte| *byte == b'/');
                let point = names.next();
                let walks = POINTS.iter().zip(&walks);
                let mut walks = walks.filter(|((name, _), _)| Some(*name) == point);
                if let Some(((name, _), Some(walk))) = walks.next() {
                    let path = format!("/{}", name.escape_ascii());
                    let metadata = Metadata::new(mode).with_mtime(time);
                    replaced.extend(clear(tree, walk.target, path, names, &metadata)?);
                }
            }
            replaced.sort();
            return Ok(replaced);
        }
        for ((name, mode), _) in POINTS.iter().zip(unfit).filter(|(_, unfit)| *unfit) {
            if tree.lookup(NodeId::ROOT, name)?.is_some() {
                replaced.push(format!("/{}", name.escape_ascii()));
            }
            let metadata = Metadata::new(*mode).with_mtime(time);
            tree.insert(NodeId::ROOT, name, metadata, Kind::directory())?;
        }
    }
}

/// Returns which of the mount points need a directory now: those that lead nowhere, or, if there are none, those that
/// lead where another mount changes the path.
///
/// Of the latter only those that follow the most symlinks: if `/tmp` leads through `/run` to `/var/run`, `/tmp` is in
/// the way of `/run`, and `/run` itself stays.
fn unfit<const N: usize>(walks: &[Option<Walk>; N]) -> [bool; N] {
    let mut unfit = walks.each_ref().map(Option::is_none);
    if unfit.contains(&true) {
        return unfit;
    }
    let crossed = |at: usize| {
        let walk = walks.get(at)?.as_ref()?;
        let mut others = walks.iter().enumerate().filter_map(|(other, walk)| {
            let target = walk.as_ref()?.target;
            Some((other, target))
        });
        let crossed = others.any(|(other, target)| {
            walk.passed.contains(&target) || (other != at && walk.target == target)
        });
        // A directory is not the cause if another path leads to it.
        (crossed && walk.links > 0).then_some(walk.links)
    };
    let most = (0..N).filter_map(crossed).max();
    for (at, unfit) in unfit.iter_mut().enumerate() {
        *unfit = most.is_some() && crossed(at) == most;
    }
    unfit
}

/// Follows `names` down from `place`, and replaces the first one that is not a directory. Returns the path of that
/// name. `path` is the path of `place`.
fn clear<'a, B>(
    tree: &mut Tree<B>,
    mut place: NodeId,
    mut path: String,
    names: impl Iterator<Item = &'a [u8]>,
    metadata: &Metadata,
) -> Result<Option<String>, Error> {
    for name in names {
        path = format!("{path}/{}", name.escape_ascii());
        let Some(next) = tree.lookup(place, name)? else {
            return Ok(None);
        };
        let node = tree.get(next);
        if !node.is_some_and(|node| node.kind().is_directory()) {
            tree.insert(place, name, metadata.clone(), Kind::directory())?;
            return Ok(Some(path));
        }
        place = next;
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
