//! What a registry gets of each crate: every file that the packaged sources name, and none of the repository beside them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// The crates that others link.
const CRATES: [&str; 3] = ["hpcc-rootfs", "ociget", "sqfs-writer"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Files of a package, by their paths in it.
fn files(name: &str) -> BTreeSet<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let listed = Command::new(cargo)
        .args([
            "package",
            "--list",
            "--allow-dirty",
            "--offline",
            "--package",
            name,
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(listed.status.success(), "{listed:?}");
    let listed = String::from_utf8(listed.stdout).unwrap();
    listed.lines().map(PathBuf::from).collect()
}

/// Returns a path without `.` and `..`, or `None` if it leads out of the package.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => normal.pop().then_some(())?,
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    Some(normal)
}

/// Literals after `before` in a source, such as the path of `include_str!("…")`.
fn literals<'t>(text: &'t str, before: &'t str) -> impl Iterator<Item = &'t str> {
    let rests = text.split(before).skip(1);
    rests.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next())
}

/// Files that a source needs, as they are named from the place of the source.
fn named(file: &Path, text: &str) -> Vec<PathBuf> {
    let directory = file.parent().unwrap();
    let mut found = Vec::new();
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("rs") => {
            for before in ["include_str!(", "include_bytes!(", "include!(", "#[path ="] {
                found.extend(literals(text, before).map(|path| directory.join(path)));
            }
        }
        Some("md") => {
            let links = text.split("](").skip(1);
            let links = links.filter_map(|rest| rest.split([')', '#', ' ']).next());
            let links = links.filter(|link| !link.is_empty() && !link.contains("://"));
            found.extend(links.map(|link| directory.join(link)));
        }
        _ => {}
    }
    found
}

/// Why a package cannot stand alone.
fn complaints(files: &BTreeSet<PathBuf>, read: impl Fn(&Path) -> String) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in [
        "Cargo.toml",
        "Cargo.lock",
        "README.md",
        "LICENSE-MIT",
        "LICENSE-APACHE",
    ] {
        if !files.contains(Path::new(file)) {
            complaints.push(format!("{file} is missing"));
        }
    }
    let sources = files.iter().filter(|file| {
        let extension = file.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("rs" | "md"))
    });
    for file in sources {
        for needed in named(file, &read(file)) {
            if normal(&needed).is_none_or(|needed| !files.contains(&needed)) {
                complaints.push(format!("{} needs {}", file.display(), needed.display()));
            }
        }
    }
    complaints
}

#[test]
fn packages_have_every_file_that_they_name() {
    for name in CRATES {
        let directory = root().join("crates").join(name);
        let files = files(name);
        assert!(files.len() > 30, "{name}: {files:?}");
        let read = |file: &Path| fs::read_to_string(directory.join(file)).unwrap();
        let complaints = complaints(&files, read);
        assert!(complaints.is_empty(), "{name}:\n{}", complaints.join("\n"));
        // Read at run time, which no list of files shows.
        for file in files
            .iter()
            .filter(|file| file.extension().is_some_and(|e| e == "rs"))
        {
            let outside = read(file).contains("CARGO_MANIFEST_DIR");
            assert!(
                !outside,
                "{name}: {} reads what is beside the package",
                file.display()
            );
        }
    }
}

/// Licenses are copies, because a package cannot have a file of the directory above it.
#[test]
fn crates_have_the_licenses_of_the_repository() {
    for file in ["LICENSE-MIT", "LICENSE-APACHE"] {
        let expected = fs::read(root().join(file)).unwrap();
        for name in CRATES {
            let found = fs::read(root().join("crates").join(name).join(file)).unwrap();
            assert_eq!(found, expected, "{name}: {file}");
        }
    }
}

#[test]
fn file_outside_of_a_package_is_found_in_every_form() {
    let complete = [
        "Cargo.toml",
        "Cargo.lock",
        "README.md",
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "src/lib.rs",
        "src/a.txt",
    ];
    let files: BTreeSet<PathBuf> = complete.map(PathBuf::from).into();
    let complain = |file: &str, text: &str| {
        complaints(&files, |read| match read == Path::new(file) {
            true => text.to_owned(),
            false => String::new(),
        })
        .len()
    };
    assert_eq!(
        complain(
            "src/lib.rs",
            "include_str!(\"a.txt\") include_bytes!(\"../README.md\")"
        ),
        0
    );
    assert_eq!(
        complain(
            "README.md",
            "[a](src/lib.rs#x) [b](https://example.com) [c](#d)"
        ),
        0
    );
    for text in [
        "include_str!(\"../../README.md\")",
        "include_bytes!(\n    \"b.txt\")",
        "#[path = \"../../tests/support/text.rs\"]",
    ] {
        assert_eq!(complain("src/lib.rs", text), 1, "{text}");
    }
    assert_eq!(complain("README.md", "[a](docs/b.md)"), 1);
}

#[test]
fn readmes_name_the_oldest_rust_that_cargo_accepts() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, version) = manifest.split_once("rust-version = \"").unwrap();
    let needed = format!("Rust {} or newer", version.split('"').next().unwrap());
    let crates = CRATES.iter().map(|name| format!("crates/{name}/README.md"));
    let pages = ["README.md", "docs/quick-start.md"].map(str::to_owned);
    for page in crates.chain(pages) {
        let text = fs::read_to_string(root().join(&page)).unwrap();
        let words: Vec<_> = text.split_whitespace().collect();
        assert!(words.join(" ").contains(&needed), "{page}: {needed}");
    }
}

/// docs.rs has no files of the book.
#[test]
fn documentation_of_crates_refers_to_no_file_of_the_book() {
    fn check(directory: &Path) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("bin") {
                check(&path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                for line in fs::read_to_string(&path).unwrap().lines() {
                    let text = line.trim_start();
                    let is_shown = text.starts_with("///") || text.starts_with("//!");
                    assert!(!is_shown || !text.contains("docs/"), "{path:?}: {line}");
                }
            }
        }
    }
    for name in CRATES {
        check(&root().join("crates").join(name).join("src"));
    }
}
