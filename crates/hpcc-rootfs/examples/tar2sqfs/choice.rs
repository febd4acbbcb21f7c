//! Which members of an archive go into the image, and as what.

use sqfs_writer::{Metadata, Xattrs};

/// Which members to take, and what to change about them.
#[derive(Default)]
pub(crate) struct Choice {
    pub(crate) root: Vec<u8>,
    pub(crate) exclude: Vec<Vec<u8>>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) no_xattrs: bool,
    pub(crate) xattrs: Vec<String>,
}

impl Choice {
    /// Returns the path in the image of a member, or `None` if it is left out.
    pub(crate) fn path<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        if self.exclude.iter().any(|out| below(path, out).is_some()) {
            return None;
        }
        below(path, &self.root)
    }

    pub(crate) fn apply(&self, metadata: &mut Metadata) {
        metadata.uid = self.uid.unwrap_or(metadata.uid);
        metadata.gid = self.gid.unwrap_or(metadata.gid);
        let is_kept = |name: &[u8]| {
            let mut prefixes = self.xattrs.iter();
            self.xattrs.is_empty() || prefixes.any(|prefix| name.starts_with(prefix.as_bytes()))
        };
        if self.no_xattrs || !metadata.xattrs.iter().all(|(name, _)| is_kept(name)) {
            let mut kept = Xattrs::default();
            let xattrs = std::mem::take(&mut metadata.xattrs);
            let chosen = xattrs
                .iter()
                .filter(|(name, _)| is_kept(name) && !self.no_xattrs);
            chosen.for_each(|(name, value)| kept.insert(name, value));
            metadata.xattrs = kept;
        }
    }
}

/// Returns the part of a path below a directory; empty for the directory itself.
fn below<'p>(path: &'p [u8], directory: &[u8]) -> Option<&'p [u8]> {
    if directory.is_empty() {
        return Some(path);
    }
    match path.strip_prefix(directory)? {
        [] => Some(&[]),
        [b'/', rest @ ..] => Some(rest),
        _ => None,
    }
}

/// Returns the path as the tar reader spells it.
pub(crate) fn plain(path: &str) -> Vec<u8> {
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    parts.collect::<Vec<_>>().join("/").into_bytes()
}
