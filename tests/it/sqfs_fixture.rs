//! An image and, entry by entry, what a reader has to find in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use sqfs_writer::{Compressor, ImageWriter, Kind, Metadata, Options, Summary};
use tempfile::TempDir;
use test_support::Result;
use test_support::oracle::{Mount, backhand, grub, sevenzip, sqfs2tar, squashfuse, unsquashfs};
use tree_listing::{DiffOptions, DirectoryLinks, Entry, Listing, diff};

/// An image that is being written.
pub(crate) struct Fixture {
    directory: TempDir,
    image: ImageWriter<File>,
    expected: Listing,
}

/// One that is finished.
pub(crate) struct Written {
    directory: TempDir,
    pub(crate) summary: Summary,
    expected: Listing,
}

pub(crate) fn options(block_size: u32, compressor: Compressor, threads: usize) -> Options {
    let mut options = Options::default();
    options.block_size = block_size;
    options.compressor = compressor;
    options.threads = NonZeroUsize::new(threads).unwrap();
    options
}

impl Fixture {
    pub(crate) fn new(options: &Options) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = File::create(directory.path().join("image.sqsh")).unwrap();
        let mut fixture = Self {
            directory,
            image: ImageWriter::new(file, options).unwrap(),
            expected: Listing::default(),
        };
        fixture.directory("/", Metadata::new(0o755).with_mtime(3));
        fixture
    }

    pub(crate) fn directory(&mut self, path: &str, metadata: Metadata) {
        self.expect(path, &metadata, tree_listing::Kind::Directory, 0);
        self.image.directory(path, metadata).unwrap();
    }

    pub(crate) fn file(&mut self, path: impl AsRef<[u8]>, metadata: Metadata, content: &[u8]) {
        let sha256 = Sha256::digest(content).into();
        let kind = tree_listing::Kind::File { sha256 };
        self.expect(path.as_ref(), &metadata, kind, content.len());
        self.image.file(path, metadata, content).unwrap();
    }

    /// Anything without content.
    pub(crate) fn node(
        &mut self,
        path: &str,
        metadata: Metadata,
        kind: Kind<sqfs_writer::FileData>,
    ) {
        let (seen, size) = match &kind {
            Kind::Symlink(target) => {
                let target = target.to_vec();
                let size = target.len();
                (tree_listing::Kind::Symlink { target }, size)
            }
            Kind::CharDevice(device) => {
                let (major, minor) = (device.major, device.minor);
                (tree_listing::Kind::CharDevice { major, minor }, 0)
            }
            Kind::BlockDevice(device) => {
                let (major, minor) = (device.major, device.minor);
                (tree_listing::Kind::BlockDevice { major, minor }, 0)
            }
            Kind::Fifo => (tree_listing::Kind::Fifo, 0),
            Kind::Socket => (tree_listing::Kind::Socket, 0),
            other => panic!("{other:?}"),
        };
        self.expect(path, &metadata, seen, size);
        self.image.insert(path, metadata, kind).unwrap();
    }

    /// More names for one file.
    pub(crate) fn links(&mut self, first: &str, others: &[&str]) {
        let tree = self.image.tree();
        let mut at = sqfs_writer::NodeId::ROOT;
        for name in first.split('/').filter(|name| !name.is_empty()) {
            at = tree.lookup(at, name.as_bytes()).unwrap().unwrap();
        }
        let mut names: Vec<&str> = [&[first], others].concat();
        names.sort_unstable();
        let mut entry = self.expected.entries[first.as_bytes()].clone();
        entry.links = names.len() as u64;
        entry.shared = Some(names[0].into());
        for name in names {
            self.expected.entries.insert(name.into(), entry.clone());
            if name != first {
                self.image.link(name, at).unwrap();
            }
        }
    }

    pub(crate) fn finish(self) -> Written {
        let (file, summary) = self.image.finish().unwrap();
        assert_eq!(file.metadata().unwrap().len(), summary.image_bytes);
        Written {
            directory: self.directory,
            summary,
            expected: self.expected,
        }
    }

    fn expect(
        &mut self,
        path: impl AsRef<[u8]>,
        metadata: &Metadata,
        kind: tree_listing::Kind,
        size: usize,
    ) {
        let entry = Entry {
            kind,
            mode: metadata.mode,
            uid: metadata.uid,
            gid: metadata.gid,
            size: size as u64,
            mtime: metadata.mtime.into(),
            links: 1,
            shared: None,
            xattrs: metadata
                .xattrs
                .iter()
                .map(|(name, value)| (name.to_vec(), value.to_vec()))
                .collect::<BTreeMap<_, _>>(),
        };
        self.expected.entries.insert(path.as_ref().into(), entry);
    }
}

