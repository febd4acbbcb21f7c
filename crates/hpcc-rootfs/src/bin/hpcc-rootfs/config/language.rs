//! Whether stderr gets JSON, for a command line that may be wrong.
//!
//! The rule is that of a correct command line. Words that cannot be understood are skipped, because they may be the
//! cause of the error.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command, ValueEnum};

use super::layers::Layers;
use super::options::{long, options_of};
use crate::logging::{self, Format};
use crate::progress::Mode;

/// Returns whether each line on stderr is to be an object of JSON. `words` is the whole command line.
pub(crate) fn is_json(root: &Command, words: impl Iterator<Item = OsString>) -> bool {
    let given = Given::read(root, words.skip(1));
    let layers = Layers::read(root, given.value("config").map(PathBuf::from));
    given.is_json(root, &layers)
}

/// The options that were read from a command line, each with its value, and the command.
#[derive(Debug, Default)]
struct Given {
    command: Option<String>,
    options: Vec<(String, OsString)>,
}

impl Given {
    fn read(root: &Command, words: impl Iterator<Item = OsString>) -> Self {
        let mut words = words.peekable();
        let mut given = Self::default();
        while let Some(word) = words.next().filter(|word| word != "--") {
            let bytes = word.as_bytes();
            let names: Vec<&str> = given.command.as_deref().into_iter().collect();
            let known = options_of(root, &names);
            // A word that begins like an option is not a value, unless the option allows such values.
            let takes = |arg: &&Arg, next: Option<&OsString>| {
                let takes_one = !matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::Count);
                let is_option =
                    next.is_some_and(|next| next != "-" && next.as_bytes().starts_with(b"-"));
                takes_one && (!is_option || arg.is_allow_hyphen_values_set())
            };
            if let Some(option) = bytes.strip_prefix(b"--") {
                let end = option.iter().position(|byte| *byte == b'=');
                let (name, value) = option.split_at(end.unwrap_or(option.len()));
                let name = String::from_utf8_lossy(name).into_owned();
                let value = value.get(1..).map(std::ffi::OsStr::from_bytes);
                let found = known.iter().find(|arg| long(arg) == name);
                let value = match value {
                    Some(value) => value.to_owned(),
                    None if found.is_some_and(|arg| takes(&arg, words.peek())) => {
                        words.next().unwrap_or_default()
                    }
                    None => OsString::new(),
                };
                given.options.push((name, value));
            } else if let [b'-', flags @ .., last] = bytes {
                let short = known.iter().filter(|arg| {
                    let letter = arg.get_short().map(u32::from);
                    flags.is_empty() && letter == Some(u32::from(*last))
                });
                if short.into_iter().any(|arg| takes(&arg, words.peek())) {
                    words.next();
                }
            } else if given.command.is_none() {
                let name = word
                    .to_str()
                    .filter(|name| root.find_subcommand(name).is_some());
                given.command = name.map(str::to_owned);
            }
        }
        given
    }

    /// Returns the value of an option; empty if it takes none.
    fn value(&self, option: &str) -> Option<&OsString> {
        let mut given = self.options.iter().rev();
        given.find_map(|(name, value)| (name == option).then_some(value))
    }

    fn is_json(&self, root: &Command, layers: &Layers) -> bool {
        let names: Vec<&str> = self.command.as_deref().into_iter().collect();
        let settings = |option: &str| {
            let args = options_of(root, &names);
            let arg = args.iter().find(|arg| long(arg) == option);
            arg.map_or_else(Vec::new, |arg| layers.understood(&names, arg))
        };
        let first = |option: &str| {
            let given = self.value(option).cloned();
            given.into_iter().chain(settings(option)).collect()
        };
        let json = self.value("json").is_some()
            || settings("json")
                .first()
                .is_some_and(|value| value == "true");
        let progress = first_of::<Mode>(first("progress")).unwrap_or_default();
        logging::is_json(first_of::<Format>(first("log-format")), json, progress)
    }
}

/// Returns the first word that is a value of an option.
fn first_of<T: ValueEnum>(words: Vec<OsString>) -> Option<T> {
    let mut words = words.iter().filter_map(|word| word.to_str());
    words.find_map(|word| T::from_str(word, false).ok())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::args::Args;

    #[test]
    fn wrong_command_line_has_the_language_of_a_right_one() {
        let root = Args::command();
        for (line, expected) in [
            ("pull", false),
            ("--json", true),
            ("pul --json", true),
            ("pull --level x --json", true),
            ("pull --json --level", true),
            ("pull -- --json", false),
            ("pull --cache-dir --json", true),
            ("vm-config --append --json", false),
            ("build -o --json", true),
            ("build -o x --json", true),
            ("--progress json pull", true),
            ("pull --progress=json", true),
            ("pull --progress json --progress none", false),
            ("pull --json --log-format text", false),
            ("pull --log-format=text --json --wrong", false),
            ("pull --log-format json --progress none", true),
            ("pull --log-format xml --json", true),
            ("pull --log-format xml", false),
            ("pull --cache-dir pull --json", true),
            ("-v --json", true),
            ("\u{e4} -\u{e4} --json", true),
        ] {
            let words = line.split(' ').map(OsString::from);
            let given = Given::read(&root, words);
            assert_eq!(given.is_json(&root, &Layers::default()), expected, "{line}");
        }
    }
}
