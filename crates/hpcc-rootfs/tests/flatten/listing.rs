//! Trees as text: what is compared.

use std::collections::BTreeMap;

use hpcc_rootfs::flatten::Flattened;
use sqfs_writer::{Kind, NodeId, Tree};

/// Everything about one name. Two names of one inode have the same `inode`: the first of its paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) what: String,
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: u32,
    pub(crate) xattrs: Vec<(String, Vec<u8>)>,
    pub(crate) links: u32,
    pub(crate) inode: String,
}

/// Paths, without a leading slash, with the entry of each.
pub(crate) type Listing = BTreeMap<String, Line>;

pub(crate) fn listing(flattened: &Flattened<Vec<u8>>) -> Listing {
    let mut lines = Listing::new();
    let mut inodes = BTreeMap::new();
    walk(
        &flattened.tree,
        NodeId::ROOT,
        String::new(),
        &mut lines,
        &mut inodes,
    );
    lines
}

fn walk(
    tree: &Tree<Vec<u8>>,
    id: NodeId,
    path: String,
    lines: &mut Listing,
    inodes: &mut BTreeMap<NodeId, String>,
) {
    let node = tree.get(id).unwrap();
    let metadata = node.metadata();
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let line = Line {
        what: match node.kind() {
            Kind::Directory(_) => "/".into(),
            Kind::File(body) => format!("={}", text(body)),
            Kind::Symlink(target) => format!("->{}", text(target)),
            Kind::CharDevice(device) => format!("char {}:{}", device.major, device.minor),
            Kind::Fifo => "fifo".into(),
            other => format!("{other:?}"),
        },
        mode: metadata.mode,
        uid: metadata.uid,
        gid: metadata.gid,
        mtime: metadata.mtime,
        xattrs: metadata
            .xattrs
            .iter()
            .map(|(name, value)| (text(name), value.to_vec()))
            .collect(),
        links: node.links(),
        inode: inodes.entry(id).or_insert_with(|| path.clone()).clone(),
    };
    lines.insert(path.clone(), line);
    for (name, child) in node.as_directory().into_iter().flat_map(|d| d.iter()) {
        let slash = if path.is_empty() { "" } else { "/" };
        let path = format!("{path}{slash}{}", text(name));
        walk(tree, child, path, lines, inodes);
    }
}

/// In the notation of the documented cases, sorted, modes where they are not the usual ones.
pub(crate) fn notation(listing: &Listing) -> String {
    let mut tokens = Vec::new();
    for (path, line) in listing {
        let (mut token, usual) = match line.what.as_str() {
            "/" => (format!("{path}/"), 0o755),
            _ if line.inode != *path => (format!("{path}=={}", line.inode), line.mode),
            what if what == format!("={path}") => (path.clone(), 0o644),
            what if what.starts_with("->") => (format!("{path}{what}"), 0o777),
            what => (format!("{path}{what}"), 0o644),
        };
        if path.is_empty() {
            token = "./".into();
        }
        if line.mode != usual {
            token += &format!("@{:04o}", line.mode);
        }
        if token != "./" {
            tokens.push(token);
        }
    }
    tokens.join(" ")
}
