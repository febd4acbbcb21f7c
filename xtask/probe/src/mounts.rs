//! What an agent mounts, in many orders, and whether `/.hpcc` is what it was after each.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;

use rustix::fs::statfs;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// A file system that an agent mounts.
#[derive(Clone, Copy)]
struct Mount {
    point: &'static str,
    kind: &'static str,
    /// `f_type` of `statfs(2)`, by which a path in it is known.
    magic: u64,
}

const fn point(point: &'static str, kind: &'static str, magic: u64) -> Mount {
    Mount { point, kind, magic }
}

/// The magics of `linux/magic.h`.
const TMPFS: u64 = 0x0102_1994;

/// The first order that is tried; [`WITHIN`] comes right after `/dev` in it. `docs/guest.md` says why an agent mounts so.
const MOUNTS: [Mount; 5] = [
    point("/proc", "proc", 0x9fa0),
    point("/sys", "sysfs", 0x6265_6572),
    point("/dev", "devtmpfs", TMPFS),
    point("/tmp", "tmpfs", TMPFS),
    point("/run", "tmpfs", TMPFS),
];

/// Mounted before everything else in every second order, and after `/dev` in the others.
const WITHIN: [Mount; 2] = [
    point("/dev/pts", "devpts", 0x1cd1),
    point("/dev/shm", "tmpfs", TMPFS),
];

const AGENT: &str = "/.hpcc/agent";

/// Mounts what an agent mounts over the root of this process, in every order, and takes it away again.
///
/// # Errors
///
/// Says in which order what went wrong: a mount failed or is not where it was asked for, `/.hpcc` and the agent are not
/// what they were before, or something can be written to `/.hpcc`.
pub fn try_all_orders() -> Result<(), String> {
    let before = identity().map_err(|error| format!("before any mount: {error}"))?;
    for (number, order) in orders(&MOUNTS).into_iter().enumerate() {
        let mut order = order;
        let dev = order.iter().position(|mount| mount.point == "/dev");
        let after_dev = dev.map_or(0, |dev| dev + 1);
        let at = if number % 2 == 0 { after_dev } else { 0 };
        order.splice(at..at, WITHIN);
        try_order(&order, before).map_err(|error| {
            let order: Vec<_> = order.iter().map(|mount| mount.point).collect();
            format!("mounting {}: {error}", order.join(" "))
        })?;
    }
    Ok(())
}

/// Mounts in this order and unmounts in the opposite one, whatever happens in between, so that a report of what went
/// wrong can still be written.
fn try_order(order: &[Mount], before: Identity) -> Result<(), String> {
    let mut mounted = Vec::new();
    let done = mount_all(order, before, &mut mounted);
    for point in mounted.into_iter().rev() {
        let unmounted = unmount(point, UnmountFlags::DETACH);
        if done.is_ok() {
            unmounted.map_err(|error| format!("unmount {point}: {error}"))?;
        }
    }
    done?;
    unchanged(before).map_err(|error| format!("after the last unmount: {error}"))
}

fn mount_all(
    order: &[Mount],
    before: Identity,
    mounted: &mut Vec<&'static str>,
) -> Result<(), String> {
    for Mount { point, kind, magic } in order {
        // An agent makes what a devtmpfs does not have. Where the root has none either there is nothing to mount over.
        if WITHIN.iter().any(|within| within.point == *point)
            && fs::create_dir(point).is_err()
            && fs::symlink_metadata(point).is_err()
        {
            continue;
        }
        let options = (*kind == "tmpfs").then_some(c"size=64k");
        mount(*kind, *point, *kind, MountFlags::empty(), options)
            .map_err(|error| format!("{point}: {error}"))?;
        mounted.push(*point);
        let found = statfs(*point).map_err(|error| format!("{point}: {error}"))?;
        if u64::try_from(found.f_type) != Ok(*magic) {
            return Err(format!("{point} does not show the {kind} on it"));
        }
        unchanged(before).map_err(|error| format!("after {point}: {error}"))?;
    }
    Ok(())
}

/// Devices and inodes of `/.hpcc` and the agent.
type Identity = [(u64, u64); 2];

fn identity() -> io::Result<Identity> {
    let of = |path| fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()));
    Ok([of("/.hpcc")?, of(AGENT)?])
}

fn unchanged(before: Identity) -> Result<(), String> {
    match identity() {
        Ok(now) if now == before => {}
        Ok(_) => return Err(format!("{AGENT} is another file")),
        Err(error) => return Err(format!("{AGENT} is gone: {error}")),
    }
    match File::create_new("/.hpcc/written") {
        Ok(_) => Err("/.hpcc can be written to".to_owned()),
        Err(error) if error.raw_os_error() == Some(Errno::ROFS.raw_os_error()) => Ok(()),
        Err(error) => Err(format!("/.hpcc refuses a file with another error: {error}")),
    }
}

/// Returns all orders of these.
fn orders<T: Copy>(items: &[T]) -> Vec<Vec<T>> {
    let Some((last, rest)) = items.split_last() else {
        return vec![Vec::new()];
    };
    let mut longer = Vec::new();
    for order in orders(rest) {
        for at in (0..=order.len()).rev() {
            let mut order = order.clone();
            order.insert(at, *last);
            longer.push(order);
        }
    }
    longer
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn orders_are_all_different_and_begin_with_the_given_one() {
        let orders = orders(&[1, 2, 3, 4, 5]);
        assert_eq!(orders.first().unwrap(), &[1, 2, 3, 4, 5]);
        assert_eq!(orders.iter().collect::<BTreeSet<_>>().len(), 120);
    }
}
