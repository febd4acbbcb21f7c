//! Metadata of inodes: permissions, owner, time, extended attributes.

use std::collections::BTreeMap;
use std::fmt;

use crate::format::split_xattr_name;
use crate::text::Text;

/// Permissions, owner, modification time and extended attributes of one inode.
///
/// ```
/// use sqfs_writer::Metadata;
///
/// let ping = Metadata::new(0o755)
///     .with_owner(0, 0)
///     .with_mtime(1_700_000_000)
///     .with_xattr(*b"security.capability", *b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
/// assert_eq!(ping.xattrs.len(), 1);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// Permission bits with setuid, setgid and sticky, `0..=0o7777`. The type of the inode is not part of it: a tree
    /// refuses higher bits, because the kernel returns `EIO` for an inode that has them.
    pub mode: u16,
    /// Owner. An image holds at most 65 535 different ids, users and groups together.
    pub uid: u32,
    /// Group, one of the same 65 535 ids.
    pub gid: u32,
    /// Modification time in seconds since 1970, `0..=u32::MAX` (year 2106).
    pub mtime: u32,
    /// Extended attributes.
    pub xattrs: Xattrs,
}

impl Metadata {
    /// Returns metadata with these permission bits, owned by 0:0, at time 0, without extended attributes.
    #[must_use]
    pub fn new(mode: u16) -> Self {
        Self {
            mode,
            ..Self::default()
        }
    }

    /// Returns the metadata with another owner.
    #[must_use]
    pub fn with_owner(mut self, uid: u32, gid: u32) -> Self {
        self.uid = uid;
        self.gid = gid;
        self
    }

    /// Returns the metadata with another modification time, in seconds since 1970.
    #[must_use]
    pub fn with_mtime(mut self, mtime: u32) -> Self {
        self.mtime = mtime;
        self
    }

    /// Returns the metadata with one more extended attribute. A second value of a name replaces the first.
    #[must_use]
    pub fn with_xattr(mut self, name: impl Into<Box<[u8]>>, value: impl Into<Box<[u8]>>) -> Self {
        self.xattrs.insert(name, value);
        self
    }
}

/// Extended attributes of one inode: full names (`user.comment`) with values, both bytes.
///
/// Without attributes, as in most inodes, this is one word and no allocation.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Xattrs(Option<Box<XattrMap>>);

/// Shows names and values as text.
impl fmt::Debug for Xattrs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.iter().map(|(name, value)| (Text(name), Text(value)));
        f.debug_map().entries(entries).finish()
    }
}

type XattrMap = BTreeMap<Box<[u8]>, Box<[u8]>>;

impl Xattrs {
    /// Returns whether squashfs can store an attribute of this name: `user.`, `trusted.` or
    /// `security.`, and something without NUL bytes after it.
    #[must_use]
    pub fn can_store(name: &[u8]) -> bool {
        split_xattr_name(name).is_some()
    }

    /// Sets a value, replacing an earlier one of the same name.
    ///
    /// squashfs can store the prefixes `user.`, `trusted.` and `security.`. This function accepts other names too; the
    /// writer leaves them out of the image and counts them in the summary.
    pub fn insert(&mut self, name: impl Into<Box<[u8]>>, value: impl Into<Box<[u8]>>) {
        self.0
            .get_or_insert_with(Box::default)
            .insert(name.into(), value.into());
    }

    /// Removes the attributes whose names begin with `prefix`, and returns their number.
    pub fn remove_prefix(&mut self, prefix: &[u8]) -> usize {
        let before = self.len();
        if let Some(map) = &mut self.0 {
            map.retain(|name, _| !name.starts_with(prefix));
        }
        if self.is_empty() {
            self.0 = None;
        }
        before - self.len()
    }

    /// Returns names and values in bytewise order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0
            .iter()
            .flat_map(|map| map.iter())
            .map(|(name, value)| (&**name, &**value))
    }

    /// Returns the value of one attribute.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.0.as_ref()?.get(name).map(|value| &**value)
    }

    /// Returns the number of attributes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |map| map.len())
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
