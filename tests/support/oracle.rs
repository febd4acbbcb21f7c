//! How other implementations read an image: independent programs and drivers.
//!
//! Two kinds. [`umoci`] says what tree an image of layers *should* become; all others say what a
//! squashfs file *is*: [`Mount`] through the kernel, [`unsquashfs`], [`sqfs2tar`], [`squashfuse`], [`sevenzip`],
//! [`grub`] and [`backhand`]. Trees are compared as [`Listing`](tree_listing::Listing)s. [`veritysetup`] judges hash
//! trees, and [`json_schema`] and [`yaml`] judge documents.

pub mod backhand;
pub mod grub;
pub mod json_schema;
mod mount;
pub mod sevenzip;
pub mod sqfs2tar;
pub mod squashfuse;
pub mod umoci;
pub mod unsquashfs;
pub mod veritysetup;
pub mod yaml;

use std::path::Path;

use tempfile::TempDir;

use crate::{Failure, Result};

pub use mount::{Mount, may_be_root};

/// A tree on disk that goes away with this value.
#[derive(Debug)]
pub struct Tree {
    directory: TempDir,
    root: &'static str,
}

impl Tree {
    /// Returns a directory of its own; the tree's root will be `root` in it.
    fn new(root: &'static str) -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("oracle-")
            .tempdir()
            .map_err(Failure::when("cannot make a temporary directory"))?;
        Ok(Self { directory, root })
    }

    /// Returns the root of the tree.
    #[must_use]
    pub fn root(&self) -> std::path::PathBuf {
        self.directory.path().join(self.root)
    }

    fn base(&self) -> &Path {
        self.directory.path()
    }
}
