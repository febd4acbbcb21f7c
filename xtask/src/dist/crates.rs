//! The crates as a registry would have them: each is packaged, unpacked elsewhere and built without the repository.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::VERSION;
use crate::{command, workspace};

/// The crates that others link, each after those that it depends on.
const CRATES: [&str; 3] = ["sqfs-writer", "ociget", "hpcc-rootfs"];

/// Packages the crates, unpacks them in a temporary directory, and builds each from its own lock file with its siblings
/// from their packages.
pub(super) fn build_alone() -> Result<()> {
    let packaged = package()?;
    let directory = tempfile::tempdir()?;
    for (name, archive) in CRATES.iter().zip(&packaged) {
        let mut tar = Command::new("tar");
        tar.args(["--extract", "--gzip", "--file"])
            .arg(archive)
            .arg("--directory")
            .arg(directory.path());
        command::output(&mut tar)?;
        let unpacked = directory.path().join(versioned(name));
        for file in ["Cargo.lock", "README.md", "LICENSE-MIT", "LICENSE-APACHE"] {
            ensure!(
                unpacked.join(file).is_file(),
                "the package of {name} lacks {file}"
            );
        }
    }
    // Not below the unpacked crates, so that they share what they depend on.
    let target = workspace::target("dist-crates")?;
    for (at, name) in CRATES.iter().enumerate() {
        let siblings = CRATES.get(..at).unwrap_or_default();
        build(directory.path(), name, siblings, &target)?;
        println!("{name} builds from {}", versioned(name));
    }
    Ok(())
}

fn versioned(name: &str) -> String {
    format!("{name}-{VERSION}")
}

/// Makes the packages, and returns their paths in the order of [`CRATES`].
fn package() -> Result<Vec<PathBuf>> {
    let mut cargo = workspace::cargo();
    // Not verified: that is what happens next, with the examples and with tests.
    cargo.args(["package", "--no-verify", "--allow-dirty"]);
    for name in CRATES {
        cargo.args(["--package", name]);
    }
    command::output(&mut cargo)?;
    let directory = workspace::target("package")?;
    let archives = CRATES.map(|name| directory.join(format!("{}.crate", versioned(name))));
    for archive in &archives {
        let size = fs::metadata(archive)
            .with_context(|| format!("cargo made no {}", archive.display()))?
            .len();
        println!("{} has {} KiB", archive.display(), size >> 10);
    }
    Ok(archives.into())
}

/// Builds the library and the program of an unpacked crate, and checks its examples and tests.
fn build(directory: &Path, name: &str, siblings: &[&str], target: &Path) -> Result<()> {
    let unpacked = directory.join(versioned(name));
    let lock = unpacked.join("Cargo.lock");
    let locked = without_sources(&fs::read_to_string(&lock)?);
    fs::write(&lock, &locked)?;
    // A patch that nothing uses would change the lock file.
    let needed = |sibling: &&&str| locked.contains(&format!("\nname = \"{sibling}\"\n"));
    let siblings: Vec<_> = siblings.iter().filter(needed).collect();
    for (command, more) in [("build", [].as_slice()), ("check", &["--all-targets"])] {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .current_dir(&unpacked)
            .args([command, "--locked", "--offline"])
            .args(more)
            .arg("--target-dir")
            .arg(target);
        for sibling in &siblings {
            let path = directory.join(versioned(sibling));
            let patch = format!("patch.crates-io.{sibling}.path = {:?}", path);
            cargo.args(["--config", &patch]);
        }
        ensure!(
            command::show(&mut cargo)?.success,
            "{name} does not build alone"
        );
    }
    Ok(())
}

/// Returns a lock file in which the crates of this repository come from nowhere, as those that a path replaces do.
fn without_sources(lock: &str) -> String {
    let packages = lock.split("[[package]]");
    let kept = packages.map(|package| {
        let is_ours = CRATES
            .iter()
            .any(|name| package.contains(&format!("\nname = \"{name}\"\n")));
        let lines = package.split_inclusive('\n').filter(|line| {
            let source = line.starts_with("source = ") || line.starts_with("checksum = ");
            !(is_ours && source)
        });
        lines.collect::<String>()
    });
    kept.collect::<Vec<_>>().join("[[package]]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_file_keeps_sources_of_other_crates_alone() {
        let package = |name: &str| {
            format!(
                "[[package]]\nname = \"{name}\"\nversion = \"1.0.0\"\nsource = \"registry\"\nchecksum = \"00\"\n"
            )
        };
        let lock = format!("version = 4\n\n{}\n{}", package("ociget"), package("bytes"));
        let expected = format!(
            "version = 4\n\n[[package]]\nname = \"ociget\"\nversion = \"1.0.0\"\n\n{}",
            package("bytes")
        );
        assert_eq!(without_sources(&lock), expected);
    }
}
