//! The package, made from the program that the tests run, and what tools of Debian say of it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::fs::Mode;

use super::{Made, deb, make};
use crate::tally::Tally;
use crate::{command, workspace};

/// Files that the package must have.
const CONTENTS: [&str; 9] = [
    "./usr/bin/hpcc-rootfs",
    "./usr/lib/systemd/system/hpcc-rootfs-gc.service",
    "./usr/lib/systemd/system/hpcc-rootfs-gc.timer",
    "./usr/lib/sysusers.d/hpcc-rootfs.conf",
    "./usr/share/bash-completion/completions/hpcc-rootfs",
    "./usr/share/doc/hpcc-rootfs/copyright",
    "./usr/share/doc/hpcc-rootfs/sbom.cdx.json",
    "./usr/share/man/man1/hpcc-rootfs.1.gz",
    "./usr/share/man/man1/hpcc-rootfs-pull.1.gz",
];

/// Makes the package from a debug build, installs it below an empty root, and shows its manual page and its units to
/// `man` and `systemd-analyze` where they are installed.
pub(crate) fn check() -> Result<Tally> {
    command::output(&mut workspace::build_program())?;
    let output = workspace::target("dist-check")?;
    let program = output.join("hpcc-rootfs");
    let mut strip = Command::new("strip");
    strip
        .arg("-o")
        .arg(&program)
        .arg(workspace::target("debug")?.join("hpcc-rootfs"));
    command::output(&mut strip)?;
    // As a user with this umask makes it.
    let umask = rustix::process::umask(Mode::from_raw_mode(0o077));
    let made = make(&program, &output, deb::Compression::None);
    rustix::process::umask(umask);
    let made = made?;

    let contents = command::output(
        Command::new("dpkg-deb")
            .arg("--contents")
            .arg(&made.package),
    )?;
    for path in CONTENTS {
        let is_there = contents
            .lines()
            .any(|line| line.ends_with(&format!(" {path}")));
        ensure!(is_there, "the package lacks {path}:\n{contents}");
    }
    for line in contents.lines() {
        let modes = ["drwxr-xr-x ", "-rwxr-xr-x ", "-rw-r--r-- "];
        let is_usual = modes.iter().any(|mode| line.starts_with(mode));
        ensure!(is_usual, "the package has a mode of the umask: {line}");
    }
    let installed = install(&made, &output)?;
    let version =
        command::output(Command::new(installed.join("usr/bin/hpcc-rootfs")).arg("--version"))?;
    println!(
        "installed below {}: {}",
        installed.display(),
        version.trim()
    );
    manual(&installed)?;
    units(&installed, &output)?;
    purge(&installed)?;
    Ok(Tally::default())
}

/// Enables the timer as an administrator does, then removes and purges the package.
fn purge(installed: &Path) -> Result<()> {
    const TIMER: &str = "hpcc-rootfs-gc.timer";
    if !command::succeeds(Command::new("systemctl").arg("--version")) {
        println!("NOT checked: systemctl is missing, which enables the timer");
        return Ok(());
    }
    let root = format!("--root={}", installed.display());
    command::output(Command::new("systemctl").args([&root, "enable", TIMER]))?;
    let link = installed
        .join("etc/systemd/system/timers.target.wants")
        .join(TIMER);
    ensure!(link.is_symlink(), "systemctl makes no {}", link.display());
    for action in ["--remove", "--purge"] {
        let mut dpkg = Command::new("dpkg");
        dpkg.arg(&root)
            .args(["--force-not-root", "--force-script-chrootless"])
            .args([action, "hpcc-rootfs"]);
        command::output(&mut dpkg)?;
    }
    ensure!(!link.is_symlink(), "a purge leaves {}", link.display());
    let state = installed.join("var/lib/systemd/deb-systemd-helper-enabled");
    let left: Vec<_> = match fs::read_dir(&state) {
        Ok(entries) => entries
            .filter_map(|entry| Some(entry.ok()?.file_name()))
            .filter(|name| name.to_string_lossy().contains("hpcc-rootfs"))
            .collect(),
        Err(_) => Vec::new(),
    };
    ensure!(
        left.is_empty(),
        "a purge leaves {left:?} in {}",
        state.display()
    );
    ensure!(
        !installed.join("usr/bin/hpcc-rootfs").exists(),
        "a purge leaves the program"
    );
    println!("a purge leaves nothing of the timer");
    Ok(())
}

/// Installs the package below an empty root with dpkg, as another system's, and returns that root.
fn install(made: &Made, output: &Path) -> Result<std::path::PathBuf> {
    let root = output.join("root");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    let database = root.join("var/lib/dpkg");
    for name in ["info", "updates", "triggers"] {
        fs::create_dir_all(database.join(name))?;
    }
    fs::write(database.join("status"), "")?;
    let mut dpkg = Command::new("dpkg");
    dpkg.arg(format!("--root={}", root.display()))
        // The script runs here, and finds DPKG_ROOT set. Its dependencies are this system's.
        .args([
            "--force-not-root",
            "--force-script-chrootless",
            "--force-depends",
        ])
        .arg("--install")
        .arg(&made.package);
    command::output(&mut dpkg)?;
    let listed = command::output(
        Command::new("dpkg")
            .arg(format!("--root={}", root.display()))
            .args(["--listfiles", "hpcc-rootfs"]),
    )?;
    ensure!(
        listed.contains("/usr/bin/hpcc-rootfs\n"),
        "dpkg lists no program:\n{listed}"
    );
    ensure!(made.tree.exists(), "the tree of the package is gone");
    Ok(root)
}

fn manual(installed: &Path) -> Result<()> {
    if !command::succeeds(Command::new("man").arg("--version")) {
        println!("NOT checked: man is missing, which shows the manual page");
        return Ok(());
    }
    let page = installed.join("usr/share/man/man1/hpcc-rootfs.1.gz");
    let shown = command::output(
        Command::new("man")
            .arg("--local-file")
            .arg(page)
            .env("MANWIDTH", "100"),
    )?;
    for words in ["NAME", "SYNOPSIS", "hpcc-rootfs"] {
        ensure!(
            shown.contains(words),
            "the manual page lacks {words}:\n{shown}"
        );
    }
    println!(
        "man shows the page of the program, {} lines",
        shown.lines().count()
    );
    Ok(())
}

/// Has systemd read the units. Their program is replaced by the installed one, because systemd looks for it.
fn units(installed: &Path, output: &Path) -> Result<()> {
    if !command::succeeds(Command::new("systemd-analyze").arg("--version")) {
        println!("NOT checked: systemd-analyze is missing, which verifies the units");
        return Ok(());
    }
    let directory = output.join("units");
    fs::create_dir_all(&directory)?;
    let program = installed.join("usr/bin/hpcc-rootfs");
    let program = program.to_str().context("a path that is not UTF-8")?;
    let mut verify = Command::new("systemd-analyze");
    verify.args(["--man=no", "verify"]);
    for name in ["hpcc-rootfs-gc.service", "hpcc-rootfs-gc.timer"] {
        let unit = fs::read_to_string(installed.join("usr/lib/systemd/system").join(name))?;
        let path = directory.join(name);
        fs::write(&path, unit.replace("/usr/bin/hpcc-rootfs", program))?;
        verify.arg(path);
    }
    command::output(&mut verify)?;
    println!("systemd accepts the units");
    Ok(())
}
