//! The minimal Debian below both images, and installing packages on top of it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::once;
use crate::command::run;
use crate::{Failure, Result};

/// Times later than this become this, so that a rebuilt base is nearly the same.
const EPOCH: &str = "1750000000";

/// Returns a tar of the minimal Debian root, as mmdebstrap writes it: PAX headers, `./` names, device nodes, the
/// usr-merge symlinks. It names no mirror and no host.
pub(super) fn tar() -> Result<PathBuf> {
    let directory = once("base", |work| {
        let mut command = Command::new("mmdebstrap");
        command
            .env("SOURCE_DATE_EPOCH", EPOCH)
            .args(["--mode=root", "--variant=minbase", "--quiet"])
            .arg(
                "--customize-hook=rm -f $1/etc/apt/sources.list $1/etc/apt/sources.list.d/* \
                 $1/etc/resolv.conf $1/etc/hostname",
            )
            .arg("")
            .arg(work.join("base.tar"))
            .args(apt_sources()?);
        run(&mut command)?;
        Ok(())
    })?;
    Ok(directory.join("base.tar"))
}

/// Installs packages in a root below `root`, and leaves nothing there but what they brought.
pub(super) fn install(root: &Path, packages: &[&str]) -> Result<()> {
    let lists = root.join("etc/apt/sources.list.d");
    let policy = root.join("usr/sbin/policy-rc.d");
    let resolv = root.join("etc/resolv.conf");
    // Keeps package scripts from starting daemons on the machine that runs the tests.
    fs::write(&policy, "#!/bin/sh\nexit 101\n")?;
    fs::set_permissions(&policy, Permissions::from_mode(0o755))?;
    fs::copy("/etc/resolv.conf", &resolv)?;
    let mut copied = Vec::new();
    for source in apt_sources()? {
        let name = source.file_name().map(PathBuf::from).unwrap_or_default();
        // `sources.list` itself ends in .list too, and is read from here as well.
        let copy = lists.join(name);
        fs::copy(&source, &copy)?;
        copied.push(copy);
    }
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("chroot");
        command.arg(root).arg("apt-get").args(arguments);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        run(command.env("LC_ALL", "C"))
    };
    apt(&["--quiet", "update"])?;
    apt(&[
        &["--quiet", "--yes", "--no-install-recommends", "install"],
        packages,
    ]
    .concat())?;
    apt(&["clean"])?;
    for leftover in copied.iter().chain([&policy, &resolv]) {
        fs::remove_file(leftover)?;
    }
    let shell = "rm -rf var/lib/apt/lists/* var/log/apt var/log/*.log var/cache/apt/*.bin \
                 var/cache/ldconfig/aux-cache";
    run(Command::new("sh").args(["-c", shell]).current_dir(root))?;
    Ok(())
}

/// Returns the machine's own sources of Debian packages, without those of other vendors.
fn apt_sources() -> Result<Vec<PathBuf>> {
    let known = [
        "/etc/apt/sources.list",
        "/etc/apt/sources.list.d/debian.sources",
        "/etc/apt/sources.list.d/ubuntu.sources",
    ];
    let used = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .any(|line| line.starts_with("deb ") || line.starts_with("URIs:"))
    };
    let found: Vec<PathBuf> = known.iter().map(PathBuf::from).filter(used).collect();
    if found.is_empty() {
        return Err(Failure::new(format!(
            "no apt sources to build an image from in any of {known:?}"
        )));
    }
    Ok(found)
}
