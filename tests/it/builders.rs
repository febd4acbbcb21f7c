//! One image in every form that tools give it, and the same tree out of each: layouts of buildah and umoci,
//! skopeo's formats, archives with the names of each builder, and root file systems of mmdebstrap.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use test_support::docker_registry::DockerRegistry;
use test_support::oracle::may_be_root;
use test_support::skopeo::{Copy, Format};
use tree_listing::Listing;

use crate::cli::Place;
use crate::sources::tree;

/// Runs a tool, which has to succeed.
fn tool(place: &Place, line: &[&str]) {
    let (program, arguments) = line.split_first().unwrap();
    let output = place.command(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program} is not installed: {error}"));
    let says = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line:?}: {says}");
}

/// Some files, and what else a tree has.
fn files(place: &Place, name: &str) -> PathBuf {
    let root = place.path(name);
    fs::create_dir_all(root.join("app/deep")).unwrap();
    fs::write(root.join("app/main"), vec![3; 200_000]).unwrap();
    fs::write(root.join("app/deep/conf"), "c=1\n").unwrap();
    fs::hard_link(root.join("app/main"), root.join("app/alias")).unwrap();
    symlink("app", root.join("current")).unwrap();
    let mode = fs::Permissions::from_mode(0o2750);
    fs::set_permissions(root.join("app/main"), mode).unwrap();
    root
}

/// Returns the tree that a source gives.
fn built(place: &Place, source: &str) -> Listing {
    let outcome = place.run(["build", source, "-o", "out"]);
    assert_eq!(outcome.status, Some(0), "{source}: {outcome:#?}");
    tree(&place.path("out"))
}

fn blob(layout: &Path, digest: &Value) -> Vec<u8> {
    let path = digest.as_str().unwrap().replace(':', "/");
    fs::read(layout.join("blobs").join(path)).unwrap()
}

/// Returns the manifest of a layout with one image, or one behind an index.
fn manifest(layout: &Path) -> Value {
    let index = fs::read(layout.join("index.json")).unwrap();
    let mut document: Value = serde_json::from_slice(&index).unwrap();
    while let Some(entry) = document["manifests"].get(0) {
        document = serde_json::from_slice(&blob(layout, &entry["digest"])).unwrap();
    }
    document
}

/// Names that builders give to the config and to a layer with this digest, and the keys of `manifest.json`.
type Naming = (
    &'static str,
    fn(&str) -> String,
    fn(&str) -> String,
    [&'static str; 3],
);

const KEYS: [&str; 3] = ["Config", "RepoTags", "Layers"];
const LOWER: [&str; 3] = ["config", "repoTags", "layers"];

/// As their sources write them.
const NAMINGS: [Naming; 6] = [
    (
        "crane, ko, kaniko, apko",
        |hex| format!("sha256:{hex}"),
        |hex| format!("{hex}.tar.gz"),
        KEYS,
    ),
    (
        "jib",
        |_| "config.json".to_owned(),
        |hex| format!("{hex}.tar.gz"),
        LOWER,
    ),
    (
        "containerify",
        |hex| format!("{hex}.json"),
        |hex| format!("{hex}.tar.gz"),
        LOWER,
    ),
    (
        "rules_oci",
        |hex| format!("blobs/sha256/{hex}"),
        |hex| format!("blobs/sha256/{hex}.tar.gz"),
        KEYS,
    ),
    (
        "rules_docker",
        |hex| format!("{hex}.json"),
        |hex| format!("{}/layer.tar", &hex[..40]),
        KEYS,
    ),
    (
        "docker 25",
        |hex| format!("blobs/sha256/{hex}"),
        |hex| format!("blobs/sha256/{hex}"),
        KEYS,
    ),
];

/// Writes the image of a layout as an archive of a builder.
fn pack(layout: &Path, (_, config_name, layer_name, keys): Naming, file: &Path) {
    let manifest = manifest(layout);
    let hex = |digest: &Value| digest.as_str().unwrap().replace("sha256:", "");
    let config = &manifest["config"]["digest"];
    let mut members = vec![(config_name(&hex(config)), blob(layout, config))];
    let mut names = Vec::new();
    for layer in manifest["layers"].as_array().unwrap() {
        let name = layer_name(&hex(&layer["digest"]));
        members.push((name.clone(), blob(layout, &layer["digest"])));
        names.push(name);
    }
    let list = json!([{keys[0]: members[0].0, keys[1]: ["team/app:v1"], keys[2]: names}]);
    members.push(("manifest.json".to_owned(), list.to_string().into_bytes()));
    let mut archive = tar::Builder::new(fs::File::create(file).unwrap());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, &*bytes).unwrap();
    }
    archive.finish().unwrap();
}

