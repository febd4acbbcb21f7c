//! `hpcc-rootfs vm-config`: a machine that boots an artifact, in the form that its monitor reads.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{ArgGroup, Args as ClapArgs};
use hpcc_rootfs::{BootError, check_kernel_line};
use ociget::printable;
use serde_json::{Value, json};

use crate::boot_args::Root;
use crate::failure::UsageError;
use crate::global::Global;
use crate::quantity::{size, whole};
use crate::subject::Subject;
use crate::{render, subject};

#[derive(Debug, ClapArgs)]
#[command(
    group = ArgGroup::new("monitor").required(true),
    after_help = "Examples:
  hpcc-rootfs vm-config debian:12 --firecracker --kernel ./vmlinux > vm.json
  hpcc-rootfs vm-config debian:12 --qemu --kernel ./vmlinuz --memory 1G"
)]
pub(crate) struct VmConfig {
    /// The artifact, by digest, prefix of a digest, reference or path
    #[arg(value_name = "NAME")]
    subject: Subject,
    /// Print the JSON that `firecracker --config-file` reads
    #[arg(long, group = "monitor")]
    firecracker: bool,
    /// Print the command of a QEMU microvm
    #[arg(long, group = "monitor")]
    qemu: bool,
    /// Guest kernel, by the path at which the monitor opens it
    #[arg(long, value_name = "FILE")]
    kernel: PathBuf,
    /// Guest initramfs, by the path at which the monitor opens it
    #[arg(long, value_name = "FILE")]
    initrd: Option<PathBuf>,
    /// Path at which the monitor opens the artifact, such as its path in a jail [default: its path here]
    #[arg(long, value_name = "FILE")]
    drive_path: Option<PathBuf>,
    /// Number of vCPUs
    #[arg(long, value_name = "N", default_value = "1", value_parser = whole::<u8>("a number of vCPUs", 1..=32, 2))]
    vcpus: u8,
    /// Memory of the guest in whole MiB
    #[arg(long, value_name = "SIZE", default_value = "512M", value_parser = mebibytes)]
    memory: u64,
    /// Context ID of a vsock device, from 3 on; Firecracker needs the path of its socket as well
    #[arg(long, value_name = "CID[:PATH]", value_parser = vsock)]
    vsock: Option<Vsock>,
    #[command(flatten)]
    root: Root,
    /// Kernel options to put before those for the root [default: a serial console, and a machine that stops
    /// when its kernel panics]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    append: Option<String>,
}

/// A vsock device.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Vsock {
    cid: u32,
    socket: Option<String>,
}

pub(crate) fn run(global: &Global, command: &VmConfig) -> anyhow::Result<()> {
    let (path, _, record) = subject::open(global, &command.subject)?;
    let drive = command.drive_path.as_deref().unwrap_or(&path);
    let is_arm = is_arm(&record.key.platform)?;
    let append = command.append.as_deref();
    let append = append.unwrap_or_else(|| default_append(command.qemu, is_arm));
    let line = command.root.line(&record, append)?;
    fits(&line)?;
    if command.firecracker {
        let config = command.firecracker(drive, &line)?;
        return render::pretty(&config);
    }
    let words = command.qemu(drive, &line, is_arm)?;
    let quoted: Vec<_> = words.iter().map(|word| quoted(word)).collect();
    render::print(global, &json!(words), &[quoted.join(" ")])
}

/// Returns whether the machine is one for arm64, not for x86-64.
fn is_arm(platform: &str) -> anyhow::Result<bool> {
    match platform.split('/').nth(1) {
        Some("amd64" | "386") => Ok(false),
        Some("arm64") => Ok(true),
        _ => anyhow::bail!(
            "cannot describe a machine for {platform}: vm-config knows machines for linux/amd64, linux/386 and \
             linux/arm64; `boot-args` prints the kernel line alone"
        ),
    }
}

/// Refuses a line that the kernel would not accept whole, with the words that a monitor adds to it.
///
/// Both monitors add one word per device, such as `virtio_mmio.device=4K@0xd0000000:5`, and Firecracker others.
fn fits(line: &str) -> anyhow::Result<()> {
    const ADDED: usize = 256;
    let longest = format!("{line} {:x>1$}", ".", ADDED - 1);
    check_kernel_line(&longest).map_err(|error| {
        let added = match error {
            BootError::TooLong { .. } => {
                format!(" ({ADDED} of the bytes are kept for words that the monitor adds)")
            }
            _ => String::new(),
        };
        UsageError(format!("{error}{added}")).into()
    })
}

