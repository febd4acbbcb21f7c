//! The floors of a crate: which module may import which, read from every path in its source files.

mod ociget;

use std::collections::{BTreeMap, BTreeSet};

use self::ociget::OCIGET;
use super::files;

/// The modules of a crate from the top down, each with those that it may import.
type Floors = &'static [(&'static str, &'static [&'static str])];

#[test]
fn modules_of_ociget_import_only_what_is_below_them() {
    let sources = files("rs");
    let sources = sources
        .iter()
        .filter_map(|(name, text)| Some((name.strip_prefix("crates/ociget/src/")?, text.as_str())));
    let complaints = complaints(&sources.collect(), OCIGET);
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
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

/// The first part of a module's path.
fn top(module: &str) -> &str {
    module.split("::").next().unwrap()
}

/// Modules that are files, and the modules that each imports; the root of the crate is `""`.
fn imports(sources: &BTreeMap<&str, &str>) -> BTreeMap<String, BTreeSet<String>> {
    let is_test = |file: &str| file.split('/').any(|part| part.starts_with("tests"));
    let modules: BTreeMap<String, &str> = sources
        .iter()
        .filter(|(file, _)| !is_test(file) && **file != "lib.rs")
        .map(|(file, text)| (module(file), *text))
        .collect();
    let find = |path: &[String]| {
        let prefixes = (0..=path.len())
            .rev()
            .map(|length| path[..length].join("::"));
        prefixes
            .into_iter()
            .find(|prefix| modules.contains_key(prefix))
            .unwrap_or_default()
    };
    modules
        .iter()
        .map(|(name, text)| {
            // Tests at the end of a file may use whatever they like.
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            let imported = paths(&tokens(code), name)
                .iter()
                .map(|path| find(path))
                .collect();
            let mut imported: BTreeSet<String> = imported;
            imported.remove(name);
            (name.clone(), imported)
        })
        .collect()
}

fn module(file: &str) -> String {
    let file = file.trim_end_matches(".rs");
    file.strip_suffix("/mod").unwrap_or(file).replace('/', "::")
}

/// Every path in `tokens` that begins at the crate, at this module or its parent, or at a child that
/// it declares, as it is seen from the crate.
fn paths(tokens: &[String], module: &str) -> Vec<Vec<String>> {
    let own: Vec<String> = module.split("::").map(str::to_owned).collect();
    let children: BTreeSet<&str> = tokens
        .windows(3)
        .filter(|window| window[0] == "mod" && window[2] == ";")
        .map(|window| window[1].as_str())
        .collect();
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let follows = at > 0 && tokens[at - 1] == "::";
        if follows || tokens.get(at + 1).is_none_or(|next| next != "::") {
            continue;
        }
        let (start, prefix) = match token.as_str() {
            "crate" => (at + 2, Vec::new()),
            "self" => (at + 2, own.clone()),
            "super" => (at + 2, own[..own.len() - 1].to_vec()),
            child if children.contains(child) => (at, own.clone()),
            _ => continue,
        };
        branches(tokens, start, prefix, &mut found);
    }
    found
}

/// Adds the paths of the tree at `at`, each after `prefix`; returns where the tree ends.
fn branches(
    tokens: &[String],
    mut at: usize,
    mut prefix: Vec<String>,
    found: &mut Vec<Vec<String>>,
) -> usize {
    while let Some(token) = tokens.get(at) {
        match token.as_str() {
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token != "}") {
                    let end = branches(tokens, at, prefix.clone(), found);
                    at = end.max(at + 1);
                }
                return at + 1;
            }
            "super" => {
                prefix.pop();
            }
            "self" => {}
            name if name.starts_with(|c: char| c.is_alphabetic() || c == '_') => {
                prefix.push(name.to_owned());
            }
            _ => break,
        }
        at += 1;
        if tokens.get(at).is_none_or(|next| next != "::") {
            break;
        }
        at += 1;
    }
    found.push(prefix);
    at
}

/// Words, `::`, and single other characters, without comments and literals.
fn tokens(code: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = raw_string(rest) {
            length
        } else if first == '"' {
            quoted(rest, '"').unwrap_or(rest.len())
        } else if first == '\'' {
            // A lifetime has no second quote behind its first character.
            let is_char = rest[1..].starts_with('\\') || rest[1..].chars().nth(1) == Some('\'');
            is_char.then(|| quoted(rest, '\'')).flatten().unwrap_or(1)
        } else if is_word(first) {
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            tokens.push(rest[..end].to_owned());
            end
        } else if rest.starts_with("::") {
            tokens.push("::".to_owned());
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

/// The length of a literal from its first quote to its last.
fn quoted(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    let mut inside = text.char_indices().skip(1);
    let end = inside.find(|(_, c)| {
        let ends = *c == quote && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    end.map(|(at, _)| at + quote.len_utf8())
}

fn raw_string(text: &str) -> Option<usize> {
    let start = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = start.len() - start.trim_start_matches('#').len();
    start[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let body = text.len() - start.len() + hashes + 1;
    text[body..].find(&end).map(|at| body + at + end.len())
}

/// A way through `graph` that comes back to where it began, if there is one.
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
            Some("from the root"),
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
    let upward: Floors = &[("low", &["high"]), ("high", &[])];
    let sources = BTreeMap::from([("high.rs", "use crate::low;"), ("low.rs", "")]);
    assert!(complaints(&sources, upward).len() > 1);
}
