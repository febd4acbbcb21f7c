//! What the kernel runs before there is a root: modules, and a program that loads them and mounts it.
//!
//! An initramfs is a cpio archive in the format "newc" (the kernel's `driver-api/early-userspace/buffer-format.rst`):
//! for each file a header of a magic and 13 numbers of 8 hexadecimal digits, the name with a zero byte after it, and the
//! content, the last two padded to 4 bytes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::kernel::Kernel;
use crate::{command, modules, packages};

/// The modules between a disk and a root: the transport, the disk, the file system.
const MODULES: [&str; 3] = ["virtio_mmio", "virtio_blk", "squashfs"];

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const CONSOLE: u32 = 0o020_600;

/// The modules of a root that is sealed.
const VERITY: [&str; 1] = ["dm_verity"];

/// Additions to the parts of an initramfs that every root needs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extras<'a> {
    /// Modules.
    pub modules: &'a [&'a str],
    /// Whether the root is sealed, so that its device has to be made by `dmsetup`.
    pub sealed: bool,
}

/// Returns the archive for `kernel`, with the program `init` in it.
///
/// # Errors
///
/// A program or a module cannot be read.
pub fn build(kernel: &Kernel, init: &Path, extras: Extras<'_>) -> Result<Vec<u8>> {
    let init = std::fs::read(init).with_context(|| format!("cannot read {}", init.display()))?;
    let mut archive = Archive::default();
    for directory in ["dev", "proc", "newroot", "modules"] {
        archive.add(directory, DIRECTORY, (0, 0), &[])?;
    }
    // The kernel opens it as the standard streams of PID 1, before anything is mounted.
    archive.add("dev/console", CONSOLE, (5, 1), &[])?;
    archive.add("init", PROGRAM, (0, 0), &init)?;
    let sealed: &[_] = if extras.sealed { &VERITY } else { &[] };
    let names = [&MODULES, extras.modules, sealed].concat();
    for (number, module) in modules::in_order(&kernel.modules, &names)?
        .into_iter()
        .enumerate()
    {
        // The number is the order in which they are loaded.
        archive.add(
            &format!("modules/{number:02}-{}.ko", module.name),
            PROGRAM,
            (0, 0),
            &module.content,
        )?;
    }
    if extras.sealed {
        archive.add_program("dmsetup")?;
    }
    archive.finish()
}

#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    inodes: u32,
    directories: BTreeSet<PathBuf>,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) -> Result<()> {
        self.inodes += 1;
        let size = u32::try_from(content.len())
            .with_context(|| format!("{name} is too large for an initramfs"))?;
        let name_size = u32::try_from(name.len() + 1)?;
        let (inode, owner, links, time, host, check) = (self.inodes, 0, 1, 0, 0, 0);
        let (major, minor) = device;
        let fields = [
            inode, mode, owner, owner, links, time, size, host, host, major, minor, name_size,
            check,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
        Ok(())
    }

    /// Adds a program of this machine as `/sbin/NAME`, with the libraries that it is linked to.
    fn add_program(&mut self, name: &str) -> Result<()> {
        let program = packages::find(name)
            .with_context(|| format!("cannot find {name} (`cargo xtask packages`)"))?;
        let libraries = command::output(Command::new("ldd").arg(&program))?;
        let target = PathBuf::from(format!("/sbin/{name}"));
        let mut files = vec![(program, target)];
        for word in libraries.split_whitespace() {
            if word.starts_with('/') {
                files.push((word.into(), word.into()));
            }
        }
        for (file, target) in files {
            let content =
                std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let target = target.strip_prefix("/").unwrap_or(&target);
            let mut parents: Vec<_> = target.ancestors().skip(1).collect();
            parents.reverse();
            for parent in parents {
                if !parent.as_os_str().is_empty() && self.directories.insert(parent.to_owned()) {
                    self.add(&parent.display().to_string(), DIRECTORY, (0, 0), &[])?;
                }
            }
            self.add(&target.display().to_string(), PROGRAM, (0, 0), &content)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<u8>> {
        self.add("TRAILER!!!", 0, (0, 0), &[])?;
        Ok(self.bytes)
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn cpio_reads_the_archive() {
        let mut archive = Archive::default();
        archive.add("dev", DIRECTORY, (0, 0), &[]).unwrap();
        archive.add("dev/console", CONSOLE, (5, 1), &[]).unwrap();
        archive.add("init", PROGRAM, (0, 0), b"12345").unwrap();
        let bytes = archive.finish().unwrap();

        let mut command = Command::new("cpio");
        command.args(["--list", "--verbose", "--numeric-uid-gid", "--quiet"]);
        let mut cpio = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        cpio.stdin.take().unwrap().write_all(&bytes).unwrap();
        let output = String::from_utf8(cpio.wait_with_output().unwrap().stdout).unwrap();
        let words: Vec<Vec<&str>> = output
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(words.len(), 3, "{output}");
        assert_eq!((words[0][0], words[0][8]), ("drwxr-xr-x", "dev"));
        assert_eq!(
            (words[1][0], words[1][4], words[1][5]),
            ("crw-------", "5,", "1")
        );
        assert_eq!(
            (words[2][0], words[2][4], words[2][8]),
            ("-rwxr-xr-x", "5", "init")
        );
    }
}
