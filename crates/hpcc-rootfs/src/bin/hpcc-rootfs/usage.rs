//! Errors of the command line, and its help, as text that is safe to print: `clap` repeats arguments.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use ociget::printable;

use crate::columns::fold_indented;
use crate::failure::{self, Report, shortened};
use crate::output::{self, Notation};
use crate::{stop, terminal};

/// What stands before the usage in an error of `clap`.
const USAGE: &str = "\n\nUsage: ";

/// Prints the outcome of `clap` other than arguments: an error, the help, or the version.
pub(crate) fn print(mut error: clap::Error) -> ExitCode {
    let context: Vec<_> = error
        .context()
        .filter(|(kind, _)| *kind != ContextKind::Usage)
        .map(|(kind, value)| (kind, clean(value)))
        .collect();
    for (kind, value) in context {
        error.insert(kind, value);
    }
    let mut text = with_possible_tips(error.render().to_string());
    if let Some(list) = list_of_options(&error) {
        let is_first = !text.contains("  tip: ");
        let tip = format!(
            "{}\n  tip: `{list}` lists the options",
            if is_first { "\n" } else { "" }
        );
        text = text.replacen(USAGE, &format!("{tip}{USAGE}"), 1);
    }
    if error.kind() == ErrorKind::InvalidUtf8 {
        text.push_str(tip_for_bytes(std::env::args_os()));
    }
    if !error.use_stderr() {
        if let Some(width) = output::width() {
            let lines = text
                .lines()
                .flat_map(|line| fold_indented(line, width, indent(line)));
            text = lines.map(|line| line + "\n").collect();
        }
        let mut stdout = output::stdout(Notation::Text);
        let written = stdout.write_all(text.as_bytes());
        let written = written.and_then(|()| stdout.flush());
        return match written.context("cannot write to stdout") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) if output::is_closed() => ExitCode::from(stop::CLOSED_PIPE),
            Err(error) => {
                terminal::error(&error);
                ExitCode::from(failure::FAILED)
            }
        };
    }
    if terminal::speaks_json() {
        output::say_json_at_the_end(&report(&text));
    } else {
        let lines = text.lines().map(|line| shortened(line.to_owned()));
        let lines = lines.flat_map(|line| terminal::folded(&line, indent(&line)));
        lines.for_each(|line| output::say_at_the_end(&line));
    }
    ExitCode::from(failure::USAGE)
}

/// Returns the columns before the text of a line, so that the lines after it stand below.
fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Returns the tip for words that are not UTF-8, some of which are values of options.
fn tip_for_bytes(words: impl Iterator<Item = OsString>) -> &'static str {
    let mut is_after_option = false;
    for word in words {
        let is_directory = |word: &OsString| {
            let bytes = word.as_encoded_bytes();
            bytes.starts_with(b"oci:") || bytes.starts_with(b"dir:")
        };
        let is_option = word.as_encoded_bytes().starts_with(b"-");
        if word.to_str().is_none() {
            return match is_option || is_after_option {
                true => {
                    "\n  tip: write the value of the option as text in UTF-8; only paths may be other bytes\n"
                }
                false if is_directory(&word) => {
                    "\n  tip: an image is named by text; rename the directory, or name a symlink to it\n"
                }
                false => {
                    "\n  tip: an image is named by text; redirect standard input from a file of another name, and write -\n"
                }
            };
        }
        is_after_option = is_option;
    }
    ""
}

/// Returns the text of an error with advice that helps options, too: `clap` advises `-- -x` for a value `-x`, which only
/// an argument takes.
fn with_possible_tips(text: String) -> String {
    let lines = text.split_inclusive('\n').map(|line| {
        let tip = line.trim().strip_prefix("tip: to pass '");
        let word = tip.and_then(|tip| tip.split_once("' as a value, use '-- "));
        match word {
            Some((word, _)) => format!(
                "  tip: to pass '{word}' to an option, write '--OPTION={word}'; as an argument, write '-- {word}'\n"
            ),
            None => line.to_owned(),
        }
    });
    lines.collect()
}