impl Written {
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("image.sqsh")
    }

    /// The kernel reads every byte.
    pub(crate) fn mount(&self, what: &str) -> Result<()> {
        if let Some(mount) = Mount::squashfs(&self.path())? {
            self.same(
                what,
                "the kernel",
                &Listing::walk(mount.root())?,
                &DiffOptions::default(),
            );
        }
        Ok(())
    }

    /// The kernel and all programs that can read it do.
    pub(crate) fn everybody(&self, what: &str, compressor: Compressor) -> Result<()> {
        self.mount(what)?;
        let image = self.path();
        let all = DiffOptions::default();
        let extracted = unsquashfs::extract(&image)?;
        self.same(what, "unsquashfs", &Listing::walk(&extracted.root())?, &all);
        if !matches!(compressor, Compressor::Lz4 { .. } | Compressor::Zstd { .. }) {
            self.grub(what, &extracted.root())?;
        }
        // Its tar has no entry for the root, and no tar has sockets.
        let no_root = DiffOptions {
            ignore: [b"/socket".to_vec()].into(),
            ignore_mtime: [b"/".to_vec()].into(),
            ..DiffOptions::default()
        };
        let extracted = sqfs2tar::extract(&image)?;
        self.same(
            what,
            "sqfs2tar",
            &Listing::walk(&extracted.root())?,
            &no_root,
        );
        if let Some(mount) = squashfuse::mount(&image)? {
            // It has its own inode numbers, and so does not show which names share an inode.
            let listing = Listing::walk(mount.root())?;
            let content = |listing: &Listing| {
                let entries = listing.entries.iter();
                entries
                    .map(|(path, entry)| (path.clone(), entry.kind.clone()))
                    .collect::<BTreeMap<_, _>>()
            };
            assert_eq!(
                content(&listing),
                content(&self.expected),
                "{what}: squashfuse"
            );
        }
        // 7-Zip opens no squashfs of lz4, from any writer.
        if !matches!(compressor, Compressor::Lz4 { .. }) {
            let summary = sevenzip::test(&image)?;
            assert!(
                summary.contains("Everything is Ok"),
                "{what}: 7z: {summary}"
            );
        }
        // These are the codecs that our build of backhand has.
        if !matches!(compressor, Compressor::Lz4 { .. } | Compressor::Xz { .. }) {
            let options = DiffOptions {
                directory_links: DirectoryLinks::Ignore,
                ..DiffOptions::default()
            };
            let seen = backhand::visible(&self.expected);
            let found = diff(&seen, &backhand::list(&image)?, &options);
            assert_eq!(found, [], "{what}: backhand");
        }
        Ok(())
    }

    /// GRUB lists every directory and reads every file as they are in `extracted`.
    fn grub(&self, what: &str, extracted: &Path) -> Result<()> {
        let image = self.path();
        let mut listings: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for (path, entry) in &self.expected.entries {
            let path = std::str::from_utf8(path).expect("fixtures have names in UTF-8");
            let slash = match entry.kind {
                tree_listing::Kind::Directory => {
                    listings.entry(path.trim_end_matches('/')).or_default();
                    "/"
                }
                tree_listing::Kind::File { .. } => {
                    grub::compare(&image, path, &extracted.join(&path[1..]))?;
                    ""
                }
                _ => "",
            };
            if let Some((directory, name)) = path.rsplit_once('/').filter(|_| path != "/") {
                let names = listings.entry(directory).or_default();
                names.insert(format!("{name}{slash}"));
            }
        }
        for (directory, expected) in listings {
            let found = grub::names(&image, directory)?;
            assert_eq!(found, expected, "{what}: grub: {directory}/");
        }
        Ok(())
    }

    fn same(&self, what: &str, who: &str, found: &Listing, options: &DiffOptions) {
        assert_eq!(diff(&self.expected, found, options), [], "{what}: {who}");
    }
}

/// Bytes that don't compress, the same for the same seed.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Bytes that compress, the same for the same seed.
pub(crate) fn text(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 32);
    for n in seed.. {
        if bytes.len() >= len {
            break;
        }
        bytes.extend(format!("line {} of {seed}\n", n * n % 1013).bytes());
    }
    bytes.truncate(len);
    bytes
}
