//! Images of every make, entry for entry what umoci unpacks: many small files, many names of one
//! file, a merged `/usr`, owners and capabilities, deep trees; by umoci and by buildah.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use test_support::contract;
use test_support::oracle::{Mount, umoci};
use test_support::real_image::{self, RealImage};
use tree_listing::{DiffOptions, Kind, Listing, diff};

use crate::cli::Place;

/// Both trees are read through the kernel. Gives what umoci unpacked, to see that the image is as
/// hard as it is meant to be; `None` where there is no root, which was said aloud.
fn compare(name: &str) -> Option<Listing> {
    let image = real_image::various(name).unwrap()?;
    let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let unpacked = umoci::unpack(image.layout(), RealImage::TAG).unwrap()?;
    let shipped = Listing::walk(&unpacked.root()).unwrap();
    let mut options = DiffOptions::default();
    // Where umoci makes a directory that no layer describes, it and those above it get the time of
    // unpacking.
    let start = i64::try_from(start.as_secs()).unwrap();
    for (path, entry) in &shipped.entries {
        if entry.kind == Kind::Directory && entry.mtime >= start {
            options.ignore_mtime.insert(path.clone());
        }
    }
    let mut expected = shipped.clone();
    contract::expect_guest(&mut expected, &mut options);

    let place = Place::new();
    let source = format!("oci:{}:{}", image.layout().display(), RealImage::TAG);
    let agent = place.agent();
    let built = place.run([
        "build",
        &source,
        "--agent",
        agent.to_str().unwrap(),
        "-o",
        "image",
    ]);
    assert_eq!(built.status, Some(0), "{built:#?}");
    let mount = Mount::squashfs(&place.path("image")).unwrap()?;
    let found = Listing::walk(mount.root()).unwrap();
    let differences = diff(&expected, &found, &options);
    let shown: Vec<_> = differences
        .iter()
        .take(20)
        .map(ToString::to_string)
        .collect();
    assert!(
        differences.is_empty(),
        "{name}: {} differences:\n{}",
        differences.len(),
        shown.join("\n")
    );
    Some(shipped)
}

#[test]
fn packages_of_npm_by_buildah() {
    let Some(tree) = compare("node") else { return };
    let is = |path: &str, kind: &str| tree.entries[path.as_bytes()].kind.name() == kind;
    assert!(tree.entries.len() > 500);
    assert!(is("/app/node_modules/mime", "symlink") && is("/app/node_modules/debug", "file"));
}

#[test]
fn packages_of_pypi_by_umoci() {
    let Some(tree) = compare("python") else {
        return;
    };
    assert!(tree.entries.len() > 5_000);
}

#[test]
fn hard_links_by_buildah() {
    let Some(tree) = compare("hard-links") else {
        return;
    };
    let shared = tree
        .entries
        .values()
        .filter(|entry| entry.links > 1 && matches!(entry.kind, Kind::File { .. }));
    assert!(shared.count() > 20);
    assert_eq!(
        tree.entries[&b"/opt/git"[..]].shared,
        tree.entries[&b"/usr/bin/git-10"[..]].shared
    );
}

#[test]
fn a_merged_usr_by_umoci() {
    let Some(tree) = compare("merged-usr") else {
        return;
    };
    assert_eq!(tree.entries[&b"/lib"[..]].kind.name(), "symlink");
    assert!(tree.entries.contains_key(&b"/usr/bin/busybox"[..]));
}

#[test]
fn owners_and_capabilities_by_buildah() {
    let Some(tree) = compare("owners") else {
        return;
    };
    let ping = &tree.entries[&b"/bin/ping"[..]];
    assert!(
        ping.xattrs
            .keys()
            .any(|name| name.as_slice() == b"security.capability")
    );
    let owners: BTreeSet<_> = tree.entries.values().map(|entry| entry.uid).collect();
    assert!(
        owners.len() >= 5 && owners.contains(&4_000_000_000),
        "{owners:?}"
    );
}

#[test]
fn deep_trees_by_umoci() {
    let Some(tree) = compare("deep") else { return };
    let depth = |path: &[u8]| path.iter().filter(|byte| **byte == b'/').count();
    assert!(tree.entries.keys().any(|path| depth(path) > 76));
}
