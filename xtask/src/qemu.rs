//! A microVM that always ends.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write, pipe};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::console::Console;

/// Where the kernel logs to, and that it ends the machine when it panics.
///
/// A restart by ACPI sometimes spins without an end when the kernel panics on a busy host. A triple fault does not.
pub(crate) const CONSOLE: &str = "console=ttyS0 reboot=t panic=-1";

/// Means by which the guest's instructions are executed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Accel {
    /// QEMU itself. Slower, and the same everywhere.
    #[default]
    Tcg,
    /// The host's processor, by `/dev/kvm`.
    Kvm,
}

impl Accel {
    /// Returns the kernel options that this way of executing a guest needs.
    ///
    /// A kernel without a clock of its host measures its own against another, some milliseconds long. On a busy host
    /// that fails under emulation, and then this machine, which has no other timer, never leaves its first second. A
    /// rough value is as good: all that depends on it is how long the guest's seconds are.
    pub fn kernel_options(self) -> &'static str {
        match self {
            Self::Tcg => " tsc_early_khz=2600000",
            Self::Kvm => "",
        }
    }
}

/// Parts of a machine.
#[derive(Debug)]
pub struct Machine<'a> {
    /// The kernel's image.
    pub kernel: &'a Path,
    /// File system whose `/init` the kernel runs first.
    pub initramfs: &'a [u8],
    /// The kernel's command line.
    pub command_line: &'a str,
    /// The disk `/dev/vda`, which the guest cannot write to.
    pub root: &'a Path,
    /// The disk `/dev/vdb`, which the guest can write to.
    pub second: Option<&'a File>,
    /// The disks after it, `/dev/vdc` and so on, which the guest cannot write to.
    pub disks: &'a [&'a File],
    /// Whether the console is shown while the machine runs.
    pub show: bool,
    /// Means by which it is executed.
    pub accel: Accel,
    /// Longest time that it may run.
    pub timeout: Duration,
}

/// Results of a machine that ended.
#[derive(Debug)]
pub struct Run {
    /// Output of the guest and QEMU on the console. The middle of more than 5 MiB is left out.
    pub log: String,
    /// The machine was killed because its time was up.
    pub timed_out: bool,
    /// Time that it ran.
    pub took: Duration,
}

