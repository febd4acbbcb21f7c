//! The imports of each file of a crate, read from every path in it.

use std::collections::{BTreeMap, BTreeSet};

/// Returns the modules that are files, each with the modules that it imports. The root of the crate is
/// `""`. Modules that are compiled for tests alone are left out.
pub(super) fn imports(sources: &BTreeMap<&str, &str>) -> BTreeMap<String, BTreeSet<String>> {
    let mut modules: BTreeMap<String, Vec<String>> = sources
        .iter()
        .filter(|(file, _)| !matches!(**file, "lib.rs" | "main.rs"))
        .map(|(file, text)| (module(file), tokens(text)))
        .collect();
    let tests: BTreeSet<String> = sources
        .iter()
        .flat_map(|(file, text)| {
            let parent = match *file {
                "lib.rs" | "main.rs" => Vec::new(),
                file => module(file).split("::").map(str::to_owned).collect(),
            };
            Paths::read(&tokens(text), parent).tests
        })
        .collect();
    modules.retain(|name, _| {
        let mut ancestors = name
            .match_indices("::")
            .map(|(at, _)| &name[..at])
            .chain([name.as_str()]);
        !ancestors.any(|ancestor| tests.contains(ancestor))
    });
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
        .map(|(name, tokens)| {
            let own = name.split("::").map(str::to_owned).collect();
            let found = Paths::read(tokens, own).found;
            let mut imported: BTreeSet<String> = found.iter().map(|path| find(path)).collect();
            imported.remove(name);
            (name.clone(), imported)
        })
        .collect()
}

fn module(file: &str) -> String {
    let file = file.trim_end_matches(".rs");
    file.strip_suffix("/mod").unwrap_or(file).replace('/', "::")
}

/// The paths of one file, as they are seen from the crate.
#[derive(Default)]
struct Paths {
    found: Vec<Vec<String>>,
    /// Child modules in files of their own that are compiled for tests alone.
    tests: Vec<String>,
}

impl Paths {
    /// Reads every path in `tokens` that begins at the crate, at the module `own`, at a parent of it, or
    /// at a child that it declares.
    fn read(tokens: &[String], mut own: Vec<String>) -> Self {
        let mut paths = Self::default();
        let children: BTreeSet<&str> = tokens
            .windows(3)
            .filter(|window| window[0] == "mod" && window[2] == ";")
            .map(|window| window[1].as_str())
            .collect();
        // Modules in braces that are open, each with the depth of its braces.
        let (mut depth, mut inline, mut at) = (0usize, Vec::new(), 0);
        while let Some(token) = tokens.get(at) {
            let word = |ahead: usize| tokens.get(at + ahead).map(String::as_str);
            if token == "#" && word(1) == Some("[") {
                // What an attribute names is no import, other than what it guards.
                if let Some(declared) = test_module(&tokens[at..]) {
                    if tokens[at + declared + 1] == ";" {
                        let child = own.iter().chain([&tokens[at + declared]]);
                        let child: Vec<_> = child.map(String::as_str).collect();
                        paths.tests.push(child.join("::"));
                        at += declared + 2;
                    } else {
                        at = end_of_braces(tokens, at + declared + 1);
                    }
                    continue;
                }
            }
            match token.as_str() {
                "mod" if word(2) == Some("{") => {
                    depth += 1;
                    inline.push(depth);
                    own.push(tokens[at + 1].clone());
                    at += 3;
                    continue;
                }
                "{" => depth += 1,
                "}" => {
                    if inline.pop_if(|opened| *opened == depth).is_some() {
                        own.pop();
                    }
                    depth = depth.saturating_sub(1);
                }
                _ => {}
            }
            let before = at.checked_sub(1).map(|before| tokens[before].as_str());
            // `pub(in crate::x)` says who may see something.
            let visibility = at >= 3 && tokens[at - 3..at] == ["pub", "(", "in"];
            let starts = word(1) == Some("::") || before == Some("use") && word(1) == Some("as");
            if starts && !visibility && before != Some("::") {
                let above = || own[..own.len().saturating_sub(1)].to_vec();
                match token.as_str() {
                    "crate" => branches(tokens, at + 2, Vec::new(), &mut paths.found),
                    "self" => branches(tokens, at + 2, own.clone(), &mut paths.found),
                    "super" => branches(tokens, at + 2, above(), &mut paths.found),
                    child if children.contains(child) => {
                        branches(tokens, at, own.clone(), &mut paths.found)
                    }
                    _ => 0,
                };
            }
            at += 1;
        }
        paths
    }
}

/// Returns the position of the name that follows `#[cfg(test)]`, with or without more attributes, if a
/// module is declared there.
fn test_module(tokens: &[String]) -> Option<usize> {
    let text = |at: usize| tokens.get(at).map(String::as_str);
    let (mut at, mut for_tests) = (0, false);
    while text(at) == Some("#") {
        let end = (at..tokens.len()).find(|end| tokens[*end] == "]")?;
        let attribute: Vec<_> = tokens[at..=end].iter().map(String::as_str).collect();
        for_tests |= attribute == ["#", "[", "cfg", "(", "test", ")", "]"];
        at = end + 1;
    }
    (for_tests && text(at) == Some("mod")).then_some(at + 1)
}

/// Returns the position after the braces that open at `at`.
fn end_of_braces(tokens: &[String], mut at: usize) -> usize {
    let mut depth = 0usize;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token.as_str() {
            "{" => depth += 1,
            "}" if depth <= 1 => break,
            "}" => depth -= 1,
            _ => {}
        }
    }
    at
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
                    if tokens[at] == "," {
                        at += 1;
                        continue;
                    }
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

/// Returns the length of a literal from its first quote to its last.
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
