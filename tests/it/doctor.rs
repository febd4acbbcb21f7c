//! `doctor`, on machines that lack something.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;
use test_support::image::{Image, Layer, Store};
use test_support::registry::{Auth, Registry};

use crate::cli::{Outcome, Place};

fn serve(auth: Auth) -> (Registry, String) {
    let mut store = Store::new();
    let image = Image::new()
        .layer(Layer::new().file("a", "a"))
        .add_to(&mut store);
    store.tag("latest", &image);
    let registry = Registry::serve_with(store, auth).unwrap();
    let reference = format!("{}/image:latest", registry.addr());
    (registry, reference)
}

/// The finding of a check in the JSON of a run with this exit code.
fn finding(outcome: &Outcome, status: i32, check: &str) -> Value {
    assert_eq!(outcome.status, Some(status), "{outcome:#?}");
    let document: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(document["ok"], status == 0);
    let mut findings = document["findings"].as_array().unwrap().iter();
    let found = findings.find(|finding| finding["check"] == check);
    found
        .unwrap_or_else(|| panic!("{check}: {outcome:#?}"))
        .clone()
}

fn says(finding: &Value, status: &str, text: &str) {
    assert_eq!(finding["status"], status, "{finding}");
    let all = format!("{} {}", finding["found"], finding["advice"]);
    assert!(all.contains(text), "{text}: {finding}");
}

#[test]
fn healthy_machine_is_found_so_and_nothing_is_changed() {
    let (registry, reference) = serve(Auth::Anonymous);
    let place = Place::new();
    let arguments = ["doctor", &reference, "--agent", "agent", "--json"];
    let outcome = place.run(arguments);
    let of = |check| finding(&outcome, 0, check);
    says(&of("cache directory"), "ok", "the first pull makes it");
    says(&of("agent"), "ok", "agent");
    says(&of("O_TMPFILE"), "ok", "can be made and locked");
    says(&of("credentials"), "ok", "anonymous");
    says(&of("registry"), "ok", "sha256:");
    says(&of("clock"), "ok", "since 1970");
    for check in ["configuration", "owner", "space", "kernel"] {
        assert!(of(check)["found"].is_string(), "{outcome:#?}");
    }
    assert!(!place.cache().exists());
    assert!(
        registry
            .requests()
            .iter()
            .all(|request| !request.path.contains("/blobs/"))
    );
    let text = place.run(&arguments[..4]);
    assert_eq!(text.status, Some(0), "{text:#?}");
    assert!(
        text.stdout
            .lines()
            .all(|line| line.is_ascii() || !line.is_empty())
    );
    assert!(text.stdout.contains("ok       registry"), "{text:#?}");
    let without = place.run(["doctor", "--json"]);
    says(
        &finding(&without, 0, "registry"),
        "skipped",
        "name an image",
    );
    says(&finding(&without, 0, "agent"), "skipped", "--agent");
}

#[test]
fn each_fault_is_found_and_exits_1() {
    let (registry, reference) = serve(Auth::Basic {
        user: "bob".into(),
        password: "s3cret".into(),
    });
    let place = Place::new();
    let doctor = |more: &[&str]| place.run(["doctor", "--json"].iter().chain(more));

    let agent = doctor(&["--agent", "missing"]);
    says(&finding(&agent, 1, "agent"), "failed", "missing");
    fs::write(
        place.path("arm"),
        [&b"\x7FELF\x02\x01\x01"[..], &[0; 11], &[183, 0, 0, 0]].concat(),
    )
    .unwrap();
    let agent = doctor(&["--platform", "linux/amd64", "--agent", "arm"]);
    says(&finding(&agent, 1, "agent"), "failed", "ELF");
    let agent = doctor(&["--platform", "linux/amd64", "--agent-arm64", "arm"]);
    says(
        &finding(&agent, 1, "agent"),
        "failed",
        "no file is named for amd64",
    );

    let refused = doctor(&[&reference]);
    says(
        &finding(&refused, 1, "registry"),
        "failed",
        "not authorized",
    );
    assert!(
        refused.stderr.contains("a pull would fail: registry"),
        "{refused:#?}"
    );
    let auth = format!(
        "{{\"auths\":{{\"{}\":{{\"auth\":\"Ym9iOnMzY3JldA==\"}}}}}}",
        registry.addr()
    );
    fs::write(place.path("auth.json"), auth).unwrap();
    let authorized = doctor(&[&reference, "--authfile", "auth.json"]);
    says(&finding(&authorized, 0, "registry"), "ok", "sha256:");
    says(&finding(&authorized, 0, "credentials"), "ok", "auth.json");
    assert!(!authorized.stdout.contains("s3cret"), "{authorized:#?}");
    let broken = doctor(&["--authfile", "missing.json"]);
    says(&finding(&broken, 1, "credentials"), "failed", "--authfile");
    drop(registry);
    let gone = doctor(&[&reference, "--retries", "0"]);
    says(&finding(&gone, 1, "registry"), "failed", "cannot reach");

    fs::create_dir(place.cache()).unwrap();
    fs::set_permissions(place.cache(), fs::Permissions::from_mode(0o777)).unwrap();
    let open = doctor(&[]);
    says(
        &finding(&open, 1, "cache directory"),
        "failed",
        "chmod go-w",
    );
    let file = place.agent();
    let no_directory = doctor(&["--cache-dir", file.to_str().unwrap()]);
    says(
        &finding(&no_directory, 1, "cache directory"),
        "failed",
        "--cache-dir",
    );
    let refused = place.run(["doctor", "a b"]);
    assert_eq!(refused.status, Some(2), "{refused:#?}");
}
