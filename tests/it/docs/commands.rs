//! Options that the book names exist.

use std::collections::{BTreeMap, BTreeSet};

use super::{blocks, book, prose};
use crate::cli::Place;

/// Options of other programs that pages name in running text.
const FOREIGN: &[&str] = &[
    "--all",
    "--append-config",
    "--against",
    "--bin",
    "--close",
    "--cov",
    "--features",
    "--for",
    "--format",
    "--guest",
    "--no-default-features",
    "--oci",
    "--preserve-digests",
    "--rounds",
    "--shared",
    "--sparse",
    "--test",
    "--timeout",
    "--userns",
];

/// Options of every command, as its help lists them; those of all under the empty name.
fn options() -> BTreeMap<String, BTreeSet<String>> {
    let place = Place::new();
    let help = place.run(["help"]).stdout;
    let (_, commands) = help.split_once("Commands:").unwrap();
    let commands = commands.lines().skip(1).take_while(|line| !line.is_empty());
    let mut all = BTreeMap::from([(String::new(), words(&help).collect::<BTreeSet<_>>())]);
    // Further lines of a description are indented more.
    for line in commands.filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
        let command = line.split_whitespace().next().unwrap();
        let help = place.run(["help", command]).stdout;
        let options: BTreeSet<_> = words(&help).collect();
        all.entry(String::new())
            .or_default()
            .extend(options.clone());
        all.insert(command.to_owned(), options);
    }
    assert!(all.len() > 8, "{:?}", all.keys());
    all
}

/// Returns the words of a text that are long options.
fn words(text: &str) -> impl Iterator<Item = String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let words = text.split(move |c: char| !is_part(c));
    words
        .filter(|word| word.len() > 3 && word.starts_with("--") && !word.starts_with("---"))
        .map(|word| word.trim_end_matches('-').to_owned())
}

/// Calls of the program in a block: the command and the rest of the line, continued lines joined.
fn calls(text: &str) -> Vec<(String, String)> {
    let text = text.replace("\\\n", " ");
    let mut calls = Vec::new();
    for line in text.lines() {
        for call in line.split("hpcc-rootfs ").skip(1) {
            let call = call.split(['|', ';', '>', ')', '&']).next().unwrap();
            let command = call.split_whitespace().find(|word| !word.starts_with('-'));
            calls.extend(command.map(|command| (command.to_owned(), call.to_owned())));
        }
    }
    calls
}

#[test]
fn options_in_pages_exist() {
    let options = options();
    let known =
        |command: &str, option: &str| options.get(command).is_some_and(|all| all.contains(option));
    let (mut checked, mut wrong) = (0, Vec::new());
    for page in book() {
        for block in blocks(&page.text) {
            for (command, call) in calls(&block.text) {
                if !options.contains_key(&command) {
                    continue;
                }
                for option in words(&call) {
                    checked += 1;
                    if !known(&command, &option) {
                        wrong.push(format!(
                            "{}:{}: {command} {option}",
                            page.name(),
                            block.line
                        ));
                    }
                }
            }
        }
        for (number, line) in prose(&page.text).into_iter().enumerate() {
            for code in line.split('`').skip(1).step_by(2) {
                let is_ours = code.starts_with("--") || code.contains("hpcc-rootfs ");
                for option in words(code).filter(|_| is_ours) {
                    checked += 1;
                    if !known("", &option) && !FOREIGN.contains(&option.as_str()) {
                        wrong.push(format!("{}:{}: {option}", page.name(), number + 1));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "unknown options:\n{}", wrong.join("\n"));
    assert!(checked > 80, "only {checked} options found");
}
