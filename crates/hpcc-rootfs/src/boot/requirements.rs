//! The options that a kernel needs for one artifact.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::kernel_config::{KernelConfig, KernelVersion, Setting};
use crate::artifact::Record;
use crate::tables::Tables;

/// Bytes of a squashfs superblock.
const SUPERBLOCK: usize = 96;
/// Path of the agent.
const AGENT: &[u8] = b"/.hpcc/agent";
/// The first kernel whose dm-verity knows the argument `panic_on_corruption` of the device table.
const PANIC_ON_CORRUPTION: KernelVersion = KernelVersion { major: 5, minor: 9 };
/// First bytes of a script.
const SCRIPT: &[u8] = b"#!";

/// A kernel option that an artifact needs to boot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KernelRequirement {
    /// Names without `CONFIG_`, of which one is enough. Usually there is only one.
    pub options: Vec<&'static str>,
    /// The reason, for people.
    pub why: String,
    /// Whether a module is enough.
    pub module: bool,
    /// The oldest kernel whose option does what the artifact needs, if the option is older than that.
    pub since: Option<KernelVersion>,
}

impl KernelRequirement {
    /// Returns the option that comes closest in this configuration, its setting, and whether that is enough. A kernel
    /// whose configuration names no version counts as new enough.
    #[must_use]
    pub fn compare(&self, config: &KernelConfig) -> (&'static str, Setting, bool) {
        let settings = self
            .options
            .iter()
            .map(|name| (*name, config.setting(name)));
        let is_new_enough = match (self.since, config.version()) {
            (Some(since), Some(version)) => version >= since,
            _ => true,
        };
        let closeness = |setting, met| match setting {
            _ if met => 4,
            Setting::BuiltIn => 3,
            Setting::Module => 2,
            Setting::Unknown => 1,
            Setting::Missing => 0,
        };
        let mut best = ("", Setting::Missing, false);
        for (name, setting) in settings {
            let met = match setting {
                Setting::BuiltIn => is_new_enough,
                Setting::Module => is_new_enough && self.module,
                Setting::Missing | Setting::Unknown => false,
            };
            if best.0.is_empty() || closeness(setting, met) > closeness(best.1, best.2) {
                best = (name, setting, met);
            }
        }
        best
    }
}

/// Returns the options that a kernel needs to mount an artifact as its root through a virtio block device and to run
/// PID 1, each with the reason.
///
/// The root is mounted before any file of it can be read, so a module counts as missing. With `initramfs`, modules are
/// enough, and the kernel need not create the dm-verity device, because the programs of the initramfs load modules and
/// set up the device first.
///
/// # Errors
/// Returns the error of the system if the artifact cannot be read, and one of kind
/// [`InvalidData`](io::ErrorKind::InvalidData) if the tables of its image cannot be read.
pub fn kernel_requirements(
    record: &Record,
    artifact: &File,
    initramfs: bool,
) -> io::Result<Vec<KernelRequirement>> {
    let mut superblock = [0; SUPERBLOCK];
    artifact.read_exact_at(&mut superblock, 0)?;
    let mut needs = Needs {
        list: Vec::new(),
        module: initramfs,
    };
    needs.option("VIRTIO_BLK", "the artifact is a virtio block device");
    // Firecracker and QEMU's microvm have no PCI, and Cloud Hypervisor has no MMIO.
    needs.one_of(
        &["VIRTIO_MMIO", "VIRTIO_PCI"],
        "the machine attaches devices by virtio-mmio or PCI, as its recipe says",
    );
    match record.key.platform.split('/').nth(1) {
        Some("amd64" | "386") => needs.one_of(
            &["ACPI", "VIRTIO_MMIO_CMDLINE_DEVICES", "VIRTIO_PCI"],
            "the machine describes devices by ACPI, on the kernel line or on its PCI bus",
        ),
        Some("arm64" | "arm" | "riscv64") => needs.one_of(
            &["OF", "ACPI"],
            "the machine describes devices by a device tree or ACPI",
        ),
        _ => {}
    }
    if let Some(options) = narrow(&record.key.platform) {
        needs.one_of(options, "the programs of this image are of 32 bits");
    }
    if initramfs {
        needs.option("BLK_DEV_INITRD", "the kernel unpacks an initramfs");
    }
    needs.option("SQUASHFS", "the root file system is squashfs");
    if let Some((option, codec)) = codec(&superblock) {
        let why = format!(
            "the superblock of this image names {codec}, and the kernel requires it to mount"
        );
        needs.option(option, &why);
    }
    if has_xattrs(&superblock) {
        needs.option(
            "SQUASHFS_XATTR",
            "files of this image have extended attributes",
        );
    }
    if record.verity.is_some() {
        needs.option(
            "MD",
            "this artifact is sealed, and dm-verity is in this menu",
        );
        needs.option("BLK_DEV_DM", "dm-verity is a target of the device mapper");
        needs.option("DM_VERITY", "the kernel checks each block of this artifact");
        needs.since(PANIC_ON_CORRUPTION);
        needs.option("CRYPTO_SHA256", "the hash tree is made of SHA-256");
        if !initramfs {
            needs.option("DM_INIT", "the kernel line describes the dm-verity device");
        }
    }
    if agent_is_script(record, artifact)? {
        needs.option("BINFMT_SCRIPT", "the agent of this artifact is a script");
    }
    for (option, why) in [
        ("BINFMT_ELF", "PID 1 is a program"),
        ("PROC_FS", "an agent mounts /proc"),
        ("SYSFS", "an agent mounts /sys"),
        ("DEVTMPFS", "an agent mounts /dev"),
        ("UNIX98_PTYS", "an agent mounts /dev/pts"),
        (
            "TMPFS",
            "the root is read-only, and an agent mounts /run and /tmp",
        ),
    ] {
        needs.option(option, why);
    }
    Ok(needs.list)
}

