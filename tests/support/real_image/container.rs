//! buildah's way to a layer: change a mounted container, commit it.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::RealImage;
use crate::Result;
use crate::command::{run, run_text};

/// An image under construction in a work directory, with a store of its own, so that nothing of the
/// machine's is touched.
pub(super) struct Container {
    work: PathBuf,
    name: String,
    steps: usize,
}

impl Container {
    /// Returns an image without layers.
    pub(super) fn new(work: &Path) -> Result<Self> {
        let mut container = Self {
            work: work.into(),
            name: String::new(),
            steps: 0,
        };
        container.from("scratch")?;
        Ok(container)
    }

    /// Returns the root of the tree, to be changed.
    pub(super) fn root(&self) -> Result<PathBuf> {
        let path = run_text(self.buildah().args(["mount", &self.name]))?;
        Ok(PathBuf::from(path.trim()))
    }

    /// Makes a layer of what was changed since.
    pub(super) fn commit(&mut self) -> Result<()> {
        self.steps += 1;
        let step = format!("localhost/step:{}", self.steps);
        run(self
            .buildah()
            .args(["commit", "--quiet", &self.name, &step]))?;
        self.from(&step)
    }

    /// Makes the last layer, and removes all but the image.
    pub(super) fn finish(self) -> Result<()> {
        let layout = self.work.join("layout");
        let target = format!("oci:{}:{}", layout.display(), RealImage::TAG);
        run(self
            .buildah()
            .args(["commit", "--quiet", &self.name, &target]))?;
        run(self.buildah().args(["rm", "--all"]))?;
        run(self.buildah().args(["rmi", "--all", "--force"]))?;
        std::fs::remove_dir_all(self.work.join("store"))?;
        Ok(())
    }

    fn from(&mut self, image: &str) -> Result<()> {
        let name = run_text(self.buildah().args(["from", "--pull-never", image]))?;
        name.trim().clone_into(&mut self.name);
        Ok(())
    }

    fn buildah(&self) -> Command {
        let mut command = Command::new("buildah");
        command
            .args(["--storage-driver", "vfs", "--root"])
            .arg(self.work.join("store/root"))
            .arg("--runroot")
            .arg(self.work.join("store/run"));
        command
    }
}
