//! What a guest finds besides the image: mount points on request, an agent that it can execute, or none.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;
use test_support::image::{Entry, Image, Layer, Store, static_program};
use test_support::oracle::unsquashfs;
use test_support::registry::Registry;
use tree_listing::Listing;

use crate::cli::{Place, program};

fn serve(layer: Layer) -> (Registry, String) {
    let mut store = Store::new();
    let image = Image::new().layer(layer).add_to(&mut store);
    store.tag("latest", &image);
    let registry = Registry::serve(store).unwrap();
    let reference = format!("{}/image@{}", registry.addr(), image.digest);
    (registry, reference)
}

#[test]
fn mount_points_are_made_if_missing_and_change_the_key() {
    let layer = Layer::new().dir("srv").file("etc/hosts", "of the image\n");
    let (_registry, reference) = serve(layer);
    let place = Place::new();
    let plain = place.pull(&reference, &["--json"]).json();
    assert!(plain["record"]["key"].get("mount_points").is_none());

    let points = [
        "/srv",
        "/etc/hosts:file",
        "/etc/resolv.conf:file",
        "/data/x",
    ];
    let points = points.map(|point| ["--mount-point", point]);
    let more = points.as_flattened();
    let pulled = place.pull(&reference, &[more, &["--json"]].concat());
    let result = pulled.json();
    let made = json!(["/data/x", "/etc/resolv.conf:file"]);
    assert_eq!(result["built"]["made_mount_points"], made);
    let key = json!([
        "/data/x",
        "/etc/hosts:file",
        "/etc/resolv.conf:file",
        "/srv"
    ]);
    assert_eq!(result["record"]["key"]["mount_points"], key);
    let agent = place.agent();
    let agent = agent.to_str().unwrap();
    let built = [&["build", &reference, "-o", "out", "--agent", agent], more].concat();
    let told = place.run(built).stderr;
    let note = "/etc/resolv.conf:file was created as a mount point";
    assert!(told.contains(note), "{told}");
    assert!(pulled.stderr.contains("mount points"), "{}", pulled.stderr);

    let path = result["path"].as_str().unwrap();
    let unpacked = unsquashfs::extract(Path::new(path)).unwrap();
    let seen = Listing::walk(&unpacked.root()).unwrap().entries;
    let of = |path: &str| {
        let entry = &seen[path.as_bytes()];
        (entry.kind.name(), entry.mode, entry.size, entry.uid)
    };
    assert_eq!(of("/etc/resolv.conf"), ("file", 0o644, 0, 0));
    let data = of("/data/x");
    assert_eq!((data.0, data.1, data.3), ("directory", 0o755, 0));
    assert_eq!(of("/etc/hosts").2, 13);

    // In another order, and twice: the same key.
    let again = points.iter().rev().chain(&points[..1]).flatten();
    let again: Vec<_> = again.copied().chain(["--json"]).collect();
    assert_eq!(place.pull(&reference, &again).json()["built"], json!(null));
    let inspected = place.run(["inspect", path]).stdout;
    assert!(inspected.contains("mount point /data/x\n"), "{inspected}");
}

#[test]
fn mount_point_below_a_symlink_of_the_image_is_refused() {
    let layer = Layer::new()
        .symlink("etc", ".hpcc")
        .symlink("data", "/proc/1/root/.hpcc");
    let (_registry, reference) = serve(layer);
    let place = Place::new();
    for (point, status, says) in [
        (
            "/etc/resolv.conf:file",
            1,
            "/etc is a symlink of the image to .hpcc",
        ),
        (
            "/data",
            1,
            "/data is a symlink of the image to /proc/1/root/.hpcc",
        ),
        ("/run/x", 2, "which hides it"),
        ("/dev/x:file", 2, "which hides it"),
        ("etc/x", 2, "not absolute"),
        ("/.hpcc/x:file", 2, "reserved"),
        ("/x/../.hpcc", 2, ".."),
    ] {
        let outcome = place.pull(&reference, &["--mount-point", point]);
        assert_eq!(outcome.status, Some(status), "{point}: {outcome:#?}");
        assert!(outcome.stderr.contains(says), "{point}: {}", outcome.stderr);
        assert!(place.cached().is_empty());
    }
}

#[test]
fn image_without_an_agent_needs_the_option() {
    let (_registry, reference) = serve(Layer::new().file("sbin/init", "of the image"));
    let place = Place::new();
    let outcome = place.run(["pull", &reference]);
    assert_eq!(outcome.status, Some(1), "{outcome:#?}");
    for words in ["cargo xtask agent", "--no-agent"] {
        assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
    }
    let pulled = place
        .run(["pull", &reference, "--no-agent", "--json"])
        .json();
    assert_eq!(pulled["record"]["key"]["agent"], json!(null));
    let path = pulled["path"].as_str().unwrap();
    let unpacked = unsquashfs::extract(Path::new(path)).unwrap();
    let names = fs::read_dir(unpacked.root().join(".hpcc")).unwrap();
    let mut names: Vec<_> = names.map(|name| name.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["image-config.json", "image.json"]);
    let built = ["build", &reference, "--no-agent", "-o", "out"];
    assert_eq!(place.run(built).status, Some(0));
    assert!(fs::read(place.path("out")).unwrap() == fs::read(path).unwrap());
    let both = place.pull(&reference, &["--no-agent"]);
    assert_eq!(both.status, Some(2), "{both:#?}");
}