impl VmConfig {
    /// Returns the members that Firecracker's API calls by the same names.
    ///
    /// The drive is no root device in Firecracker's sense: with one, it would add a `root=` of its own to the kernel
    /// line, which names a root already.
    fn firecracker(&self, drive: &Path, line: &str) -> anyhow::Result<Value> {
        let mut config = json!({
            "boot-source": {
                "kernel_image_path": text(&self.kernel)?,
                "boot_args": line,
            },
            "drives": [{
                "drive_id": "root",
                "path_on_host": text(drive)?,
                "is_root_device": false,
                "is_read_only": true,
            }],
            "machine-config": {
                "vcpu_count": self.vcpus,
                "mem_size_mib": self.memory,
            },
        });
        if let Some(initrd) = &self.initrd {
            config["boot-source"]["initrd_path"] = text(initrd)?.into();
        }
        if let Some(Vsock { cid, socket }) = &self.vsock {
            let socket = socket.as_deref().ok_or_else(|| {
                UsageError(format!(
                    "--vsock {cid} has no socket, and Firecracker needs one: give --vsock {cid}:PATH"
                ))
            })?;
            config["vsock"] = json!({ "guest_cid": cid, "uds_path": socket });
        }
        Ok(config)
    }

    fn qemu(&self, drive: &Path, line: &str, is_arm: bool) -> anyhow::Result<Vec<String>> {
        let (program, machine) = match is_arm {
            true => ("qemu-system-aarch64", "virt"),
            false => ("qemu-system-x86_64", "microvm"),
        };
        let mut words: Vec<String> = [
            program,
            "-M",
            machine,
            "-accel",
            "kvm",
            "-cpu",
            "host",
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
            "-serial",
            "stdio",
        ]
        .map(str::to_owned)
        .into();
        let mut option = |name: &str, value: String| words.extend([name.to_owned(), value]);
        option("-smp", self.vcpus.to_string());
        option("-m", format!("{}M", self.memory));
        option("-kernel", text(&self.kernel)?.to_owned());
        if let Some(initrd) = &self.initrd {
            option("-initrd", text(initrd)?.to_owned());
        }
        option("-append", line.to_owned());
        // A value of QEMU's ends at a comma, and two of them mean one.
        let file = file_name(text(drive)?).replace(',', ",,");
        option(
            "-drive",
            format!("if=none,id=root,format=raw,readonly=on,file={file}"),
        );
        option("-device", "virtio-blk-device,drive=root".to_owned());
        match &self.vsock {
            Some(Vsock {
                socket: Some(socket),
                ..
            }) => {
                return Err(UsageError(format!(
                    "--vsock names the socket {socket:?}, and QEMU has none: give the number alone"
                ))
                .into());
            }
            Some(Vsock { cid, socket: None }) => {
                option("-device", format!("vhost-vsock-device,guest-cid={cid}"));
            }
            None => {}
        }
        Ok(words)
    }
}

/// Returns the options that give a machine a console and end it when its kernel panics.
///
/// Firecracker ends at a reset by the keyboard controller. QEMU's microvm has none, and with `-no-reboot` ends at a
/// triple fault.
fn default_append(is_qemu: bool, is_arm: bool) -> &'static str {
    match (is_qemu, is_arm) {
        (false, _) => "console=ttyS0 reboot=k panic=1",
        (true, false) => "console=ttyS0 reboot=t panic=-1",
        (true, true) => "console=ttyAMA0 panic=-1",
    }
}

/// Returns a path as QEMU opens a file: text before a colon in its first component would be a protocol, such as `nbd:`.
fn file_name(path: &str) -> String {
    let first = path.split('/').next().unwrap_or_default();
    match first.contains(':') {
        true => format!("./{path}"),
        false => path.to_owned(),
    }
}

/// Returns a path as text, which JSON and a shell can hold.
fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str()
        .with_context(|| format!("the path {} is not UTF-8", crate::output::path(path)))
}

/// Returns a word as a POSIX shell reads it.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=:,@%+".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    if word.chars().all(printable::is_printable) {
        return format!("'{}'", word.replace('\'', r"'\''"));
    }
    // Bytes for a shell with `$'…'`, because the word has characters that must not reach a terminal.
    let bytes = word.bytes().map(|byte| match byte {
        b'\'' | b'\\' => format!("\\{}", char::from(byte)),
        b' '..=b'~' => char::from(byte).to_string(),
        _ => format!("\\{byte:03o}"),
    });
    format!("$'{}'", bytes.collect::<String>())
}

