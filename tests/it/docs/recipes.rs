//! Files of other programs in the documents, against what those programs read.

use std::fs;

use test_support::oracle::{json_schema, yaml};

use super::lines::{all_blocks, here_documents, is_shell};
use super::root;
use crate::cli::Place;

#[test]
fn firecracker_configurations_of_the_documents_are_as_its_schema_says() {
    let place = Place::new();
    let mut files = Vec::new();
    for (_, block) in all_blocks(is_shell) {
        for (first, body) in here_documents(&block.text) {
            if first.contains("vm.json") {
                let path = place.path(&format!("{}.json", files.len()));
                fs::write(&path, body).unwrap();
                files.push(path);
            }
        }
    }
    assert!(!files.is_empty(), "no configuration found");
    let schema = root().join("tests/data/firecracker.schema.json");
    json_schema::validate(&schema, &files).unwrap();
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
