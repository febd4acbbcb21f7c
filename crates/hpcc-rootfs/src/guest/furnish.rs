//! What is ours inside the image: `/.hpcc` with the agent, the files injected beside it and the
//! image's description. The places where the agent mounts things are in [`mount_points`].

use std::io::{self, Write};
use std::path::Path;

use ociget::Image;
use sqfs_writer::{DataWriter, FileData, Kind, Metadata, NodeId, Tree};

use super::description::Description;
use super::host_file::HashedFile;
use super::supplies::{self, HashedSupplies};
use super::{agent, further_points, mount_points};
use crate::artifact::MountPoint;
use crate::error::Error;
use crate::flatten;

/// The kernel command line that boots an artifact given to the VM as its first virtio block device.
///
/// Options that don't concern the root file system (a console, a panic timeout) may be added.
pub const BOOT_ARGS: &str = "root=/dev/vda ro rootfstype=squashfs init=/.hpcc/agent";

/// What [`furnish`] did that a user may want to know.
#[derive(Debug)]
pub(crate) struct Furnished {
    /// Mount points of the image that a directory replaces.
    pub(crate) replaced: Vec<String>,
    /// Mount points that a caller asked for and that the image did not have.
    pub(crate) made: Vec<String>,
    /// Why a guest cannot execute the agent.
    pub(crate) agent_problem: Option<String>,
}

/// Puts `/.hpcc` and missing mount points into a flattened tree.
///
/// # Errors
/// [`Error::Agent`] and [`Error::Inject`] if a file can't be read or changed since it was hashed,
/// [`Error::MountPoint`] if one of `mount_points` cannot be made, otherwise what the writer says.
pub(crate) fn furnish<W: Write>(
    tree: &mut Tree<FileData>,
    data: &mut DataWriter<W>,
    image: &Image,
    supplies: &mut HashedSupplies,
    mount_points: &[MountPoint],
    time: u32,
) -> Result<Furnished, Error> {
    let metadata = |mode| Metadata::new(mode).with_mtime(time);
    // Before /.hpcc is there, so that no symlink of the image can lead a mount into it.
    let replaced = mount_points::ensure(tree, time)?;
    let made = further_points::ensure(tree, mount_points, time, || Ok(data.add(&[][..])?))?;
    let ours = tree.insert(
        NodeId::ROOT,
        flatten::RESERVED,
        metadata(0o755),
        Kind::directory(),
    )?;
    if let Some(agent) = supplies.agent() {
        let body = copy(data, agent, agent::failed)?;
        tree.insert(ours, b"agent", metadata(0o755), Kind::File(body))?;
    }
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
    // Its interpreter may be one of the injected files.
    let agent_problem = match supplies.agent() {
        Some(agent) => agent::problem(agent, tree)?,
        None => None,
    };
    let description = Description::of(image).to_json()?;
    let body = data.add(description.as_slice())?;
    tree.insert(ours, b"image.json", metadata(0o644), Kind::File(body))?;
    // The document that the image's digest leads to, so that nothing of it is lost.
    let body = data.add(&*image.config.raw)?;
    let config = Kind::File(body);
    tree.insert(ours, b"image-config.json", metadata(0o644), config)?;
    Ok(Furnished {
        replaced,
        made,
        agent_problem,
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
