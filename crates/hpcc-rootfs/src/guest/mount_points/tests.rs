//! Which mount points stay, and that no order of mounts leads into `/.hpcc` or anywhere else.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

type Plain = Tree<()>;

/// Returns a tree of entries in one word each: `d/` for a directory, `s->t` for a symlink, `f` for a pipe. Parents are
/// made.
fn tree(entries: &str) -> Plain {
    let mut tree = Tree::new(Metadata::new(0o755));
    for entry in entries.split_whitespace() {
        let (path, kind) = match entry.split_once("->") {
            Some((path, target)) => (path, Kind::Symlink(target.as_bytes().into())),
            None if entry.ends_with('/') => (entry.trim_end_matches('/'), Kind::directory()),
            None => (entry, Kind::Fifo),
        };
        put(&mut tree, path, kind);
    }
    tree
}

/// Puts a node at a path of directories, and returns whether that is possible.
fn put(tree: &mut Plain, path: &str, kind: Kind<()>) -> bool {
    let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut directory = NodeId::ROOT;
    for step in parents.split('/').filter(|step| !step.is_empty()) {
        directory = match tree.lookup(directory, step.as_bytes()).unwrap() {
            Some(there) if tree.get(there).unwrap().kind().is_directory() => there,
            Some(_) => return false,
            None => {
                let made = Kind::directory();
                let metadata = Metadata::new(0o700);
                tree.insert(directory, step.as_bytes(), metadata, made)
                    .unwrap()
            }
        };
    }
    let taken = tree.lookup(directory, name.as_bytes()).unwrap().is_some();
    if !taken {
        let metadata = Metadata::new(0o700);
        tree.insert(directory, name.as_bytes(), metadata, kind)
            .unwrap();
    }
    !taken
}

fn replaced(entries: &str) -> Vec<String> {
    let mut tree = tree(entries);
    let replaced = ensure(&mut tree, 7).unwrap();
    for path in &replaced {
        assert!(is_directory(&tree, path), "{entries}: {path}");
    }
    replaced
}

/// Returns whether a path without symlinks, or with symlinked parents, is a directory itself.
fn is_directory(tree: &Plain, path: &str) -> bool {
    let path = path.trim_start_matches('/');
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let parent = match parent {
        "" => NodeId::ROOT,
        _ => flatten::walk_to(tree, parent.as_bytes()).unwrap().target,
    };
    let node = tree.lookup(parent, name.as_bytes()).unwrap().unwrap();
    tree.get(node).unwrap().kind().is_directory()
}

#[test]
fn missing_mount_points_are_made_with_their_modes() {
    let mut tree = tree("");
    assert_eq!(ensure(&mut tree, 7).unwrap(), [""; 0]);
    for (name, mode) in POINTS {
        let node = tree.lookup(NodeId::ROOT, name).unwrap().unwrap();
        let node = tree.get(node).unwrap();
        assert!(node.kind().is_directory() && node.as_directory().unwrap().is_empty());
        assert_eq!((node.metadata().mode, node.metadata().mtime), (mode, 7));
    }
}

#[test]
fn directories_and_honest_links_stay() {
    for entries in [
        "proc/ sys/ dev/ tmp/ run/ proc/1/root/.hpcc/",
        "var/tmp/ tmp->var/tmp",
        "var/run/ run->/var/run/",
        "var/x/ var/tmp/ var/run/ tmp->var/./x/../tmp run->../var/run/.",
        "var/tmp/ a->b b->/var c/d->../a tmp->c/d/tmp",
        "usr/bin/ tmp->usr",
        "var/proc/ proc->var/proc var/sys/ sys->var/sys var/dev/shm/ dev->var/dev",
        "dev/shm/ dev/pts/ dev/mqueue/ sys/fs/cgroup/x/",
        "proc/1/ proc/link->1/root var/run->/run",
    ] {
        assert_eq!(replaced(entries), [""; 0], "{entries}");
    }
    let mut tree = tree("");
    let metadata = Metadata::new(0);
    let bare = tree.insert(NodeId::ROOT, b"proc", metadata, Kind::directory());
    assert_eq!(ensure(&mut tree, 7).unwrap(), [""; 0]);
    assert_eq!(tree.get(bare.unwrap()).unwrap().metadata().mode, 0);
}

