use std::collections::BTreeSet;

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, CommandFactory as _};

use super::file::File;
use super::options::{NOT_IN_FILES, variable};
use super::*;
use crate::args::Args;

mod types;

/// Values of which each option takes one.
const SAMPLES: [&str; 15] = [
    "7",
    "no",
    "9M",
    "3h",
    "text",
    "json",
    "auto",
    "linux/arm64",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "x:/.hpcc/x",
    "debian:12",
    "/x",
    "3:/x",
    "name",
    "platform=x",
];

/// Returns the result of a command line, variables and a file.
fn parsed(
    root: &clap::Command,
    words: &[String],
    variables: &[(String, String)],
    file: &str,
) -> Result<String, String> {
    let (mut file, mut problems) = File::parse("f.toml".into(), file);
    problems.append(&mut file.check(root));
    assert_eq!(problems, []);
    let variables = variables.iter().cloned();
    let layers = Layers {
        variables: variables
            .map(|(name, value)| (name, value.into()))
            .collect(),
        files: vec![file],
        ..Layers::default()
    };
    let words = words.iter().map(OsString::from).collect();
    let args = parse_words::<Args>(root.clone(), words, |_| layers);
    let (args, _) = args.map_err(|error| error.to_string())?;
    Ok(format!("{args:?}"))
}

fn words(line: &str) -> Vec<String> {
    let words = std::iter::once("hpcc-rootfs").chain(line.split_whitespace());
    words.map(str::to_owned).collect()
}

fn variables(all: &[(&str, &str)]) -> Vec<(String, String)> {
    let all = all.iter();
    all.map(|(name, value)| (format!("HPCC_{name}"), (*value).to_owned()))
        .collect()
}

/// An option with a value: `--name=value`, or `--name`.
#[derive(Clone, Debug)]
struct Given {
    name: String,
    value: Option<String>,
}

impl Given {
    fn word(&self) -> String {
        match &self.value {
            Some(value) => format!("--{}={value}", self.name),
            None => format!("--{}", self.name),
        }
    }

    fn variable(&self) -> (String, String) {
        let value = self.value.clone().unwrap_or_else(|| "yes".to_owned());
        (variable(&self.name), value)
    }

    fn line(&self) -> String {
        match &self.value {
            Some(value) => format!("{} = {value:?}\n", self.name),
            None => format!("{} = true\n", self.name),
        }
    }
}

/// Completes a command line with the arguments that clap reports as missing. Returns the words after the options, and
/// the options.
fn completed(
    root: &clap::Command,
    names: &[&str],
    first: &Given,
) -> Option<(Vec<String>, Vec<Given>)> {
    let options = options_of(root, names);
    let (mut positional, mut more): (Vec<String>, Vec<Given>) = (Vec::new(), Vec::new());
    for _ in 0..8 {
        let words = line(
            names,
            &[std::slice::from_ref(first), &more].concat(),
            &positional,
        );
        let error = match root.clone().try_get_matches_from(&words) {
            Ok(_) => return Some((positional, more)),
            Err(error) => error,
        };
        let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg) else {
            return None;
        };
        if error.kind() != ErrorKind::MissingRequiredArgument {
            return None;
        }
        for text in missing {
            let Some((_, name)) = text.split_once("--") else {
                positional.push("debian:12".to_owned());
                continue;
            };
            let end = |c: char| !(c.is_ascii_alphanumeric() || c == '-');
            let name = name.split(end).next().unwrap();
            let arg = options.iter().find(|arg| long(arg) == name).unwrap();
            let takes_value = arg.get_action().takes_values();
            more.push(Given {
                name: name.to_owned(),
                value: takes_value.then(|| "x".to_owned()),
            });
        }
    }
    None
}

fn line(names: &[&str], options: &[Given], positional: &[String]) -> Vec<String> {
    let program = std::iter::once("hpcc-rootfs").chain(names.iter().copied());
    let program = program.map(str::to_owned);
    let options = options.iter().map(Given::word);
    program
        .chain(options)
        .chain(positional.iter().cloned())
        .collect()
}

/// Returns the program with one command alone, which takes less time to parse.
fn alone(root: &clap::Command, command: &clap::Command) -> clap::Command {
    clap::Command::new("hpcc-rootfs")
        .args(root.get_arguments().cloned())
        .groups(root.get_groups().cloned())
        .subcommand_required(true)
        .subcommand(command.clone())
}

