//! Rules of `docs/style.md` for comments and messages in the sources.

use std::fs;
use std::path::{Path, PathBuf};

use super::pages::FORBIDDEN;
use super::{read, root, without_code};

/// Sources whose comments keep the rules: directories and files of the repository.
const COMMENTS: [&str; 6] = [
    "crates",
    "fuzz",
    "tests",
    "xtask",
    "Cargo.toml",
    "deny.toml",
];

/// Directories whose messages keep the rules as well. Tests compare texts of users and of other programs.
const MESSAGES: [&str; 3] = [
    "crates/ociget",
    "crates/sqfs-writer",
    "crates/hpcc-rootfs/src",
];

/// Sources that are left out: this file, whose examples break the rules.
const EXCEPT: [&str; 1] = ["tests/it/docs/sources.rs"];

/// Words after which a headless "who" stands.
const BEFORE_WHO: [&str; 9] = ["to", "of", "for", "by", "from", "with", "not", "and", "is"];

/// Returns the sources of the repository by their paths in it, tests and examples among them.
fn sources() -> Vec<String> {
    fn collect(path: &Path, found: &mut Vec<PathBuf>) {
        if path.is_dir() && !path.ends_with("target") {
            for entry in fs::read_dir(path).unwrap() {
                collect(&entry.unwrap().path(), found);
            }
        } else if path.extension().is_some_and(|e| e == "rs" || e == "toml") {
            found.push(path.to_owned());
        }
    }
    let mut found = Vec::new();
    for name in COMMENTS {
        collect(&root().join(name), &mut found);
    }
    assert!(found.len() > 600, "only {} files", found.len());
    let names = found.iter().map(|path| path.strip_prefix(root()).unwrap());
    names
        .map(|name| name.to_str().unwrap().to_owned())
        .filter(|name| !EXCEPT.iter().any(|except| name.starts_with(except)))
        .collect()
}

/// Returns the prose of a line: its comment, or the literals in it if it has none and `literals` is set.
fn prose(line: &str, literals: bool) -> String {
    let line = line.trim_start();
    if let Some(comment) = line.strip_prefix("//").or_else(|| line.strip_prefix('#')) {
        return without_code(comment);
    }
    match line.split_once(" // ") {
        Some((_, comment)) => without_code(comment),
        None if !literals => String::new(),
        None => line
            .split('"')
            .skip(1)
            .step_by(2)
            .collect::<Vec<_>>()
            .join(" "),
    }
}

/// Returns the first rule that a line of prose breaks.
fn broken(prose: &str) -> Option<String> {
    let lower = prose.to_lowercase();
    let words: Vec<_> = lower
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let line = format!(" {} ", words.join(" "));
    let mut forbidden = FORBIDDEN.iter();
    if let Some(word) = forbidden.find(|word| line.contains(&format!(" {word} "))) {
        return Some((*word).to_owned());
    }
    let begins = |text: &str| text.starts_with("Who ") && !text.contains('?');
    let is_headless = prose
        .split(". ")
        .any(|sentence| begins(sentence.trim_start()))
        || words
            .windows(2)
            .any(|pair| BEFORE_WHO.contains(&pair[0]) && pair[1] == "who");
    is_headless.then(|| "a headless \"who\"".to_owned())
}

