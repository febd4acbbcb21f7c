//! The exact text and JSON of each common mistake and failure. After a deliberate change, the test rewrites
//! `error_snapshots.txt` if `UPDATE_SNAPSHOTS` is set; read the difference before you commit it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use test_support::image::{Image, Index, Layer, Store, sha256};
use test_support::registry::{Action, Auth, Fault, Registry};

use crate::cli::{Outcome, Place};

const SNAPSHOTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/it/error_snapshots.txt");

/// A name, and the arguments of a run that fails.
type Situation = (&'static str, Vec<String>);

fn layer() -> Layer {
    Layer::new().dir("etc").file("etc/hostname", "guest\n")
}

fn serve(image: &Image) -> Registry {
    let mut store = Store::new();
    let manifest = image.add_to(&mut store);
    store.tag("latest", &manifest);
    Registry::serve(store).unwrap()
}

fn pull(registry: &Registry, more: &[&str]) -> Vec<String> {
    let reference = format!("{}/team/image:latest", registry.addr());
    let all = ["pull", &reference, "--agent", "agent", "--retries", "0"];
    all.iter().chain(more).map(ToString::to_string).collect()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

/// Situations that need no registry.
fn offline(place: &Place) -> Vec<Situation> {
    let mut store = Store::new();
    let image = Image::new().layer(layer()).add_to(&mut store);
    store.tag("v1", &image);
    store.write_layout(&place.path("layout")).unwrap();
    fs::create_dir(place.path("directory")).unwrap();
    fs::write(place.path("file"), "no store").unwrap();
    fs::write(place.path("damaged.sqsh"), vec![0; 8192]).unwrap();
    let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
    let pinned = format!("127.0.0.1:1/image@{}", digest("1"));
    vec![
        ("missing argument", words(&["pull"])),
        ("unknown command", words(&["pul", "image"])),
        ("unknown option", words(&["list", "--jsn"])),
        (
            "value that an option does not take",
            words(&["pull", "image", "--level", "high"]),
        ),
        (
            "bad reference",
            words(&["pull", "Team/Image", "--agent", "agent"]),
        ),
        (
            "two digests",
            words(&[
                "pull",
                &pinned,
                "--digest",
                &digest("2"),
                "--agent",
                "agent",
            ]),
        ),
        (
            "short digest",
            words(&["pull", "image", "--digest", "sha256:12", "--agent", "agent"]),
        ),
        (
            "missing agent file",
            words(&["pull", "127.0.0.1:1/image", "--agent", "nowhere"]),
        ),
        (
            "injected outside",
            words(&[
                "build",
                "oci:layout:v1",
                "-o",
                "out",
                "--inject",
                "agent:/etc/x",
            ]),
        ),
        (
            "refused connection",
            words(&[
                "pull",
                "127.0.0.1:1/image",
                "--agent",
                "agent",
                "--retries",
                "0",
            ]),
        ),
        (
            "missing layout",
            words(&["build", "oci:nowhere:v1", "-o", "out"]),
        ),
        (
            "missing tag of a layout",
            words(&["build", "oci:layout:v2", "-o", "out"]),
        ),
        (
            "output is a directory",
            words(&["build", "oci:layout:v1", "-o", "directory"]),
        ),
        ("store is a file", words(&["list", "--cache-dir", "file"])),
        (
            "no artifact",
            words(&["verify", "./damaged.sqsh", "--cache-dir", "empty"]),
        ),
    ]
}

/// Situations with a registry that works.
fn online(place: &Place) -> (Vec<Registry>, Vec<Situation>) {
    let good = serve(&Image::new().layer(layer()));
    let windows = serve(&Image::new().layer(layer()).platform("windows/amd64"));
    let broken = serve(&Image::new().layer(layer().hardlink("link", "nowhere")));
    let mut store = Store::new();
    let index = Index::new()
        .image(Image::new().layer(layer()))
        .add_to(&mut store);
    store.tag("latest", &index);
    let index = Registry::serve(store).unwrap();
    let auth = Auth::Basic {
        user: "robot".into(),
        password: "hunter2".into(),
    };
    let private = Registry::serve_with(Store::new(), auth).unwrap();
    let credentials = json!({"auths": {private.addr().to_string(): {"auth": "no base64!"}}});
    fs::write(place.path("auth.json"), credentials.to_string()).unwrap();
    let open = place.path("open");
    fs::create_dir(&open).unwrap();
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(&open, everybody).unwrap();
    let mut no_agent = pull(&good, &[]);
    no_agent.drain(2..4);
    let situations = vec![
        ("no agent", no_agent),
        ("bad authfile", pull(&private, &["--authfile", "auth.json"])),
        ("over a limit", pull(&good, &["--max-entries", "1"])),
        ("disk full", pull(&good, &["--min-free", "1000000T"])),
        (
            "store that others can write to",
            pull(&good, &["--cache-dir", "open"]),
        ),
        (
            "wrong platform",
            pull(&index, &["--platform", "linux/riscv64"]),
        ),
        (
            "another system",
            pull(&windows, &["--platform", "windows/amd64"]),
        ),
        ("layer that cannot be applied", pull(&broken, &[])),
    ];
    (vec![good, private, windows, broken, index], situations)
}

/// Situations with a registry that fails.
fn failing() -> (Vec<Registry>, Vec<Situation>) {
    let mut registries = Vec::new();
    let mut situations = Vec::new();
    for (name, status) in [
        ("unauthorized", 401),
        ("forbidden", 403),
        ("not found", 404),
        ("too many requests", 429),
        ("unavailable", 503),
    ] {
        let registry = serve(&Image::new().layer(layer()));
        registry.inject(Fault::status("/v2/", status));
        situations.push((name, pull(&registry, &[])));
        registries.push(registry);
    }
    let blob = sha256(&layer().blob());
    for (name, path, action) in [
        (
            "manifest with another digest",
            "/manifests/sha256",
            Action::Corrupt(40),
        ),
        ("damaged layer", blob.as_str(), Action::Corrupt(60)),
        ("layer that ends early", &blob, Action::Truncate(50)),
    ] {
        let registry = serve(&Image::new().layer(layer()));
        registry.inject(Fault::on(path, action));
        situations.push((name, pull(&registry, &[])));
        registries.push(registry);
    }
    (registries, situations)
}

#[test]
fn common_failures_say_what_they_always_said() {
    let place = Place::new();
    let mut situations = offline(&place);
    let (_online, more) = online(&place);
    situations.extend(more);
    let (_failing, more) = failing();
    situations.extend(more);
    let mut found = String::new();
    for (name, arguments) in &situations {
        let text = place.run(arguments);
        let json = place.run(arguments.iter().map(String::as_str).chain(["--json"]));
        assert_eq!(text.status, json.status, "{name}: {text:#?} {json:#?}");
        let report: Value = serde_json::from_str(&json.stderr)
            .unwrap_or_else(|error| panic!("{name}: {error}: {json:#?}"));
        assert_eq!(
            report["transient"],
            text.status == Some(75),
            "{name}: {report}"
        );
        let code = text.status.unwrap();
        let text = shown(&place, &text);
        let report = normal(&place, &serde_json::to_string_pretty(&report).unwrap());
        write!(found, "== {name}: exit {code}\n{text}{report}\n\n").unwrap();
    }
    assert!(situations.len() >= 20);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(SNAPSHOTS, &found).unwrap();
    }
    let expected = fs::read_to_string(Path::new(SNAPSHOTS)).unwrap_or_default();
    for (found, expected) in found.split("== ").zip(expected.split("== ")) {
        assert_eq!(found, expected, "see the first lines of this file");
    }
    assert_eq!(found, expected);
}

/// What stderr says at its end; the lines before are about the progress.
fn shown(place: &Place, outcome: &Outcome) -> String {
    let start = outcome.stderr.find("error: ").unwrap();
    normal(place, &outcome.stderr[start..])
}

/// Returns the text without what differs from run to run: the directory, ports, and the room on the disk.
fn normal(place: &Place, text: &str) -> String {
    let directory = place.path("");
    let directory = directory.to_str().unwrap().trim_end_matches('/');
    let text = text.replace(directory, "DIRECTORY");
    let mut normal = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("127.0.0.1:") {
        normal.push_str(before);
        normal.push_str("127.0.0.1:PORT");
        rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    normal.push_str(rest);
    match normal.split_once(" are free, and ") {
        Some((before, after)) => {
            let is_of_size = |c: char| c.is_ascii_digit() || ".BKMGT".contains(c);
            let before = before.trim_end_matches(is_of_size);
            let after = after.replace(|c: char| c.is_ascii_digit(), "N");
            format!("{before}N are free, and {after}")
        }
        None => normal,
    }
}
