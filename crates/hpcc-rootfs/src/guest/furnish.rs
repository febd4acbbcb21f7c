//! What is ours inside the image: `/.hpcc` with the agent, the files injected beside it and the
//! image's description. The places where the agent mounts things are in [`mount_points`].

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use ociget::Image;
use serde::Serialize;
use sqfs_writer::{DataWriter, FileData, Kind, Metadata, NodeId, Tree};

use super::host_file::HashedFile;
use super::supplies::{self, HashedSupplies};
use super::{agent, mount_points};
use crate::error::Error;
use crate::flatten;

/// The kernel command line that boots an artifact given to the VM as its first virtio block device.
///
/// Options that don't concern the root file system (a console, a panic timeout) may be added.
pub const BOOT_ARGS: &str = "root=/dev/vda ro rootfstype=squashfs init=/.hpcc/agent";

/// Puts `/.hpcc` and missing mount points into a flattened tree; returns the names that were replaced
/// to be mounted over.
///
/// # Errors
/// [`Error::Agent`] and [`Error::Inject`] if a file can't be read or changed since it was hashed,
/// otherwise what the writer says.
pub(crate) fn furnish<W: Write>(
    tree: &mut Tree<FileData>,
    data: &mut DataWriter<W>,
    image: &Image,
    supplies: &mut HashedSupplies,
    time: u32,
) -> Result<Vec<String>, Error> {
    let metadata = |mode| Metadata::new(mode).with_mtime(time);
    // Before /.hpcc is there, so that no symlink of the image can lead a mount into it.
    let replaced = mount_points::ensure(tree, time)?;
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
    let description = Description::of(image).to_json()?;
    let body = data.add(description.as_slice())?;
    tree.insert(ours, b"image.json", metadata(0o644), Kind::File(body))?;
    Ok(replaced)
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

/// `/.hpcc/image.json`: what a guest needs to know of its image to run a command as the image's
/// author meant it.
#[derive(Debug, Serialize)]
struct Description<'a> {
    /// Of this file's layout.
    version: u32,
    identity: String,
    manifest: String,
    platform: String,
    layers: Vec<LayerDescription>,
    config: Config<'a>,
}

/// How the image's author meant it to be run, in the words of the OCI image configuration.
#[derive(Debug, Serialize)]
struct Config<'a> {
    env: &'a [String],
    entrypoint: &'a [String],
    cmd: &'a [String],
    working_dir: &'a str,
    user: &'a str,
    labels: &'a BTreeMap<String, String>,
}

impl<'a> Config<'a> {
    fn of(runtime: &'a ociget::RuntimeConfig) -> Self {
        Self {
            env: &runtime.env,
            entrypoint: &runtime.entrypoint,
            cmd: &runtime.cmd,
            working_dir: &runtime.working_dir,
            user: &runtime.user,
            labels: &runtime.labels,
        }
    }
}

#[derive(Debug, Serialize)]
struct LayerDescription {
    digest: String,
    diff_id: String,
}

impl<'a> Description<'a> {
    fn of(image: &'a Image) -> Self {
        Self {
            version: 1,
            identity: image.identity.get().to_string(),
            manifest: image.manifest.get().to_string(),
            platform: image.platform.to_string(),
            layers: image
                .layers
                .iter()
                .map(|layer| LayerDescription {
                    digest: layer.descriptor.digest.to_string(),
                    diff_id: layer.diff_id.to_string(),
                })
                .collect(),
            config: Config::of(&image.config.runtime),
        }
    }

    fn to_json(&self) -> Result<Vec<u8>, Error> {
        let mut json = serde_json::to_vec_pretty(self).map_err(|error| Error::Internal {
            what: "image.json",
            source: Arc::new(error.into()),
        })?;
        json.push(b'\n');
        Ok(json)
    }
}
