//! Debian's kernel for clouds, unpacked and never installed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{command, workspace};

/// The package that depends on the newest kernel.
const PACKAGE: &str = "linux-image-cloud-amd64";

/// A kernel with its modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Release, as `uname -r` prints it.
    pub release: String,
    /// The image that a boot loader takes.
    pub image: PathBuf,
    /// The directory with all its modules.
    pub modules: PathBuf,
}

impl Kernel {
    /// Returns the kernel in `target/kernel`, downloaded through apt the first time.
    ///
    /// One that is there stays in use; delete the directory to get a newer one.
    ///
    /// # Errors
    ///
    /// The package cannot be found, downloaded or unpacked.
    pub fn get() -> Result<Self> {
        let directory = workspace::target("kernel")?;
        // Tests run in many processes, and the first ones come here at once.
        let lock = File::create(directory.join(".lock"))?;
        lock.lock().context("cannot lock target/kernel")?;
        if let Some(kernel) = Self::in_directory(&directory)? {
            return Ok(kernel);
        }
        download(&directory)?;
        Self::in_directory(&directory)?.context("Debian's kernel package holds no kernel")
    }

    fn in_directory(directory: &Path) -> Result<Option<Self>> {
        let mut packages: Vec<PathBuf> = fs::read_dir(directory)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        packages.retain(|path| path.join("boot").is_dir() && path.extension().is_none());
        packages.sort();
        let Some(package) = packages.pop() else {
            return Ok(None);
        };
        for entry in fs::read_dir(package.join("boot"))? {
            let entry = entry?;
            let name = entry.file_name();
            if let Some(release) = name.to_str().and_then(|name| name.strip_prefix("vmlinuz-")) {
                let modules = package.join("lib/modules").join(release).join("kernel");
                let modules = if modules.is_dir() {
                    modules
                } else {
                    package.join("usr").join("lib/modules").join(release)
                };
                return Ok(Some(Self {
                    release: release.to_owned(),
                    image: entry.path(),
                    modules,
                }));
            }
        }
        Ok(None)
    }
}

/// Leaves the unpacked package as `directory/kernel`, complete or not at all.
fn download(directory: &Path) -> Result<()> {
    println!("downloading Debian's kernel into {}", directory.display());
    let depends = command::output(Command::new("apt-cache").args(["depends", PACKAGE]))
        .with_context(|| format!("cannot look up {PACKAGE}; `apt-get update` may help"))?;
    let package = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
    let Some(package) = package else {
        bail!("apt knows no kernel behind {PACKAGE}; `apt-get update` may help");
    };
    let staging = tempfile::Builder::new()
        .prefix("download.")
        .tempdir_in(directory)?;
    let unpacked = staging.path().join("unpacked");
    // As the user that we are: apt's own user cannot write here, and says so in a warning each time.
    let sandbox = format!(
        "APT::Sandbox::User={}",
        command::output(Command::new("id").arg("-un"))?.trim()
    );
    command::output(
        Command::new("apt-get")
            .args([
                "download",
                "--quiet",
                "-o",
                &sandbox,
                &format!("linux-image-{package}"),
            ])
            .current_dir(staging.path()),
    )
    .context("cannot download Debian's kernel; `apt-get update` may help")?;
    for file in fs::read_dir(staging.path())? {
        let file = file?.path();
        if file.extension().is_some_and(|extension| extension == "deb") {
            command::output(
                Command::new("dpkg-deb")
                    .arg("--extract")
                    .arg(&file)
                    .arg(&unpacked),
            )?;
        }
    }
    fs::rename(&unpacked, directory.join(PACKAGE)).context("cannot keep the unpacked kernel")
}