/// Returns the command that lists the options, for an option that does not exist and resembles none.
fn list_of_options(error: &clap::Error) -> Option<String> {
    if error.kind() != ErrorKind::UnknownArgument || error.get(ContextKind::SuggestedArg).is_some()
    {
        return None;
    }
    match error.get(ContextKind::InvalidArg)? {
        ContextValue::String(word) if word.starts_with('-') => {}
        _ => return None,
    }
    let usage = match error.get(ContextKind::Usage)? {
        ContextValue::StyledStr(usage) => usage.to_string(),
        _ => return None,
    };
    let (_, usage) = usage.split_once("hpcc-rootfs")?;
    let is_name = |word: &&str| word.starts_with(|c: char| c.is_ascii_lowercase());
    let names: Vec<_> = usage.split_whitespace().take_while(is_name).collect();
    Some(
        ["hpcc-rootfs", "help"]
            .iter()
            .chain(&names)
            .copied()
            .collect::<Vec<_>>()
            .join(" "),
    )
}

/// Returns the report: the first paragraph of `clap`'s text is the message, its tips or the usage are the hint.
fn report(text: &str) -> Report {
    let mut message = String::new();
    let (mut tips, mut usage) = (Vec::new(), None);
    let mut is_first = true;
    for line in text.lines() {
        let line = line.trim();
        if line.is_empty() {
            is_first = false;
        } else if is_first {
            let line = line.strip_prefix("error: ").unwrap_or(line);
            let separator = if message.is_empty() { "" } else { " " };
            message.push_str(separator);
            message.push_str(line);
        } else if let Some(tip) = line.strip_prefix("tip: ") {
            tips.push(tip);
        } else if line.starts_with("Usage: ") {
            usage = Some(line.replacen("Usage", "usage", 1));
        }
    }
    let hint = match tips[..] {
        [] => usage.or_else(|| Some("see `hpcc-rootfs help`".to_owned())),
        _ => Some(tips.join("; ")),
    };
    Report {
        kind: "usage".to_owned(),
        message: shortened(printable::text(message)),
        causes: Vec::new(),
        transient: false,
        hint: hint.map(|hint| shortened(printable::text(hint))),
    }
}

