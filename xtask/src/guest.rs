//! Builds the programs that run inside the machine.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::{command, workspace};

/// The programs of the guest, static and stripped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// `/init` of the initramfs.
    pub init: PathBuf,
    /// The `/.hpcc/agent` of every image that is verified.
    pub probe: PathBuf,
    /// The agent of an image whose reading is measured.
    pub reader: PathBuf,
}

/// Builds the programs, or finds that they are up to date.
///
/// # Errors
///
/// The build fails, or the machine is not an x86-64 one: the guest's kernel is.
pub fn build() -> Result<Guest> {
    if std::env::consts::ARCH != "x86_64" {
        bail!(
            "the guest's kernel is Debian's for amd64; on {} its programs cannot be built",
            std::env::consts::ARCH
        );
    }
    let target = "x86_64-unknown-linux-gnu";
    let directory = workspace::target("guest")?;
    let mut cargo = workspace::cargo();
    // A target directory of its own and an explicit target: these flags must not rebuild anything else.
    cargo
        .args([
            "build",
            "--quiet",
            "--release",
            "--package",
            "hpcc-probe",
            "--target",
            target,
            "--target-dir",
        ])
        .arg(&directory)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env(
            "RUSTFLAGS",
            "-C target-feature=+crt-static -C strip=symbols",
        );
    command::output(&mut cargo).context("cannot build the guest's programs")?;
    let programs = directory.join(target).join("release");
    Ok(Guest {
        init: programs.join("hpcc-init"),
        probe: programs.join("hpcc-probe"),
        reader: programs.join("hpcc-reader"),
    })
}
