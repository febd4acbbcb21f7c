//! The floors of a crate: which module may import which, read from every path in its source files.

mod hpcc_rootfs;
mod imports;
mod ociget;
mod program;
mod sqfs_writer;

use std::collections::{BTreeMap, BTreeSet};

use self::hpcc_rootfs::HPCC_ROOTFS;
use self::imports::imports;
use self::ociget::OCIGET;
use self::program::PROGRAM;
use self::sqfs_writer::SQFS_WRITER;
use super::files;

/// The modules of a crate from the top down, each with those that it may import.
type Floors = &'static [(&'static str, &'static [&'static str])];

#[test]
fn modules_import_only_what_is_below_them() {
    let sources = files("rs");
    for (directory, floors) in [
        ("crates/sqfs-writer/src/", SQFS_WRITER),
        ("crates/ociget/src/", OCIGET),
        ("crates/hpcc-rootfs/src/", HPCC_ROOTFS),
        ("crates/hpcc-rootfs/src/bin/hpcc-rootfs/", PROGRAM),
    ] {
        let sources = below(&sources, directory);
        let complaints = complaints(&sources, floors);
        assert!(
            complaints.is_empty(),
            "{directory}: {}",
            complaints.join("\n")
        );
    }
}

/// Files of a crate by their paths below `directory`. A program is a crate of its own.
fn below<'s>(sources: &'s BTreeMap<String, String>, directory: &str) -> BTreeMap<&'s str, &'s str> {
    sources
        .iter()
        .filter_map(|(name, text)| Some((name.strip_prefix(directory)?, text.as_str())))
        .filter(|(name, _)| !name.starts_with("bin/"))
        .collect()
}

/// What is wrong with the imports of `sources`, files by their path below `src`.
fn complaints(sources: &BTreeMap<&str, &str>, floors: Floors) -> Vec<String> {
    let graph = imports(sources);
    let mut complaints = Vec::new();
    let floor = |module: &str| floors.iter().position(|(name, _)| *name == module);
    let mut arrows = BTreeSet::new();
    for (file, imported) in &graph {
        let module = top(file);
        if floor(module).is_none() {
            complaints.push(format!("{module} is missing from the table of floors"));
        }
        for other in imported {
            if other.is_empty() {
                complaints.push(format!("{file} imports from the root of its crate"));
            } else if top(other) != module && arrows.insert((module, top(other))) {
                let allowed = floor(module).is_some_and(|at| floors[at].1.contains(&top(other)));
                if !allowed {
                    let other = top(other);
                    complaints.push(format!("{file} imports {other}, which the table forbids"));
                }
            }
        }
    }
    for (at, (module, allowed)) in floors.iter().enumerate() {
        if !graph.keys().any(|file| top(file) == *module) {
            complaints.push(format!(
                "the table of floors names {module}, which is no module"
            ));
        }
        for other in *allowed {
            if floor(other).is_none_or(|below| below <= at) {
                complaints.push(format!(
                    "{other} is not below {module} in the table of floors"
                ));
            }
            if !arrows.contains(&(*module, *other)) {
                complaints.push(format!(
                    "{module} does not import {other}, as its floor allows"
                ));
            }
        }
    }
    complaints.extend(circle(&graph).map(|circle| format!("a circle: {}", circle.join(" -> "))));
    complaints.dedup();
    complaints
}

/// Returns the first part of a module's path.
fn top(module: &str) -> &str {
    module.split("::").next().unwrap()
}

