//! umoci's way to a layer: unpack, change the tree, let it compute the difference.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::RealImage;
use crate::Result;
use crate::command::run;
use crate::oracle::umoci::image;

/// An image under construction in a work directory: `layout/` and, once unpacked, `bundle/`.
pub(super) struct Bundle {
    work: PathBuf,
}

impl Bundle {
    /// Returns an image without layers.
    pub(super) fn new(work: &Path) -> Result<Self> {
        let bundle = Self { work: work.into() };
        run(Command::new("umoci")
            .args(["init", "--layout"])
            .arg(bundle.layout()))?;
        run(Command::new("umoci").args(["new", "--image", &bundle.image()]))?;
        Ok(bundle)
    }

    /// Returns the root of the unpacked tree, to be changed.
    pub(super) fn root(&self) -> PathBuf {
        self.work.join("bundle/rootfs")
    }

    /// Unpacks what there is so far.
    pub(super) fn unpack(&self) -> Result<()> {
        let bundle = self.work.join("bundle");
        if bundle.exists() {
            fs::remove_dir_all(&bundle)?;
        }
        run(Command::new("umoci")
            .args(["unpack", "--image", &self.image()])
            .arg(&bundle))?;
        Ok(())
    }

    /// Makes a layer of what was changed in the tree since.
    pub(super) fn repack(&self) -> Result<()> {
        run(Command::new("umoci")
            .args(["repack", "--refresh-bundle", "--image", &self.image()])
            .arg(self.work.join("bundle")))?;
        Ok(())
    }

    /// Adds an uncompressed tar as a layer, as it is. The unpacked tree is out of date then.
    pub(super) fn add_layer(&self, tar: &Path) -> Result<()> {
        run(Command::new("umoci")
            .args(["raw", "add-layer", "--image", &self.image()])
            .arg(tar))?;
        Ok(())
    }

    /// Sets the config, and removes all but the image.
    pub(super) fn finish(self, entrypoint: &str) -> Result<()> {
        run(Command::new("umoci").args([
            "config",
            "--image",
            &self.image(),
            "--config.env=PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            &format!("--config.entrypoint={entrypoint}"),
            "--config.workingdir=/",
            "--config.label=purpose=tests",
        ]))?;
        run(Command::new("umoci")
            .args(["gc", "--layout"])
            .arg(self.layout()))?;
        let bundle = self.work.join("bundle");
        if bundle.exists() {
            fs::remove_dir_all(bundle)?;
        }
        Ok(())
    }

    fn layout(&self) -> PathBuf {
        self.work.join("layout")
    }

    fn image(&self) -> String {
        image(&self.layout(), RealImage::TAG)
    }
}
