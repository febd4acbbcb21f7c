//! Mistyped sources, and the advice in their errors.
#![expect(
    clippy::panic,
    reason = "helpers of tests: a failure here is a failed test"
)]

use std::fs;

use ociget::{Error, Request};

fn told(text: &str) -> String {
    match Request::parse(text, None) {
        Err(error @ (Error::Usage(_) | Error::Reference { .. })) => error.to_string(),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn unknown_transports_are_not_sent_to_a_registry() {
    for (text, says) in [
        ("oci-layout:missing", "oci:DIR"),
        ("file:missing.tar", "docker-archive:FILE"),
        ("file:///missing.tar", "docker-archive:FILE"),
        ("tarball:missing.tar", "tar:FILE"),
        (
            "oci://reg.example/app:1",
            "write oci:reg.example/app:1; for a registry write docker://",
        ),
        (
            "docker-archive:///srv/x.tar",
            "write docker-archive:/srv/x.tar",
        ),
        ("dir://x", "write dir:x"),
        ("tar://x", "write tar:x"),
        ("./missing", "no file that can be read has this name"),
        ("/missing/x.tar", "no file that can be read has this name"),
        ("-", "docker-archive:FILE"),
        (
            "docker-daemon:app:1",
            "docker save app:1 | ... docker-archive:-",
        ),
        (
            "containers-storage:app",
            "podman save --format oci-archive app | ... oci-archive:-",
        ),
        ("containerd:app", "ctr image export - app"),
        ("ostree:app", "skopeo copy ostree:app"),
    ] {
        let error = told(text);
        assert!(error.contains(says), "{text}: {error}");
    }
    // Words of Docker Hub, and hosts.
    for text in [
        "docker:dind",
        "registry:2",
        "busybox:musl",
        "archive.example:80/x",
    ] {
        assert!(Request::parse(text, None).is_ok(), "{text}");
    }
}

#[test]
fn images_on_disk_are_noticed_where_no_transport_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let gzip: &[u8] = b"\x1f\x8b\x08";
    fs::write(at("saved.tar.gz"), gzip).unwrap();
    fs::write(at("text"), "hello").unwrap();
    fs::create_dir_all(at("layout")).unwrap();
    fs::write(at("layout/oci-layout"), "").unwrap();
    fs::create_dir_all(at("copied")).unwrap();
    fs::write(at("copied/manifest.json"), "").unwrap();
    fs::create_dir_all(at("empty")).unwrap();
    for (name, says) in [
        ("saved.tar.gz", "write docker-archive:"),
        ("text", "not a tar file"),
        ("layout", "write oci:"),
        ("copied", "write dir:"),
        ("empty", "tar:-"),
    ] {
        let error = told(&at(name));
        assert!(error.contains(says), "{name}: {error}");
        let error = told(&format!("file:{}", at(name)));
        let says = if name == "text" { "tar:FILE" } else { says };
        assert!(error.contains(says), "{name}: {error}");
    }
}

/// podman-container-tools/podman#15963.
#[test]
fn colon_in_a_file_name_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app:latest.tar");
    fs::write(&path, "").unwrap();
    for transport in ["docker-archive", "oci-archive", "oci"] {
        let error = told(&format!("{transport}:{}", path.display()));
        assert!(error.contains("the first colon ends the path"), "{error}");
    }
    for transport in ["dir", "tar"] {
        let text = format!("{transport}:{}", path.display());
        assert_eq!(
            Request::parse(&text, None).unwrap().spec().to_string(),
            text
        );
    }
}
