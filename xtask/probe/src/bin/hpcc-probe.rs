//! `/.hpcc/agent` of an image that is verified: reports the root it runs in on the disk `/dev/vdb`.

use std::convert::Infallible;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use hpcc_probe::{Evidence, MOUNTS_HELD, Report, images, mounts, power_off, say, while_doing};
use rustix::fs::{StatVfsMountFlags, statfs, statvfs};
use rustix::mount::{MountFlags, mount};
use tree_listing::Listing;

const REPORT_DISK: &str = "/dev/vdb";

fn main() -> rustix::io::Result<Infallible> {
    power_off("hpcc-probe", probe)
}

fn probe() -> Result<(), String> {
    // First of all, while nothing is mounted in the root that would hide what the image holds there.
    let listing = Listing::walk(Path::new("/")).map_err(while_doing("walk the root"))?;
    let mut evidence = evidence_of_root()?;
    let mounts = mounts::try_all_orders().map_or_else(
        |error| {
            // If nothing can be mounted any more, there will be no report to read it in.
            say(&format!("hpcc-probe: {error}"));
            error
        },
        |()| MOUNTS_HELD.to_owned(),
    );
    evidence.insert("mounts".into(), mounts.into_bytes());
    mount("proc", "/proc", "proc", MountFlags::empty(), None)
        .map_err(while_doing("mount /proc"))?;
    mount("devtmpfs", "/dev", "devtmpfs", MountFlags::empty(), None)
        .map_err(while_doing("mount /dev"))?;
    let command_line = std::fs::read("/proc/cmdline").map_err(while_doing("read /proc/cmdline"))?;
    evidence.insert(
        "command-line".into(),
        command_line.trim_ascii_end().to_vec(),
    );
    evidence.extend(images::examine_all()?);

    let entries = listing.entries.len();
    let mut disk = OpenOptions::new()
        .write(true)
        .open(REPORT_DISK)
        .map_err(while_doing(REPORT_DISK))?;
    disk.write_all(&Report { evidence, listing }.encode())
        .map_err(while_doing(REPORT_DISK))?;
    disk.sync_all().map_err(while_doing(REPORT_DISK))?;
    say(&format!("hpcc-probe: {entries} entries reported"));
    Ok(())
}

/// What can be told of the root without any other file system.
fn evidence_of_root() -> Result<Evidence, String> {
    let kind = statfs("/").map_err(while_doing("statfs /"))?.f_type;
    let flags = statvfs("/").map_err(while_doing("statvfs /"))?.f_flag;
    let mount = if flags.contains(StatVfsMountFlags::RDONLY) {
        "ro"
    } else {
        "rw"
    };
    let write = match File::create_new("/.hpcc/written") {
        Ok(_) => "done".to_owned(),
        Err(error) => error.kind().to_string(),
    };
    let facts = [
        ("pid", std::process::id().to_string()),
        ("root-type", format!("{kind:#x}")),
        ("root-mount", mount.to_owned()),
        ("write-to-root", write),
    ];
    Ok(facts
        .map(|(name, value)| (name.to_owned(), value.into_bytes()))
        .into())
}