#[test]
fn unmountable_points_are_replaced_and_reported() {
    for (what, target) in [
        ("dangling", "nowhere"),
        ("empty", ""),
        ("the root", "/"),
        ("the root, by another name", "."),
        ("above the root", "../.."),
        ("itself", "proc"),
        ("a file", "file"),
        ("through a file", "file/../directory"),
        ("through what is missing", "nowhere/../directory"),
        ("a file as a directory", "file/"),
        ("a reserved path", ".hpcc"),
        ("through a reserved path", ".hpcc/../directory"),
        ("more links than are followed", "link-0"),
    ] {
        let mut tree = tree("file directory/ link-41/");
        for n in 0..41 {
            let target = format!("link-{}", n + 1);
            put(
                &mut tree,
                &format!("link-{n}"),
                Kind::Symlink(target.as_bytes().into()),
            );
        }
        put(&mut tree, "proc", Kind::Symlink(target.as_bytes().into()));
        assert_eq!(ensure(&mut tree, 7).unwrap(), ["/proc"], "{what}");
        assert!(is_directory(&tree, "proc"), "{what}");
    }
    assert_eq!(replaced("dev"), ["/dev"]);
    // Forty links are followed, including the one that is the mount point.
    let links: String = (0..39).map(|n| format!("l{n}->l{} ", n + 1)).collect();
    assert_eq!(replaced(&format!("{links} l39/ sys->l0")), [""; 0]);
    assert_eq!(
        replaced(&format!("{links} l39->l40 l40/ sys->l0")),
        ["/sys"]
    );
}

#[test]
fn links_that_meet_another_mount_are_replaced() {
    for (entries, expected) in [
        // Through or into a directory that another mount covers.
        ("proc/1/root/.hpcc/ tmp->proc/1/root/.hpcc", "/tmp"),
        (
            "proc/self/root/.hpcc/ tmp->/proc/self/root/.hpcc run->../proc/self/root/.hpcc/",
            "/run /tmp",
        ),
        ("proc/self/cwd/ dev->proc/self/cwd", "/dev"),
        ("dev/fd/3/ tmp->dev/fd/3", "/tmp"),
        ("run/tmp/ tmp->run/tmp", "/tmp"),
        ("tmp->run", "/tmp"),
        ("tmp->proc", "/tmp"),
        // By another name, in chains, and with `..` out of it.
        ("proc/1/root/ a->proc b->a/1 tmp->b/root", "/tmp"),
        ("x/y->../proc proc/1/ tmp->x/y/1", "/tmp"),
        ("proc/ var/tmp/ tmp->proc/../var/tmp", "/tmp"),
        ("proc/1/ var/tmp/ a->proc/1 tmp->a/../../var/tmp", "/tmp"),
        // A mount point that is a symlink covers the directory that it leads to.
        ("var/p/1/root/ proc->var/p tmp->var/p/1/root", "/tmp"),
        ("var/p/1/root/ proc->var/p tmp->proc/1/root", "/tmp"),
        ("var/p/ proc->var/p tmp->/proc", "/tmp"),
        ("var/run/ run->var/run tmp->run", "/tmp"),
        ("var/run/ run->var/run tmp->var/run", "/run /tmp"),
        // One of the two covers a directory above the other.
        ("var/run/ run->var/run tmp->var", "/run"),
        // Through the directory that it covers itself.
        ("p/1/root/ proc->p/1/root/../..", "/proc"),
        ("var/tmp/x/ tmp->var/tmp/x/..", "/tmp"),
        // A directory in place of one link changes the path of the other.
        ("x/y/ run->tmp/../x tmp->run/y", "/run /tmp"),
        ("tmp->run run->tmp", "/run /tmp"),
        ("proc/1/ sys->proc/1 tmp->sys", "/sys /tmp"),
        (
            "proc/1/x/ sys->proc/1 dev->sys/x tmp->dev run->tmp",
            "/dev /run /sys /tmp",
        ),
        // Below a mount point, where a guest may mount before the point itself.
        ("dev/shm->/run/shm run/shm/", "/dev/shm"),
        (
            "var/d/shm->../../proc var/d/pts dev->var/d",
            "/dev/pts /dev/shm",
        ),
        ("sys/fs->../proc", "/sys/fs"),
        (
            "sys/fs/cgroup->x sys/fs/x/ dev/mqueue->x",
            "/dev/mqueue /sys/fs/cgroup",
        ),
        ("dev->proc/d proc/d/shm->x", "/dev"),
    ] {
        let expected: Vec<&str> = expected.split_whitespace().collect();
        assert_eq!(replaced(entries), expected, "{entries}");
    }
}