/// Returns a way through `graph` that comes back to where it began, if there is one.
fn circle(graph: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn walk(
        graph: &BTreeMap<String, BTreeSet<String>>,
        module: &str,
        way: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> bool {
        if let Some(start) = way.iter().position(|passed| passed == module) {
            way.drain(..start);
            way.push(module.to_owned());
            return true;
        }
        if !done.insert(module.to_owned()) {
            return false;
        }
        way.push(module.to_owned());
        let next = graph.get(module).into_iter().flatten();
        for imported in next {
            if walk(graph, imported, way, done) {
                return true;
            }
        }
        way.pop();
        false
    }
    let (mut way, mut done) = (Vec::new(), BTreeSet::new());
    graph
        .keys()
        .any(|module| walk(graph, module, &mut way, &mut done))
        .then_some(way)
}

#[test]
fn an_import_against_the_floors_is_found_in_every_form() {
    const FLOORS: Floors = &[("high", &["low"]), ("low", &[])];
    let high = "use crate::low::thing;\nmod deep;";
    let deep = "";
    for (high, deep, low, expected) in [
        (high, deep, "", None),
        (high, "use crate::low;", "", None),
        (high, deep, "use crate::high::x;", Some("low imports high")),
        (
            high,
            deep,
            "use crate::{\n    high,\n};",
            Some("low imports high"),
        ),
        (
            high,
            deep,
            "use crate::{a::{b}, high::{c, d}};",
            Some("low imports high"),
        ),
        (
            high,
            deep,
            "fn f() { crate::high::g() }",
            Some("low imports high"),
        ),
        (
            high,
            deep,
            "use super::high::{self};",
            Some("low imports high"),
        ),
        (
            high,
            deep,
            "fn f(c: char) -> bool { c == '\"' || crate::high::g() }",
            Some("low imports high"),
        ),
        (
            high,
            deep,
            "fn f<'a>(x: &'a str) { crate::high::g() }",
            Some("low imports high"),
        ),
        (
            high,
            deep,
            "const U: &str = \"http://x\"; use crate::high;",
            Some("low imports high"),
        ),
        (high, deep, "use crate::Thing;", Some("from the root")),
        (
            high,
            deep,
            "// crate::high\n/* crate::high */ const S: &str = \"crate::high\";",
            None,
        ),
        (
            high,
            deep,
            "const S: &str = r#\"\" crate::high\"#; const C: char = '\\'';",
            None,
        ),
        (
            high,
            deep,
            "#[cfg(test)]\nmod tests { use crate::high; }",
            None,
        ),
        (
            high,
            deep,
            "#[cfg(test)]\nmod tests { use crate::high; }\nuse crate::high;",
            Some("low imports high"),
        ),
        (
            high,
            deep,
            "mod inner { use super::super::high; }",
            Some("low imports high"),
        ),
        (high, deep, "mod inner { use super::thing; }", None),
        (high, deep, "pub(in crate::high) fn f() {}", None),
        (
            high,
            deep,
            "mod inner { fn f() {} } use super::high;",
            Some("low imports high"),
        ),
        (
            high,
            deep,
            "#[cfg(unix)] mod inner { use crate::high; }",
            Some("low imports high"),
        ),
        (
            high,
            deep,
            "use crate as all; use all::high;",
            Some("from the root"),
        ),
        (
            high,
            deep,
            "macro_rules! m { () => { $crate::high::x } }",
            Some("low imports high"),
        ),
        (high, "use crate::high::x;", "", None),
        (
            "use crate::{low, high::deep};",
            "use crate::high::x;",
            "",
            Some("a circle: high"),
        ),
        (
            "mod deep; use crate::low; fn f() { deep::g() }",
            "use super::x;",
            "",
            Some("a circle: high"),
        ),
        (
            "mod deep; use crate::low;",
            "use self::a; use super::super::low;",
            "",
            None,
        ),
        ("", deep, "", Some("high does not import low")),
    ] {
        let sources = BTreeMap::from([
            ("lib.rs", "use crate::high;"),
            ("high/mod.rs", high),
            ("high/deep.rs", deep),
            ("low.rs", low),
        ]);
        let complaints = complaints(&sources, FLOORS);
        match expected {
            Some(expected) => assert!(
                complaints.iter().any(|found| found.contains(expected)),
                "{high} | {deep} | {low}: {complaints:?}"
            ),
            None => assert!(
                complaints.is_empty(),
                "{high} | {deep} | {low}: {complaints:?}"
            ),
        }
    }
    let sources = BTreeMap::from([
        ("high.rs", "use crate::low;"),
        ("low.rs", ""),
        ("new.rs", ""),
    ]);
    assert_eq!(
        complaints(&sources, FLOORS),
        ["new is missing from the table of floors"]
    );
    let sources = BTreeMap::from([
        ("high.rs", "use crate::low;"),
        ("low.rs", "#[cfg(test)]\nmod faults;"),
        ("low/faults.rs", "use crate::high;"),
    ]);
    assert_eq!(complaints(&sources, FLOORS), [""; 0]);
    let upward: Floors = &[("low", &["high"]), ("high", &[])];
    let sources = BTreeMap::from([("high.rs", "use crate::low;"), ("low.rs", "")]);
    assert!(complaints(&sources, upward).len() > 1);
}