/// Compares the tree of a layout with that of the same image in every other form.
fn everywhere(place: &Place, what: &str, layout: &Path, tag: &str) -> Listing {
    let source = format!("oci:{}:{tag}", layout.display());
    let expected = built(place, &source);
    let at = |name: &str| place.path(name).display().to_string();
    for name in ["to.oci", "to.docker", "to.tar"] {
        let _ = fs::remove_file(at(name));
    }
    for name in ["to.layout", "to.dir-oci", "to.dir-docker"] {
        let _ = fs::remove_dir_all(at(name));
    }
    let copies = [
        (format!("oci:{}:copy", at("to.layout")), None),
        (format!("oci-archive:{}:copy", at("to.oci")), None),
        (
            format!("docker-archive:{}:team/app:v1", at("to.docker")),
            None,
        ),
        (format!("dir:{}", at("to.dir-oci")), Some(Format::Oci)),
        (format!("dir:{}", at("to.dir-docker")), Some(Format::Docker)),
    ];
    for (target, format) in copies {
        let mut copy = Copy::new(&source, &target);
        if let Some(format) = format {
            copy = copy.format(format);
        }
        copy.run().unwrap();
        assert_eq!(built(place, &target), expected, "{what}: {target}");
    }
    for naming in NAMINGS {
        let file = place.path("to.tar");
        pack(layout, naming, &file);
        let target = format!("docker-archive:{}", file.display());
        assert_eq!(built(place, &target), expected, "{what}: {}", naming.0);
        let target = format!("{target}:team/app:v1");
        assert_eq!(built(place, &target), expected, "{what}: {}", naming.0);
    }
    expected
}

#[test]
fn image_of_umoci_is_the_same_in_every_form() {
    if !may_be_root("unpacking with umoci, owners and devices included,") {
        return;
    }
    let place = Place::new();
    let added = files(&place, "added");
    let added = added.to_str().unwrap();
    tool(&place, &["umoci", "init", "--layout", "layout"]);
    tool(&place, &["umoci", "new", "--image", "layout:v1"]);
    let architecture = hpcc_rootfs::Options::default()
        .platform
        .architecture()
        .to_owned();
    let platform = ["--architecture", &architecture, "--os", "linux"];
    let config = ["umoci", "config", "--image", "layout:v1"];
    tool(&place, &[&config[..], &platform].concat());
    tool(
        &place,
        &["umoci", "insert", "--image", "layout:v1", added, "/srv"],
    );
    let layout = place.path("layout");
    let inserted = everywhere(&place, "umoci insert", &layout, "v1");
    assert!(inserted.entries.contains_key(&b"/srv/app/deep/conf"[..]));
    tool(
        &place,
        &["umoci", "unpack", "--image", "layout:v1", "bundle"],
    );
    fs::write(place.path("bundle/rootfs/srv/new"), "new").unwrap();
    fs::remove_dir_all(place.path("bundle/rootfs/srv/app/deep")).unwrap();
    tool(
        &place,
        &["umoci", "repack", "--image", "layout:v1", "bundle"],
    );
    let repacked = everywhere(&place, "umoci repack", &layout, "v1");
    assert!(repacked.entries.contains_key(&b"/srv/new"[..]));
    assert!(!repacked.entries.contains_key(&b"/srv/app/deep"[..]));
}

