//! The book: its pages keep the rules of `docs/style.md`, and its commands print what they show.

mod commands;
mod lines;
mod messages;
mod pages;
mod recipes;
mod sentences;
mod shell;
mod sources;
mod versions;
mod words;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A page of the book: its path below the root of the repository, and its text.
struct Page {
    path: PathBuf,
    text: String,
}

impl Page {
    fn name(&self) -> std::path::Display<'_> {
        self.path.display()
    }
}

/// Every page that `docs/SUMMARY.md` lists.
fn book() -> Vec<Page> {
    let summary = read("docs/SUMMARY.md");
    let targets = summary.split("](").skip(1);
    let pages: Vec<_> = targets
        .map(|rest| Path::new("docs").join(rest.split(')').next().unwrap()))
        .map(|path| Page {
            text: read(&path),
            path,
        })
        .collect();
    assert!(pages.len() > 25, "only {} pages found", pages.len());
    pages
}

/// Every Markdown file of the repository, by its path.
fn documents() -> BTreeMap<PathBuf, String> {
    fn collect(directory: &Path, found: &mut BTreeMap<PathBuf, String>) {
        for entry in fs::read_dir(root().join(directory)).unwrap() {
            let name = entry.unwrap().file_name();
            let path = directory.join(&name);
            let name = name.to_str().unwrap();
            if root().join(&path).is_dir() {
                if !matches!(name, "target" | ".git" | "corpus" | "artifacts") {
                    collect(&path, found);
                }
            } else if path.extension().is_some_and(|found| found == "md") {
                let text = read(&path);
                found.insert(path, text);
            }
        }
    }
    let mut found = BTreeMap::new();
    collect(Path::new(""), &mut found);
    found
}

/// A fenced block: the words after the fence, the number of its first line, and its lines.
struct Block {
    info: String,
    line: usize,
    text: String,
}

/// Returns the fenced blocks of a page, without the indentation of their fences.
fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, Block)> = None;
    for (number, line) in text.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (&mut open, fence) {
            (None, Some(info)) => {
                let block = Block {
                    info: info.trim().to_owned(),
                    line: number + 2,
                    text: String::new(),
                };
                open = Some((line.len() - line.trim_start().len(), block));
            }
            (Some(_), Some(_)) => blocks.extend(open.take().map(|(_, block)| block)),
            (Some((indent, block)), None) => {
                block.text.push_str(line.get(*indent..).unwrap_or_default());
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block has no end");
    blocks
}

/// Returns the page without its fenced blocks; every line keeps its number.
fn prose(text: &str) -> Vec<&str> {
    let mut inside = false;
    text.lines()
        .map(|line| {
            if line.trim_start().starts_with("```") {
                inside = !inside;
                ""
            } else if inside {
                ""
            } else {
                line
            }
        })
        .collect()
}

/// Returns a line without its code spans.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("``")
}