impl Machine<'_> {
    /// Runs the machine until it switches itself off, or its time is up.
    ///
    /// No file with a name is made, and QEMU is killed when this process ends in any way, so nothing is left behind.
    ///
    /// # Errors
    ///
    /// QEMU cannot be started. What happens inside is for the caller to judge.
    pub fn run(&self) -> Result<Run> {
        let mut initramfs =
            tempfile::tempfile().context("cannot make a temporary file for the initramfs")?;
        initramfs
            .write_all(self.initramfs)
            .context("cannot write the initramfs to a temporary file")?;

        let (mut console, writer) = pipe()?;
        let mut command = self.command(&initramfs);
        command
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer);
        let start = Instant::now();
        let child = command
            .spawn()
            .context("cannot run setpriv and qemu-system-x86_64 (`cargo xtask packages`)")?;
        // The command holds the pipe's writing end; while it does, the pipe has no end.
        drop(command);
        let mut guest = Killed(child);
        let show = self.show;
        let log = thread::spawn(move || {
            let mut log = Console::default();
            let mut buffer = [0; 4096];
            // What was read before a failure is still a log.
            while let Ok(length @ 1..) = console.read(&mut buffer) {
                let bytes = buffer.get(..length).unwrap_or_default();
                log.push(bytes);
                if show {
                    let mut terminal = std::io::stdout();
                    // A closed terminal means that the user does not want to see more.
                    let _ = terminal.write_all(bytes).and_then(|()| terminal.flush());
                }
            }
            log
        });
        let timed_out = loop {
            if guest.0.try_wait()?.is_some() {
                break false;
            }
            if start.elapsed() >= self.timeout {
                break true;
            }
            thread::sleep(Duration::from_millis(10));
        };
        drop(guest);
        let log = log.join().unwrap_or_default().into_text();
        Ok(Run {
            log,
            timed_out,
            took: start.elapsed(),
        })
    }

    fn command(&self, initramfs: &File) -> Command {
        // `Drop` does not run when this process is killed. The kernel keeps the promise then.
        let mut command = Command::new("setpriv");
        command.args([
            "--pdeathsig",
            "KILL",
            "qemu-system-x86_64",
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
        ]);
        command.args(["-display", "none", "-m", "512M", "-smp", "1"]);
        // Devices are found through ACPI, as in any other machine, so the command line has only the caller's words.
        command.args([
            "-M",
            "microvm,acpi=on,isa-serial=on,auto-kernel-cmdline=off",
        ]);
        command.args(match self.accel {
            Accel::Tcg => ["-accel", "tcg", "-cpu", "max"],
            Accel::Kvm => ["-accel", "kvm", "-cpu", "host"],
        });
        command.args([
            "-chardev",
            "stdio,id=console,signal=off",
            "-serial",
            "chardev:console",
        ]);
        command
            .arg("-kernel")
            .arg(self.kernel)
            .args(["-append", self.command_line]);
        command.arg("-initrd").arg(path_of(initramfs));
        command
            .arg("-drive")
            .arg(drive("root", "on", self.root.as_os_str().to_owned()));
        command.args(["-device", "virtio-blk-device,drive=root"]);
        if let Some(second) = self.second {
            command
                .arg("-drive")
                .arg(drive("second", "off", path_of(second)));
            command.args(["-device", "virtio-blk-device,drive=second"]);
        }
        // QEMU gives the first transport to the first device, so the kernel names them in this order.
        for (number, disk) in self.disks.iter().enumerate() {
            let id = format!("disk{number}");
            command
                .arg("-drive")
                .arg(drive(&id, "on", path_of(disk)))
                .arg("-device")
                .arg(format!("virtio-blk-device,drive={id}"));
        }
        command
    }
}

/// Makes a disk of `size` bytes, all of them zero, in a file without a name.
///
/// # Errors
///
/// Returns an error if there is no room for temporary files.
pub fn empty_disk(size: u64) -> Result<File> {
    let disk = tempfile::tempfile().context("cannot make a temporary file for a disk")?;
    disk.set_len(size)
        .context("cannot make a temporary file for a disk")?;
    Ok(disk)
}

/// Returns a path by which a child can open a file that has no name.
fn path_of(file: &File) -> OsString {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()).into()
}

fn drive(id: &str, readonly: &str, file: OsString) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut option = format!("if=none,id={id},format=raw,readonly={readonly},file=").into_bytes();
    // QEMU takes text before a colon in the first component for a protocol.
    let first = file.as_bytes().split(|byte| *byte == b'/').next();
    if first.is_some_and(|first| first.contains(&b':')) {
        option.extend(b"./");
    }
    for &byte in file.as_bytes() {
        option.push(byte);
        // QEMU ends a value at a comma and takes two of them for one.
        if byte == b',' {
            option.push(b',');
        }
    }
    OsString::from_vec(option)
}

/// A child that does not outlive this value.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_paths_are_doubled() {
        assert_eq!(
            drive("a", "on", "/x,y".into()),
            "if=none,id=a,format=raw,readonly=on,file=/x,,y"
        );
    }

    #[test]
    fn colon_in_a_path_begins_no_protocol() {
        let path = drive("a", "on", "nbd:x/y".into());
        assert_eq!(path, "if=none,id=a,format=raw,readonly=on,file=./nbd:x/y");
    }

    #[test]
    fn a_child_does_not_outlive_its_guard() {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let process = format!("/proc/{}", child.id());
        assert!(Path::new(&process).exists());
        drop(Killed(child));
        assert!(!Path::new(&process).exists());
    }
}