#[test]
fn directories_below_replaced_links_are_open_as_usual() {
    let mut tree = tree("dev/shm->/x x/ dev/pts->/x");
    ensure(&mut tree, 7).unwrap();
    let dev = tree.lookup(NodeId::ROOT, b"dev").unwrap().unwrap();
    for (name, mode) in [(&b"shm"[..], 0o1777), (b"pts", 0o755)] {
        let node = tree.lookup(dev, name).unwrap().unwrap();
        let metadata = tree.get(node).unwrap().metadata();
        assert_eq!((metadata.mode, metadata.mtime), (mode, 7));
    }
}

/// The position of a guest's kernel in its tree of mounts.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// A directory of the image that no mount covers.
    Image(NodeId),
    /// The root of the file system that is mounted over this directory.
    Mount(NodeId),
    /// A directory in the file system that is mounted over this directory, with its depth below that root.
    Inside(NodeId, usize),
}

/// A kernel with mounts. Each mount is as dangerous as proc: it has a directory for each process, with the links `root`
/// and `cwd`, which lead to the root of the image.
struct Guest<'a> {
    tree: &'a Plain,
    covered: BTreeSet<NodeId>,
}

impl Guest<'_> {
    fn at(&self, node: NodeId) -> Place {
        match self.covered.contains(&node) {
            true => Place::Mount(node),
            false => Place::Image(node),
        }
    }

    fn parent(&self, node: NodeId) -> Place {
        let directory = self.tree.get(node).unwrap().as_directory().unwrap();
        self.at(directory.parent())
    }

    fn walk(&self, start: Place, path: &[u8], links: &mut u32) -> Option<Place> {
        let mut place = match path.first()? {
            b'/' => self.at(NodeId::ROOT),
            _ => start,
        };
        for name in path.split(|byte| *byte == b'/') {
            place = match (name, place) {
                (b"" | b".", _) => place,
                (b"..", Place::Image(node) | Place::Mount(node)) => self.parent(node),
                (b"..", Place::Inside(node, 1)) => Place::Mount(node),
                (b"..", Place::Inside(node, depth)) => Place::Inside(node, depth - 1),
                (b"root" | b"cwd", Place::Inside(..)) => self.at(NodeId::ROOT),
                (b"1" | b"self", Place::Mount(node)) => Place::Inside(node, 1),
                (_, Place::Mount(_) | Place::Inside(..)) => return None,
                (name, Place::Image(directory)) => {
                    let next = self.tree.lookup(directory, name).unwrap()?;
                    match self.tree.get(next).unwrap().kind() {
                        Kind::Directory(_) => self.at(next),
                        Kind::Symlink(target) => {
                            *links += 1;
                            if *links > 40 {
                                return None;
                            }
                            self.walk(place, target, links)?
                        }
                        _ => return None,
                    }
                }
            };
        }
        Some(place)
    }

    /// Mounts over that path, and returns the directory of the image that the mount covers.
    fn mount(&mut self, path: &str) -> Option<NodeId> {
        let root = self.at(NodeId::ROOT);
        match self.walk(root, path.as_bytes(), &mut 0)? {
            Place::Image(node) | Place::Mount(node) => {
                self.covered.insert(node);
                Some(node)
            }
            Place::Inside(..) => None,
        }
    }
}

/// Returns all orders of these.
fn orders<'a>(paths: &[&'a str]) -> Vec<Vec<&'a str>> {
    let Some((first, rest)) = paths.split_first() else {
        return vec![Vec::new()];
    };
    let shorter = orders(rest).into_iter();
    let longer = shorter.flat_map(|order| {
        (0..=order.len()).map(move |at| {
            let mut order = order.clone();
            order.insert(at, *first);
            order
        })
    });
    longer.collect()
}

