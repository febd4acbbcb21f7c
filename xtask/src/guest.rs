//! Builds the programs that run inside the machine.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

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
    /// The command of images that the example agent is tested with.
    pub witness: PathBuf,
    /// The example agent.
    pub agent: PathBuf,
}

/// Builds the programs, or finds that they are up to date.
///
/// # Errors
///
/// The build fails, or the machine is not an x86-64 one: the guest's kernel is.
pub fn build() -> Result<Guest> {
    build_with(|cargo| command::output(cargo.arg("--quiet")).map(drop))
}

/// Does the same, and shows what cargo says meanwhile: the first build takes a minute.
///
/// # Errors
///
/// As [`build`].
pub fn build_shown() -> Result<Guest> {
    build_with(|cargo| {
        // Its messages go to standard error, where a terminal shows them and a pipe for results does not get them.
        let status = cargo.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
        ensure!(status.success(), "{}: {status}", command::shown(cargo));
        Ok(())
    })
}

fn build_with(run: impl FnOnce(&mut Command) -> Result<()>) -> Result<Guest> {
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
            "--release",
            "--package",
            "hpcc-probe",
            "--package",
            "hpcc-agent-example",
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
    run(&mut cargo).context("cannot build the guest's programs")?;
    let programs = directory.join(target).join("release");
    Ok(Guest {
        init: programs.join("hpcc-init"),
        probe: programs.join("hpcc-probe"),
        reader: programs.join("hpcc-reader"),
        witness: programs.join("hpcc-witness"),
        agent: programs.join("hpcc-agent-example"),
    })
}
