//! Reading images back: through this machine's kernel, and through a guest's.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result};
use hpcc_probe::Reading;
use test_support::contract;
use test_support::oracle::Mount;

use crate::initramfs::Extras;
use crate::kernel::Kernel;
use crate::qemu::{Accel, CONSOLE, Machine};
use crate::{command, guest, initramfs, qemu};

/// Emulated, and some images are slow to read without that.
const PATIENCE: Duration = Duration::from_secs(1800);

/// Mounts an image and reads it. As root; the page cache of the machine is emptied.
pub(super) fn here(image: &Path) -> Result<Reading> {
    empty_caches()?;
    let start = Instant::now();
    let mount = Mount::squashfs(image)
        .map_err(Error::msg)?
        .context("mounting needs root")?;
    let mounting = start.elapsed();
    let mut reading = Reading::of(mount.root(), || {
        empty_caches().map_err(std::io::Error::other)
    })?;
    reading.walk += mounting;
    Ok(reading)
}

/// Boots an image, whose agent has to be the reader, under emulation: its times are to be compared
/// with each other and with nothing else.
pub(super) fn in_guest(image: &Path) -> Result<Reading> {
    let kernel = Kernel::get()?;
    let initramfs = initramfs::build(&kernel, &guest::build()?.init, Extras::default())?;
    let accel = Accel::Tcg;
    let machine = Machine {
        kernel: &kernel.image,
        initramfs: &initramfs,
        command_line: &format!("{} {CONSOLE}{}", contract::BOOT, accel.kernel_options()),
        root: image,
        second: Some(&qemu::empty_disk(1 << 20)?),
        disks: &[],
        show: false,
        accel,
        timeout: PATIENCE,
    };
    let run = machine.run()?;
    Reading::in_log(&run.log)
        .with_context(|| format!("the guest did not read it all:\n{}", run.log))
}

/// As root.
pub(super) fn empty_caches() -> Result<()> {
    command::output(&mut Command::new("sync"))?;
    fs::write("/proc/sys/vm/drop_caches", "3").context("cannot empty the page cache")
}
