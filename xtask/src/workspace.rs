//! The paths of the workspace.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command;

/// Returns the directory of the workspace's `Cargo.toml`.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// `target/NAME`, made if it is not there.
pub(crate) fn target(name: &str) -> Result<PathBuf> {
    let directory = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => root().join(target),
        None => root().join("target"),
    }
    .join(name);
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(directory)
}

/// Returns a command for the cargo that runs this program, in the workspace.
///
/// It is `--locked`: a lock file that does not fit its manifests is an error, and no command changes one.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()).arg("--locked");
    // What `cargo run` says of this package. Build scripts that watch these variables, as that of ring does, would run again, and
    // all that depends on them would be compiled at each change between this cargo and one of the shell.
    for (name, _) in std::env::vars_os() {
        let name_bytes = name.as_encoded_bytes();
        if name_bytes.starts_with(b"CARGO_PKG_") || name_bytes.starts_with(b"CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// Returns a command that builds the program of the tests, which is then `target/debug/hpcc-rootfs`.
///
/// With a test of its package, it has the features that dev-dependencies add, as in `cargo test --workspace`: nothing is
/// left to do after that.
pub(crate) fn build_program() -> Command {
    let mut cargo = cargo();
    cargo
        .args(["build", "--workspace"])
        .args(["--bin", "hpcc-rootfs", "--test", "tar"]);
    cargo
}

/// Returns the state of the work tree, one line per changed or untracked file, or `None` outside a git repository.
///
/// # Errors
///
/// git is missing, or cannot read the repository.
pub(crate) fn changes() -> Result<Option<String>> {
    if !root().join(".git").exists() {
        return Ok(None);
    }
    let mut git = Command::new("git");
    git.current_dir(root())
        // The owner of a checkout in a container is often another user.
        .args([
            "-c",
            "safe.directory=*",
            "status",
            "--porcelain",
            "--untracked-files=all",
        ]);
    command::output(&mut git).map(Some)
}

/// Returns the target triple of this machine.
///
/// # Errors
///
/// rustc does not run, or names none.
pub(crate) fn host() -> Result<String> {
    let version = command::output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}