#[test]
fn variable_and_key_of_every_option_do_what_it_does() {
    let root = Args::command();
    let (mut count, mut required) = (0, 0);
    let mut seen = BTreeSet::new();
    for command in root.get_subcommands() {
        if ["completions", "man", "help"].contains(&command.get_name()) {
            continue;
        }
        let below = command.get_subcommands().map(clap::Command::get_name);
        let below: Vec<_> = below.filter(|name| *name != "help").collect();
        let names: Vec<_> = std::iter::once(command.get_name()).chain(below).collect();
        let root = alone(&root, command);
        for arg in options_of(&root, &names) {
            let name = long(&arg).to_owned();
            // An option that several commands have alike is tried once.
            if NOT_IN_FILES.contains(&name.as_str()) || !seen.insert(format!("{arg:?}")) {
                continue;
            }
            let samples: Vec<Option<String>> = match arg.get_action().takes_values() {
                true => {
                    let possible = arg.get_possible_values();
                    let possible = possible.iter().map(|value| value.get_name().to_owned());
                    let usual = arg.get_value_names().unwrap_or_default().iter();
                    let usual = usual.filter_map(|name| match name.as_str() {
                        "SIZE" => Some("512K"),
                        "TIME" => Some("3h"),
                        "FILE" | "DIR" | "URL" | "HOST[:PORT]" => Some("text"),
                        _ => None,
                    });
                    let usual = usual.chain(SAMPLES).map(str::to_owned);
                    let all = possible.chain(usual);
                    all.map(Some).collect()
                }
                false => vec![None],
            };
            // The first value that the option takes and that is not its default.
            let found = samples.into_iter().find_map(|value| {
                let given = Given {
                    name: name.clone(),
                    value,
                };
                let (positional, more) = completed(&root, &names, &given)?;
                let with = [std::slice::from_ref(&given), &more].concat();
                let expected = parsed(&root, &line(&names, &with, &positional), &[], "").ok()?;
                let without = parsed(&root, &line(&names, &more, &positional), &[], "");
                (without.as_ref() != Ok(&expected)).then_some((given, positional, more, expected))
            });
            let (given, positional, more, expected) =
                found.unwrap_or_else(|| panic!("{names:?} --{name}: no sample"));
            let rest = line(&names, &more, &positional);
            let case = format!("{names:?} {}", given.word());
            let by_variable = parsed(&root, &rest, &[given.variable()], "");
            assert_eq!(by_variable.as_ref(), Ok(&expected), "{case}: variable");
            for table in [String::new(), format!("[{}]\n", names[0])] {
                let by_key = parsed(&root, &rest, &[], &format!("{table}{}", given.line()));
                assert_eq!(by_key.as_ref(), Ok(&expected), "{case}: {table}");
            }
            count += 1;
            if more.is_empty() {
                continue;
            }
            // A required option may come from elsewhere as well.
            let own = line(&names, &[given], &positional);
            let all: Vec<_> = more.iter().map(Given::variable).collect();
            let by_variable = parsed(&root, &own, &all, "");
            assert_eq!(by_variable.as_ref(), Ok(&expected), "{case}: {all:?}");
            let keys: String = more.iter().map(Given::line).collect();
            let by_key = parsed(&root, &own, &[], &keys);
            assert_eq!(by_key.as_ref(), Ok(&expected), "{case}: {keys}");
            required += 1;
        }
    }
    assert!(
        count > 80 && required > 5,
        "{count} options, {required} with others"
    );
}

/// clap-rs/clap#1204
#[test]
fn conflicting_options_conflict_on_both_sides_of_the_command() {
    let root = Args::command();
    for line in [
        "--quiet --verbose list",
        "--quiet list --verbose",
        "--verbose list --quiet",
        "-v config show -q",
        "-v config -q show",
        "list -qv",
    ] {
        let error = parsed(&root, &words(line), &[], "").unwrap_err();
        assert!(error.contains("cannot be used with '--"), "{line}: {error}");
        assert!(error.contains("Usage: hpcc-rootfs"), "{line}: {error}");
    }
    for line in ["--quiet list --quiet", "-v list -v", "--quiet list --json"] {
        assert!(parsed(&root, &words(line), &[], "").is_ok(), "{line}");
    }
}

