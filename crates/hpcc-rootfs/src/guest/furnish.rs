//! Adds `/.hpcc` to the image, with the agent, the injected files and the image's description. The directories over
//! which the agent mounts are in [`mount_points`].

use std::io::{self, Write};
use std::path::Path;

use ociget::Image;
use sqfs_writer::{DataWriter, FileData, Kind, Metadata, NodeId, Tree};

use super::agent::Executed;
use super::description::Description;
use super::host_file::HashedFile;
use super::supplies::{self, HashedSupplies};
use super::{agent, further_points, mount_points};
use crate::artifact::MountPoint;
use crate::error::Error;
use crate::flatten;

/// The kernel command line that boots an artifact which is the VM's first virtio block device.
///
/// Options that do not concern the root file system, such as a console or a panic timeout, may be added.
pub const BOOT_ARGS: &str = "root=/dev/vda ro rootfstype=squashfs init=/.hpcc/agent";

/// Results of [`furnish`] that a user may want to know.
#[derive(Debug)]
pub(crate) struct Furnished {
    /// Mount points of the image that a directory replaced.
    pub(crate) replaced: Vec<String>,
    /// Mount points that the options name and that the image did not have.
    pub(crate) made: Vec<String>,
    /// The agent, whose interpreter or loader is looked for once the image is complete.
    pub(crate) agent: Option<Executed>,
}

/// Adds `/.hpcc` and missing mount points to a flattened tree.
///
/// # Errors
/// Returns [`Error::Agent`] and [`Error::Inject`] if a file cannot be read or changed after it was hashed,
/// [`Error::MountPoint`] if one of `mount_points` cannot be made, and errors of the writer.
pub(crate) fn furnish<W: Write>(
    tree: &mut Tree<FileData>,
    data: &mut DataWriter<W>,
    image: &Image,
    supplies: &mut HashedSupplies,
    mount_points: &[MountPoint],
    options: &flatten::Options,
) -> Result<Furnished, Error> {
    let (time, depth) = (options.time, options.limits.depth);
    let metadata = |mode| Metadata::new(mode).with_mtime(time);
    // Before `/.hpcc` exists, so that no symlink of the image can lead a mount into it.
    let replaced = mount_points::ensure(tree, time)?;
    let made = further_points::ensure(tree, mount_points, depth, time, || Ok(data.add(&[][..])?))?;
    let ours = tree.insert(
        NodeId::ROOT,
        flatten::RESERVED,
        metadata(0o755),
        Kind::directory(),
    )?;
    let agent = match supplies.agent() {
        Some(agent) => {
            let executed = Executed::of(agent)?;
            let body = copy(data, agent, agent::failed)?;
            tree.insert(ours, b"agent", metadata(0o755), Kind::File(body))?;
            Some(executed)
        }
        None => None,
    };
    for (place, mode, file) in supplies.injected() {
        let body = copy(data, file, supplies::failed)?;
        let (way, name) = place.rsplit_once('/').unwrap_or(("", place));
        let mut directory = ours;
        for step in way.split('/').filter(|step| !step.is_empty()) {
            directory = match tree.lookup(directory, step.as_bytes())? {
                Some(there) => there,
                None => {
                    let made = Kind::directory();
                    tree.insert(directory, step.as_bytes(), metadata(0o755), made)?
                }
            };
        }
        tree.insert(directory, name.as_bytes(), metadata(mode), Kind::File(body))?;
    }
    let description = Description::of(image).to_json()?;
    let body = data.add(description.as_slice())?;
    tree.insert(ours, b"image.json", metadata(0o644), Kind::File(body))?;
    // The document whose digest the manifest names, so that nothing of it is lost.
    let body = data.add(&*image.config.raw)?;
    let config = Kind::File(body);
    tree.insert(ours, b"image-config.json", metadata(0o644), config)?;
    Ok(Furnished {
        replaced,
        made,
        agent,
    })
}

fn copy<W: Write>(
    data: &mut DataWriter<W>,
    file: &mut HashedFile,
    failed: fn(&Path, io::Error) -> Error,
) -> Result<FileData, Error> {
    let path = file.path().to_owned();
    let body = match file.body() {
        Ok(body) => body,
        Err(error) => return Err(failed(&path, error)),
    };
    data.add(body).map_err(|error| match error {
        sqfs_writer::Error::Body(source) => failed(&path, source),
        other => other.into(),
    })
}