/// Returns whether PID 1 is a script, which the kernel runs by an interpreter.
fn agent_is_script(record: &Record, artifact: &File) -> io::Result<bool> {
    if record.key.agent.is_none() {
        return Ok(false);
    }
    let start = Tables::open(artifact).and_then(|mut tables| tables.start(AGENT, SCRIPT.len()));
    let start = start.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(start.is_some_and(|start| start == SCRIPT))
}

/// Returns the options of which a kernel needs one to execute programs of 32 bits: the one of a kernel of 64 bits, then
/// that of the architecture itself.
fn narrow(platform: &str) -> Option<&'static [&'static str]> {
    match platform.split('/').nth(1)? {
        "386" => Some(&["IA32_EMULATION", "X86_32"]),
        "arm" => Some(&["COMPAT", "ARM"]),
        _ => None,
    }
}

struct Needs {
    list: Vec<KernelRequirement>,
    module: bool,
}

impl Needs {
    fn option(&mut self, option: &'static str, why: &str) {
        self.one_of(&[option], why);
    }

    fn one_of(&mut self, options: &[&'static str], why: &str) {
        self.list.push(KernelRequirement {
            options: options.to_vec(),
            why: why.to_owned(),
            module: self.module,
            since: None,
        });
    }

    /// Requires a version for the option that was listed last.
    fn since(&mut self, version: KernelVersion) {
        if let Some(last) = self.list.last_mut() {
            last.since = Some(version);
        }
    }
}

/// Returns the kernel option for the codec of an image and the codec's name, by the number in the superblock. The
/// kernel requires the codec when it mounts, even if no block is compressed.
fn codec(superblock: &[u8; SUPERBLOCK]) -> Option<(&'static str, &'static str)> {
    let number = superblock.get(20..).and_then(<[u8]>::first_chunk);
    match number.map(|bytes| u16::from_le_bytes(*bytes))? {
        1 => Some(("SQUASHFS_ZLIB", "gzip")),
        3 => Some(("SQUASHFS_LZO", "lzo")),
        4 => Some(("SQUASHFS_XZ", "xz")),
        5 => Some(("SQUASHFS_LZ4", "lz4")),
        6 => Some(("SQUASHFS_ZSTD", "zstd")),
        _ => None,
    }
}

/// Returns whether the superblock names a table of extended attributes.
fn has_xattrs(superblock: &[u8; SUPERBLOCK]) -> bool {
    let table = superblock.get(56..).and_then(<[u8]>::first_chunk);
    table.is_some_and(|bytes| u64::from_le_bytes(*bytes) != u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(options: &[&'static str], module: bool, config: &str) -> (String, bool) {
        let requirement = KernelRequirement {
            options: options.to_vec(),
            why: String::new(),
            module,
            since: None,
        };
        let config = KernelConfig::read(config.as_bytes()).unwrap();
        let (name, setting, met) = requirement.compare(&config);
        (format!("{name}={setting}"), met)
    }

    #[test]
    fn module_counts_as_missing_unless_an_initramfs_loads_it() {
        let config = "CONFIG_A=m\n";
        assert_eq!(compared(&["A"], false, config), ("A=m".into(), false));
        assert_eq!(compared(&["A"], true, config), ("A=m".into(), true));
    }

    #[test]
    fn option_of_too_old_a_kernel_is_not_enough() {
        let requirement = KernelRequirement {
            options: vec!["A"],
            why: String::new(),
            module: false,
            since: Some(PANIC_ON_CORRUPTION),
        };
        for (version, met) in [
            ("5.8.18", false),
            ("5.9.0", true),
            ("5.10", true),
            ("", true),
        ] {
            let text = format!("# Linux/x86 {version} Kernel Configuration\nCONFIG_A=y\n");
            let config = KernelConfig::read(text.as_bytes()).unwrap();
            assert_eq!(requirement.compare(&config), ("A", Setting::BuiltIn, met));
        }
    }

    #[test]
    fn programs_of_32_bits_need_a_kernel_that_runs_them() {
        for (platform, first) in [
            ("linux/386", Some("IA32_EMULATION")),
            ("linux/arm/v7", Some("COMPAT")),
            ("linux/arm64", None),
            ("linux/amd64", None),
        ] {
            let found = narrow(platform).and_then(|options| options.first().copied());
            assert_eq!(found, first, "{platform}");
        }
    }

    #[test]
    fn one_of_several_options_is_enough() {
        for (config, found) in [
            ("CONFIG_A=y\n", ("A=y", true)),
            ("CONFIG_B=y\n", ("B=y", true)),
            ("CONFIG_A=m\nCONFIG_B=y\n", ("B=y", true)),
            ("CONFIG_B=m\n", ("B=m", false)),
            ("CONFIG_C=y\n", ("A=unknown", false)),
            ("CONFIG_HAVE_C=y\n", ("A=n", false)),
            ("# CONFIG_A is not set\n", ("B=unknown", false)),
        ] {
            let (name, met) = found;
            assert_eq!(compared(&["A", "B"], false, config), (name.into(), met));
        }
    }
}
