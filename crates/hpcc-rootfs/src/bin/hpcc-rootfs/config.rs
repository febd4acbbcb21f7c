//! Options from the command line, the environment and `hpcc-rootfs.toml`, in this order.
//!
//! Everything here is about any option of any command. It works on the description of the command line:
//! what is not given there becomes the default of its option, so that parsers and messages are the same
//! whatever a value comes from.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory as _, FromArgMatches as _};
use ociget::printable;

use crate::args::Args;
use crate::config::conflicts::Conflicts;
use crate::config::file::File;
use crate::output;

pub(crate) use self::language::is_json;

mod conflicts;
pub(crate) mod file;
mod language;
mod needed;
mod problem;
pub(crate) mod show;
#[cfg(test)]
mod tests;

pub(crate) use problem::{Place, Problem};

/// What every variable begins with.
const PREFIX: &str = "HPCC_";

/// Variables that set an option besides its own, which comes first.
const OTHERS: [(&str, &str); 1] = [("time", "SOURCE_DATE_EPOCH")];

/// Commands that explain the program and its set-up, also when the set-up is wrong. They report what is wrong with it.
const EXPLAIN: [&str; 2] = ["config", "doctor"];

/// The same without any set-up.
const NEED_NOTHING: [&str; 2] = ["completions", "man"];

/// Options that only the command line and the environment can set: they say where the file is.
const NOT_IN_FILES: [&str; 1] = ["config"];

/// Where the value of an option comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Variable(String),
    File { path: PathBuf, line: usize },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => f.write_str(name),
            Self::File { path, line } => write!(f, "{}:{line}", output::path(path)),
        }
    }
}

/// What an option is set to, other than on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) values: Vec<OsString>,
    pub(crate) origin: Origin,
}

impl Setting {
    /// Whether the option counts as given. A switch that is off excludes no other option and meets no need of another; it
    /// only hides what later levels set the same option to.
    fn is_on(&self, arg: &Arg) -> bool {
        let off = match arg.get_action() {
            ArgAction::SetTrue => "false",
            ArgAction::Count => "0",
            _ => return !self.values.is_empty(),
        };
        self.values.iter().any(|value| value != off)
    }
}

/// Parses the command line and takes from the environment and the configuration files what it leaves
/// open. Most commands refuse to run with a problem in these.
pub(crate) fn parse() -> Result<(Args, Layers), clap::Error> {
    let words = std::env::args_os().collect();
    parse_words(Args::command(), words, Layers::read)
}

