//! `--inject`: files beside the agent, below `/.hpcc` and nowhere else, and part of what an artifact is.

use std::fs;

use serde_json::json;
use test_support::image::{Image, Layer, Store};
use test_support::oracle::Mount;
use test_support::registry::Registry;
use tree_listing::Listing;

use crate::cli::Place;

/// Returns an image that wants the same place, and its pinned reference.
fn serve() -> (Registry, String) {
    let mut store = Store::new();
    let layer = Layer::new()
        .file(".hpcc/secrets/token", "of the image")
        .symlink(".hpcc/ca.pem", "/etc/passwd")
        .file("etc/hostname", "guest\n");
    let image = Image::new().layer(layer).add_to(&mut store);
    store.tag("latest", &image);
    let registry = Registry::serve(store).unwrap();
    let reference = format!("{}/image@{}", registry.addr(), image.digest);
    (registry, reference)
}

#[test]
fn injected_files_are_where_they_were_sent_with_their_modes() {
    let (_registry, reference) = serve();
    let place = Place::new();
    fs::write(place.path("token"), "of the host").unwrap();
    fs::write(place.path("a:b"), vec![7; 300_000]).unwrap();
    let inject = [
        "--inject",
        "token:/.hpcc/secrets/deep/../token:400",
        "--inject",
        "a:b:/.hpcc/ca.pem",
    ];
    let path = place.pull(&reference, &inject).line().to_owned();

    let key = &place.run(["inspect", &path, "--json"]).json()["record"]["key"];
    let injected = key["injected"].as_array().unwrap();
    let of = |entry: &serde_json::Value| json!([entry["path"], entry["mode"]]);
    assert_eq!(of(&injected[0]), json!(["ca.pem", 0o644]));
    assert_eq!(of(&injected[1]), json!(["secrets/token", 0o400]));
    let shown = place.run(["inspect", &path]).stdout;
    assert!(
        shown.contains("/.hpcc/secrets/token 400 sha256:"),
        "{shown}"
    );

    let agent = place.agent();
    let source = format!("docker://{reference}");
    let build = [
        "build",
        &source,
        "-o",
        "out.sqsh",
        "--agent",
        agent.to_str().unwrap(),
    ];
    let built = place.run(build.iter().chain(&inject));
    assert_eq!(built.status, Some(0), "{built:#?}");
    assert!(fs::read(place.path("out.sqsh")).unwrap() == fs::read(&path).unwrap());

    let Some(mount) = Mount::squashfs(path.as_ref()).unwrap() else {
        return;
    };
    let seen = Listing::walk(mount.root()).unwrap().entries;
    for (path, mode) in [
        ("/.hpcc", 0o755),
        ("/.hpcc/secrets", 0o755),
        ("/.hpcc/secrets/token", 0o400),
        ("/.hpcc/ca.pem", 0o644),
        ("/.hpcc/agent", 0o755),
        ("/.hpcc/image.json", 0o644),
        ("/.hpcc/image-config.json", 0o644),
    ] {
        let entry = &seen[path.as_bytes()];
        let found = (entry.mode, entry.uid, entry.gid, entry.mtime);
        assert_eq!(found, (mode, 0, 0, 0), "{path}");
    }
    let ours = seen.keys().filter(|path| path.starts_with(b"/.hpcc/"));
    assert_eq!(ours.count(), 6);
    let read = |path: &str| fs::read(mount.root().join(path)).unwrap();
    assert_eq!(read(".hpcc/secrets/token"), b"of the host");
    assert!(read(".hpcc/ca.pem") == vec![7; 300_000]);
}

#[test]
fn injected_files_are_part_of_the_key() {
    let (registry, reference) = serve();
    let place = Place::new();
    let without = place.pull(&reference, &[]).line().to_owned();
    let plain = fs::read(&without).unwrap();
    fs::write(place.path("token"), "one").unwrap();
    let pull = |inject: &[&str]| {
        let outcome = place.pull(&reference, inject);
        assert_eq!(outcome.line(), without);
        let rebuilt = outcome.stderr.contains("another set of injected files");
        assert_eq!(rebuilt, outcome.stderr.contains("sealing"), "{outcome:#?}");
        rebuilt
    };
    let token = ["--inject", "token:/.hpcc/token"];
    assert!(pull(&token), "one more");
    assert!(!pull(&token), "the same");
    fs::write(place.path("token"), "two").unwrap();
    assert!(pull(&token), "another content");
    assert!(!pull(&token));
    assert!(
        pull(&["--inject", "token:/.hpcc/token:600"]),
        "another mode"
    );
    assert!(
        pull(&["--inject", "token:/.hpcc/x/token:600"]),
        "another place"
    );
    assert!(pull(&[]), "none");
    assert!(fs::read(&without).unwrap() == plain);
    drop(registry);
    assert!(!pull(&[]));
}

#[test]
fn nothing_is_injected_elsewhere_or_from_nowhere() {
    let (registry, reference) = serve();
    let place = Place::new();
    fs::write(place.path("file"), "content").unwrap();
    for (inject, status, said) in [
        ("file:/etc/passwd", 2, "does not lead below /.hpcc"),
        ("file:/.hpcc/../init", 2, "does not lead below /.hpcc"),
        ("file:/.hpcc/agent", 2, "reserved for a file of every image"),
        ("file:/.hpcc/x/../image.json", 2, "reserved for"),
        ("file:/.hpcc/x:4755", 2, "bits beyond the permissions"),
        ("file:/.hpcc/x:rwx", 2, "expected an octal mode"),
        ("file:x", 2, "an absolute path"),
        ("missing:/.hpcc/x", 1, "cannot inject missing"),
        (".:/.hpcc/x", 1, "not a regular file"),
    ] {
        let agent = place.agent();
        let agent = agent.to_str().unwrap();
        for command in [
            vec!["pull", &reference, "--agent", agent],
            vec!["build", &reference, "-o", "out"],
        ] {
            let outcome = place.run(command.into_iter().chain(["--inject", inject]));
            assert_eq!(outcome.status, Some(status), "{inject}: {outcome:#?}");
            assert!(outcome.stderr.contains(said), "{inject}: {outcome:#?}");
        }
    }
    let twice = ["--inject", "file:/.hpcc/x", "--inject", "file:/.hpcc/x/y"];
    assert_eq!(place.pull(&reference, &twice).status, Some(2));
    assert!(registry.requests().is_empty(), "all of it is known before");
    assert_eq!(place.cached(), [""; 0]);
}
