//! Rules for pages: length, beginning and end, links, terms, words.

use std::path::{Component, Path, PathBuf};

use super::{blocks, book, documents, prose, read, root, without_code};

/// Lines that a page may have.
const LINES_MAX: usize = 400;

#[test]
fn no_page_is_over_400_lines() {
    for page in book() {
        // The program writes that one, and it is read one command at a time.
        if page.path.ends_with("commands.md") {
            continue;
        }
        let lines = page.text.lines().count();
        assert!(lines <= LINES_MAX, "{}: {lines} lines", page.name());
    }
}

/// Paragraphs of a page, its blocks left out.
fn paragraphs(text: &str) -> Vec<String> {
    let lines = prose(text).join("\n");
    let parts = lines.split("\n\n").map(|part| part.trim().to_owned());
    parts.filter(|part| !part.is_empty()).collect()
}

#[test]
fn pages_begin_with_a_sentence_and_end_with_a_link() {
    let mut wrong = Vec::new();
    for page in book() {
        let parts = paragraphs(&page.text);
        let [title, first, .., last] = &parts[..] else {
            wrong.push(format!("{}: too short", page.name()));
            continue;
        };
        if !title.starts_with("# ") || title.lines().count() > 1 {
            wrong.push(format!("{}: does not begin with its title", page.name()));
        }
        let is_prose = !first.starts_with(['#', '|', '-', '*', '!', '<']);
        let is_decision = first.starts_with("## The problem") && page.text.starts_with("# ");
        let is_sentence = is_prose && first.contains('.');
        if !(is_decision || is_sentence) {
            wrong.push(format!("{}: no sentence after the title", page.name()));
        }
        if !last.contains("](") || last.starts_with(['#', '|']) {
            wrong.push(format!("{}: no link at its end: {last}", page.name()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The anchors that GitHub and mdBook make of the headings of a page.
fn anchors(text: &str) -> Vec<String> {
    let headings = prose(text).into_iter().filter_map(|line| {
        let title = line.trim_start_matches('#');
        (line.len() > title.len()).then(|| title.strip_prefix(' '))?
    });
    headings
        .map(|title| {
            let kept = title.trim().chars().filter_map(|c| match c {
                ' ' => Some('-'),
                '-' | '_' => Some(c),
                c if c.is_alphanumeric() => Some(c.to_ascii_lowercase()),
                _ => None,
            });
            kept.collect()
        })
        .collect()
}

/// A path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => assert!(normal.pop(), "{} leads out", path.display()),
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}

#[test]
fn links_and_anchors_lead_somewhere() {
    let documents = documents();
    let (mut checked, mut dead) = (0, Vec::new());
    for (path, text) in &documents {
        for (number, line) in prose(text).into_iter().enumerate() {
            let line = without_code(line);
            for link in line.split("](").skip(1) {
                let link = link.split([')', ' ']).next().unwrap();
                if link.contains("://") {
                    continue;
                }
                checked += 1;
                let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
                let target = match file {
                    "" => path.clone(),
                    file => normal(&path.parent().unwrap().join(file)),
                };
                let has_anchor = || {
                    let page = documents.get(&target);
                    page.is_some_and(|page| anchors(page).iter().any(|found| found == anchor))
                };
                let is_there = root().join(&target).exists();
                if !is_there || !(anchor.is_empty() || has_anchor()) {
                    dead.push(format!("{}:{}: {link}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
    assert!(checked > 200, "only {checked} links found");
}

/// The terms under the first heading of the glossary, which the project made up or uses in a narrow sense.
fn terms() -> Vec<String> {
    let glossary = read("docs/glossary.md");
    let (_, own) = glossary.split_once("## Terms of this project").unwrap();
    let (own, field) = own.split_once("\n## ").unwrap();
    let titles = |text: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix("### "));
        lines.map(str::to_owned).collect()
    };
    let (own, field) = (titles(own), titles(field));
    for terms in [&own, &field] {
        assert!(terms.len() > 10, "{terms:?}");
        let mut sorted = terms.clone();
        sorted.sort_by_key(|term| term.to_lowercase());
        assert_eq!(*terms, sorted, "entries are in alphabetic order");
    }
    own
}

/// Common words, which pages use in their ordinary sense as well.
const ORDINARY: &[&str] = &[
    "agent", "identity", "key", "limit", "note", "record", "share", "store",
];

#[test]
fn terms_are_used_after_a_link_to_the_glossary() {
    let terms = terms();
    for word in ORDINARY {
        assert!(terms.iter().any(|term| term == word), "{word} has no entry");
    }
    let terms: Vec<_> = terms
        .iter()
        .filter(|t| !ORDINARY.contains(&t.as_str()))
        .collect();
    let (mut unexplained, mut used) = (Vec::new(), 0);
    for page in book() {
        let lines = prose(&page.text);
        let linked = lines.iter().position(|line| line.contains("glossary.md"));
        for term in &terms {
            let at = lines.iter().position(|line| {
                let line = without_code(line).to_lowercase();
                let words: Vec<_> = line
                    .split(|c: char| !c.is_alphanumeric() && c != '-')
                    .collect();
                format!(" {} ", words.join(" ")).contains(&format!(" {term} "))
            });
            let is_glossary = page.path.ends_with("glossary.md");
            let Some(at) = at.filter(|_| !is_glossary) else {
                continue;
            };
            used += 1;
            // A page of a few lines may explain at its end what it uses.
            let is_short = lines.len() < 60 && linked.is_some();
            if linked.is_none_or(|linked| linked > at) && !is_short {
                unexplained.push(format!("{}:{}: {term}", page.name(), at + 1));
            }
        }
    }
    assert!(
        unexplained.is_empty(),
        "no link to the glossary before:\n{}",
        unexplained.join("\n")
    );
    assert!(used > 30, "only {used} uses found");
}

/// Words that are no English, or not what they seem: the list is in `docs/style.md`.
const FORBIDDEN: &[&str] = &["whoever", "somebody", "he", "his", "him", "anew", "an url"];

#[test]
fn pages_use_no_forbidden_word() {
    let style = read("docs/style.md");
    for word in ["whoever", "somebody", "he, his", "anew", "an URL"] {
        assert!(
            style.contains(&format!("| {word} |")),
            "{word} is not in the list"
        );
    }
    let mut found = Vec::new();
    for page in book() {
        if page.path.ends_with("style.md") {
            continue;
        }
        for (number, line) in prose(&page.text).into_iter().enumerate() {
            let line = without_code(line).to_lowercase();
            let words: Vec<_> = line.split(|c: char| !c.is_alphanumeric()).collect();
            let line = format!(" {} ", words.join(" "));
            for word in FORBIDDEN {
                if line.contains(&format!(" {word} ")) {
                    found.push(format!("{}:{}: {word}", page.name(), number + 1));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn library_guide_shows_the_example_worker() {
    let example = read("crates/hpcc-rootfs/examples/worker.rs");
    let guide = read("docs/library.md");
    let pieces: Vec<_> = blocks(&guide)
        .into_iter()
        .filter(|block| block.info.starts_with("rust"))
        .collect();
    assert!(pieces.len() >= 6, "only {} pieces", pieces.len());
    for piece in pieces {
        let line = piece.line;
        assert!(
            example.contains(&piece.text),
            "docs/library.md:{line} is not in worker.rs"
        );
    }
}
