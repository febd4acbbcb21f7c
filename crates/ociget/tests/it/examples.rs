//! The examples as programs, by their exact command lines.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure here is a failed test"
)]

use std::path::PathBuf;
use std::process::Output;

use ociget::Digest;

use crate::support::{Content, OCI_INDEX, Reply, Server, noise};

/// An example, which Cargo builds with the tests.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples")
        .join(name);
    assert!(
        path.exists(),
        "{} is missing: cargo build -p ociget --examples",
        path.display()
    );
    path
}

async fn run(name: &str, args: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    tokio::process::Command::new(program(name))
        .args(args)
        .env_clear()
        .env("HOME", home.path())
        .output()
        .await
        .unwrap()
}

async fn succeeds(name: &str, args: &[&str]) -> Vec<u8> {
    let output = run(name, args).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.is_empty(),
        "{name}: {errors}"
    );
    output.stdout
}

#[tokio::test]
async fn examples_print_what_they_find_one_per_line() {
    let layer = noise(100_000);
    let (mut content, manifest) = Content::image(&layer);
    let referrer = content.add_image("linux", "arm64", &[b"x"]);
    let list = content.add_index(&[("", &referrer)]);
    content.tag(&format!("sha256-{}", manifest.hex()), &list);
    let server = Server::start(&content, |seen| {
        let tags = r#"{"name":"app","tags":["v1","v2"]}"#;
        seen.path
            .contains("/tags/list")
            .then(|| Reply::new(200, tags))
    })
    .await;
    let reference = format!("{}/app:v1", server.host);
    let digest = Digest::of(&layer).to_string();
    assert_eq!(succeeds("tags", &[&reference]).await, b"v1\nv2\n");
    let referrers = succeeds("referrers", &[&reference, &manifest.to_string()]).await;
    assert_eq!(referrers, format!("{referrer}\n").into_bytes());
    let other = [&reference, &manifest.to_string(), "application/other"];
    assert_eq!(succeeds("referrers", &other).await, b"");
    assert_eq!(succeeds("blob", &[&reference, &digest]).await, layer);
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("layout");
    let prefixed = format!("docker://{reference}");
    for reference in [&reference, &prefixed] {
        let copied = succeeds("copy_to_layout", &[reference, out.to_str().unwrap()]).await;
        assert_eq!(copied, format!("{manifest}\n").into_bytes());
    }
    let index = std::fs::read_to_string(out.join("index.json")).unwrap();
    assert!(
        index.contains(r#""org.opencontainers.image.ref.name":"v1""#),
        "{index}"
    );
}

#[tokio::test]
async fn examples_fail_with_1_and_with_2_for_usage() {
    let server = Server::start(&Content::default(), |seen| {
        let list = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":1}}"#);
        seen.path
            .contains("/referrers/")
            .then(|| Reply::new(200, list))
    })
    .await;
    let reference = format!("{}/app:v1", server.host);
    let digest = Digest::of(b"x").to_string();
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let out = out.to_str().unwrap();
    let (reference, digest) = (reference.as_str(), digest.as_str());
    for (name, args, code) in [
        ("tags", vec![reference], 1),
        ("tags", vec![], 2),
        ("tags", vec![reference, "x"], 2),
        ("tags", vec!["https://example.com/x"], 2),
        ("tags", vec!["oci:dir"], 2),
        ("referrers", vec![reference, digest], 1),
        ("referrers", vec![reference], 2),
        ("referrers", vec![reference, "sha256:x"], 2),
        ("blob", vec![reference, digest], 1),
        ("blob", vec![reference], 2),
        ("blob", vec![reference, "sha256:x"], 2),
        ("copy_to_layout", vec![reference, out], 1),
        ("copy_to_layout", vec![reference], 2),
    ] {
        let output = run(name, &args).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{name} {args:?}: {errors}"
        );
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert!(output.stdout.is_empty());
    }
}

#[tokio::test]
async fn examples_take_logins_from_the_keychain_and_show_none() {
    let (content, _) = Content::image(b"layer");
    let server = Server::start(&content, |seen| {
        // ada:hunter2
        if seen.header("authorization") != Some("Basic YWRhOmh1bnRlcjI=") {
            let challenge = Reply::new(401, "").with("www-authenticate", "Basic realm=\"x\"");
            return Some(challenge);
        }
        let tags = r#"{"name":"app","tags":["v1"]}"#;
        seen.path
            .contains("/tags/list")
            .then(|| Reply::new(200, tags))
    })
    .await;
    let reference = format!("{}/app:v1", server.host);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("auth.json");
    for (auth, code) in [("YWRhOmh1bnRlcjI=", 0), ("YWRhOnNlc2FtZQ==", 1)] {
        let config = format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, server.host);
        std::fs::write(&file, config).unwrap();
        for (name, more) in [
            ("tags", None),
            ("blob", Some(Digest::of(b"layer").to_string())),
        ] {
            let output = tokio::process::Command::new(program(name))
                .arg(&reference)
                .args(more)
                .env_clear()
                .env("REGISTRY_AUTH_FILE", &file)
                .output()
                .await
                .unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{name}: {errors}");
            assert!(
                !errors.contains("sesame") && !errors.contains(auth),
                "{errors}"
            );
        }
    }
}
