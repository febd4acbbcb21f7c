//! Options from the command line, the environment and `hpcc-rootfs.toml`, in this order.
//!
//! Everything here applies to any option of any command. It works on the description of the command line: a setting
//! from elsewhere becomes the default of its option, so that parsers and messages are the same wherever a value comes
//! from.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, CommandFactory, FromArgMatches};
use ociget::printable;

use crate::output;

use self::conflicts::Conflicts;
use self::options::{is_given, leaf, optional_group, options_of, relaxed};
use self::setting::Setting;

mod conflicts;
mod file;
mod language;
mod layers;
mod nearest;
mod needed;
mod options;
mod problem;
mod setting;
pub(crate) mod show;
#[cfg(test)]
mod tests;
mod value;

pub(crate) use self::language::is_json;
pub(crate) use self::layers::Layers;
pub(crate) use self::options::{long, variables};
pub(crate) use self::problem::{Place, Problem};

/// Commands that explain the program and its settings. They run even if the settings are wrong, and report the
/// problems.
const EXPLAIN: [&str; 2] = ["config", "doctor"];

/// Commands that read no file, and run whatever is wrong with the variables.
const NEED_NO_FILE: [&str; 2] = ["completions", "man"];

/// Columns of a window below which the help of an option begins in the line after its name. `clap` puts it next to
/// names that are as wide as the window.
const NARROW: usize = 60;

/// Parses the command line, and takes the options that it leaves open from the environment and the configuration files.
/// Most commands refuse to run with a problem in these.
pub(crate) fn parse<A: CommandFactory + FromArgMatches>() -> Result<(A, Layers), clap::Error> {
    let words = std::env::args_os().collect();
    let is_narrow = output::width().is_some_and(|width| width < NARROW);
    parse_words(A::command().next_line_help(is_narrow), words, |named| {
        Layers::read(&A::command(), named)
    })
}

/// Parses a command line with settings that were read before. Options of both exclude and need each other as usual.
pub(crate) fn parse_with<A: CommandFactory + FromArgMatches>(
    words: &[&str],
    layers: &Layers,
) -> Result<(A, Layers), clap::Error> {
    let words = words.iter().map(OsString::from).collect();
    parse_words(A::command(), words, |_| layers.clone())
}

fn parse_words<A: FromArgMatches>(
    command: clap::Command,
    mut words: Vec<OsString>,
    read: impl FnOnce(Option<PathBuf>) -> Layers,
) -> Result<(A, Layers), clap::Error> {
    let relaxed = relaxed(command.clone());
    let given = match relaxed.clone().try_get_matches_from(&words) {
        Ok(given) => given,
        // A required option may come from elsewhere. Nothing else is wrong with these words.
        Err(error) if needed::is_of_options(&error) => {
            let lenient = relaxed.ignore_errors(true);
            lenient.try_get_matches_from(&words)?
        }
        // The message is that of the real command line.
        Err(error) => {
            return match command.try_get_matches_from(words) {
                Err(real) => Err(real),
                Ok(_) => Err(error),
            };
        }
    };
    let (names, leaf) = leaf(&given);
    let is_one_of = |commands: [&str; 2]| names.first().is_some_and(|name| commands.contains(name));
    let named = match is_one_of(NEED_NO_FILE) {
        true => Some(PathBuf::from("none")),
        false => leaf.try_get_one("config").ok().flatten().cloned(),
    };
    let mut layers = read(named);
    let (mut settings, mut problems) = layers.settings(&command, &names, leaf);
    layers.problems.append(&mut problems);
    let goes_on = is_one_of(EXPLAIN) || is_one_of(NEED_NO_FILE);
    if let (Some(problem), false) = (layers.problems.first(), goes_on) {
        return Err(wrong(problem.line()));
    }
    let options = options_of(&command, &names);
    if let Some((one, other)) = excluded(&command, &names, &options, leaf) {
        let (one, other) = (long(one), long(other));
        let what = format!("the argument '--{one}' cannot be used with '--{other}'");
        return Err(command.clone().error(ErrorKind::ArgumentConflict, what));
    }
    layers.used = settings.clone();
    loop {
        let parsed = with_defaults(command.clone(), &names, &settings).try_get_matches_from(&words);
        let error = match parsed {
            Ok(matches) => return Ok((A::from_arg_matches(&matches)?, layers)),
            Err(error) => error,
        };
        // For a default, clap does not see that an option has what it requires.
        let required = needed::options(&error, &options, &settings);
        let more = needed::words(&required, &settings);
        let Some(with_more) = needed::inserted(&command, &names, &words, more) else {
            return Err(error);
        };
        words = with_more;
        for arg in required {
            settings.remove(arg.get_id().as_str());
        }
    }
}

/// Returns two options of the command line that exclude each other. Clap finds them only if both stand before the name of
/// the command, or both after it.
fn excluded<'a>(
    root: &clap::Command,
    names: &[&str],
    options: &'a [Arg],
    given: &ArgMatches,
) -> Option<(&'a Arg, &'a Arg)> {
    let given: Vec<_> = options.iter().filter(|arg| is_given(given, arg)).collect();
    let conflicts = Conflicts::of(root, names);
    let mut pairs = given
        .iter()
        .flat_map(|one| given.iter().map(move |other| (*one, *other)));
    pairs.find(|(one, other)| conflicts.between(one, other))
}

/// Makes settings the defaults of their options.
fn with_defaults(
    command: clap::Command,
    names: &[&str],
    settings: &BTreeMap<String, Setting>,
) -> clap::Command {
    let command = command.mut_args(|arg| match settings.get(arg.get_id().as_str()) {
        Some(setting) => arg.required(false).default_values(setting.values.clone()),
        None => arg,
    });
    // A default is not enough for a group that needs one of its members.
    let groups = conflicts::groups_with(&command, |arg| {
        let setting = settings.get(arg.get_id().as_str());
        setting.is_some_and(|setting| setting.is_on(arg))
    });
    let command = groups.into_iter().fold(command, optional_group);
    match names.split_first() {
        Some((name, below)) => {
            command.mut_subcommand(name, |command| with_defaults(command, below, settings))
        }
        None => command,
    }
}

/// Makes a usage error of a mistake in the environment or a file.
fn wrong(message: String) -> clap::Error {
    clap::Error::raw(ErrorKind::ValueValidation, printable::text(message) + "\n")
}