fn parse_words(
    command: clap::Command,
    mut words: Vec<OsString>,
    read: impl FnOnce(Option<PathBuf>) -> Layers,
) -> Result<(Args, Layers), clap::Error> {
    let relaxed = relaxed(command.clone());
    let given = match relaxed.clone().try_get_matches_from(&words) {
        Ok(given) => given,
        // What an option requires may come from elsewhere. Nothing else is wrong with these words.
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
    if is_one_of(NEED_NOTHING) {
        let args = Args::from_arg_matches(&command.try_get_matches_from(words)?)?;
        return Ok((args, Layers::default()));
    }
    let named = leaf.try_get_one::<PathBuf>("config").ok().flatten();
    let mut layers = read(named.cloned());
    let (mut settings, mut problems) = layers.settings(&command, &names, leaf);
    layers.problems.append(&mut problems);
    if let (Some(problem), false) = (layers.problems.first(), is_one_of(EXPLAIN)) {
        return Err(wrong(problem.line()));
    }
    let options = options_of(&command, &names);
    layers.used = settings.clone();
    loop {
        let parsed = with_defaults(command.clone(), &names, &settings).try_get_matches_from(&words);
        let error = match parsed {
            Ok(matches) => return Ok((Args::from_arg_matches(&matches)?, layers)),
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

/// Returns the names of the commands that were given, and the matches of the last one.
fn leaf(matches: &ArgMatches) -> (Vec<&str>, &ArgMatches) {
    let (mut names, mut leaf) = (Vec::new(), matches);
    while let Some((name, below)) = leaf.subcommand() {
        names.push(name);
        leaf = below;
    }
    (names, leaf)
}

/// Returns the command without required options, which may come from elsewhere.
fn relaxed(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| match arg.is_positional() {
        true => arg,
        false => arg.required(false),
    });
    let groups: Vec<_> = required_groups(&command).collect();
    let command = groups.into_iter().fold(command, optional_group);
    command.mut_subcommands(relaxed)
}

/// Returns the groups of options of which one has to be given.
fn required_groups(command: &clap::Command) -> impl Iterator<Item = clap::Id> {
    let groups = command.get_groups().filter(|group| {
        let group: &clap::ArgGroup = group;
        group.is_required_set()
    });
    groups.map(|group| group.get_id().clone())
}

fn optional_group(command: clap::Command, group: clap::Id) -> clap::Command {
    command.mut_group(group, |group| group.required(false))
}

/// The environment and the files, with what is wrong with them.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    variables: BTreeMap<String, OsString>,
    files: Vec<File>,
    problems: Vec<Problem>,
    /// The settings of the command that runs, by the identifiers of its options.
    used: BTreeMap<String, Setting>,
}

impl Layers {
    /// Reads the variables, and the file that the command line names, if it names one. What cannot be used is left out.
    fn read(named: Option<PathBuf>) -> Self {
        let variables = variables_of_options();
        let config = variables.get("HPCC_CONFIG").map(PathBuf::from);
        let (mut files, mut problems) = file::find(named.or(config));
        for file in &mut files {
            problems.append(&mut file.check(&Args::command()));
        }
        Self {
            variables,
            files,
            problems,
            used: BTreeMap::new(),
        }
    }

    /// Returns what is wrong with the variables and the files.
    pub(crate) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Returns where an option of the command that runs is set, unless on the command line.
    pub(crate) fn origin(&self, option: &str) -> Option<&Origin> {
        let setting = self.used.get(&option.replace('-', "_"));
        setting.map(|setting| &setting.origin)
    }

    /// Returns what sets an option of a command, the level that counts first in front. Settings that are wrong are
    /// left out.
    fn understood(&self, names: &[&str], arg: &Arg) -> Vec<OsString> {
        let variable = self.variable(arg).ok().flatten();
        let files = self.files.iter();
        let files = files.filter_map(|file| file.setting(names, arg).ok().flatten());
        let settings = variable.into_iter().chain(files);
        settings
            .filter_map(|setting| setting.values.into_iter().next())
            .collect()
    }

    /// Returns the files that were read.
    pub(crate) fn files(&self) -> impl Iterator<Item = &File> {
        self.files.iter()
    }

    /// Returns the variables with the prefix that set no option of any command.
    pub(crate) fn unknown_variables(&self) -> Vec<&str> {
        let known = all_options(&Args::command());
        let is_known = |name: &str| known.iter().any(|option| variable(option) == name);
        let names = self.variables.keys().map(String::as_str);
        names
            .filter(|name| name.starts_with(PREFIX) && !is_known(name))
            .collect()
    }

    /// Returns the settings of the options of one command that the command line leaves open, and what is wrong with
    /// others.
    pub(crate) fn settings(
        &self,
        root: &clap::Command,
        names: &[&str],
        given: &ArgMatches,
    ) -> (BTreeMap<String, Setting>, Vec<Problem>) {
        let options = options_of(root, names);
        let conflicts = Conflicts::of(root, names);
        let conflict = |a: &Arg, b: &Arg| conflicts.between(a, b);
        // What was set by a level before the one that is looked at, and of that what excludes other options.
        let given: Vec<&Arg> = options.iter().filter(|arg| is_given(given, arg)).collect();
        let (mut set, mut on) = (given.clone(), given);
        let (mut settings, mut problems) = (BTreeMap::new(), Vec::new());
        for level in 0..=self.files.len() {
            let mut of_level: Vec<(&Arg, Setting)> = Vec::new();
            for arg in &options {
                let is_set = set.iter().any(|other| other.get_id() == arg.get_id());
                if is_set || on.iter().any(|other| conflict(arg, other)) {
                    continue;
                }
                let found = match level.checked_sub(1) {
                    None => self.variable(arg),
                    Some(at) => match self.files.get(at) {
                        Some(file) => file.setting(names, arg),
                        None => Ok(None),
                    },
                };
                let found = found.and_then(|found| match found {
                    Some(setting) => accepted(arg, setting).map(Some),
                    None => Ok(None),
                });
                let setting = match found {
                    Ok(Some(setting)) => setting,
                    Ok(None) => continue,
                    Err(problem) => {
                        problems.push(problem);
                        continue;
                    }
                };
                let other = of_level.iter().find(|(other, of_other)| {
                    setting.is_on(arg) && of_other.is_on(other) && conflict(arg, other)
                });
                match other {
                    Some((_, other)) => problems.push(Problem::both(arg, &setting, other)),
                    None => of_level.push((arg, setting)),
                }
            }
            for (arg, setting) in of_level {
                set.push(arg);
                on.extend(setting.is_on(arg).then_some(arg));
                settings.insert(arg.get_id().to_string(), setting);
            }
        }
        (settings, problems)
    }

    fn variable(&self, arg: &Arg) -> Result<Option<Setting>, Problem> {
        for name in variables(long(arg)) {
            let Some(value) = self.variables.get(&name) else {
                continue;
            };
            let origin = Origin::Variable(name);
            let values = match (value.to_str(), arg.get_action()) {
                (Some(text), ArgAction::Append) => text.split(',').map(OsString::from).collect(),
                (Some(text), ArgAction::SetTrue | ArgAction::Count) => {
                    vec![switch(text, arg).ok_or_else(|| {
                        let expected = "expected 1, 0, true, false, yes or no";
                        let text = printable::redacted(text).to_string();
                        let what = format!("cannot use {text:?} as {origin}: {expected}");
                        Problem::of(&origin, long(arg), what)
                    })?]
                }
                _ => vec![value.clone()],
            };
            return Ok(Some(Setting { values, origin }));
        }
        Ok(None)
    }
}

/// Returns the variables that set options.
fn variables_of_options() -> BTreeMap<String, OsString> {
    std::env::vars_os()
        .filter(|(_, value)| !value.is_empty())
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| {
            name.starts_with(PREFIX) || OTHERS.iter().any(|(_, other)| other == name)
        })
        .collect()
}

/// Whether an option stands on the command line.
fn is_given(given: &ArgMatches, arg: &Arg) -> bool {
    let id = arg.get_id().as_str();
    let is_known = given.try_contains_id(id).is_ok();
    is_known && given.value_source(id) == Some(ValueSource::CommandLine)
}

/// Returns the value of a switch.
fn switch(text: &str, arg: &Arg) -> Option<OsString> {
    let is_on = match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => true,
        "0" | "false" | "no" | "off" => false,
        _ => {
            let is_count = matches!(arg.get_action(), ArgAction::Count);
            let count = text.parse::<u8>().ok().filter(|_| is_count);
            return count.map(|count| count.to_string().into());
        }
    };
    Some(match (arg.get_action(), is_on) {
        (ArgAction::Count, is_on) => u8::from(is_on).to_string().into(),
        (_, is_on) => is_on.to_string().into(),
    })
}

