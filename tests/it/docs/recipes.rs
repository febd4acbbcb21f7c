//! Files of other programs in the documents, against what those programs read.

use std::fs;

use serde_json::Value;
use test_support::image::Layer;
use test_support::oracle::{json_schema, yaml};

use super::lines::{all_blocks, here_documents, is_shell};
use super::root;
use crate::cli::Place;

/// Returns the configurations of machines in the documents.
fn configurations() -> Vec<String> {
    let mut found = Vec::new();
    for (_, block) in all_blocks(is_shell) {
        let texts = here_documents(&block.text).into_iter();
        found.extend(texts.filter(|(first, _)| first.contains("vm.json")));
    }
    found.into_iter().map(|(_, body)| body).collect()
}

#[test]
fn firecracker_configurations_of_the_documents_are_as_its_schema_says() {
    let place = Place::new();
    let mut files = Vec::new();
    for body in configurations() {
        let path = place.path(&format!("{}.json", files.len()));
        fs::write(&path, body).unwrap();
        files.push(path);
    }
    assert!(!files.is_empty(), "no configuration found");
    let schema = root().join("tests/data/firecracker.schema.json");
    json_schema::validate(&schema, &files).unwrap();
}

#[test]
fn firecracker_configurations_of_the_documents_are_those_of_vm_config() {
    let place = Place::new();
    fs::write(place.path("root.tar"), Layer::new().dir("etc").tar()).unwrap();
    let build = "build tar:root.tar --agent agent --platform linux/amd64 --output out.sqsh";
    assert_eq!(place.run(build.split(' ')).status, Some(0));
    let vm_config = "vm-config out.sqsh --firecracker --kernel vmlinux --vcpus 2 --memory 512M --drive-path $IMAGE";
    let printed = place.run(vm_config.split(' ')).json();
    for body in configurations() {
        let shown: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(shown, printed);
    }
}

#[test]
fn yaml_of_documents_and_workflows_parses() {
    let place = Place::new();
    let mut files = Vec::new();
    for (at, block) in all_blocks(|info| info == "yaml") {
        let path = place.path(&format!("{}.yml", at.replace('/', "-")));
        fs::write(&path, block.text).unwrap();
        files.push(path);
    }
    assert!(files.len() >= 2, "only {} blocks", files.len());
    for entry in fs::read_dir(root().join(".github/workflows")).unwrap() {
        files.push(entry.unwrap().path());
    }
    yaml::parse(&files).unwrap();
    let wrong = place.path("wrong.yml");
    for text in ["a: 1\nb: [\n", "a: 1\na: 2\n", "- a\nb: c\n"] {
        fs::write(&wrong, text).unwrap();
        assert!(yaml::parse(std::slice::from_ref(&wrong)).is_err(), "{text}");
    }
}
