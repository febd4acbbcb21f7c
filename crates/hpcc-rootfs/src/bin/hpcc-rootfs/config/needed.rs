//! Options that another option requires, set by a variable or a file.
//!
//! A setting of a variable or a file becomes the default of its option, and for clap an option with a default is not
//! given. So an option that another one requires becomes a word of the command line, as if the user had written it.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};

use super::options::long;
use super::setting::Setting;

/// Returns whether an error says that options are missing, and no argument of another kind.
pub(super) fn is_of_options(error: &clap::Error) -> bool {
    let missing = missing(error);
    !missing.is_empty() && missing.iter().all(|text| option(text).is_some())
}

/// Returns the options that the command line misses and a setting has.
pub(super) fn options<'a>(
    error: &clap::Error,
    options: &'a [Arg],
    settings: &BTreeMap<String, Setting>,
) -> Vec<&'a Arg> {
    let names: Vec<_> = missing(error)
        .iter()
        .filter_map(|text| option(text))
        .collect();
    let is_set = |arg: &Arg| {
        let setting = settings.get(arg.get_id().as_str());
        setting.is_some_and(|setting| setting.is_on(arg))
    };
    let options = options.iter();
    options
        .filter(|arg| names.contains(&long(arg)) && is_set(arg))
        .collect()
}

/// Returns the missing arguments in an error, in the spelling of the usage.
fn missing(error: &clap::Error) -> &[String] {
    match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::MissingRequiredArgument, Some(ContextValue::Strings(missing))) => missing,
        _ => &[],
    }
}

/// Returns the name in `--cert <FILE>`, which may be styled for a terminal.
fn option(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("--")?;
    let end = |c: char| !(c.is_ascii_alphanumeric() || c == '-');
    rest.split(end).next()
}

/// Returns the words that set options as their settings do.
pub(super) fn words(options: &[&Arg], settings: &BTreeMap<String, Setting>) -> Vec<OsString> {
    let mut words = Vec::new();
    for arg in options {
        let setting = settings.get(arg.get_id().as_str());
        for value in setting.iter().flat_map(|setting| &setting.values) {
            let mut word = OsString::from(format!("--{}", long(arg)));
            if !matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::Count) {
                word.push("=");
                word.push(value);
            }
            words.push(word);
        }
    }
    words
}

/// Returns the command line with `more` words after the name of the command; `None` if there are none.
pub(super) fn inserted(
    root: &Command,
    names: &[&str],
    words: &[OsString],
    more: Vec<OsString>,
) -> Option<Vec<OsString>> {
    if more.is_empty() {
        return None;
    }
    let (mut command, mut at) = (root, 0);
    for name in names {
        let words = words.get(at..)?;
        at += words.len() - behind(command, words)?;
        command = command.find_subcommand(name)?;
        at -= 1;
    }
    let (before, after) = words.split_at_checked(at + 1)?;
    Some(
        before
            .iter()
            .cloned()
            .chain(more)
            .chain(after.iter().cloned())
            .collect(),
    )
}

/// Returns the number of words after the name of a command that is one of `command`'s.
fn behind(command: &Command, words: &[OsString]) -> Option<usize> {
    let options = command.get_arguments().filter(|arg| !arg.is_positional());
    let parser = Command::new("words")
        .args(options.cloned())
        .allow_external_subcommands(true);
    let matches = parser.try_get_matches_from(words).ok()?;
    let (_, below) = matches.subcommand()?;
    let words = below.try_get_many::<OsString>("").ok()?;
    Some(words.map_or(0, Iterator::count))
}
