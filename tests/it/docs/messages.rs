//! Messages that the book quotes exist.

use std::fs;
use std::path::Path;

use super::{prose, read, root};

/// Returns the source of the product in one text per file, with continued string literals joined.
fn sources() -> Vec<String> {
    fn collect(directory: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(fs::read_to_string(&path).unwrap().replace("\\\"", "\""));
            }
        }
    }
    let mut found = Vec::new();
    for name in ["hpcc-rootfs", "ociget", "sqfs-writer"] {
        collect(&root().join("crates").join(name).join("src"), &mut found);
    }
    assert!(found.len() > 150, "only {} files", found.len());
    found
}

/// Returns whether a file has all pieces of a message, in any order: a part of it may be a function's.
fn has(source: &str, message: &str) -> bool {
    let pieces = message
        .split('…')
        .map(|piece| piece.trim_matches([' ', ':']));
    let mut pieces = pieces.filter(|piece| piece.len() > 2).peekable();
    assert!(pieces.peek().is_some(), "{message} has no words");
    pieces.all(|piece| source.contains(piece))
}

#[test]
fn messages_in_troubleshooting_exist() {
    let page = read("docs/troubleshooting.md");
    let sources = sources();
    let (mut checked, mut missing) = (0, Vec::new());
    for line in prose(&page) {
        let Some(title) = line.strip_prefix("### ") else {
            continue;
        };
        if title.ends_with("(from the guest's kernel)") {
            continue;
        }
        checked += 1;
        let message = title.trim_matches('`');
        if !sources.iter().any(|source| has(source, message)) {
            missing.push(message);
        }
    }
    assert!(
        missing.is_empty(),
        "not in the source:\n{}",
        missing.join("\n")
    );
    assert!(checked > 25, "only {checked} messages found");
}
