//! The map is true: modules import only what the architecture allows, files stay about one noun,
//! documents name files that exist, and the boot contract in the README is the one that is tested.

mod floors;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines a source file may have before it surely holds two nouns.
const LINES_MAX: usize = 520;

/// Where (a path prefix), what must not be said there, and why.
const FORBIDDEN: &[(&str, &[&str], &str)] = &[
    (
        "crates/sqfs-writer/src",
        &[
            "std::net",
            "std::env",
            "SystemTime",
            "ociget",
            "hpcc_rootfs",
            "tokio",
        ],
        "the encoder knows no clock, no environment, no network and no container",
    ),
    (
        "crates/sqfs-writer/src/format",
        &[
            "crate::data",
            "crate::meta",
            "crate::writer",
            "crate::tree",
            "std::fs",
        ],
        "layout only: no I/O, no policy",
    ),
    (
        "crates/ociget/src",
        &[
            "sqfs_writer",
            "hpcc_rootfs",
            "flate2",
            "zstd::",
            "process::",
        ],
        "the client never decompresses, starts no program but credential helpers, knows no file system",
    ),
    (
        "crates/ociget/src",
        &["serde_json::from_", "serde_json::Deserializer"],
        "crate::json reads structs from objects alone; serde_json also takes arrays for them",
    ),
    (
        "crates/ociget/src/credentials",
        &["hyper", "http::", "tokio::net", "std::net"],
        "who we are is read from files and helpers; the network is above",
    ),
    (
        "crates/hpcc-rootfs/src/layer",
        &[
            "crate::store",
            "crate::pull",
            "crate::feed",
            "crate::guest",
            "std::fs",
            "tokio",
        ],
        "pure: Read in, entries out",
    ),
    (
        "crates/hpcc-rootfs/src/flatten",
        &[
            "crate::store",
            "crate::pull",
            "crate::feed",
            "crate::guest",
            "std::fs",
            "tokio",
        ],
        "pure: no I/O",
    ),
    (
        "crates/hpcc-rootfs/src/tables",
        &[
            "crate::store",
            "crate::pull",
            "crate::flatten",
            "sqfs_writer",
            "tokio",
        ],
        "pure: bytes by offset in, names out; nothing of the writer, whose mistakes it would share",
    ),
    (
        "crates/hpcc-rootfs/src/artifact/verity",
        &["std::fs", "crate::", "tokio"],
        "pure: bytes in, a tree out",
    ),
    (
        "crates/hpcc-rootfs/src/evidence",
        &["SystemTime", "Instant", "std::env", "std::path", "tokio"],
        "a statement is a function of the artifact: no clock, no host, no path",
    ),
    (
        "crates/hpcc-rootfs/src",
        &["std::process::Command", "process::Command"],
        "nothing is shelled out to",
    ),
];

/// Where one of those words may stand all the same, and why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    (
        "crates/ociget/src/credentials/helper.rs",
        "process::",
        "credential helpers are programs by their protocol; nothing else may start one",
    ),
    (
        "crates/ociget/src/json.rs",
        "serde_json::from_",
        "the look for duplicate keys, which fills no struct",
    ),
    (
        "crates/ociget/src/json.rs",
        "serde_json::Deserializer",
        "the one that the rule is wrapped around",
    ),
    (
        "crates/ociget/src/go_json.rs",
        "serde_json::from_",
        "one key, which is text",
    ),
    (
        "crates/ociget/src/go_document.rs",
        "serde_json::Deserializer",
        "any value, and no struct",
    ),
    (
        "crates/ociget/src/credentials/keychain.rs",
        "process::",
        "the user's number is part of a path; no program is started",
    ),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Every file with that extension, by its path relative to the root.
fn files(extension: &str) -> BTreeMap<String, String> {
    fn collect(directory: &Path, extension: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                if !matches!(name.as_str(), "target" | ".git" | "corpus" | "artifacts") {
                    collect(&path, extension, found);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    collect(root(), extension, &mut found);
    found
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap();
            (name.to_owned(), fs::read_to_string(&path).unwrap())
        })
        .collect()
}

