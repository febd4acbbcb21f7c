//! The guest side of `cargo xtask verify`.
//!
//! Three static programs run inside the microVM as PID 1:
//! - `hpcc-init` is `/init` of the initramfs. It loads the kernel modules, mounts the root that the kernel command line
//!   names, switches to it and runs the program that `init=` names.
//! - `hpcc-probe` is that program: the `/.hpcc/agent` of the image that is verified. It walks the whole root, mounts over
//!   it what an agent mounts ([`mounts`]), reads the images in the partitions of further disks ([`images`]), and writes a
//!   [`Report`] to the second disk.
//! - `hpcc-reader` is that program when reading is measured: it says on the console how long it took.
//!
//! A fourth, `hpcc-witness`, is the command of images whose agent is the example: it tells what such a command finds.
//!
//! The others end in [`power_off`], whatever happens: a guest that hangs costs the person who waits for it a time-out.

pub mod images;
pub mod mounts;
mod reading;
mod report;

pub use reading::Reading;
pub use report::{DamagedReport, Evidence, Report};

use std::convert::Infallible;
use std::fmt::Display;
use std::io::Write;

use rustix::io::Errno;
use rustix::system::{RebootCommand, reboot};

/// The evidence named `mounts` of a root that stood everything that [`mounts::try_all_orders`] did to it.
pub const MOUNTS_HELD: &str = "held in every order";

/// Runs `work` and switches the machine off, saying on the console why if `work` failed.
///
/// PID 1 must not return: the kernel panics when it does. And nothing but PID 1 may do any of this: started by mistake,
/// these programs would mount over the host's directories and switch it off.
///
/// # Errors
///
/// This is not PID 1, or the kernel refuses to switch off.
pub fn power_off(
    name: &str,
    work: impl FnOnce() -> Result<(), String>,
) -> rustix::io::Result<Infallible> {
    if std::process::id() != 1 {
        say(&format!("{name}: runs as PID 1 of a virtual machine only"));
        return Err(Errno::PERM);
    }
    if let Err(error) = work() {
        say(&format!("{name}: {error}"));
    }
    rustix::fs::sync();
    reboot(RebootCommand::PowerOff)?;
    Err(Errno::PERM)
}

/// Writes a line to the console. A failure cannot be reported anywhere.
pub fn say(line: &str) {
    let mut console = std::io::stderr();
    let _ = console
        .write_all(format!("{line}\n").as_bytes())
        .and_then(|()| console.flush());
}

/// Returns a function for `map_err` that prefixes an error with the step that failed.
pub fn while_doing<E: Display>(what: impl Display) -> impl FnOnce(E) -> String {
    move |error| format!("{what}: {error}")
}
