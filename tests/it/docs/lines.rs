//! Command lines, variables and files of the documents, accepted by the program's own parsers.
//!
//! The program reads its configuration after it has parsed the command line. With one that does not exist it ends there:
//! what it then complains about says whether it accepted the line.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use super::words::{Line, lines};
use super::{Block, blocks, documents, prose, read};
use crate::cli::{Outcome, Place, outcome, program};

/// What the program says when it has accepted a command line.
const ACCEPTED: &str = "cannot read the configuration";

/// Commands that do their work without a configuration, which may be to write where the page says, or to use the network.
/// They print their help instead.
const GO_ON: [&str; 3] = ["completions", "doctor", "man"];

/// Variables of the systemd units and of the tests, which the program itself does not read.
const OF_OTHERS: [&str; 2] = ["HPCC_GC_OPTIONS", "HPCC_KILLS"];

/// Text in code spans that only looks like a command line.
const NO_COMMANDS: [&str; 1] = ["dm-verity"];

/// Documents that say which release did what, with options as they were.
const HISTORY: &str = "CHANGELOG.md";

/// Blocks of a language in all documents, each with the place that it is at.
pub(super) fn all_blocks(is_wanted: impl Fn(&str) -> bool) -> Vec<(String, Block)> {
    let mut found = Vec::new();
    for (path, text) in documents() {
        for block in blocks(&text).into_iter().filter(|b| is_wanted(&b.info)) {
            found.push((format!("{}:{}", path.display(), block.line), block));
        }
    }
    found
}

pub(super) fn is_shell(info: &str) -> bool {
    matches!(
        info.split_whitespace().next(),
        Some("sh" | "console" | "bash")
    )
}

/// Calls of the program in the text of a shell, with its name left out.
fn calls(text: &str) -> Vec<Line> {
    let mut calls = lines(text);
    calls.retain_mut(|line| line.take_program("hpcc-rootfs"));
    calls
}

/// Options that a command requires, each with its alternatives, as the usage in its help shows them.
fn required(help: &str) -> Vec<Vec<String>> {
    let usage = help.lines().find(|line| line.contains("Usage:")).unwrap();
    let mut open = 0;
    let outside: String = usage
        .chars()
        .filter(|c| {
            open += i32::from(*c == '[') - i32::from(*c == ']');
            open == 0 && *c != ']'
        })
        .collect();
    let words = outside.split_whitespace();
    let options = words.filter(|word| word.contains("--"));
    options
        .map(|word| {
            let alternatives = word.trim_matches(['<', '>']).split('|');
            alternatives.map(str::to_owned).collect()
        })
        .collect()
}

/// Returns the one-letter form of an option.
fn short(help: &str, option: &str) -> Option<String> {
    let line = help.lines().find(|line| {
        let mut words = line.split_whitespace();
        words.any(|word| word == option) && line.trim_start().starts_with('-')
    })?;
    let first = line.split_whitespace().next()?.trim_end_matches(',');
    (first.len() == 2).then(|| first.to_owned())
}

/// Runs a command line that does not get beyond its parser.
fn parse(place: &Place, words: &[String]) -> Outcome {
    let mut command: Command = place.command(program());
    let name = words.iter().find(|word| !word.starts_with('-'));
    let goes_on = name.is_some_and(|name| GO_ON.contains(&name.as_str()));
    command
        .args(words)
        .args(goes_on.then_some("--help"))
        .env("HPCC_CONFIG", place.path("no such file"));
    outcome(&mut command)
}

/// Why the program does not accept a line. `helps` has the help of each command that was looked up.
fn complaint(
    place: &Place,
    words: &[String],
    helps: &mut BTreeMap<String, String>,
) -> Option<String> {
    let outcome = parse(place, words);
    if outcome.status != Some(0) && !outcome.stderr.contains(ACCEPTED) {
        let first = outcome.stderr.lines().next().unwrap_or_default();
        return Some(first.to_owned());
    }
    let command = words.iter().find(|word| !word.starts_with('-'))?;
    if command == "help" || words.iter().any(|word| word == "--help") {
        return None;
    }
    let look_up = || place.run(["help", command]).stdout;
    let help = helps.entry(command.clone()).or_insert_with(look_up);
    let missing = required(help).into_iter().find(|alternatives| {
        !alternatives.iter().any(|option| {
            let is_option =
                |word: &String| word == option || word.starts_with(&format!("{option}="));
            let short = short(help, option);
            words
                .iter()
                .any(|word| is_option(word) || short.as_ref() == Some(word))
        })
    });
    missing.map(|alternatives| format!("{} is missing", alternatives.join(" or ")))
}