/// Returns the options of a command, those of all commands among them.
pub(crate) fn options_of(root: &clap::Command, names: &[&str]) -> Vec<Arg> {
    let (mut command, mut args) = (root, own_options(root));
    args.retain(Arg::is_global_set);
    for name in names {
        let Some(below) = command.find_subcommand(name) else {
            break;
        };
        command = below;
        let own = own_options(command);
        args.extend(own);
    }
    args
}

/// Returns the options that a command itself has.
fn own_options(command: &clap::Command) -> Vec<Arg> {
    let args = command.get_arguments().filter(|arg| {
        let is_option = arg.get_long().is_some();
        is_option && !matches!(long(arg), "help" | "version")
    });
    args.cloned().collect()
}

/// Returns the names of all options of all commands.
pub(crate) fn all_options(command: &clap::Command) -> Vec<String> {
    let own = own_options(command)
        .iter()
        .map(|arg| long(arg).to_owned())
        .collect();
    let below = command.get_subcommands().map(all_options);
    below.fold(own, |mut all: Vec<String>, more| {
        all.extend(more);
        all
    })
}

pub(crate) fn long(arg: &Arg) -> &str {
    arg.get_long().unwrap_or_default()
}

/// Returns the variable of an option.
pub(crate) fn variable(option: &str) -> String {
    format!("{PREFIX}{}", option.replace('-', "_").to_ascii_uppercase())
}

/// Returns all variables of an option, the one that counts first in front.
pub(crate) fn variables(option: &str) -> Vec<String> {
    let others = OTHERS.iter().filter(|(name, _)| *name == option);
    let others = others.map(|(_, other)| (*other).to_owned());
    std::iter::once(variable(option)).chain(others).collect()
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

/// Returns a setting, unless the parser of its option refuses a value.
fn accepted(arg: &Arg, setting: Setting) -> Result<Setting, Problem> {
    let own = Arg::new("value")
        .long("value")
        .action(arg.get_action().clone())
        .value_parser(arg.get_value_parser().clone())
        .default_values(setting.values.clone());
    let command = clap::Command::new("value").disable_help_flag(true).arg(own);
    let Err(error) = command.try_get_matches_from(["value"]) else {
        return Ok(setting);
    };
    let value = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => printable::redacted(value).to_string(),
        _ => String::new(),
    };
    let expected = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(all)) => format!("expected {}", all.join(", ")),
        _ => match std::error::Error::source(&error) {
            Some(error) => error.to_string(),
            None => "expected another value".to_owned(),
        },
    };
    let (origin, name) = (&setting.origin, long(arg));
    let what = format!("{origin}: cannot use {value:?} as {name}: {expected}");
    Err(Problem::of(origin, name, what))
}

/// Makes a usage error of a mistake in the environment or a file.
fn wrong(message: String) -> clap::Error {
    clap::Error::raw(ErrorKind::ValueValidation, printable::text(message) + "\n")
}
