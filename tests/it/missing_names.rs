//! Names of artifacts that do not exist, or that are no artifacts: every command fails alike.

use std::fs;

use serde_json::Value;

use crate::cli::Place;
use crate::names::{failed, serve, twin};

/// Every command that takes an artifact, and whether a path may lead out of the store.
const COMMANDS: [(&[&str], bool); 9] = [
    (&["inspect"], true),
    (&["attest"], true),
    (&["boot-args"], true),
    (&["vm-config", "--firecracker", "--kernel", "vmlinux"], true),
    (&["verify"], true),
    (&["link", "--detach"], false),
    (&["rm"], false),
    (&["untag"], false),
    (&["path"], false),
];

/// What to do about it.
const ADVICE: &str = "hpcc-rootfs list shows the artifacts, and hpcc-rootfs pull gets an image";

#[test]
fn missing_artifact_is_the_same_error_of_every_command() {
    let (registry, [a, b]) = serve();
    let place = Place::new();
    place
        .pull(&format!("{}/image:a", registry.addr()), &["--quiet"])
        .line();
    twin(&place, &a.digest, 8);
    let before = place.cached();
    fs::create_dir(place.path("directory")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, place.path("fifo"), fifo, mode, 0).unwrap();
    let own = place.cache().join(format!("sha256-{:064}.sqsh", 1));
    let own = own.to_str().unwrap();
    let reference = format!("{}/image:b", registry.addr());
    for (command, takes_files) in COMMANDS {
        let is_path = matches!(command[0], "path" | "untag");
        for (name, kind, says) in [
            // Scripts rely on both: where an artifact would be, and that it is gone.
            (
                b.digest.as_str(),
                if is_path { "" } else { "not-found" },
                "is not in the store",
            ),
            (
                own,
                if is_path { "" } else { "not-found" },
                if takes_files {
                    "does not exist"
                } else {
                    "is not in the store"
                },
            ),
            (&b.digest[..20], "not-found", "is not in the store"),
            (&reference, "not-found", "is not in the store"),
            ("missing.sqsh", "not-found", "is not in the store"),
            (
                "./missing.sqsh",
                "not-found",
                if takes_files {
                    "does not exist"
                } else {
                    "is not in the store"
                },
            ),
            (
                "./agent/x",
                "not-found",
                if takes_files {
                    "does not exist"
                } else {
                    "is not in the store"
                },
            ),
            (&a.digest[..13], "ambiguous", "is the name of 2 artifacts"),
            (
                "directory",
                if takes_files { "io" } else { "not-found" },
                "directory",
            ),
            (
                "./directory",
                if takes_files { "io" } else { "not-found" },
                "directory",
            ),
            (
                "./fifo",
                if takes_files { "io" } else { "not-found" },
                "fifo",
            ),
        ] {
            let what = format!("{command:?} {name}");
            let name = [command[0], name];
            let jail = ["jailed"];
            let jail = if command[0] == "link" { &jail[..] } else { &[] };
            let words = || name.iter().chain(jail).chain(&command[1..]).copied();
            let json = place.run(words().chain(["--json"]));
            if kind.is_empty() {
                assert_eq!(json.status, Some(0), "{what}: {json:#?}");
                continue;
            }
            let error: Value = serde_json::from_str(&json.stderr).unwrap();
            assert_eq!((json.status, json.stdout.as_str()), (Some(1), ""), "{what}");
            assert_eq!(error["kind"], kind, "{what}: {error}");
            let message = error["message"].as_str().unwrap();
            assert!(message.contains(says), "{what}: {error}");
            if kind == "not-found" {
                assert_eq!(error["hint"], ADVICE, "{what}");
                assert!(message.ends_with(ADVICE), "{what}: {error}");
            }
        }
        let mut text = vec![command[0], "debian:12"];
        text.extend((command[0] == "link").then_some("jailed"));
        text.extend(&command[1..]);
        failed(&place.run(text), 1, ADVICE);
    }
    assert_eq!(place.cached(), before);
    assert!(!place.path("jailed").exists());
}