/// Code spans of all documents that call the program, each with the place that it is at.
fn spans() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (path, text) in documents() {
        for (number, line) in prose(&text).into_iter().enumerate() {
            let codes = line.split('`').skip(1).step_by(2);
            let calls = codes.filter(|code| {
                code.contains("hpcc-rootfs ")
                    && !code.contains(['…', '[', '<'])
                    && !code.contains("xtask")
            });
            let at = format!("{}:{}", path.display(), number + 1);
            found.extend(calls.map(|code| (at.clone(), code.to_owned())));
        }
    }
    found
}

#[test]
fn command_lines_of_the_documents_are_accepted_by_the_parser() {
    let place = Place::new();
    let (mut checked, mut wrong) = (BTreeSet::new(), Vec::new());
    let mut helps = BTreeMap::new();
    let shell = all_blocks(is_shell).into_iter();
    let scripts = shell.map(|(at, block)| (at, block.text));
    let pipelines = all_blocks(|info| info == "yaml").into_iter();
    let pipelines = pipelines.map(|(at, block)| (at, without_expressions(&block.text)));
    let whole = scripts.chain(pipelines).map(|text| (text, false));
    // A sentence may name the beginning of a command line.
    let parts = spans().into_iter().map(|text| (text, true));
    for ((at, text), is_part) in whole.chain(parts) {
        for mut call in calls(&text) {
            let first = call.words.first().map(String::as_str);
            // `hpcc-rootfs COMMAND` stands for any command.
            let stands_for_any = call.words.iter().any(|word| word == "COMMAND");
            if stands_for_any || first.is_none_or(|first| NO_COMMANDS.contains(&first)) {
                continue;
            }
            if is_part {
                call.words.push("--help".to_owned());
            }
            if !at.starts_with(HISTORY)
                && checked.insert(call.words.clone())
                && let Some(complaint) = complaint(&place, &call.words, &mut helps)
            {
                wrong.push(format!("{at}: {}: {complaint}", call.words.join(" ")));
            }
        }
    }
    assert!(wrong.is_empty(), "not accepted:\n{}", wrong.join("\n"));
    assert!(
        checked.len() > 60,
        "only {} found: {checked:#?}",
        checked.len()
    );
}

/// Otherwise the test above could accept anything.
#[test]
fn command_line_with_a_mistake_is_found() {
    let (place, mut helps) = (Place::new(), BTreeMap::new());
    for line in [
        "hpcc-rootfs pul debian:12",
        "hpcc-rootfs pull",
        "hpcc-rootfs pull debian:12 --agnet ./my-agent",
        "hpcc-rootfs pull debian:12 --agent",
        "hpcc-rootfs pull debian:12 --agent a --no-agent",
        "hpcc-rootfs pull debian:12 --digest sha256:12",
        "IMAGE=$(hpcc-rootfs pull debian:12 --level many)",
        "true | A=b hpcc-rootfs build debian:12 --agent ./my-agent",
        "hpcc-rootfs gc \\\n  --max-size 10X",
        "hpcc-rootfs vm-config x --kernel vmlinux",
    ] {
        let calls = calls(line);
        assert_eq!(calls.len(), 1, "{line}");
        assert!(
            complaint(&place, &calls[0].words, &mut helps).is_some(),
            "{line}"
        );
    }
}

