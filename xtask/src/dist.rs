//! What a release consists of: the stripped program, completions, manual pages, an SBOM, a tar file and a Debian
//! package.
//!
//! The package is made by `dpkg-deb`, which every Debian has. cargo-deb would have to be compiled first, for minutes. It
//! would also write the scripts that the units need; `packaging/debian` has them.

mod check;
mod crates;
mod deb;
mod sbom;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::{command, workspace};

pub(crate) use check::check;

/// Bytes that the stripped program may have.
const SIZE_MAX: u64 = 14 << 20;
/// The version of every crate of the workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Shells with the path of their completions below `usr/share`.
const SHELLS: [(&str, &str); 3] = [
    ("bash", "bash-completion/completions/hpcc-rootfs"),
    ("zsh", "zsh/vendor-completions/_hpcc-rootfs"),
    ("fish", "fish/vendor_completions.d/hpcc-rootfs.fish"),
];

/// What to make of which program.
#[derive(Debug, clap::Args)]
pub struct DistOptions {
    /// Program to package, instead of one that is built with the profile `dist`
    #[arg(long, value_name = "FILE")]
    pub program: Option<PathBuf>,
    /// Make the package of a debug build, install it below an empty root, and show its parts to man and systemd
    #[arg(long, conflicts_with_all = ["program", "output"])]
    pub check: bool,
    /// Package the crates, and build each package alone, without the repository
    #[arg(long, conflicts_with_all = ["program", "output", "check"])]
    pub crates: bool,
    /// Directory for the results [default: target/dist-files]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

/// Makes everything, or does the check that the options name, and prints the paths of the results.
///
/// # Errors
///
/// The program does not build or is too large, or a tool fails.
pub fn dist(options: DistOptions) -> Result<()> {
    if options.check {
        return check().map(drop);
    }
    if options.crates {
        return crates::build_alone();
    }
    let program = match options.program {
        Some(program) => program,
        None => build()?,
    };
    let output = match options.output {
        Some(output) => output,
        None => workspace::target("dist-files")?,
    };
    let size = fs::metadata(&program)
        .with_context(|| format!("cannot find {}", program.display()))?
        .len();
    ensure!(
        size <= SIZE_MAX,
        "{} has {size} bytes, and may have {SIZE_MAX}",
        program.display()
    );
    let made = make(&program, &output, deb::Compression::Xz)?;
    for path in [&made.package, &made.tar, &made.sbom] {
        println!("{}", path.display());
    }
    println!("the program has {:.1} MiB", size_in_mib(size));
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "for people, in tenths of a MiB")]
fn size_in_mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Builds the program for release.
fn build() -> Result<PathBuf> {
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--profile", "dist", "--package", "hpcc-rootfs"]);
    cargo.args(["--bin", "hpcc-rootfs"]);
    if !command::show(&mut cargo)?.success {
        bail!("the program does not build");
    }
    Ok(workspace::target("dist")?.join("hpcc-rootfs"))
}

/// Paths of what was made.
struct Made {
    package: PathBuf,
    tar: PathBuf,
    sbom: PathBuf,
    /// The tree that the package installs.
    tree: PathBuf,
}

fn make(program: &Path, output: &Path, compression: deb::Compression) -> Result<Made> {
    fs::create_dir_all(output).with_context(|| format!("cannot make {}", output.display()))?;
    let tree = output.join("tree");
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    let sbom = output.join(format!("hpcc-rootfs-{VERSION}.cdx.json"));
    fs::write(&sbom, sbom::of_program()?)?;

    install(program, &tree.join("usr/bin/hpcc-rootfs"), 0o755)?;
    let documents = tree.join("usr/share/doc/hpcc-rootfs");
    install(&sbom, &documents.join("sbom.cdx.json"), 0o644)?;
    let root = workspace::root();
    for name in ["README.md", "LICENSE-MIT", "LICENSE-APACHE"] {
        install(&root.join(name), &documents.join(name), 0o644)?;
    }
    completions(program, &tree.join("usr/share"))?;
    manual(program, &tree.join("usr/share/man/man1"))?;
    let tar = archive(&tree, output)?;

    // The rest is for packages alone.
    let systemd = root.join("packaging/systemd");
    for (from, to) in [
        (
            "hpcc-rootfs-gc.service",
            "systemd/system/hpcc-rootfs-gc.service",
        ),
        (
            "hpcc-rootfs-gc.timer",
            "systemd/system/hpcc-rootfs-gc.timer",
        ),
        ("sysusers.conf", "sysusers.d/hpcc-rootfs.conf"),
        ("tmpfiles.conf", "tmpfiles.d/hpcc-rootfs.conf"),
    ] {
        install(&systemd.join(from), &tree.join("usr/lib").join(to), 0o644)?;
    }
    let package = deb::package(&tree, output, compression)?;
    Ok(Made {
        package,
        tar,
        sbom,
        tree,
    })
}

/// Copies a file with a mode, and makes the directories above it.
fn install(from: &Path, to: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let failed = || format!("cannot copy {} to {}", from.display(), to.display());
    if let Some(directory) = to.parent() {
        fs::create_dir_all(directory).with_context(failed)?;
    }
    fs::copy(from, to).with_context(failed)?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).with_context(failed)
}

/// Has the program write what shells need to complete its command line.
fn completions(program: &Path, share: &Path) -> Result<()> {
    for (shell, path) in SHELLS {
        let script = command::output(Command::new(program).args(["completions", shell]))?;
        ensure!(
            script.contains("hpcc-rootfs"),
            "the completions for {shell} do not name the program"
        );
        let path = share.join(path);
        fs::create_dir_all(path.parent().unwrap_or(share))?;
        fs::write(&path, script)?;
    }
    Ok(())
}

/// Has the program write its manual pages, and compresses them.
fn manual(program: &Path, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)?;
    command::output(Command::new(program).arg("man").arg(directory))?;
    let mut pages = Vec::new();
    for entry in fs::read_dir(directory)? {
        pages.push(entry?.path());
    }
    ensure!(!pages.is_empty(), "the program wrote no manual page");
    command::output(
        Command::new("gzip")
            .args(["--best", "--no-name"])
            .args(&pages),
    )
    .map(drop)
}

/// Gives everything in a tree the mode that it has when it is installed, because the umask took bits from what tools
/// wrote.
fn set_modes(tree: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let permissions = fs::symlink_metadata(tree)?.permissions();
    let is_program = tree.is_dir() || permissions.mode() & 0o100 != 0;
    let mode = if is_program { 0o755 } else { 0o644 };
    fs::set_permissions(tree, fs::Permissions::from_mode(mode))?;
    if tree.is_dir() {
        for entry in fs::read_dir(tree)? {
            set_modes(&entry?.path())?;
        }
    }
    Ok(())
}

/// Packs the tree into a tar file whose bytes depend on nothing but the files.
fn archive(tree: &Path, output: &Path) -> Result<PathBuf> {
    set_modes(tree)?;
    let host = workspace::host()?;
    let path = output.join(format!("hpcc-rootfs-{VERSION}-{host}.tar.gz"));
    let mut tar = Command::new("tar");
    tar.args([
        "--create",
        "--sort=name",
        "--mtime=@0",
        "--owner=0",
        "--group=0",
    ])
    .args(["--numeric-owner", "--use-compress-program=gzip --no-name"])
    .arg("--file")
    .arg(&path)
    .arg("--directory")
    .arg(tree)
    .arg("usr");
    command::output(&mut tar)?;
    Ok(path)
}
