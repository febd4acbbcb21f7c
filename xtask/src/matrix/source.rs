//! An image that is being written, and the listing of what goes into it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

use anyhow::{Context, Result, ensure};
use hpcc_probe::images::READ_WHOLE;
use sha2::{Digest, Sha256};
use sqfs_writer::{ImageWriter, Kind, Metadata, NodeId, Options};
use tree_listing::{Entry, Listing, Samples};

/// An image under construction.
pub(super) struct Source {
    image: ImageWriter<File>,
    expected: Listing,
}

impl Source {
    /// Starts an image at the current position of `file`.
    pub(super) fn new(file: File, options: &Options) -> Result<Self> {
        let mut source = Self {
            image: ImageWriter::new(file, options)?,
            expected: Listing::default(),
        };
        source.directory("/", Metadata::new(0o755).with_mtime(3))?;
        Ok(source)
    }

    pub(super) fn directory(&mut self, path: &str, metadata: Metadata) -> Result<()> {
        self.expect(path.as_bytes(), &metadata, tree_listing::Kind::Directory, 0);
        self.image.directory(path, metadata)?;
        Ok(())
    }

    pub(super) fn file(
        &mut self,
        path: impl AsRef<[u8]>,
        metadata: Metadata,
        content: &[u8],
    ) -> Result<()> {
        let sha256 = Sha256::digest(content).into();
        let size = u64::try_from(content.len())?;
        ensure!(
            size <= READ_WHOLE,
            "a file of {size} bytes has to be sampled"
        );
        let kind = tree_listing::Kind::File { sha256 };
        self.expect(path.as_ref(), &metadata, kind, size);
        self.image.file(path, metadata, content)?;
        Ok(())
    }

    /// A file of `size` bytes that is a hole but for `data`, pairs of a position and bytes in ascending order.
    pub(super) fn sparse(
        &mut self,
        path: &str,
        metadata: Metadata,
        size: u64,
        data: &[(u64, Vec<u8>)],
    ) -> Result<()> {
        ensure!(size > READ_WHOLE, "a file of {size} bytes is read whole");
        // What the kernel makes of holes is the truth, so it keeps the model.
        let mut model = tempfile::tempfile()?;
        model.set_len(size)?;
        let mut body = self.image.data().begin();
        let mut at = 0;
        for (position, bytes) in data {
            model.seek(SeekFrom::Start(*position))?;
            model.write_all(bytes)?;
            body.hole(position.checked_sub(at).context("data out of order")?)?;
            body.append(bytes.as_slice())?;
            at = position + u64::try_from(bytes.len())?;
        }
        body.hole(size.checked_sub(at).context("data behind the end")?)?;
        let content = body.finish()?;
        let sha256 = Samples::of(size).sha256(&mut model)?;
        let kind = tree_listing::Kind::File { sha256 };
        self.expect(path.as_bytes(), &metadata, kind, size);
        self.image.insert(path, metadata, Kind::File(content))?;
        Ok(())
    }

    /// Anything without content.
    pub(super) fn node<B>(&mut self, path: &str, metadata: Metadata, kind: Kind<B>) -> Result<()> {
        use tree_listing::Kind as Seen;
        let (kind, seen, size) = match kind {
            Kind::Symlink(target) => {
                let seen = target.to_vec();
                let size = u64::try_from(seen.len())?;
                (Kind::Symlink(target), Seen::Symlink { target: seen }, size)
            }
            Kind::CharDevice(device) => {
                let (major, minor) = (device.major, device.minor);
                (
                    Kind::CharDevice(device),
                    Seen::CharDevice { major, minor },
                    0,
                )
            }
            Kind::BlockDevice(device) => {
                let (major, minor) = (device.major, device.minor);
                (
                    Kind::BlockDevice(device),
                    Seen::BlockDevice { major, minor },
                    0,
                )
            }
            Kind::Fifo => (Kind::Fifo, Seen::Fifo, 0),
            Kind::Socket => (Kind::Socket, Seen::Socket, 0),
            _ => anyhow::bail!("{path} has content"),
        };
        self.expect(path.as_bytes(), &metadata, seen, size);
        self.image.insert(path, metadata, kind)?;
        Ok(())
    }

    /// More names for what has a name already.
    pub(super) fn links(&mut self, first: &str, others: &[String]) -> Result<()> {
        let tree = self.image.tree();
        let mut node = NodeId::ROOT;
        for name in first.split('/').filter(|name| !name.is_empty()) {
            let found = tree.lookup(node, name.as_bytes())?;
            node = found.with_context(|| format!("{first} is not there"))?;
        }
        let entry = self.expected.entries.get(first.as_bytes());
        let mut entry = entry
            .with_context(|| format!("{first} is not there"))?
            .clone();
        let names = || others.iter().map(String::as_str).chain([first]);
        entry.links = u64::try_from(others.len() + 1)?;
        entry.shared = names().min().map(Into::into);
        for name in names() {
            self.expected.entries.insert(name.into(), entry.clone());
            if name != first {
                self.image.link(name, node)?;
            }
        }
        Ok(())
    }

    /// Writes the tables, and returns what a reader has to find.
    pub(super) fn finish(self) -> Result<Listing> {
        self.image.finish()?;
        Ok(self.expected)
    }

    fn expect(&mut self, path: &[u8], metadata: &Metadata, kind: tree_listing::Kind, size: u64) {
        let xattrs = metadata.xattrs.iter();
        let entry = Entry {
            kind,
            mode: metadata.mode,
            uid: metadata.uid,
            gid: metadata.gid,
            size,
            mtime: metadata.mtime.into(),
            links: 1,
            shared: None,
            xattrs: xattrs
                .map(|(name, value)| (name.to_vec(), value.to_vec()))
                .collect::<BTreeMap<_, _>>(),
        };
        self.expected.entries.insert(path.into(), entry);
    }
}

/// Bytes that do not compress, the same for the same seed.
pub(super) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut digest = Sha256::digest(seed.to_le_bytes());
    let mut bytes = Vec::with_capacity(length + digest.len());
    while bytes.len() < length {
        bytes.extend_from_slice(&digest);
        digest = Sha256::digest(digest);
    }
    bytes.truncate(length);
    bytes
}

/// Bytes that compress, the same for the same seed.
pub(super) fn text(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 40);
    let mut number = seed;
    while bytes.len() < length {
        let line = format!("line {} of {seed}\n", number.wrapping_mul(number) % 1013);
        bytes.extend_from_slice(line.as_bytes());
        number += 1;
    }
    bytes.truncate(length);
    bytes
}
