//! The programs of this project, as users build them.

use std::path::PathBuf;

use anyhow::Result;

use crate::{command, workspace};

/// Builds a binary of a package; where it is.
pub(super) fn binary(package: &str, name: &str) -> Result<PathBuf> {
    build(package, "--bin", name)?;
    Ok(workspace::target("release")?.join(name))
}

/// Builds an example of a package; where it is.
pub(super) fn example(package: &str, name: &str) -> Result<PathBuf> {
    build(package, "--example", name)?;
    Ok(workspace::target("release/examples")?.join(name))
}

fn build(package: &str, kind: &str, name: &str) -> Result<()> {
    let mut cargo = workspace::cargo();
    cargo
        .args(["build", "--release", "--quiet"])
        .args(["-p", package, kind, name]);
    command::output(&mut cargo)?;
    Ok(())
}
