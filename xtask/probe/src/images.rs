//! The images that a guest is given beside its root, one in each partition of further disks.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{chdir, chroot, fchdir};
use sha2::{Digest, Sha256};
use tree_listing::{Bounds, Listing};

use crate::report::Evidence;
use crate::{mounts, while_doing};

/// Files above this size are sampled instead of read whole ([`tree_listing::Samples`]): under emulation 4 GiB take
/// minutes.
pub const READ_WHOLE: u64 = 64 << 20;

/// No image has as many entries. A damaged directory can be without end, for example if it holds a name `.`.
const ENTRIES_MAX: usize = 20_000;

/// Where each image is mounted in turn. The root's own is a tmpfs by then, or an empty directory.
const PLACE: &str = "/tmp";

/// Returns the name of the evidence about the image in a partition: its listing as text, or nothing if it cannot be
/// read.
#[must_use]
pub fn listing_of(partition: &str) -> String {
    format!("{partition}-listing")
}

/// Returns the name of the evidence about what is wrong with the image in a partition.
#[must_use]
pub fn error_of(partition: &str) -> String {
    format!("{partition}-error")
}

/// Returns the name of the evidence about the bytes of a partition: their SHA-256, in hexadecimal digits.
#[must_use]
pub fn bytes_of(partition: &str) -> String {
    format!("{partition}-bytes")
}

/// Reads the image of every partition that this guest has.
///
/// The names of partitions are those that the kernel gives them: `vdc1` is the first one of the third disk.
///
/// # Errors
///
/// Says what failed if it has nothing to do with an image. A damaged image is evidence.
pub fn examine_all() -> Result<Evidence, String> {
    let root = open("/", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
        .map_err(while_doing("open /"))?;
    let mut evidence = Evidence::new();
    for disk in 'c'..='z' {
        for number in 1.. {
            let partition = format!("vd{disk}{number}");
            let device = format!("/dev/{partition}");
            if !Path::new(&device).exists() {
                break;
            }
            let bytes = digest(Path::new(&device)).map_err(while_doing(&device))?;
            evidence.insert(bytes_of(&partition), bytes.into_bytes());
            match examine(&device, &root) {
                Ok(listing) => evidence.insert(listing_of(&partition), listing),
                Err(error) => evidence.insert(error_of(&partition), error.into_bytes()),
            };
        }
    }
    Ok(evidence)
}

/// Returns the listing of one image. If it has an agent, it also has to stand what an agent mounts.
fn examine(device: &str, root: &OwnedFd) -> Result<Vec<u8>, String> {
    mount(device, PLACE, "squashfs", MountFlags::RDONLY, None).map_err(while_doing("mount"))?;
    let bounds = Bounds {
        whole: READ_WHOLE,
        entries: ENTRIES_MAX,
    };
    let listing = Listing::walk_within(Path::new(PLACE), &bounds).map_err(while_doing("walk"));
    let listing = listing.and_then(|listing| {
        if listing.entries.contains_key(b"/.hpcc/agent".as_slice()) {
            inside(PLACE, root, mounts::try_all_orders)?;
        }
        Ok(listing.to_text())
    });
    unmount(PLACE, UnmountFlags::DETACH).map_err(while_doing("unmount"))?;
    listing
}

/// Runs `work` with the directory `place` as the root of this process.
fn inside(
    place: &str,
    root: &OwnedFd,
    work: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    chdir(place).map_err(while_doing("enter the image"))?;
    chroot(".").map_err(while_doing("enter the image"))?;
    let done = work();
    fchdir(root).map_err(while_doing("leave the image"))?;
    chroot(".").map_err(while_doing("leave the image"))?;
    done
}

fn digest(device: &Path) -> std::io::Result<String> {
    let mut file = File::open(device)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            length => hasher.update(buffer.get(..length).unwrap_or_default()),
        }
    }
    Ok(hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}