fn mebibytes(text: &str) -> Result<u64, String> {
    const MEBIBYTE: u64 = 1 << 20;
    match size(text)? {
        bytes if bytes > 0 && bytes.is_multiple_of(MEBIBYTE) => Ok(bytes / MEBIBYTE),
        _ => Err("expected a size of whole MiB, at least 1M, such as 512M".to_owned()),
    }
}

/// Bytes of a socket's path: 107 in Linux (`sun_path`), less an underscore and the digits of the largest port.
const SOCKET_MAX: usize = 107 - 11;

fn vsock(text: &str) -> Result<Vsock, String> {
    let (cid, socket) = match text.split_once(':') {
        Some((cid, socket)) => (cid, Some(socket.to_owned())),
        None => (text, None),
    };
    if let Some(socket) = &socket
        && socket.len() > SOCKET_MAX
    {
        return Err(format!(
            "the path of the socket has {} bytes, expected at most {SOCKET_MAX}: the path of a socket has at most 107, and \
             Firecracker adds _PORT to it; name a shorter one, such as one relative to Firecracker's directory",
            socket.len()
        ));
    }
    // 0 to 2 are the hypervisor, the machine itself and the host; all ones stand for any.
    let cid = cid.parse().ok().filter(|cid| (3..u32::MAX).contains(cid));
    match (cid, socket) {
        (Some(cid), socket) if socket.as_deref() != Some("") => Ok(Vsock { cid, socket }),
        _ => Err(
            "expected a number from 3 to 4294967294, with :PATH after it for Firecracker, such as 3:./v.sock".into(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        for (word, expected) in [
            ("-M", "-M"),
            ("a b", "'a b'"),
            ("", "''"),
            ("it's", r"'it'\''s'"),
            ("$HOME", "'$HOME'"),
            ("file=/x,y", "file=/x,y"),
            ("gr\u{f6}\u{df}e", "'gr\u{f6}\u{df}e'"),
            ("a'\\\t\u{202e}", r"$'a\'\\\011\342\200\256'"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }

    #[test]
    fn drive_is_a_file_and_no_protocol_of_qemu() {
        for (path, expected) in [
            ("/a:b/c", "/a:b/c"),
            ("a/b:c", "a/b:c"),
            ("nbd:host:1", "./nbd:host:1"),
            ("fat:rw:/etc", "./fat:rw:/etc"),
            ("json:{}", "./json:{}"),
        ] {
            assert_eq!(file_name(path), expected);
        }
    }

    #[test]
    fn machine_is_known_for_x86_and_arm_alone() {
        for (platform, expected) in [
            ("linux/amd64", Some(false)),
            ("linux/386", Some(false)),
            ("linux/arm64/v8", Some(true)),
            ("linux/arm/v7", None),
            ("linux/riscv64", None),
            ("linux/s390x", None),
        ] {
            assert_eq!(is_arm(platform).ok(), expected, "{platform}");
        }
    }

    #[test]
    fn vsock_needs_a_guest_number() {
        let socket = Some("/run/v.sock".to_owned());
        assert_eq!(
            vsock("3"),
            Ok(Vsock {
                cid: 3,
                socket: None
            })
        );
        assert_eq!(vsock("52:/run/v.sock"), Ok(Vsock { cid: 52, socket }));
        for text in ["2", "4294967295", "-1", "x", "", "3:"] {
            assert!(vsock(text).is_err(), "{text}");
        }
    }

    #[test]
    fn socket_is_short_enough_for_the_names_of_its_ports() {
        // firecracker-go-sdk#217
        let path = |length: usize| format!("3:/{}", "x".repeat(length - 1));
        assert!(vsock(&path(96)).is_ok());
        let error = vsock(&path(97)).unwrap_err();
        assert!(
            error.contains("has 97 bytes, expected at most 96"),
            "{error}"
        );
    }

    #[test]
    fn memory_is_whole_mebibytes() {
        assert_eq!(mebibytes("1G"), Ok(1024));
        for text in ["0", "512K", "1048577", "much"] {
            assert!(mebibytes(text).is_err(), "{text}");
        }
    }
}
