//! A value of every TOML type for every option of every command.

use std::path::Path;

use super::*;
use crate::config::options::options_of;

/// A value, and the types of its parts; `None` is a type that no option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Text,
    Integer,
    Boolean,
    Other,
    Array(&'static [Type]),
}

use Type::{Array, Boolean, Integer, Other, Text};

const VALUES: [(&str, Type, &str); 24] = [
    ("\"text\"", Text, "a string"),
    ("'''text'''", Text, "a string"),
    ("7", Integer, "the whole number 7"),
    ("0x07", Integer, "the whole number 7"),
    ("+7", Integer, "the whole number 7"),
    ("true", Boolean, "the boolean true"),
    ("false", Boolean, "the boolean false"),
    ("7.0", Other, "the float 7.0"),
    ("7e0", Other, "the float 7e0"),
    ("inf", Other, "the float inf"),
    ("nan", Other, "the float nan"),
    ("1979-05-27", Other, "the date or time 1979-05-27"),
    ("07:32:00", Other, "the date or time 07:32:00"),
    (
        "1979-05-27T07:32:00Z",
        Other,
        "the date or time 1979-05-27T07:32:00Z",
    ),
    ("{}", Other, "a table"),
    ("{ text = 7 }", Other, "a table"),
    ("[]", Array(&[]), "an array"),
    ("[\"text\"]", Array(&[Text]), "an array"),
    ("[\"a\", \"b\"]", Array(&[Text, Text]), "an array"),
    ("[7]", Array(&[Integer]), "an array"),
    ("[\"text\", true]", Array(&[Text, Boolean]), "an array"),
    ("[7.5]", Array(&[Other]), "an array"),
    ("[[\"text\"]]", Array(&[Array(&[Text])]), "an array"),
    ("[{ text = 7 }]", Array(&[Other]), "an array"),
];

/// Whether the parser of an option takes a word.
fn parses(arg: &Arg, word: &str) -> bool {
    let own = Arg::new("value")
        .long("value")
        .value_parser(arg.get_value_parser().clone());
    let command = clap::Command::new("value").arg(own);
    command
        .try_get_matches_from(["value", &format!("--value={word}")])
        .is_ok()
}

/// Whether an option takes a value of this type, as its help says.
fn takes(arg: &Arg, value: Type) -> bool {
    let is_switch = !arg.get_action().takes_values();
    match value {
        Text => !is_switch,
        Integer => {
            let numbers = ["N", "LEVEL", "SECONDS", "SIZE", "TIME", "CID[:PATH]"];
            let names = arg.get_value_names().unwrap_or_default();
            !is_switch && names.iter().any(|name| numbers.contains(&name.as_str()))
        }
        Boolean => is_switch || (parses(arg, "yes") && !parses(arg, "text")),
        Other => false,
        Array(all) => {
            let may_repeat = matches!(arg.get_action(), clap::ArgAction::Append);
            let is_flat = all.iter().all(|value| !matches!(value, Array(_)));
            may_repeat && is_flat && all.iter().all(|value| takes(arg, *value))
        }
    }
}

#[test]
fn every_option_refuses_values_of_other_types() {
    let root = Args::command();
    let (mut taken, mut refused) = (0, 0);
    for command in root.get_subcommands().map(clap::Command::get_name) {
        for arg in options_of(&root, &[command]) {
            let name = long(&arg);
            if NOT_IN_FILES.contains(&name) {
                continue;
            }
            for (value, of_type, found) in VALUES {
                let text = format!("[{command}]\n{name} = {value}\n");
                let (mut file, mut problems) = File::parse("f.toml".into(), &text);
                problems.append(&mut file.check(&root));
                let setting = file.setting(Some(command), &arg);
                if takes(&arg, of_type) {
                    assert_eq!(problems, [], "{text}");
                    assert!(setting.unwrap().is_some(), "{text}");
                    taken += 1;
                    continue;
                }
                let [problem] = problems.as_slice() else {
                    panic!("{text}{problems:?}");
                };
                let line = problem.line();
                assert!(line.starts_with("f.toml:2: cannot use "), "{text}{line}");
                assert!(line.contains(found), "{text}{line}");
                let expected = format!(" as {name}: expected ");
                assert!(line.contains(&expected), "{text}{line}");
                assert_eq!(problem.place.key.as_deref(), Some(name), "{line}");
                assert_eq!(problem.place.line, Some(2), "{line}");
                assert_eq!(problem.place.file.as_deref(), Some(Path::new("f.toml")));
                assert_eq!(setting, Ok(None), "{text}");
                refused += 1;
            }
        }
    }
    assert!(taken > 1000 && refused > 3000, "{taken} {refused}");
}

#[test]
fn key_of_all_commands_is_refused_as_that_of_one() {
    let root = Args::command();
    let names: BTreeSet<_> = options::all_options(&root).into_iter().collect();
    for name in names.iter().filter(|name| **name != "config") {
        let mut args = Vec::new();
        for command in root.get_subcommands().map(clap::Command::get_name) {
            args.extend(options_of(&root, &[command]));
        }
        args.retain(|arg| long(arg) == name);
        for (value, of_type, _) in VALUES {
            let text = format!("{name} = {value}\n");
            let (mut file, mut problems) = File::parse("f.toml".into(), &text);
            problems.append(&mut file.check(&root));
            let is_taken = args.iter().all(|arg| takes(arg, of_type));
            // A table beside the commands is that of a command, whatever its name is.
            let is_taken = is_taken || (value == "{}" && name == "verify");
            assert_eq!(problems.is_empty(), is_taken, "{text}{problems:?}");
        }
    }
}

#[test]
fn mistyped_key_of_every_option_has_a_suggestion() {
    let root = Args::command();
    for name in options::all_options(&root) {
        let (start, end) = name.split_at(name.len() - 1);
        for wrong in [
            format!("{name}{end}"),
            format!("{start}{start}"),
            format!("q{name}"),
            name.replace('-', "_") + "_",
            name.to_uppercase() + "X",
        ] {
            let text = format!("{wrong} = 1\n");
            let (mut file, _) = File::parse("f.toml".into(), &text);
            let problems = file.check(&root);
            let [problem] = problems.as_slice() else {
                panic!("{text}{problems:?}");
            };
            let starts = ["write ", "a similar one is "];
            let is_advice = starts.iter().any(|start| problem.advice.starts_with(start));
            assert!(is_advice, "{text}{problem:?}");
        }
    }
}