#[test]
fn agent_that_the_image_cannot_execute_is_named() {
    let shell = Entry::file("bin/sh", static_program()).mode(0o755);
    let text = Entry::file("bin/text", "exit 1").mode(0o755);
    let (_registry, reference) = serve(Layer::new().entry(shell).entry(text));
    let place = Place::new();
    for (content, problem) in [
        (&b"#!/bin/sh\nexec sleep 1\n"[..], None),
        (
            b"#!/bin/text\n",
            Some("needs the interpreter /bin/text, which is neither an ELF program nor a script"),
        ),
        (
            b"#!/bin/sh -e\r\nexec sleep 1\r\n",
            Some("is a script whose first line ends with CR LF"),
        ),
        (b"#!/bin/bash\n", Some("needs the interpreter /bin/bash")),
        (b"hello", Some("is neither an ELF program nor a script")),
    ] {
        fs::write(place.agent(), content).unwrap();
        let outcome = place.pull(&reference, &["--json"]);
        let found = &outcome.json()["built"]["agent_problem"];
        match problem {
            None => assert_eq!(*found, json!(null)),
            Some(problem) => {
                let agent = place.agent();
                let named = format!("the agent {} {problem}", agent.display());
                assert!(found.as_str().unwrap().starts_with(&named), "{found}");
                assert!(outcome.stderr.contains(&named), "{}", outcome.stderr);
            }
        }
    }
}

#[test]
fn interpreter_of_an_agent_may_be_injected() {
    let (_registry, reference) = serve(Layer::new().dir("etc"));
    let place = Place::new();
    fs::write(place.agent(), "#!/.hpcc/busybox sh\n").unwrap();
    fs::write(place.path("busybox"), static_program()).unwrap();
    let more = ["--inject", "busybox:/.hpcc/busybox:755", "--json"];
    let pulled = place.pull(&reference, &more).json();
    assert_eq!(pulled["built"]["agent_problem"], json!(null));
}

#[test]
fn linked_artifact_is_read_only_and_pinned_during_the_lease() {
    let (_registry, reference) = serve(Layer::new().file("x", "content"));
    let place = Place::new();
    let artifact = place.pull(&reference, &[]).line().to_owned();
    let digest = reference.split_once('@').unwrap().1;
    let inode = |path: &Path| fs::metadata(path).map(|found| (found.ino(), found.mode() & 0o777));
    let own = inode(artifact.as_ref()).unwrap().0;

    // By its digest and by its path.
    for (name, path) in [(digest, "detached"), (artifact.as_str(), "by path")] {
        let linked = place.run(["link", name, path, "--detach", "--json"]).json();
        assert_eq!(linked["method"], "hard link");
        assert_eq!(linked["digest"], digest);
        assert_eq!(inode(&place.path(path)).unwrap(), (own, 0o444));
    }

    // A shell is the process that asks, and it lives until its input ends.
    let mut shell = place.command("sh");
    let script = "\"$1\" link \"$2\" jailed & read -r line";
    shell.args(["-c", script, "sh"]).arg(program()).arg(digest);
    let mut shell = shell.stdin(Stdio::piped()).spawn().unwrap();
    let patience = Instant::now() + Duration::from_secs(60);
    let gc = || place.run(["gc", "--max-size", "0", "--json"]).json();
    // The name appears while the lease is held.
    while inode(&place.path("jailed")).is_err() {
        assert!(Instant::now() < patience, "no link");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(gc()["removed"], json!([]));
    drop(shell.stdin.take());
    shell.wait().unwrap();
    while gc()["removed"] == json!([]) {
        assert!(Instant::now() < patience, "still pinned");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(inode(&place.path("jailed")).unwrap().0, own);
}

#[test]
fn link_refuses_existing_files_and_unknown_artifacts() {
    let (_registry, reference) = serve(Layer::new().file("x", "content"));
    let place = Place::new();
    place.pull(&reference, &[]).line();
    let digest = reference.split_once('@').unwrap().1;
    fs::write(place.path("taken"), "of another program").unwrap();
    let unknown = format!("sha256:{}", "0".repeat(64));
    fs::create_dir(place.path("store")).unwrap();
    let lock = format!("store/.lock-{}", digest.replace(':', "-"));
    fs::write(place.path(&lock), "").unwrap();
    for (name, path, status, says) in [
        (digest, "taken", 1, "taken"),
        (digest, "store/root.sqsh", 1, "the directory of a store"),
        (digest, "none/root.sqsh", 1, "none/root.sqsh"),
        (&unknown, "new", 1, "is not in the store"),
        ("./agent", "new", 1, "is not in the store"),
    ] {
        let outcome = place.run(["link", name, path, "--detach"]);
        assert_eq!(outcome.status, Some(status), "{path}: {outcome:#?}");
        assert!(outcome.stderr.contains(says), "{}", outcome.stderr);
        assert!(!place.path("new").exists() && !place.path("store/root.sqsh").exists());
    }
    // A copy on write would copy all of the artifact for another mode.
    let artifact = place
        .cache()
        .join(format!("{}.sqsh", digest.replace(':', "-")));
    assert_eq!(fs::metadata(artifact).unwrap().mode() & 0o777, 0o644);
    assert_eq!(
        fs::read(place.path("taken")).unwrap(),
        b"of another program"
    );
}