/// GitHub's `${{ … }}` is replaced before a shell sees the line.
fn without_expressions(text: &str) -> String {
    let mut parts = text.split("${{");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (_, rest) = part.split_once("}}").expect("an expression has an end");
        kept.push('x');
        kept.push_str(rest);
    }
    // Items and keys of YAML before a command.
    let lines = kept.lines().map(|line| {
        let line = line.trim_start();
        let line = line.strip_prefix("- ").unwrap_or(line);
        line.strip_prefix("run: ").unwrap_or(line)
    });
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn shell_blocks_have_the_syntax_of_bash() {
    let mut wrong = Vec::new();
    let blocks = all_blocks(is_shell);
    assert!(blocks.len() > 40, "only {} blocks", blocks.len());
    for (at, block) in blocks {
        let checked = outcome(Command::new("bash").args(["-n", "-c", &block.text]));
        if checked.status != Some(0) {
            wrong.push(format!("{at}: {}", checked.stderr));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Text between a line that ends in `<<END` or `<<'END'` and the line `END`, each with the line that begins it.
pub(super) fn here_documents(text: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut is_open = false;
    for line in text.lines() {
        if is_open && line.trim() == "END" {
            is_open = false;
        } else if is_open {
            let (_, body) = found.last_mut().unwrap();
            body.push_str(line);
            body.push('\n');
        } else if line.contains("<<") {
            is_open = true;
            found.push((line.to_owned(), String::new()));
        }
    }
    assert!(!is_open, "a here-document has no end:\n{text}");
    found
}

#[test]
fn json_of_the_documents_parses() {
    let mut texts: Vec<_> = all_blocks(|info| info == "json")
        .into_iter()
        .map(|(at, block)| (at, block.text))
        .collect();
    for (at, block) in all_blocks(is_shell) {
        for (first, body) in here_documents(&block.text) {
            if first.contains(".json") {
                texts.push((at.clone(), body));
            }
        }
    }
    assert!(texts.len() >= 2, "only {} texts", texts.len());
    for (at, text) in texts {
        let parsed = serde_json::from_str::<serde_json::Value>(&text);
        assert!(parsed.is_ok(), "{at}: {parsed:?}");
    }
}

#[test]
fn configuration_files_of_the_documents_are_accepted() {
    let place = Place::new();
    let mut checked = 0;
    for (at, block) in all_blocks(|info| info == "toml") {
        // Those of Cargo.
        if block.text.contains("hpcc-rootfs = {") || block.text.contains("[dependencies]") {
            continue;
        }
        checked += 1;
        assert_eq!(configured(&place, &block.text), None, "{at}");
    }
    assert!(checked > 0, "no configuration file found");
    assert!(configured(&place, "levle = 3\n").is_some());
    assert!(configured(&place, "[pul]\nagent = \"a\"\n").is_some());
}

/// Why the program does not accept a configuration file.
fn configured(place: &Place, text: &str) -> Option<String> {
    let path = place.path("hpcc-rootfs.toml");
    std::fs::write(&path, text).unwrap();
    let mut command = place.command(program());
    command.args(["config", "show"]).env("HPCC_CONFIG", path);
    let outcome = outcome(&mut command);
    (outcome.status != Some(0)).then_some(outcome.stderr)
}

/// Words of a text that look like a variable of the program.
fn variables(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let words = text.split(|c: char| !is_part(c));
    let ours = words.filter(|word| word.len() > "HPCC_".len() && word.starts_with("HPCC_"));
    ours.map(str::to_owned).collect()
}

#[test]
fn variables_of_the_documents_exist() {
    let known = variables(&read("docs/commands.md"));
    assert!(known.len() > 50, "only {} variables", known.len());
    let (mut used, mut unknown) = (0, Vec::new());
    let mut texts: Vec<_> = documents().into_iter().collect();
    for path in [
        "packaging/Containerfile",
        "packaging/systemd/hpcc-rootfs-gc.service",
        ".github/workflows/ci.yml",
        ".github/workflows/release.yml",
    ] {
        texts.push((path.into(), read(path)));
    }
    for (path, text) in texts
        .iter()
        .filter(|(path, _)| !path.ends_with("commands.md"))
    {
        for name in variables(text) {
            used += 1;
            if !known.contains(&name) && !OF_OTHERS.contains(&name.as_str()) {
                unknown.push(format!("{}: {name}", path.display()));
            }
        }
    }
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
    assert!(used > 5, "only {used} variables found");
}
