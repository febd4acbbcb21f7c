//! Images whose mount points lead to `/.hpcc` once a guest has mounted something.
//!
//! The first one is the root of the machine. The guest mounts the others in turn and makes each its root. Over all of
//! them it mounts what an agent mounts, in every order, and looks at `/.hpcc` after each mount.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Error, Result, ensure};
use hpcc_rootfs::Pulled;
use test_support::contract;
use test_support::image::{Image as Source, Layer, Store as Content};
use test_support::real_image::RealImage;
use tree_listing::{Entry, Kind, Listing};

use super::{Image, pulled};
use crate::disk::Disk;

/// Directories, symlinks (`name->target`), and the mount points that have to be replaced.
type Form = (
    &'static [&'static str],
    &'static [&'static str],
    &'static [&'static str],
);

const FORMS: [Form; 6] = [
    (
        &["proc/1/root/.hpcc", "proc/self/root/.hpcc", "dev/shm"],
        &["tmp->proc/1/root/.hpcc", "run->/proc/self/root/.hpcc"],
        &["/run", "/tmp"],
    ),
    // By another name, in a chain, and up again out of what is covered.
    (
        &["proc/1/cwd/.hpcc", "proc/1/root/var/x", "var/x", "dev/pts"],
        &[
            "usr/p->../proc",
            "a->usr/p/1",
            "tmp->a/cwd/.hpcc",
            "run->proc/1/root/../../../var/x",
            "dev/shm->/proc/1/root/.hpcc",
        ],
        &["/dev/shm", "/run", "/tmp"],
    ),
    // proc is mounted elsewhere, and what leads there by its place covers the root.
    (
        &["var/p/1/root/.hpcc", "var/s", "var/d/shm"],
        &[
            "proc->var/p",
            "sys->var/s",
            "dev->var/d",
            "tmp->var/p/1/root/.hpcc",
            "run->proc/1/root",
        ],
        &["/run", "/tmp"],
    ),
    // What proc covers leads from itself back to itself, and the next one finds the root there.
    (
        &["var/p/1/root/x", "sys/kernel"],
        &[
            "proc->var/p/1/root/../..",
            "tmp->sys/kernel",
            "dev->tmp",
            "sys/fs->/.hpcc",
        ],
        &["/dev", "/proc", "/sys/fs", "/tmp"],
    ),
    // One place for two, and a place below another.
    (
        &["var/a", "var/b/c"],
        &[
            "tmp->var/a",
            "run->var/a",
            "sys->var/b",
            "dev->var/b/c",
            "proc->dev",
        ],
        &["/dev", "/proc", "/run", "/tmp"],
    ),
    // Nothing to replace.
    (
        &[
            "var/tmp", "var/run", "var/sys", "proc", "dev/shm", "dev/pts",
        ],
        &["tmp->var/tmp", "run->/var/./run/", "sys->var/tmp/../sys"],
        // `/sys` leads through what `/tmp` covers.
        &["/sys"],
    ),
];

pub(super) fn images(directory: &Path) -> Result<Image> {
    let mut disk = Disk::new()?;
    let mut first = None;
    for (number, form) in FORMS.iter().enumerate() {
        let place = directory.join(number.to_string());
        let (artifact, expected) = artifact(&place, form)?;
        let name = format!("mount points {}", form.1.join(" "));
        if first.is_none() {
            first = Some(Image::alone(artifact.path, expected));
            continue;
        }
        disk.add(&name, true, |mut file| {
            std::io::copy(&mut File::open(&artifact.path)?, &mut file)?;
            Ok(expected)
        })?;
    }
    let mut image = first.context("no form")?;
    image.disks.push(disk);
    Ok(image)
}

/// Pulls one form, and returns what its guest has to see.
fn artifact(place: &Path, (directories, links, replaced): &Form) -> Result<(Pulled, Listing)> {
    fs::create_dir(place)?;
    // Every parent has an entry of its own: umoci gives those that have none the current time.
    let links: Vec<(&str, &str)> = links
        .iter()
        .map(|link| link.split_once("->").context("a symlink has a target"))
        .collect::<Result<_>>()?;
    let parents = links
        .iter()
        .filter_map(|(name, _)| Path::new(name).parent());
    let directories = directories.iter().map(Path::new).chain(parents);
    let directories: BTreeSet<&Path> = directories.flat_map(Path::ancestors).collect();
    let mut layer = Layer::new().dir(".");
    for directory in directories.into_iter().filter_map(Path::to_str) {
        if !directory.is_empty() {
            layer = layer.dir(directory);
        }
    }
    for (name, target) in &links {
        layer = layer.symlink(*name, *target);
    }
    let mut content = Content::new();
    let image = Source::new().layer(layer).add_to(&mut content);
    content.tag(RealImage::TAG, &image);
    let layout = place.join("layout");
    content.write_layout(&layout).map_err(Error::msg)?;
    let (pulled, mut expected) = pulled(place, &layout, content)?;

    let built = pulled.built.as_ref().context("the store was not empty")?;
    ensure!(
        built.replaced_mount_points == *replaced,
        "{links:?}: {replaced:?} have to be replaced, and {:?} were",
        built.replaced_mount_points
    );
    for name in *replaced {
        expected.entries.remove(name.as_bytes());
        let top = contract::MOUNT_POINTS
            .iter()
            .any(|(point, _)| point == name);
        if !top {
            let mode = if *name == "/dev/shm" { 0o1777 } else { 0o755 };
            expected
                .entries
                .insert(name.as_bytes().into(), directory(mode));
        }
    }
    Ok((pulled, expected))
}

/// Returns a directory that this project adds, with the default time of such entries.
fn directory(mode: u16) -> Entry {
    Entry {
        kind: Kind::Directory,
        mode,
        uid: 0,
        gid: 0,
        size: 0,
        mtime: 0,
        links: 2,
        shared: None,
        xattrs: BTreeMap::new(),
    }
}
