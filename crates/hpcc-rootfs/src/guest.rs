//! What is ours inside the image: `/.hpcc` with the agent, the files injected beside it and the
//! image's description, and the places where the agent mounts things.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use ociget::Image;
use serde::Serialize;
use sqfs_writer::{DataWriter, FileData, Kind, Metadata, NodeId, Tree};

use crate::agent;
use crate::error::Error;
use crate::flatten;
use crate::host_file::HashedFile;
use crate::supplies::{self, HashedSupplies};

/// The kernel command line that boots an artifact given to the VM as its first virtio block device.
///
/// Options that don't concern the root file system (a console, a panic timeout) may be added.
pub const BOOT_ARGS: &str = "root=/dev/vda ro rootfstype=squashfs init=/.hpcc/agent";

/// Directories that a guest mounts over, with the mode they get where the image has none.
const MOUNT_POINTS: [(&[u8], u16); 5] = [
    (b"proc", 0o755),
    (b"sys", 0o755),
    (b"dev", 0o755),
    (b"tmp", 0o1777),
    (b"run", 0o755),
];

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
    let replaced = ensure_mount_points(tree, time)?;
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

/// Makes the mount points that are missing.
///
/// One that is a directory stays as it is, whatever its mode, and so does a symlink that leads a kernel
/// to a directory other than the root. Anything else under that name can't be mounted over: it is
/// replaced, and its name returned.
fn ensure_mount_points<B>(tree: &mut Tree<B>, time: u32) -> Result<Vec<String>, Error> {
    let mut replaced = Vec::new();
    for (name, mode) in MOUNT_POINTS {
        let there = tree.lookup(NodeId::ROOT, name)?.is_some();
        if there && flatten::mount_target(tree, name).is_some() {
            continue;
        }
        if there {
            replaced.push(format!("/{}", name.escape_ascii()));
        }
        let metadata = Metadata::new(mode).with_mtime(time);
        tree.insert(NodeId::ROOT, name, metadata, Kind::directory())?;
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    type Plain = Tree<()>;

    fn tree() -> Plain {
        Tree::new(Metadata::new(0o755))
    }

    fn put(tree: &mut Plain, name: &str, kind: Kind<()>) -> NodeId {
        let metadata = Metadata::new(0o700);
        tree.insert(NodeId::ROOT, name.as_bytes(), metadata, kind)
            .unwrap()
    }

    fn link(tree: &mut Plain, name: &str, target: &str) {
        put(tree, name, Kind::Symlink(target.as_bytes().into()));
    }

    fn is_directory(tree: &Plain, name: &str) -> bool {
        let node = tree.lookup(NodeId::ROOT, name.as_bytes()).unwrap().unwrap();
        tree.get(node).unwrap().kind().is_directory()
    }

    #[test]
    fn missing_mount_points_are_made_with_their_modes() {
        let mut tree = tree();
        assert_eq!(ensure_mount_points(&mut tree, 7).unwrap(), [""; 0]);
        for (name, mode) in MOUNT_POINTS {
            let node = tree.lookup(NodeId::ROOT, name).unwrap().unwrap();
            let node = tree.get(node).unwrap();
            assert!(node.kind().is_directory());
            assert_eq!((node.metadata().mode, node.metadata().mtime), (mode, 7));
        }
    }

    #[test]
    fn directories_of_any_mode_and_links_to_directories_stay() {
        let mut tree = tree();
        let metadata = Metadata::new(0);
        let bare = tree.insert(NodeId::ROOT, b"proc", metadata, Kind::directory());
        let var = put(&mut tree, "var", Kind::directory());
        let tmp = tree.insert(var, b"tmp", Metadata::new(0o777), Kind::directory());
        tmp.unwrap();
        link(&mut tree, "tmp", "var/./x/../tmp");
        link(&mut tree, "run", "/var/tmp/");
        link(&mut tree, "sys", "run");
        let x = tree.insert(var, b"x", Metadata::new(0o755), Kind::directory());
        x.unwrap();
        assert_eq!(ensure_mount_points(&mut tree, 7).unwrap(), [""; 0]);
        assert_eq!(tree.get(bare.unwrap()).unwrap().metadata().mode, 0);
        for name in ["tmp", "run", "sys"] {
            assert!(!is_directory(&tree, name), "{name}");
        }
    }

    #[test]
    fn what_no_kernel_can_mount_over_is_replaced_and_told() {
        for (what, target) in [
            ("dangling", "nowhere"),
            ("the root", "/"),
            ("the root, by another name", "."),
            ("above the root", "../.."),
            ("itself", "proc"),
            ("a file", "file"),
            ("through a file", "file/../directory"),
            ("through what is missing", "nowhere/../directory"),
            ("a file as a directory", "file/"),
            ("what is ours", ".hpcc"),
            ("more links than are followed", "link-0"),
        ] {
            let mut tree = tree();
            put(&mut tree, "file", Kind::Fifo);
            put(&mut tree, "directory", Kind::directory());
            for n in 0..41 {
                link(&mut tree, &format!("link-{n}"), &format!("link-{}", n + 1));
            }
            put(&mut tree, "link-41", Kind::directory());
            link(&mut tree, "proc", target);
            let replaced = ensure_mount_points(&mut tree, 7).unwrap();
            assert_eq!(replaced, ["/proc"], "{what}");
            assert!(is_directory(&tree, "proc"), "{what}");
        }
        let mut tree = tree();
        put(&mut tree, "dev", Kind::Fifo);
        assert_eq!(ensure_mount_points(&mut tree, 7).unwrap(), ["/dev"]);
        // Forty links are followed, the one that the mount point is included.
        for n in 0..39 {
            link(&mut tree, &format!("link-{n}"), &format!("link-{}", n + 1));
        }
        put(&mut tree, "link-39", Kind::directory());
        link(&mut tree, "sys", "link-0");
        assert_eq!(ensure_mount_points(&mut tree, 7).unwrap(), [""; 0]);
    }
}