/// Returns what goes wrong when a guest mounts over everything, in any order, twice.
fn fault(tree: &mut Plain) -> Option<String> {
    let metadata = Metadata::new(0o755);
    let ours = tree.insert(
        NodeId::ROOT,
        flatten::RESERVED,
        metadata.clone(),
        Kind::directory(),
    );
    let ours = ours.unwrap();
    tree.insert(ours, b"agent", metadata, Kind::directory())
        .unwrap();
    let points = ["/proc", "/sys", "/dev", "/tmp", "/run", "/dev/shm"];
    for order in orders(&points) {
        let (tree, covered) = (&*tree, BTreeSet::new());
        let mut guest = Guest { tree, covered };
        let mut before = Vec::new();
        for point in order.iter().chain(&order) {
            // Once `/dev` is mounted, the image's entries below it can no longer be reached.
            let hidden = *point == "/dev/shm";
            match guest.mount(point) {
                None if hidden => {}
                None => return Some(format!("{order:?}: no way to {point}")),
                Some(node) if node == ours || node == NodeId::ROOT => {
                    return Some(format!("{order:?}: {point} covers a reserved path"));
                }
                Some(_) if hidden => {}
                Some(node) => before.push((*point, node)),
            }
            let agent = guest.walk(guest.at(NodeId::ROOT), b".hpcc/agent", &mut 0);
            if !matches!(agent, Some(Place::Image(_))) {
                return Some(format!("{order:?}: no agent after {point}"));
            }
        }
        let (first, second) = before.split_at(before.len() / 2);
        if first != second {
            return Some(format!("{order:?}: {first:?}, then {second:?}"));
        }
    }
    None
}

#[test]
fn the_model_of_a_kernel_sees_the_holes() {
    for entries in [
        "proc/1/root/.hpcc/ tmp->proc/1/root/.hpcc sys/ dev/ run/",
        "proc/self/cwd/x/ tmp->proc/self/cwd/x/.. sys/ dev/ run/",
        "proc/ sys/ tmp/ dev/ run/tmp/ dev/shm->/proc/1/root proc/1/root/",
        "var/p/1/root/ proc->var/p/1/root/../.. sys/ dev/ run/ tmp/",
        "proc/ sys/ dev/ run/tmp/ tmp->run/tmp",
    ] {
        assert!(fault(&mut tree(entries)).is_some(), "{entries}");
        let mut tree = tree(entries);
        ensure(&mut tree, 0).unwrap();
        assert_eq!(fault(&mut tree), None, "{entries}");
    }
}

/// Returns names that lead somewhere in an image, in proc, or in both.
fn path() -> impl Strategy<Value = String> {
    let top = prop::sample::select(vec!["proc", "sys", "dev", "tmp", "run", "a", "b"]);
    let rest = prop::sample::select(vec![
        "1", "self", "root", "cwd", "shm", "tmp", "run", "a", ".hpcc",
    ]);
    (top, prop::collection::vec(rest, 0..4))
        .prop_map(|(top, rest)| [&[top][..], &rest].concat().join("/"))
}

fn target() -> impl Strategy<Value = String> {
    let dots = prop::sample::select(vec!["", "/", "../", "./"]);
    let detours = prop::sample::select(vec!["", "/..", "/.", "/../a", "/1/root", "/../../b/."]);
    (dots, path(), detours).prop_map(|(dots, path, detour)| format!("{dots}{path}{detour}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_mounts_reaches_the_reserved_directory(
        directories in prop::collection::vec(path(), 0..8),
        links in prop::collection::vec((path(), target()), 0..4),
        points in prop::collection::vec(prop::option::of(target()), 6),
    ) {
        let mut tree = tree("");
        for (name, target) in ["proc", "sys", "dev", "tmp", "run", "dev/shm"].iter().zip(points) {
            if let Some(target) = target {
                // The product drops an image's own `/.hpcc`.
                put(&mut tree, name, Kind::Symlink(target.as_bytes().into()));
            }
        }
        for (name, target) in links {
            put(&mut tree, &name, Kind::Symlink(target.as_bytes().into()));
        }
        for name in directories {
            put(&mut tree, &name, Kind::directory());
        }
        // Targets of the links, so that many links have one.
        for _ in 0..2 {
            let targets: Vec<Vec<u8>> = tree.nodes().filter_map(|(_, node)| match node.kind() {
                Kind::Symlink(target) => Some(target.to_vec()),
                _ => None,
            }).collect();
            for target in targets {
                let target = String::from_utf8(target).unwrap();
                let steps = target.split('/').filter(|step| !matches!(*step, "" | "." | ".."));
                let steps: Vec<&str> = steps.collect();
                put(&mut tree, &steps.join("/"), Kind::directory());
            }
        }
        let replaced = ensure(&mut tree, 0).unwrap();
        prop_assert_eq!(fault(&mut tree), None, "replaced {:?}", replaced);
    }
}
