//! What dependencies must keep to, and the oldest Rust that must do.

use anyhow::{Context, Result, bail};

use crate::tally::Tally;
use crate::{command, tools, workspace};

/// Checks licenses, bans and sources of both workspaces, and advisories if their database can be fetched.
pub(crate) fn deny() -> Result<Tally> {
    if !tools::has("deny") {
        println!(
            "NOT checked: cargo-deny is missing; install it with: cargo install cargo-deny --locked"
        );
        return Ok(Tally::default());
    }
    let mut checks = vec!["licenses", "bans", "sources"];
    if command::succeeds(workspace::cargo().args(["deny", "fetch", "db"])) {
        checks.push("advisories");
    } else {
        println!("advisories NOT checked: their database cannot be fetched");
    }
    for manifest in ["Cargo.toml", "fuzz/Cargo.toml"] {
        let mut cargo = workspace::cargo();
        cargo
            .args(["deny", "--locked", "--manifest-path", manifest])
            .args(["--config", "deny.toml", "check"])
            .args(&checks);
        let shown = command::show(&mut cargo)?;
        if !shown.success {
            return Ok(Tally::failed(&shown.output));
        }
    }
    Ok(Tally::default())
}

/// Checks the workspace with the Rust of `rust-version`, if rustup has it.
pub(crate) fn oldest_rust() -> Result<Tally> {
    match oldest_installed()? {
        Ok(_) => msrv().map(|()| Tally::default()),
        Err(version) => {
            println!(
                "NOT checked: Rust {version} is missing; install it with: rustup toolchain install {version}"
            );
            Ok(Tally::default())
        }
    }
}

/// Checks that the workspace builds with the Rust of `rust-version`.
///
/// # Errors
///
/// It does not, or rustup does not have that toolchain.
pub fn msrv() -> Result<()> {
    let version = match oldest_installed()? {
        Ok(version) => version,
        Err(version) => {
            bail!("Rust {version} is missing; install it with: rustup toolchain install {version}")
        }
    };
    let mut cargo = tools::rustup(["run", &version, "cargo", "check", "--locked"]);
    cargo
        .current_dir(workspace::root())
        .args(["--workspace", "--all-targets", "--target-dir"])
        .arg(workspace::target("msrv")?);
    if !command::show(&mut cargo)?.success {
        bail!("the workspace does not build with Rust {version}");
    }
    Ok(())
}

/// Returns the version, as an error if rustup does not have its toolchain.
fn oldest_installed() -> Result<Result<String, String>> {
    let manifest = std::fs::read_to_string(workspace::root().join("Cargo.toml"))?;
    let version = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "))
        .context("Cargo.toml has no rust-version")?
        .trim_matches('"')
        .to_owned();
    // rustup would install it on the way, which a check must not do.
    let installed =
        command::output(tools::rustup(["toolchain", "list"]).env("RUSTUP_AUTO_INSTALL", "0"));
    let installed = installed.unwrap_or_default();
    let is_installed = installed.lines().any(|line| {
        let rest = line.strip_prefix(&version);
        rest.is_some_and(|rest| rest.starts_with(['-', '.']) || rest.is_empty())
    });
    Ok(if is_installed {
        Ok(version)
    } else {
        Err(version)
    })
}
