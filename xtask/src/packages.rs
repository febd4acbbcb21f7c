//! The programs that the tests call, and the Debian packages that hold them.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::command;

/// Each program with its package.
const PROGRAMS: [(&str, &str); 40] = [
    // Compiles libFuzzer.
    ("c++", "g++"),
    // Oracles for images: other writers and readers.
    ("mksquashfs", "squashfs-tools"),
    ("unsquashfs", "squashfs-tools"),
    ("sqfs2tar", "squashfs-tools-ng"),
    ("squashfuse", "squashfuse"),
    ("7z", "p7zip-full"),
    ("grub-fstest", "grub-common"),
    ("veritysetup", "cryptsetup-bin"),
    // And for documents.
    ("jsonschema", "python3-jsonschema"),
    ("yamllint", "yamllint"),
    // Shells that complete command lines.
    ("fish", "fish"),
    ("zsh", "zsh"),
    // Real images, and a real registry to pull them from.
    ("mmdebstrap", "mmdebstrap"),
    ("umoci", "umoci"),
    ("skopeo", "skopeo"),
    ("docker-registry", "docker-registry"),
    // Proxies between the client and that registry.
    ("tinyproxy", "tinyproxy"),
    ("squid", "squid"),
    ("nginx", "nginx"),
    ("setfattr", "attr"),
    ("setcap", "libcap2-bin"),
    ("htpasswd", "apache2-utils"),
    ("openssl", "openssl"),
    ("buildah", "buildah"),
    ("npm", "npm"),
    ("pip3", "python3-pip"),
    // Writers of the archives that the tar reader is held against.
    ("bsdtar", "libarchive-tools"),
    ("python3", "python3"),
    // The guest: a machine, and how its kernel is unpacked.
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("cpio", "cpio"),
    ("dpkg-deb", "dpkg"),
    ("xz", "xz-utils"),
    ("setpriv", "util-linux"),
    // The device of a sealed image, in the guest.
    ("dmsetup", "dmsetup"),
    // A drive that a guest writes to, and what it wrote.
    ("mkfs.ext4", "e2fsprogs"),
    ("debugfs", "e2fsprogs"),
    // Whether the test left the work tree as it was.
    ("git", "git"),
    // What our own process does, and the kernel's driver on the host.
    ("strace", "strace"),
    ("time", "time"),
    ("mount", "mount"),
];

/// Installs the packages of programs that are missing, or says which they are and how to install them.
///
/// # Errors
///
/// Programs are missing and this user cannot install packages, or installing them failed.
pub fn install() -> Result<()> {
    let names = PROGRAMS.map(|(program, _)| program);
    if install_these(&names)? {
        println!("every program that the tests call is there");
    }
    Ok(())
}

/// Does the same with the programs that a virtual machine needs.
///
/// # Errors
///
/// As [`install`].
pub fn install_for_guest() -> Result<()> {
    install_these(&GUEST).map(drop)
}

/// What boots an artifact: a machine, and how its kernel is unpacked.
const GUEST: [&str; 5] = ["qemu-system-x86_64", "setpriv", "dpkg-deb", "xz", "dmsetup"];

/// Returns whether nothing was missing.
fn install_these(programs: &[&str]) -> Result<bool> {
    let missing = missing(programs);
    let root = command::output(Command::new("id").arg("-u"))?.trim() == "0";
    let able = root && find("apt-get").is_some();
    if able && (!missing.is_empty() || !lists_are_there()) {
        // Also for the tests themselves: they download packages to make images and a guest of.
        command::output(&mut apt_get(&["update"]))?;
    }
    if missing.is_empty() {
        return Ok(true);
    }
    let mut packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    packages.dedup();
    let names = missing.iter().map(|(program, _)| *program);
    let names = names.collect::<Vec<_>>().join(", ");
    if !able {
        bail!(
            "missing programs: {names}\non Debian, install them with: sudo apt-get install --no-install-recommends {}",
            packages.join(" ")
        );
    }
    println!("installing {} for {names}", packages.join(" "));
    command::output(apt_get(&["install", "--yes", "--no-install-recommends"]).args(&packages))?;
    match self::missing(programs).first() {
        None => Ok(false),
        Some((program, package)) => {
            bail!("{package} is installed, and {program} is not in the PATH")
        }
    }
}

/// Returns whether apt knows of any package; a new machine's does not before its first update.
fn lists_are_there() -> bool {
    command::succeeds(Command::new("apt-cache").args(["show", "linux-image-cloud-amd64"]))
}

fn missing(programs: &[&str]) -> Vec<(&'static str, &'static str)> {
    PROGRAMS
        .into_iter()
        .filter(|(program, _)| programs.contains(program) && find(program).is_none())
        .collect()
}

/// Returns the program in the PATH, or where Debian keeps what root alone runs.
pub(crate) fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(|path| Path::new(path).into()));
    directories
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}

fn apt_get(arguments: &[&str]) -> Command {
    let mut apt_get = Command::new("apt-get");
    // At run level 1 Debian's packages install their services without starting them.
    apt_get
        .args(["--quiet"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("RUNLEVEL", "1");
    apt_get
}
