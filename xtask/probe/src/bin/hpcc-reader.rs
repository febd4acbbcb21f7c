//! `/.hpcc/agent` of an image whose reading is measured: says on the console how long it takes its own kernel.

use std::convert::Infallible;
use std::path::Path;

use hpcc_probe::{Reading, power_off, say, while_doing};
use rustix::mount::{MountFlags, mount};

fn main() -> rustix::io::Result<Infallible> {
    power_off("hpcc-reader", || {
        let mut has_proc = false;
        let reading = Reading::of(Path::new("/"), || {
            // After the walk, which is not to go through it.
            if !has_proc {
                mount("proc", "/proc", "proc", MountFlags::empty(), None)?;
                has_proc = true;
            }
            std::fs::write("/proc/sys/vm/drop_caches", "3")
        });
        say(&reading.map_err(while_doing("read the root"))?.to_line());
        Ok(())
    })
}
