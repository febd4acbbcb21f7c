//! `hpcc-rootfs inspect --requires`: what a kernel needs to boot an artifact.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args as ClapArgs;
use hpcc_rootfs::{Count, KernelConfig, Record, Setting, kernel_requirements};
use rustix::fs::{FileType, Mode, OFlags, RawMode};
use serde_json::json;

use crate::global::Global;
use crate::{output, render};

/// Columns of the state and of the name in a line.
const STATE: usize = 9;
const NAME: usize = 27;

/// Magic number of the kernel's file system of pipes without a name (`linux/magic.h`).
const PIPES: i128 = 0x5049_5045;

#[derive(Debug, ClapArgs)]
pub(crate) struct Requires {
    /// List the kernel options that the artifact needs to boot, each with the reason
    #[arg(long, conflicts_with = "tree")]
    pub(crate) requires: bool,
    /// Kernel configuration to compare these options with, such as /proc/config.gz; exit 1 if one is missing
    #[arg(long, value_name = "FILE", requires = "requires")]
    kernel_config: Option<PathBuf>,
    /// Assume an initramfs that loads modules and sets up the dm-verity device
    #[arg(long, requires = "requires")]
    initramfs: bool,
}

pub(crate) fn run(
    global: &Global,
    command: &Requires,
    path: &Path,
    file: &File,
    record: &Record,
) -> anyhow::Result<()> {
    let needs = kernel_requirements(record, file, command.initramfs)
        .with_context(|| format!("cannot read {}", output::path(path)))?;
    let config = command.kernel_config.as_deref().map(read).transpose()?;
    let (mut lines, mut values) = (Vec::new(), Vec::new());
    let (mut missing, mut unknown) = (Vec::new(), Vec::new());
    for need in &needs {
        let names: Vec<_> = need.options.iter().map(|n| format!("CONFIG_{n}")).collect();
        let names = names.join(" or ");
        let mut value = json!({ "options": need.options, "why": need.why });
        let mut line = format!("{names:<26} {}", need.why);
        if let Some(version) = need.since {
            line = format!("{line}, as of Linux {version}");
            value["since"] = version.to_string().into();
        }
        if let Some(config) = &config {
            let (option, setting, met) = need.compare(config);
            value["found"] = json!({ "option": option, "setting": setting.to_string() });
            value["met"] = met.into();
            line = match met {
                true => format!("ok       {line}"),
                false => match (setting, need.since, config.version()) {
                    // The option is there, so the version is at fault.
                    (Setting::BuiltIn, Some(_), Some(version)) => {
                        format!("missing  {line}; found Linux {version}")
                    }
                    (Setting::Unknown, ..) => format!("unknown  {line}"),
                    _ => format!("missing  {line}; found {setting}"),
                },
            };
            match setting {
                _ if met => {}
                Setting::Unknown => unknown.push(names),
                _ => missing.push(names),
            }
        }
        lines.push(line);
        values.push(value);
    }
    let value = json!({ "path": output::path(path), "requires": values });
    let indent = match config {
        Some(_) => STATE + NAME,
        None => NAME,
    };
    render::print_folded(global, &value, &lines, indent)?;
    if let (Some(path), false) = (&command.kernel_config, unknown.is_empty()) {
        bail!(
            "the kernel configuration {} does not tell {} of {} that the artifact needs: {}; it is a fragment, which leaves out \
             options at their default: complete it with `make olddefconfig`",
            output::path(path),
            unknown.len(),
            Count::of(needs.len(), "option"),
            unknown.join(", ")
        );
    }
    if missing.is_empty() {
        return Ok(());
    }
    let advice = match command.initramfs {
        true => "",
        false => {
            "; a module counts as missing, because the root is mounted before it could be loaded (--initramfs)"
        }
    };
    bail!(
        "the kernel lacks {} of {} that the artifact needs: {}{advice}",
        missing.len(),
        Count::of(needs.len(), "option"),
        missing.join(", ")
    );
}

fn read(path: &Path) -> anyhow::Result<KernelConfig> {
    let failed = || format!("cannot use the kernel configuration {}", output::path(path));
    let file = open(path).with_context(failed)?;
    KernelConfig::read(file).with_context(failed)
}

/// Opens a regular file, or a pipe without a name. Another process can hold a named one open and never write to it, and
/// opening some devices changes them.
fn open(path: &Path) -> io::Result<File> {
    check(path, rustix::fs::stat(path)?.st_mode)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    check(path, rustix::fs::fstat(&file)?.st_mode)?;
    // A shell's `<(…)` is a pipe whose writer may need time.
    rustix::fs::fcntl_setfl(&file, OFlags::empty())?;
    Ok(file.into())
}

fn check(path: &Path, mode: RawMode) -> io::Result<()> {
    let is_known = match FileType::from_raw_mode(mode) {
        FileType::RegularFile => true,
        // The type of the field is not the same on all architectures.
        FileType::Fifo => i128::from(rustix::fs::statfs(path)?.f_type) == PIPES,
        _ => false,
    };
    if is_known {
        return Ok(());
    }
    let message = "neither a regular file nor the pipe of a shell's <(...)";
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::{AsRawFd as _, OwnedFd};
    use std::os::unix::net::UnixListener;

    use super::*;

    fn refusal(path: &Path) -> String {
        format!("{:#}", read(path).unwrap_err())
    }

    #[test]
    fn only_files_and_nameless_pipes_are_kernel_configurations() {
        let dir = tempfile::tempdir().unwrap();
        let (fifo, socket) = (dir.path().join("fifo"), dir.path().join("socket"));
        let (mode, kind) = (Mode::RUSR | Mode::WUSR, FileType::Fifo);
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, mode, 0).unwrap();
        let _socket = UnixListener::bind(&socket).unwrap();
        for path in [&fifo, &socket, Path::new("/dev/zero"), dir.path()] {
            let error = refusal(path);
            assert!(error.contains("neither a regular file nor"), "{error}");
        }
        // A writer that never writes.
        let _writer = rustix::fs::open(&fifo, OFlags::RDWR, Mode::empty()).unwrap();
        assert!(refusal(&fifo).contains("neither a regular file nor"));
        let missing = refusal(&dir.path().join("missing"));
        assert!(missing.contains("No such file"), "{missing}");
    }

    #[test]
    fn pipe_of_a_shell_is_read_to_its_end() {
        let (reader, writer) = io::pipe().unwrap();
        let writer = std::thread::spawn(move || {
            let mut writer = writer;
            std::thread::sleep(std::time::Duration::from_millis(50));
            writer.write_all(b"CONFIG_SQUASHFS=y\n").unwrap();
        });
        let reader = OwnedFd::from(reader);
        let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
        read(Path::new(&path)).unwrap();
        writer.join().unwrap();
    }
}
