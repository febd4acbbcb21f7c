//! The kernel command line.

use super::error::BootError;
use super::limits::check_kernel_line;
use crate::artifact::Record;

/// The device that a device-mapper table on the kernel line makes.
const MAPPED: &str = "/dev/dm-0";

/// How a guest finds its root file system and its PID 1.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BootOptions {
    /// Name of the block device in the guest that holds the artifact. Default: `/dev/vda`, the first virtio
    /// block device.
    pub device: String,
    /// Absolute path of PID 1 in the image. Default: `/.hpcc/agent`.
    pub init: String,
}

impl BootOptions {
    const AGENT: &'static str = "/.hpcc/agent";
}

impl Default for BootOptions {
    fn default() -> Self {
        Self {
            device: "/dev/vda".to_owned(),
            init: Self::AGENT.to_owned(),
        }
    }
}

/// Returns the kernel command line that boots an artifact, without the options that do not concern the root
/// file system, such as a console.
///
/// A sealed artifact is mounted through a dm-verity device that the kernel makes by itself (`CONFIG_DM_INIT`). A
/// block that is not the one that was built is never returned: the kernel panics.
///
/// ```no_run
/// use hpcc_rootfs::{BootOptions, boot_args, read_record};
///
/// let record = read_record("/srv/debian.sqsh")?;
/// let line = boot_args(&record, &BootOptions::default())?;
/// assert!(line.ends_with("init=/.hpcc/agent") || record.verity.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`BootError`] if an option cannot stand on a kernel line, the line is too long, or there is no PID 1.
pub fn boot_args(record: &Record, options: &BootOptions) -> Result<String, BootError> {
    let BootOptions { device, init } = options;
    check("init", init)?;
    if record.key.agent.is_none() && init == BootOptions::AGENT {
        return Err(BootError::NoAgent);
    }
    let table = verity_table(record, device)?;
    let root = if table.is_some() { MAPPED } else { device };
    let line = format!("root={root} ro rootfstype=squashfs init={init}");
    let line = match table {
        Some(table) => format!("{line} dm-mod.create=\"root,,,ro,{table}\""),
        None => line,
    };
    check_kernel_line(&line)?;
    Ok(line)
}

/// Returns the device-mapper table of a sealed artifact on `device`, as `dmsetup create --table` takes it, or `None`
/// for an artifact without a hash tree.
///
/// # Errors
/// [`BootError::Value`] if `device` cannot stand in a table.
pub fn verity_table(record: &Record, device: &str) -> Result<Option<String>, BootError> {
    check("device", device)?;
    Ok(record.verity.as_ref().map(|verity| {
        format!(
            "0 {} verity 1 {device} {device} 4096 4096 {} {} sha256 {} {} 1 panic_on_corruption",
            verity.sectors(),
            verity.data_blocks,
            verity.hash_start(),
            verity.root(),
            verity.salt(),
        )
    }))
}

/// Refuses what would end a word of the kernel line, or a field of a table on it.
fn check(what: &'static str, value: &str) -> Result<(), BootError> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"',;\\".contains(&byte);
    if value.starts_with('/') && value.len() > 1 && value.bytes().all(plain) {
        return Ok(());
    }
    Err(BootError::Value {
        what,
        value: value.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use ociget::Digest;

    use super::*;
    use crate::artifact::{Digests, ImageOptions, Key};

    fn record(agent: bool) -> Record {
        let image = Digest::of(b"image");
        let digests = Digests {
            agent: agent.then(|| Digest::of(b"agent")),
            injected: Vec::new(),
        };
        let platform = "linux/amd64".into();
        let options = ImageOptions::default();
        let key = Key::new(image.clone(), image, platform, digests, &options);
        Record::new(key, 4096, &[0; 96], &[[0; 32]])
    }

    #[test]
    fn default_line_is_the_boot_contract() {
        let line = boot_args(&record(true), &BootOptions::default());
        assert_eq!(line.as_deref(), Ok(crate::BOOT_ARGS));
    }

    #[test]
    fn device_and_init_are_chosen_by_the_caller() {
        let options = BootOptions {
            device: "/dev/vdb".into(),
            init: "/sbin/init".into(),
        };
        let line = boot_args(&record(false), &options).unwrap();
        assert_eq!(line, "root=/dev/vdb ro rootfstype=squashfs init=/sbin/init");
        assert_eq!(verity_table(&record(false), "/dev/vdb"), Ok(None));
    }

    #[test]
    fn line_that_no_kernel_takes_whole_is_refused() {
        let options = BootOptions {
            init: format!("/{}", "x".repeat(2048)),
            ..BootOptions::default()
        };
        let line = boot_args(&record(true), &options);
        assert!(
            matches!(line, Err(BootError::TooLong { limit: 2047, .. })),
            "{line:?}"
        );
    }

    #[test]
    fn artifact_without_agent_needs_another_init() {
        let line = boot_args(&record(false), &BootOptions::default());
        assert_eq!(line, Err(BootError::NoAgent));
    }

    #[test]
    fn values_that_would_add_options_are_refused() {
        for value in [
            "",
            "/",
            "vda",
            "/dev/vda rw",
            "/dev/vda\"",
            "/dev/vda,ro",
            "/dev/vda;x",
            "/dev/vda\n",
            "/dev/vd\u{e4}",
            "/dev/\\040",
        ] {
            let device = BootOptions {
                device: value.into(),
                ..BootOptions::default()
            };
            let init = BootOptions {
                init: value.into(),
                ..BootOptions::default()
            };
            for (what, options) in [("device", device), ("init", init)] {
                let value = value.to_owned();
                let refused = Err(BootError::Value { what, value });
                assert_eq!(boot_args(&record(true), &options), refused);
            }
        }
    }
}
