//! One tar entry: header, PAX records before it, body behind it.

use tar::{Builder, EntryType, Header};

/// 2020-01-01 00:00:00 UTC: what an entry's mtime is unless said otherwise. Far enough from 0 and
/// from now that a time which was lost or invented shows.
const DEFAULT_MTIME: u64 = 1_577_836_800;

/// An entry to be added with [`Layer::entry`](super::Layer::entry).
#[derive(Clone)]
pub struct Entry {
    header: Header,
    pax: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    patches: Vec<fn(&mut [u8; 512])>,
}

impl Entry {
    /// Returns a regular file, 0644.
    pub fn file(name: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> Self {
        let mut entry = Self::new(EntryType::Regular, name.as_ref(), 0o644);
        entry.body = body.as_ref().to_vec();
        entry
    }

    /// Returns a directory, 0755. A slash is added to the name if it ends without one.
    pub fn dir(name: impl AsRef<[u8]>) -> Self {
        let mut name = name.as_ref().to_vec();
        if !name.ends_with(b"/") {
            name.push(b'/');
        }
        Self::new(EntryType::Directory, &name, 0o755)
    }

    /// Returns a symbolic link, 0777.
    pub fn symlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self::new(EntryType::Symlink, name.as_ref(), 0o777).target(target.as_ref())
    }

    /// Returns a hard link.
    pub fn hardlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self::new(EntryType::Link, name.as_ref(), 0o644).target(target.as_ref())
    }

    /// Returns a character device, 0600.
    pub fn char_device(name: impl AsRef<[u8]>, major: u32, minor: u32) -> Self {
        Self::new(EntryType::Char, name.as_ref(), 0o600).device(major, minor)
    }

    /// Returns a block device, 0600.
    pub fn block_device(name: impl AsRef<[u8]>, major: u32, minor: u32) -> Self {
        Self::new(EntryType::Block, name.as_ref(), 0o600).device(major, minor)
    }

    /// Returns a named pipe, 0644.
    pub fn fifo(name: impl AsRef<[u8]>) -> Self {
        Self::new(EntryType::Fifo, name.as_ref(), 0o644)
    }

    /// Sets the permission bits with setuid, setgid and sticky.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.header.set_mode(mode);
        self
    }

    /// Sets the numeric owner and group.
    #[must_use]
    pub fn owner(mut self, uid: u32, gid: u32) -> Self {
        self.header.set_uid(uid.into());
        self.header.set_gid(gid.into());
        self
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn mtime(mut self, seconds: u64) -> Self {
        self.header.set_mtime(seconds);
        self
    }

    /// Adds an extended attribute, as GNU tar and Docker write it: `SCHILY.xattr.NAME`, raw bytes.
    #[must_use]
    pub fn xattr(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.pax(&format!("SCHILY.xattr.{name}"), value)
    }

    /// Adds a PAX record, before those that long names need.
    #[must_use]
    pub fn pax(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.pax.push((key.into(), value.as_ref().to_vec()));
        self
    }

    /// Changes the finished header block. The checksum is made right again afterwards; for a wrong
    /// one write the block with [`Layer::raw`](super::Layer::raw).
    #[must_use]
    pub fn patch(mut self, patch: fn(&mut [u8; 512])) -> Self {
        self.patches.push(patch);
        self
    }

    /// Returns the bytes in the tar stream, padded to whole blocks.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut header = self.header.clone();
        header.set_size(u64::try_from(self.body.len()).expect("a length in memory fits"));
        for patch in &self.patches {
            patch(header.as_mut_bytes());
        }
        header.set_cksum();
        let mut builder = Builder::new(Vec::new());
        if !self.pax.is_empty() {
            let records = self.pax.iter().map(|(key, value)| (&**key, &**value));
            builder
                .append_pax_extensions(records)
                .expect("written into memory");
        }
        builder
            .append(&header, &*self.body)
            .expect("written into memory");
        // Not `into_inner`, which would end the archive.
        builder.get_ref().clone()
    }

    fn new(kind: EntryType, name: &[u8], mode: u32) -> Self {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(DEFAULT_MTIME);
        let mut entry = Self {
            header,
            pax: Vec::new(),
            body: Vec::new(),
            patches: Vec::new(),
        };
        if !put(&mut entry.header.as_old_mut().name, name) {
            entry = entry.pax("path", name);
        }
        entry
    }

    fn target(mut self, target: &[u8]) -> Self {
        if put(&mut self.header.as_old_mut().linkname, target) {
            self
        } else {
            self.pax("linkpath", target)
        }
    }

    fn device(mut self, major: u32, minor: u32) -> Self {
        let done = self
            .header
            .set_device_major(major)
            .and_then(|()| self.header.set_device_minor(minor));
        done.expect("a ustar header has device fields");
        self
    }
}

/// Puts a name into its field as it is, where the `tar` crate's setters would refuse `..` or a
/// leading slash. The part that fits goes in also when it is too long; then the answer is false.
fn put(field: &mut [u8; 100], name: &[u8]) -> bool {
    let fits = name.len().min(field.len());
    field[..fits].copy_from_slice(&name[..fits]);
    fits == name.len()
}