#[test]
fn image_of_buildah_is_the_same_in_every_form() {
    if !may_be_root("building with buildah") {
        return;
    }
    let place = Place::new();
    let added = files(&place, "added");
    let registry = DockerRegistry::start().unwrap();
    for (format, name) in [(Format::Oci, "oci"), (Format::Docker, "docker")] {
        let reference = format!("{}/built:{name}", registry.addr());
        test_support::buildah::push(&added, &reference, format).unwrap();
        let from_registry = built(&place, &format!("docker://{reference}"));
        let layout = place.path(name);
        let target = format!("oci:{}:v1", layout.display());
        Copy::new(&format!("docker://{reference}"), &target)
            .run()
            .unwrap();
        let expected = everywhere(&place, "buildah", &layout, "v1");
        assert_eq!(from_registry, expected, "{name}");
    }
}

/// mmdebstrap packs whatever is in a directory; without packages it needs no mirror.
#[test]
fn tar_file_of_mmdebstrap_is_the_same_as_its_image() {
    if !may_be_root("packing a root file system with mmdebstrap") {
        return;
    }
    let place = Place::new();
    files(&place, "added");
    fs::create_dir(place.path("empty")).unwrap();
    fs::write(place.path("empty/Packages"), "").unwrap();
    let mirror = format!(
        "deb [trusted=yes] copy:{} ./",
        place.path("empty").display()
    );
    let hook = format!(
        "--customize-hook=cp -a {}/. \"$1\"",
        place.path("added").display()
    );
    let fixed = [
        "mmdebstrap",
        "--quiet",
        "--mode=root",
        "--variant=custom",
        "--skip=check/empty",
    ];
    tool(
        &place,
        &[&fixed[..], &[&hook, "", "rootfs.tar", &mirror]].concat(),
    );
    let expected = built(&place, "tar:rootfs.tar");
    for path in ["/app/alias", "/current", "/dev/null", "/etc/apt"] {
        assert!(expected.entries.contains_key(path.as_bytes()), "{path}");
    }
    let rootfs = fs::read(place.path("rootfs.tar")).unwrap();
    let mut store = test_support::image::Store::new();
    let layer = test_support::image::Layer::of_tar(rootfs);
    let image = test_support::image::Image::new()
        .layer(layer)
        .add_to(&mut store);
    store.tag("v1", &image);
    let layout = place.path("layout");
    store.write_layout(&layout).unwrap();
    assert_eq!(everywhere(&place, "mmdebstrap", &layout, "v1"), expected);
}

#[test]
fn archive_from_tar_s_is_read_with_its_holes() {
    let place = Place::new();
    let mut store = test_support::image::Store::new();
    let layer = test_support::image::Layer::new()
        .compressed(test_support::image::Compression::None)
        .file("img", [&vec![0; 500_000][..], b"end"].concat());
    let image = test_support::image::Image::new()
        .layer(layer)
        .add_to(&mut store);
    store.tag("v1", &image);
    let layout = place.path("layout");
    store.write_layout(&layout).unwrap();
    let expected = built(&place, "oci:layout");
    // Make holes of the zeros, which `tar -S` then finds.
    for entry in fs::read_dir(layout.join("blobs/sha256")).unwrap() {
        let path = entry.unwrap().path();
        let sparse = place.path("sparse");
        let copied = Command::new("cp")
            .arg("--sparse=always")
            .arg(&path)
            .arg(&sparse)
            .status();
        assert!(copied.unwrap().success());
        fs::rename(sparse, path).unwrap();
    }
    for format in ["gnu", "posix"] {
        let format = format!("--format={format}");
        tool(
            &place,
            &[
                "tar",
                "-S",
                &format,
                "-C",
                "layout",
                "-cf",
                "sparse.tar",
                ".",
            ],
        );
        assert!(fs::metadata(place.path("sparse.tar")).unwrap().len() < 200_000);
        assert_eq!(
            built(&place, "oci-archive:sparse.tar"),
            expected,
            "{format}"
        );
    }
}