#[test]
fn rooms_import_only_what_the_architecture_allows() {
    let sources = files("rs");
    let mut broken = Vec::new();
    for (room, words, why) in FORBIDDEN {
        let inside: Vec<_> = sources
            .iter()
            .filter(|(name, _)| name.starts_with(room) && !name.contains("tests"))
            .collect();
        assert!(!inside.is_empty(), "no files in {room}");
        for (name, text) in inside {
            // Tests at the end of a file may use whatever they like.
            let code = text.split("#[cfg(test)]").next().unwrap();
            for (number, line) in code.lines().enumerate() {
                let line = line.split("//").next().unwrap();
                let excepted = |word: &&&str| {
                    EXCEPTIONS
                        .iter()
                        .any(|(file, allowed, _)| *file == name.as_str() && allowed == *word)
                };
                let found = words.iter().filter(|word| line.contains(**word));
                for word in found.filter(|word| !excepted(word)) {
                    broken.push(format!("{name}:{}: {word}: {why}", number + 1));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// What else may reach a terminal would reach it unescaped. The lints `print_stdout` and `print_stderr`
/// forbid the macros, and may be allowed nowhere either.
#[test]
fn output_module_is_the_only_writer_to_terminals() {
    const WORDS: &[&str] = &[
        "stdout()",
        "stderr()",
        "print!(",
        "println!(",
        "dbg!(",
        "print_stdout",
        "print_stderr",
        "error.exit()",
        "Args::parse()",
        "\"/dev/stdout\"",
        "\"/dev/stderr\"",
        "\"/dev/tty\"",
    ];
    // The streams of a credential helper, and where clap wants its text.
    let allowed = [".stderr(Stdio::null())", ".use_stderr()"];
    let mut broken = Vec::new();
    let mut checked = 0;
    for (name, text) in files("rs") {
        // The example agent has no user at a terminal: it writes to the console of its guest.
        let is_guest = name.starts_with("crates/hpcc-agent-example/");
        let is_product = name.starts_with("crates/") && name.contains("/src/");
        if !is_product || is_guest || name.ends_with("/bin/hpcc-rootfs/output.rs") {
            continue;
        }
        checked += 1;
        let code = text.split("#[cfg(test)]").next().unwrap();
        for (number, line) in code.lines().enumerate() {
            let line = line.split("//").next().unwrap();
            let is_allowed = allowed.iter().any(|words| line.contains(words));
            if !is_allowed && WORDS.iter().any(|word| line.contains(word)) {
                broken.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(checked > 100, "only {checked} files found");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Locales that are not UTF-8 have no other characters. One file has the exceptions, with a replacement for each.
#[test]
fn program_prints_ascii_but_for_the_locale() {
    let mut broken = Vec::new();
    let mut checked = 0;
    for (name, text) in files("rs") {
        let is_product = name.starts_with("crates/") && name.contains("/src/");
        let is_test = name.contains("tests");
        if !is_product || is_test || name.ends_with("/bin/hpcc-rootfs/locale.rs") {
            continue;
        }
        checked += 1;
        let code = text.split("#[cfg(test)]").next().unwrap();
        for (number, line) in code.lines().enumerate() {
            // The first lines of these comments are help texts, which the snapshot of the help has.
            let is_comment = line.trim_start().starts_with("//");
            let code = line.split(" // ").next().unwrap();
            if !is_comment && !code.is_ascii() {
                broken.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(checked > 100, "only {checked} files found");
    for (number, line) in include_str!("help.txt").lines().enumerate() {
        if !line.is_ascii() {
            broken.push(format!("help.txt:{}: {line}", number + 1));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn no_source_file_is_too_long() {
    let long: Vec<_> = files("rs")
        .into_iter()
        .map(|(name, text)| (text.lines().count(), name))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .collect();
    assert!(long.is_empty(), "over {LINES_MAX} lines: {long:?}");
}

#[test]
fn documents_link_to_files_that_exist() {
    let mut checked = 0;
    for (name, text) in files("md") {
        let directory = root().join(&name).parent().unwrap().to_owned();
        for link in text.split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            checked += 1;
            assert!(directory.join(target).exists(), "{name} links to {target}");
        }
    }
    assert!(checked > 5, "only {checked} links found");
}

/// In tables with a column "test": a function of that name, or a file that is all about the rule.
#[test]
fn documents_name_tests_that_exist() {
    let sources = files("rs");
    let exists = |name: &str| {
        let function = format!("fn {name}(");
        let (file, room) = (format!("/{name}.rs"), format!("/{name}/"));
        sources.iter().any(|(path, text)| {
            text.contains(&function) || path.ends_with(&file) || path.contains(&room)
        })
    };
    let mut checked = 0;
    for (name, text) in files("md") {
        let mut column = None;
        for line in text.lines() {
            let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
            if !line.starts_with('|') {
                column = None;
            } else if let Some(at) = cells.iter().position(|cell| *cell == "test") {
                column = Some(at);
            } else if let Some(cell) = column.and_then(|at| cells.get(at)) {
                for word in cell.split('`').skip(1).step_by(2) {
                    checked += 1;
                    let word = word.trim_end_matches('/');
                    assert!(exists(word), "{name}: there is no {word}");
                }
            }
        }
    }
    assert!(checked > 50, "only {checked} names found");
}

#[test]
fn the_readme_shows_the_boot_contract_that_is_tested() {
    assert_eq!(hpcc_rootfs::BOOT_ARGS, test_support::contract::BOOT);
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.lines().any(|line| line == hpcc_rootfs::BOOT_ARGS));
}
