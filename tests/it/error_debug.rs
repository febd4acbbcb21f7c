//! `Debug` of errors, which is what `unwrap` and many loggers show: names as text, not as lists of numbers.

use std::fs;
use std::path::{Path, PathBuf};

/// Types whose `Debug` prints bytes as numbers.
const BYTES: [&str; 7] = [
    "[u8]", "Vec<u8>", "[u8; ", ": Bytes", "(Bytes", "SmallVec", "CString",
];

/// Sources of the libraries and of the program.
fn sources() -> Vec<(PathBuf, String)> {
    fn collect(directory: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((path.clone(), fs::read_to_string(path).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for name in ["hpcc-rootfs", "ociget", "sqfs-writer"] {
        collect(&root.join("crates").join(name).join("src"), &mut found);
    }
    found
}

/// Returns the bodies of types that derive both `Debug` and `Error`.
fn errors(source: &str) -> Vec<&str> {
    let derives = source
        .match_indices("#[derive(")
        .map(|(at, _)| &source[at..]);
    let derives = derives.filter(|rest| {
        let list = rest.split(")]").next().unwrap();
        list.contains("Debug") && list.contains("Error")
    });
    derives
        .map(|rest| rest.split("\n}").next().unwrap())
        .collect()
}

/// Fields that print bytes, of the errors in a source.
fn byte_fields(source: &str) -> Vec<String> {
    let lines = errors(source).into_iter().flat_map(str::lines);
    let code = lines
        .map(str::trim)
        .filter(|line| !line.starts_with("//") && !line.starts_with("#["));
    let wrong = code.filter(|line| BYTES.iter().any(|bytes| line.contains(bytes)));
    wrong.map(str::to_owned).collect()
}

#[test]
fn errors_show_names_as_text() {
    let (mut checked, mut wrong) = (0, Vec::new());
    for (path, source) in sources() {
        checked += errors(&source).len();
        for field in byte_fields(&source) {
            wrong.push(format!("{}: {field}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 20, "only {checked} errors found");

    let error = sqfs_writer::Tree::<()>::new(sqfs_writer::Metadata::new(0o755))
        .insert(
            sqfs_writer::NodeId::ROOT,
            b"etc/\xff",
            sqfs_writer::Metadata::new(0o644),
            sqfs_writer::Kind::Fifo,
        )
        .unwrap_err();
    let shown = format!("{error:?}");
    assert!(shown.contains(r#"name: "etc/\\xff""#), "{shown}");
}

#[test]
fn error_with_bytes_is_found_in_every_form() {
    for body in [
        "Name(Box<[u8]>),",
        "Name { name: Vec<u8> },",
        "Digest([u8; 32]),",
    ] {
        let source = format!(
            "#[derive(Debug, thiserror::Error)]\npub enum Error {{\n    #[error(\"a\")]\n    {body}\n}}\n"
        );
        assert_eq!(byte_fields(&source), [body]);
    }
    let plain = "#[derive(Debug)]\nstruct Plain {\n    bytes: Vec<u8>,\n}\n";
    assert!(byte_fields(plain).is_empty());
}