#[test]
fn switch_that_is_off_excludes_no_other_option() {
    let root = Args::command();
    let parsed = |line: &str, set: &[(&str, &str)], file: &str| {
        parsed(&root, &words(line), &variables(set), file)
    };
    let machine = "vm-config x --kernel k";
    for (line, set, file, more) in [
        (
            "pull x",
            &[("NO_AGENT", "0")][..],
            "agent = \"a\"",
            "--agent a",
        ),
        (
            "pull x",
            &[("NO_AGENT", "0"), ("AGENT", "a")],
            "",
            "--agent a",
        ),
        (
            "pull x",
            &[("NO_AGENT", "off"), ("AGENT_AMD64", "a")],
            "",
            "--agent-amd64 a",
        ),
        (
            "pull x",
            &[("NO_AGENT", "1")],
            "agent = \"a\"",
            "--no-agent",
        ),
        (
            "pull x",
            &[("CREDS_STDIN", "0"), ("AUTHFILE", "f")],
            "",
            "--authfile f",
        ),
        ("list", &[], "quiet = false\nverbose = true", "--verbose"),
        (
            "list",
            &[("QUIET", "0")],
            "quiet = true\nverbose = true",
            "--verbose",
        ),
        ("list", &[("VERBOSE", "1")], "quiet = true", "--verbose"),
        (
            machine,
            &[("QEMU", "0")],
            "firecracker = true",
            "--firecracker",
        ),
        (machine, &[("QEMU", "1")], "firecracker = true", "--qemu"),
    ] {
        let same = parsed(&format!("{line} {more}"), &[], "");
        assert!(same.is_ok(), "{same:?}");
        assert_eq!(parsed(line, set, file), same, "{line} {set:?} {file}");
    }
    for (line, set) in [
        ("list --quiet", &[("VERBOSE", "1")][..]),
        ("list --verbose", &[("QUIET", "false")]),
        ("vm-config x --kernel k --qemu", &[("FIRECRACKER", "1")]),
    ] {
        assert_eq!(
            parsed(line, set, ""),
            parsed(line, &[], ""),
            "{line} {set:?}"
        );
    }
    for (line, set, file) in [
        ("list", &[("QUIET", "1"), ("VERBOSE", "1")][..], ""),
        ("list", &[], "quiet = true\nverbose = true"),
        (machine, &[("QEMU", "1"), ("FIRECRACKER", "1")], ""),
        // The variable hides the key, and one of the two is needed.
        (machine, &[("QEMU", "0")], "qemu = true"),
        ("verify x --from y", &[("REBUILD", "0")], "rebuild = true"),
    ] {
        let outcome = parsed(line, set, file);
        assert!(outcome.is_err(), "{line} {set:?} {file}: {outcome:?}");
    }
}

#[test]
fn table_of_a_command_wins_over_lines_that_exclude_it() {
    let root = Args::command();
    for (line, file, more) in [
        (
            "build x -o y",
            "agent = \"a\"\n[build]\nno-agent = true",
            "--no-agent",
        ),
        (
            "pull x",
            "no-agent = true\n[pull]\nagent = \"a\"",
            "--agent a",
        ),
        (
            "pull x",
            "agent = \"a\"\n[pull]\nno-agent = false",
            "--agent a",
        ),
        (
            "doctor",
            "[pull]\nagent = \"a\"\n[doctor]\nno-agent = true",
            "--no-agent",
        ),
        ("list", "quiet = true\n[list]\nverbose = true", "--verbose"),
    ] {
        let same = parsed(&root, &words(&format!("{line} {more}")), &[], "");
        assert!(same.is_ok(), "{same:?}");
        assert_eq!(
            parsed(&root, &words(line), &[], file),
            same,
            "{line} {file}"
        );
    }
    let file = "[pull]\nagent = \"a\"\nno-agent = true";
    let outcome = parsed(&root, &words("pull x"), &[], file);
    assert!(outcome.is_err(), "{outcome:?}");
}

#[test]
fn required_option_from_elsewhere_is_put_behind_the_command() {
    let root = Args::command();
    let set = variables(&[("PROXY", "http://p:1"), ("CERT", "c")]);
    for line in [
        "pull debian --no-proxy h",
        "--cache-dir pull pull debian --no-proxy h",
        "--cache-dir=pull pull pull --key=k --no-proxy=pull",
        "pull --no-proxy=h -- debian",
    ] {
        let words = words(line);
        let mut expected = words.clone();
        let end = expected.iter().position(|word| word == "--");
        let end = end.unwrap_or(expected.len());
        let more = ["--cert=c".to_owned(), "--proxy=http://p:1".to_owned()];
        expected.splice(end..end, more);
        let expected = parsed(&root, &expected, &[], "");
        assert_eq!(parsed(&root, &words, &set, ""), expected, "{line}");
    }
    let words = words("pull debian --key k");
    let missing = parsed(&root, &words, &variables(&[("PROXY", "http://p:1")]), "");
    let missing = missing.unwrap_err();
    assert!(missing.contains("--cert <FILE>"), "{missing}");
}
