//! The Debian package.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{VERSION, install, set_modes};
use crate::{command, workspace};

/// How the members of the package are compressed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Compression {
    /// For users.
    Xz,
    /// For tests, which unpack it at once.
    None,
}

/// Packs the tree into a package.
pub(super) fn package(tree: &Path, output: &Path, compression: Compression) -> Result<PathBuf> {
    let architecture = command::output(Command::new("dpkg").arg("--print-architecture"))?;
    let architecture = architecture.trim();
    let root = workspace::root();
    let documents = tree.join("usr/share/doc/hpcc-rootfs");
    fs::write(documents.join("copyright"), copyright())?;
    install(
        &root.join("CHANGELOG.md"),
        &documents.join("changelog"),
        0o644,
    )?;
    command::output(
        Command::new("gzip")
            .args(["--best", "--no-name", "--force"])
            .arg(documents.join("changelog")),
    )?;

    let control = tree.join("DEBIAN");
    fs::create_dir_all(&control)?;
    let size = installed_size(tree)?;
    fs::write(
        control.join("control"),
        fields(architecture, &c_library()?, size),
    )?;
    for name in ["postinst", "prerm", "postrm"] {
        let script = root.join("packaging/debian").join(name);
        install(&script, &control.join(name), 0o755)?;
    }
    set_modes(tree)?;

    let package = output.join(format!("hpcc-rootfs_{VERSION}_{architecture}.deb"));
    let kind = match compression {
        Compression::Xz => "xz",
        Compression::None => "none",
    };
    let mut dpkg = Command::new("dpkg-deb");
    dpkg.args(["--root-owner-group", "--build", "-Z", kind])
        .arg(tree)
        .arg(&package)
        // The times of its members.
        .env("SOURCE_DATE_EPOCH", "0");
    command::output(&mut dpkg)?;
    fs::remove_dir_all(&control)?;
    Ok(package)
}

/// Returns the version of the C library that the program was linked with: an older one may lack a symbol.
fn c_library() -> Result<String> {
    let version = command::output(Command::new("getconf").arg("GNU_LIBC_VERSION"))?;
    let version = version.trim().strip_prefix("glibc ");
    Ok(version
        .context("getconf names no version of glibc")?
        .to_owned())
}

/// Returns the size of a tree in KiB, as `Installed-Size` has it.
fn installed_size(tree: &Path) -> Result<u64> {
    let listed = command::output(Command::new("du").args(["--summarize", "-k"]).arg(tree))?;
    let size = listed.split_whitespace().next().unwrap_or_default();
    size.parse()
        .with_context(|| format!("du printed {listed:?}"))
}

fn fields(architecture: &str, c_library: &str, size: u64) -> String {
    format!(
        "Package: hpcc-rootfs\n\
         Version: {VERSION}\n\
         Architecture: {architecture}\n\
         Maintainer: The hpcc-rootfs authors\n\
         Installed-Size: {size}\n\
         Depends: libc6 (>= {c_library}), libgcc-s1, ca-certificates\n\
         Section: admin\n\
         Priority: optional\n\
         Description: container images as root file systems of microVMs\n \
         Pulls a container image, verifies it, flattens its layers as a file system\n \
         would, and writes one read-only squashfs file that a microVM boots.\n"
    )
}

fn copyright() -> String {
    "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
     Upstream-Name: hpcc-rootfs\n\
     \n\
     Files: *\n\
     Copyright: The hpcc-rootfs authors\n\
     License: MIT or Apache-2.0\n \
     The texts are in LICENSE-MIT and LICENSE-APACHE beside this file. The crates that are\n \
     linked in are listed with their licenses in sbom.cdx.json.\n"
        .to_owned()
}
