//! `doctor` with settings of the environment and of files, right and wrong ones.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{doctor, finding, says};
use crate::cli::Place;

fn configure(place: &Place, text: &str) -> PathBuf {
    let file = place.path("f.toml");
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    file
}

#[test]
fn settings_of_pull_count_for_doctor() {
    let place = Place::new();
    let file = configure(&place, "[pull]\nagent = \"agent\"\n");
    let config = ["--config", file.to_str().unwrap()];
    let set = doctor(&place, &[], &config);
    says(&finding(&set, 0, "agent"), "ok", "agent");
    for (line, check) in [
        ("agent = \"missing\"", "agent"),
        ("min-free = \"1000T\"\nno-agent = true", "space"),
        ("level = 99\nno-agent = true", "configuration"),
        ("block-size = \"2M\"\nno-agent = true", "configuration"),
        (
            "level = 19\ncompressor = \"gzip\"\nno-agent = true",
            "options",
        ),
        ("authfile = \"missing\"\nno-agent = true", "credentials"),
        ("ca-file = \"missing\"\nno-agent = true", "connections"),
        (
            "inject = \"missing:/.hpcc/x\"\nno-agent = true",
            "injected files",
        ),
    ] {
        configure(&place, &format!("[pull]\n{line}\n"));
        let outcome = doctor(&place, &[], &config);
        assert_eq!(
            finding(&outcome, 1, check)["status"],
            "failed",
            "{outcome:#?}"
        );
    }
    let variable = [("HPCC_AGENT", "missing")];
    says(
        &finding(&doctor(&place, &variable, &[]), 1, "agent"),
        "failed",
        "missing",
    );
}

#[test]
fn each_fault_of_the_configuration_is_found_with_its_place() {
    let place = Place::new();
    let file = configure(
        &place,
        "level =\n[pull]\nagent = \"agent\"\nagnet = \"x\"\ncompressor = \"rar\"\nmin-free = true\n[pul]\n",
    );
    let config = ["--config", file.to_str().unwrap()];
    let variables = [("HPCC_OFFLINE", "maybe"), ("HPCC_AGNET", "x")];
    let outcome = doctor(&place, &variables, &config);
    says(&finding(&outcome, 1, "agent"), "ok", "agent");
    let document: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let findings = document["findings"].as_array().unwrap();
    let places: Vec<_> = findings
        .iter()
        .filter(|finding| finding["check"] == "configuration")
        .map(|finding| {
            let place = &finding["place"];
            json!([
                finding["status"],
                place["line"],
                place["key"],
                place["variable"]
            ])
        })
        .collect();
    let expected = [
        json!(["failed", 1, null, null]),
        json!(["failed", 4, "agnet", null]),
        json!(["failed", 6, "min-free", null]),
        json!(["failed", 7, "pul", null]),
        json!(["failed", null, "offline", "HPCC_OFFLINE"]),
        json!(["failed", 5, "compressor", null]),
        json!(["warning", null, null, null]),
    ];
    assert_eq!(places, expected, "{outcome:#?}");
    let failed = findings
        .iter()
        .filter(|finding| finding["status"] == "failed");
    assert!(
        failed
            .into_iter()
            .all(|finding| finding["advice"].is_string())
    );
    // The file is in JSON what it is in text.
    assert_eq!(findings[0]["place"]["file"], json!(file));

    configure(&place, "[pull]\nagent = \"agent\"\n");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let outcome = doctor(&place, &[], &config);
    says(
        &finding(&outcome, 1, "configuration"),
        "failed",
        "chmod go-w",
    );
    says(&finding(&outcome, 1, "agent"), "failed", "no file is named");
    for named in ["missing.toml", "."] {
        let outcome = doctor(&place, &[], &["--no-agent", "--config", named]);
        says(
            &finding(&outcome, 1, "configuration"),
            "failed",
            "--config none",
        );
    }
}