#[test]
fn comments_and_messages_name_the_actor() {
    let mut found = Vec::new();
    for path in sources() {
        let literals = MESSAGES.iter().any(|directory| path.starts_with(directory));
        for (number, line) in read(&path).lines().enumerate() {
            if let Some(what) = broken(&prose(line, literals)) {
                found.push(format!("{path}:{}: {what}", number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Returns the name of the function that a line declares as words.
fn function_words(line: &str) -> Option<String> {
    let (before, after) = line.split_once("fn ")?;
    let is_declaration = before
        .split_whitespace()
        .all(|word| word.starts_with("pub") || ["const", "async"].contains(&word));
    let name = after.split(['(', '<']).next()?;
    is_declaration.then(|| name.replace('_', " "))
}

#[test]
fn names_of_functions_name_the_actor() {
    let (mut checked, mut wrong) = (0, Vec::new());
    for path in sources() {
        for words in read(&path).lines().filter_map(function_words) {
            // Names of one or two words are those of programs and users, such as `nobody`.
            if words.split(' ').count() > 2 {
                checked += 1;
                wrong.extend(broken(&words).map(|what| format!("{path}: {words}: {what}")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 1000, "only {checked} functions found");
}

/// Returns the name of the function that a line declares, if others can call it.
fn public_function(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix("pub ")?;
    let rest = rest.strip_prefix("const ").unwrap_or(rest);
    let rest = rest.strip_prefix("async ").unwrap_or(rest);
    rest.strip_prefix("fn ")?.split(['(', '<']).next()
}

/// Public functions of a source whose documentation does not begin with a verb in the third person.
fn without_verb(source: &str) -> Vec<String> {
    let (mut wrong, mut first) = (Vec::new(), None);
    for line in source.lines() {
        let text = line.trim_start();
        if let Some(comment) = text.strip_prefix("///") {
            first.get_or_insert(comment.trim());
        } else if text.is_empty() || !text.starts_with("#[") {
            if let (Some(name), Some(first)) = (public_function(line), first) {
                let verb = first.split([' ', ',', '.']).next().unwrap_or_default();
                let is_verb =
                    verb.ends_with('s') && verb.starts_with(|c: char| c.is_ascii_uppercase());
                if !is_verb || ["As", "Is", "Its", "This", "Whose"].contains(&verb) {
                    wrong.push(format!("{name}: {first}"));
                }
            }
            first = None;
        }
    }
    wrong
}

#[test]
fn documentation_of_functions_begins_with_a_verb() {
    let (mut checked, mut wrong) = (0, Vec::new());
    for path in sources() {
        let source = read(&path);
        checked += source.lines().filter_map(public_function).count();
        let found = without_verb(&source).into_iter();
        wrong.extend(found.map(|what| format!("{path}: {what}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 400, "only {checked} functions found");
}

/// Beginnings of documentation that is no noun phrase.
const NO_NOUN: [&str; 9] = [
    "What ",
    "Where ",
    "How ",
    "When ",
    "Why ",
    "Which ",
    "Who ",
    "That ",
    "The same ",
];

/// Public items of a source, other than functions, whose documentation begins with a question or a pronoun.
fn without_noun(source: &str) -> Vec<String> {
    let (mut wrong, mut first) = (Vec::new(), None);
    for line in source.lines() {
        let text = line.trim_start();
        if let Some(comment) = text.strip_prefix("///") {
            first.get_or_insert(comment.trim());
        } else if !text.starts_with("#[") {
            let is_item = text.starts_with("pub ") && public_function(line).is_none();
            if let Some(first) = first.filter(|_| is_item) {
                let is_wrong = NO_NOUN.iter().any(|begin| first.starts_with(begin));
                wrong.extend(is_wrong.then(|| format!("{text}: {first}")));
            }
            first = None;
        }
    }
    wrong
}

#[test]
fn documentation_of_items_begins_with_a_noun() {
    let mut wrong = Vec::new();
    for path in sources().iter().filter(|path| path.starts_with("crates/")) {
        let found = without_noun(&read(path)).into_iter();
        wrong.extend(found.map(|what| format!("{path}: {what}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for item in [
        "pub struct A;",
        "pub enum B {}",
        "pub c: u8,",
        "pub const D: u8 = 1;",
    ] {
        let source = format!("/// How it is.\n#[must_use]\n{item}\n");
        assert_eq!(without_noun(&source).len(), 1, "{item}");
    }
    assert!(without_noun("/// How it is.\nstruct A;\n/// Howls.\npub struct B;\n").is_empty());
}

/// Otherwise the tests above could agree with anything.
#[test]
fn broken_rules_of_sources_are_found() {
    for line in [
        "/// Whoever reads it.",
        "    // It is told by the server.",
        "//! A chunk on its way to who wants it.",
        "/// Bytes. Who has them all reads no more.",
        "    #[error(\"an URL of {0}\")]",
        "let x = f(\"nobody waits\");",
        "x(); // for somebody",
        "# A dependency of ours.",
    ] {
        assert!(broken(&prose(line, true)).is_some(), "{line}");
    }
    for line in [
        "/// Returns the `whoever` of a file.",
        "/// The user who owns the file.",
        "let nobody = 1;",
        "fn who() {}",
    ] {
        assert_eq!(broken(&prose(line, true)), None, "{line}");
    }
    let riddle = function_words("    fn shown_to_nobody_else() {").unwrap();
    assert!(broken(&riddle).is_some());
    assert_eq!(function_words("// a fn is"), None);
    let undocumented = "/// The name.\n#[must_use]\npub fn name(&self) {}\n";
    assert_eq!(without_verb(undocumented).len(), 1);
    let documented = "/// Returns the name.\n#[must_use]\npub const fn name(&self) {}\n/// A field.\npub x: u8,\n";
    assert!(without_verb(documented).is_empty());
}

/// Library texts name fields, for which the program has one table of options.
#[test]
fn messages_of_libraries_name_fields_that_the_program_knows() {
    const TYPES: [&str; 5] = [
        "Options::",
        "Limits::",
        "StoreOptions::",
        "SpoolOptions::",
        "ImageOptions::",
    ];
    const FUNCTIONS: [&str; 3] = ["default", "new", "check"];
    let known = read("crates/hpcc-rootfs/src/bin/hpcc-rootfs/fields.rs");
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let (mut checked, mut wrong) = (0, Vec::new());
    for path in sources() {
        let is_library = ["ociget/src", "sqfs-writer/src", "hpcc-rootfs/src"];
        let is_library = is_library.iter().any(|name| path.contains(name));
        if !is_library || path.contains("/bin/") || path.contains("test") {
            continue;
        }
        let source = read(&path);
        let source = source.split("#[cfg(test)]").next().unwrap_or_default();
        for line in source
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
        {
            for (at, ty) in TYPES
                .iter()
                .flat_map(|ty| line.match_indices(ty))
                .filter(|(at, _)| !line[..*at].ends_with(char::is_alphabetic))
            {
                let rest = &line[at + ty.len()..];
                let field = rest.split(|c| !is_name(c)).next().unwrap_or_default();
                if !field.is_empty() && !FUNCTIONS.contains(&field) {
                    checked += 1;
                    let name = format!("\"{ty}{field}\"");
                    wrong.extend((!known.contains(&name)).then(|| format!("{path}: {name}")));
                }
            }
            let is_option = |(at, _): (usize, &str)| line[at + 3..].starts_with(is_name);
            let mut dashes = line.match_indices(" --");
            if dashes.any(is_option) && !line.contains("podman save") {
                wrong.push(format!("{path}: {line}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 25, "only {checked} fields found");
}
