//! Rules for pages: length, beginning and end, links, terms, words.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::{blocks, book, documents, prose, read, root, without_code};

/// Lines that a page may have.
const LINES_MAX: usize = 400;

/// Lines of a page, but for the part that the program writes, which is read one command at a time.
fn own_lines(text: &str) -> usize {
    let (before, rest) = text
        .split_once("<!-- reference -->\n")
        .unwrap_or((text, ""));
    let (_, after) = rest
        .split_once("<!-- end of reference -->\n")
        .unwrap_or(("", rest));
    before.lines().count() + after.lines().count()
}

#[test]
fn no_page_is_over_400_lines() {
    for (path, text) in documents() {
        let lines = own_lines(&text);
        // The history of the project only grows.
        let is_long = lines > LINES_MAX && !path.ends_with("CHANGELOG.md");
        assert!(!is_long, "{}: {lines} lines", path.display());
    }
}

/// A page that the summary does not list is in no book, and no other test of pages looks at it.
#[test]
fn every_page_is_in_the_summary() {
    let listed: BTreeSet<_> = book().into_iter().map(|page| normal(&page.path)).collect();
    let pages = documents()
        .into_keys()
        .filter(|path| path.starts_with("docs"));
    let missing: Vec<_> = pages
        .filter(|path| !listed.contains(path) && !path.ends_with("SUMMARY.md"))
        .collect();
    assert!(missing.is_empty(), "not in docs/SUMMARY.md: {missing:?}");
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

/// Returns the anchors that GitHub and mdBook make of the headings of a page.
fn anchors(text: &str) -> Vec<String> {
    let headings = prose(text).into_iter().filter_map(|line| {
        let title = line.trim_start_matches('#');
        (line.len() > title.len()).then(|| title.strip_prefix(' '))?
    });
    let mut times = BTreeMap::<String, usize>::new();
    headings
        .map(|title| {
            let kept = title.trim().chars().filter_map(|c| match c {
                ' ' => Some('-'),
                '-' | '_' => Some(c),
                c if c.is_alphanumeric() => Some(c.to_ascii_lowercase()),
                _ => None,
            });
            let anchor: String = kept.collect();
            // The second heading of the same words has a number.
            let before = times.entry(anchor.clone()).or_default();
            *before += 1;
            match *before {
                1 => anchor,
                more => format!("{anchor}-{}", more - 1),
            }
        })
        .collect()
}

/// Returns the targets of the links in a line, in the forms that Markdown and HTML have for them.
fn links(line: &str) -> Vec<&str> {
    let inline = line.split("](").skip(1);
    let inline = inline.filter_map(|rest| rest.split([')', ' ']).next());
    let html = ["href=\"", "src=\""].into_iter().flat_map(|before| {
        let rests = line.split(before).skip(1);
        rests.filter_map(|rest| rest.split('"').next())
    });
    let definition = line.trim_start().strip_prefix('[').and_then(|rest| {
        let (_, target) = rest.split_once("]: ")?;
        target.split_whitespace().next()
    });
    inline.chain(html).chain(definition).collect()
}

/// Returns a path without `.` and `..`.
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
            for link in links(&line) {
                if link.contains("://") || link.starts_with("mailto:") {
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

/// mdBook copies what is below `docs`, and nothing else; a link to a directory has no page there.
#[test]
fn links_of_the_book_stay_in_the_book() {
    let leads_out = |page: &Path, link: &str| {
        let file = link.split('#').next().unwrap_or_default();
        let path = page.parent().unwrap().join(file);
        let is_page = file.is_empty() || root().join(&path).is_file();
        !(is_page && normal(&path).starts_with("docs"))
    };
    let mut wrong = Vec::new();
    for page in book() {
        for (number, line) in prose(&page.text).into_iter().enumerate() {
            let line = without_code(line);
            let local = links(&line).into_iter();
            let local = local.filter(|link| !link.contains("://") && !link.starts_with("mailto:"));
            let out = local.filter(|link| leads_out(&page.path, link));
            wrong.extend(out.map(|link| format!("{}:{}: {link}", page.name(), number + 1)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(leads_out(Path::new("docs/style.md"), "../CONTRIBUTING.md"));
    assert!(leads_out(Path::new("docs/style.md"), "recipes"));
    assert!(!leads_out(
        Path::new("docs/recipes/qemu.md"),
        "../store.md#the-key"
    ));
}

/// The first page of the book leads to every page that no other one gathers.
#[test]
fn first_page_links_every_page_of_the_guide_and_the_reference() {
    let first = read("docs/README.md");
    let gathered = [
        "recipes/",
        "decisions/",
        "README.md",
        "style.md",
        "troubleshooting.md",
    ];
    let pages = book().into_iter().map(|page| page.path);
    let pages = pages.map(|path| path.strip_prefix("docs").unwrap().display().to_string());
    let missing: Vec<_> = pages
        .filter(|page| !gathered.iter().any(|start| page.starts_with(start)))
        .filter(|page| !first.contains(&format!("]({page})")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Returns the terms under the first heading of the glossary, which the project made up or uses in a narrow sense.
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

/// Returns the line of a page that first uses a term in the singular or in the plural, its title left out.
fn first_use(lines: &[&str], term: &str) -> Option<usize> {
    let mut forms = vec![term.to_owned(), format!("{term}s"), format!("{term}es")];
    forms.extend(term.strip_suffix('y').map(|stem| format!("{stem}ies")));
    lines.iter().position(|line| {
        let line = without_code(line).to_lowercase();
        let words: Vec<_> = line
            .split(|c: char| !c.is_alphanumeric() && c != '-')
            .collect();
        let line_of_words = format!(" {} ", words.join(" "));
        let is_used = |form: &String| line_of_words.contains(&format!(" {form} "));
        forms.iter().any(is_used) && !line.starts_with("# ")
    })
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
            let at = first_use(&lines, term);
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

/// Words that hide the actor or the thing, or that are not English: the list is in `docs/style.md`.
pub(super) const FORBIDDEN: &[&str] = &[
    "whoever",
    "somebody",
    "nobody",
    "ours",
    "he",
    "his",
    "him",
    "what is there",
    "what is ours",
    "so many",
    "is told",
    "are told",
    "is asked",
    "are asked",
    "anew",
    "an url",
];

#[test]
fn pages_use_no_forbidden_word() {
    let style = read("docs/style.md");
    for word in [
        "whoever",
        "somebody",
        "nobody",
        "ours",
        "he, his",
        "what is there",
        "so many bytes",
        "is told, is asked",
        "anew",
        "an URL",
    ] {
        assert!(
            style.contains(&format!("| {word} |")),
            "{word} is not in the list"
        );
    }
    let mut found = Vec::new();
    for (path, text) in documents() {
        if path.ends_with("style.md") || path.ends_with("CHANGELOG.md") {
            continue;
        }
        for (number, line) in prose(&text).into_iter().enumerate() {
            let line = without_code(line).to_lowercase();
            let words: Vec<_> = line.split(|c: char| !c.is_alphanumeric()).collect();
            let line = format!(" {} ", words.join(" "));
            for word in FORBIDDEN {
                if line.contains(&format!(" {word} ")) {
                    found.push(format!("{}:{}: {word}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Otherwise the tests above could agree with anything.
#[test]
fn broken_rules_of_pages_are_found() {
    let page = [
        "# Sealed artifacts",
        "",
        "`lease`",
        "Two Leases, and an entry",
        "artifact",
    ];
    assert_eq!(first_use(&page, "lease"), Some(3));
    assert_eq!(first_use(&page, "artifact"), Some(4));
    assert_eq!(first_use(&page, "entr"), None);
    let long = "line\n".repeat(LINES_MAX + 1);
    assert_eq!(own_lines(&long), LINES_MAX + 1);
    let marked = format!("a\n<!-- reference -->\n{long}<!-- end of reference -->\nb\n");
    assert_eq!(own_lines(&marked), 2);
    let line = "[a](b.md#c \"title\") ![d](e.svg) <img src=\"f.png\"> <a href=\"g.md\">";
    assert_eq!(links(line), ["b.md#c", "e.svg", "g.md", "f.png"]);
    assert_eq!(links("[a]: b.md"), ["b.md"]);
    assert_eq!(
        anchors("# A b\n## A b\n### `C`, d!\n"),
        ["a-b", "a-b-1", "c-d"]
    );
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

/// A package that follows the guide has no other dependencies.
#[test]
fn worker_of_the_guide_needs_only_its_dependencies() {
    let example = read("crates/hpcc-rootfs/examples/worker.rs");
    let own = ["hpcc_rootfs", "std", "tokio"];
    let mut roots = BTreeSet::new();
    let code = example.lines().filter(|line| !line.starts_with("#["));
    for line in code {
        let code = line.split("//").next().unwrap();
        for (at, _) in code.match_indices("::") {
            let before = &code[..at];
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
            let path = before.rsplit(|c: char| !is_part(c)).next().unwrap();
            let root = path.split("::").next().unwrap();
            if root.starts_with(|c: char| c.is_ascii_lowercase()) {
                roots.insert(root.to_owned());
            }
        }
    }
    assert!(roots.iter().eq(own), "{roots:?}");
}