/// Returns a value in one line, without credentials.
fn clean(value: &ContextValue) -> ContextValue {
    let word = |text: &str| printable::text(printable::redacted(text));
    match value {
        ContextValue::String(text) => ContextValue::String(word(text)),
        ContextValue::Strings(all) => ContextValue::Strings(all.iter().map(|t| word(t)).collect()),
        ContextValue::StyledStr(text) => {
            ContextValue::StyledStr(printable::text(text.to_string()).into())
        }
        ContextValue::StyledStrs(all) => ContextValue::StyledStrs(
            all.iter()
                .map(|text| printable::text(text.to_string()).into())
                .collect(),
        ),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use crate::args::Args;

    use super::*;

    /// Words of the standard library and of Rust, which say nothing to users.
    const PHRASES: [&str; 10] = [
        "invalid digit",
        "number too",
        "out of range integral",
        "would be zero",
        "from empty string",
        "ParseIntError",
        "invalid utf-8",
        "os error",
        "..=",
        "Some(",
    ];
    /// Values that most options do not take, and some of them each.
    const WRONG: [&str; 16] = [
        "",
        "x",
        "-1",
        "+1",
        "0",
        "1.5",
        "1e3",
        "0x10",
        "\u{663}",
        "99999999999999999999999999",
        "4294967296",
        "300",
        "1K1",
        "a=b",
        "a/b/c/d",
        "sha256:12",
    ];

    /// Calls `visit` for each command with its names.
    fn walk<'c>(
        command: &'c clap::Command,
        names: &[&'c str],
        visit: &mut dyn FnMut(&'c clap::Command, &[&'c str]),
    ) {
        visit(command, names);
        for below in command.get_subcommands() {
            walk(below, &[names, &[below.get_name()]].concat(), visit);
        }
    }

    #[test]
    fn wrong_values_of_options_are_named_with_what_is_expected() {
        let root = Args::command();
        let mut options = std::collections::BTreeSet::new();
        let mut vague = std::collections::BTreeSet::new();
        walk(&root, &["hpcc-rootfs"], &mut |command, names| {
            let own = command.get_arguments();
            for (arg, wrong) in own.flat_map(|arg| WRONG.map(|wrong| (arg, wrong))) {
                let word = match arg.get_long() {
                    Some(name) => format!("--{name}={wrong}"),
                    None => wrong.to_owned(),
                };
                let words = names.iter().copied().chain([word.as_str()]);
                let Err(error) = root.clone().try_get_matches_from(words) else {
                    continue;
                };
                if !matches!(
                    error.kind(),
                    ErrorKind::ValueValidation | ErrorKind::InvalidValue
                ) {
                    continue;
                }
                options.insert(format!("{names:?} {}", arg.get_id()));
                let text = error.render().to_string();
                let found = PHRASES.iter().find(|phrase| text.contains(**phrase));
                assert_eq!(found, None, "{word}: {text}");
                // Digests and platforms are types of the client, which has its own words.
                let says = [
                    "expected ",
                    "[possible values: ",
                    " looks like ",
                    " has 64 ",
                    " write ",
                    "a value is required",
                ];
                if !says.iter().any(|words| text.contains(words)) {
                    vague.insert(text);
                }
            }
        });
        assert!(vague.is_empty(), "{vague:#?}");
        // Each number, size, time, digest and word of a list has a parser that refuses something.
        assert!(options.len() > 60, "{options:#?}");
    }

    #[test]
    fn tip_for_bytes_tells_values_of_options_from_images() {
        use std::os::unix::ffi::OsStringExt as _;
        for (words, says) in [
            (
                &[&b"gc"[..], b"--max-age", b"\xff"][..],
                "value of the option",
            ),
            (&[b"gc", b"--max-age=\xff"], "value of the option"),
            (&[b"pull", b"--json", b"a", b"tar:\xff"], "redirect"),
            (&[b"pull", b"oci:\xff:v1"], "a symlink"),
            (&[b"build", b"dir:\xff"], "a symlink"),
        ] {
            let words = words.iter().map(|word| OsString::from_vec(word.to_vec()));
            let tip = tip_for_bytes(words);
            assert!(tip.contains(says), "{tip}");
        }
    }

    #[test]
    fn tip_for_a_value_with_a_dash_helps_options() {
        for arguments in [&["build", "a", "-o", "-x"][..], &["inspect", "-x"]] {
            let arguments = ["hpcc-rootfs"].iter().chain(arguments);
            let error = Args::try_parse_from(arguments).unwrap_err();
            let text = with_possible_tips(error.render().to_string());
            let tip = "  tip: to pass '-x' to an option, write '--OPTION=-x'; as an argument, write '-- -x'\n";
            assert!(text.contains(tip), "{text}");
        }
        let written = ["hpcc-rootfs", "build", "a", "--output=-x"];
        assert!(Args::try_parse_from(written).is_ok());
    }

    #[test]
    fn arguments_are_repeated_without_credentials_or_newlines() {
        for arguments in [
            &["build", "a", "docker://bob:s3cret@h/x\nfake"][..],
            &["build", "a", "-o", "b", "bob:s3cret@h/x\nfake"],
            &["--s3cret\nfake"],
            &["pull", "a", "--level", "https://bob:s3cret@h/\nfake"],
            &["pull", "a", "--platform", "https://bob:s3cret@h/\nfake"],
            &["inspect", "sha256:s\nfake"],
            &["bob:s3cret@h\nfake"],
        ] {
            let arguments = ["hpcc-rootfs"].iter().chain(arguments);
            let error = Args::try_parse_from(arguments).unwrap_err();
            let all: Vec<_> = error.context().map(|(_, value)| clean(value)).collect();
            for value in all {
                let text = value.to_string();
                assert!(!text.contains("bob:s3cret"), "{text}");
                let is_ours = text.starts_with("Usage:");
                assert!(is_ours || !text.contains("\nfake"), "{text}");
            }
        }
    }
}
