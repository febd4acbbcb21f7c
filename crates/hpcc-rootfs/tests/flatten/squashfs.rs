//! Flattening into an image file, which the kernel mounts.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hpcc_rootfs::flatten::{LayerSpec, Options, flatten};
use sqfs_writer::DataWriter;

use crate::archive::{Item, tar};
use crate::listing::Listing;
use crate::run::{Blobs, chain, spec};
use crate::umoci::walk;

/// What the kernel sees in the image that these layers become, or why they become none.
pub(crate) fn mounted(layers: &[Vec<Item>]) -> Result<Listing, String> {
    let blobs: Vec<_> = layers.iter().map(|items| tar(items)).collect();
    let specs: Vec<LayerSpec> = blobs.iter().map(|blob| spec(blob)).collect();
    let opened = Vec::new();
    let mut source = Blobs { blobs, opened };
    let mut writer = DataWriter::new(Vec::new(), &sqfs_writer::Options::default()).unwrap();
    let options = Options::default();
    let flattened =
        flatten(&specs, &mut source, &mut writer, &options).map_err(|error| chain(&error))?;
    let sealed = writer.finish(&flattened.tree).unwrap();

    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    let bytes = [&sealed.superblock[..], &sealed.sink].concat();
    std::fs::write(&image, bytes).unwrap();
    let point = directory.path().join("mounted");
    let mount = Mount::new(&image, &point);
    Ok(walk(mount.0))
}

/// A mounted image; unmounted when dropped.
struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    fn new(image: &Path, point: &'a Path) -> Self {
        std::fs::create_dir(point).unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "squashfs", "-o", "loop,ro"])
            .args([image, point]);
        assert!(mount.status().unwrap().success(), "mounting needs root");
        Self(point)
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        // A process that another thread is about to start holds what we had open until it starts.
        for _ in 0..1000 {
            let output = Command::new("umount").arg(self.0).output();
            if output.is_ok_and(|output| output.status.success()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let left = self.0.display();
        assert!(std::thread::panicking(), "{left} stays mounted");
    }
}
