//! The environment and the configuration files, one level after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches};
use ociget::printable;

use super::conflicts::Conflicts;
use super::file::{self, File};
use super::nearest::{is_slip, nearest};
use super::options::{
    OTHERS, PREFIX, all_options, is_given, long, options_of, variable, variables,
};
use super::problem::Problem;
use super::setting::{Origin, Setting};
use crate::output;

/// The environment and the files, with what is wrong with them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layers {
    pub(super) variables: BTreeMap<String, OsString>,
    pub(super) files: Vec<File>,
    pub(super) problems: Vec<Problem>,
    /// The variables with the prefix that set no option of any command.
    pub(super) unknown: Vec<Unknown>,
    /// The settings of the command that runs, by the identifiers of its options.
    pub(super) used: BTreeMap<String, Setting>,
}

impl Layers {
    /// Reads the variables, and the file that the command line names, if it names one. What cannot be used is left out.
    pub(super) fn read(root: &clap::Command, named: Option<PathBuf>) -> Self {
        let variables = variables_of_options();
        let config = variables.get("HPCC_CONFIG").map(PathBuf::from);
        let (mut files, mut problems) = file::find(named.or(config));
        for file in &mut files {
            problems.append(&mut file.check(root));
        }
        let unknown = Unknown::all(root, &variables);
        Self {
            variables,
            files,
            problems,
            unknown,
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

    /// Returns the problem of an error, if it names an option that a variable or a file sets.
    pub(crate) fn blame(&self, error: &str) -> Option<Problem> {
        let mut words = error.split("--").skip(1).map(|rest| {
            let is_of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            let end = rest.find(|c| !is_of_name(c)).unwrap_or(rest.len());
            rest.get(..end).unwrap_or_default()
        });
        let (name, origin) = words.find_map(|name| Some((name, self.origin(name)?)))?;
        Some(Problem::of(origin, name, format!("{origin}: {error}")))
    }

    /// Returns what sets an option of a command, the level that counts first in front. Settings that are wrong are
    /// left out.
    pub(super) fn understood(&self, names: &[&str], arg: &Arg) -> Vec<OsString> {
        let variable = self.variable(arg).ok().flatten();
        let files = self.places(names);
        let files = files.filter_map(|(file, table)| file.setting(table, arg).ok().flatten());
        let settings = variable.into_iter().chain(files);
        settings
            .filter_map(|setting| setting.values.into_iter().next())
            .collect()
    }

    /// Returns the tables of a command in each file, the one that counts first in front.
    fn places<'a>(
        &'a self,
        names: &[&'a str],
    ) -> impl Iterator<Item = (&'a File, Option<&'a str>)> {
        let tables = file::tables(names);
        let files = self.files.iter();
        files.flat_map(move |file| tables.clone().into_iter().map(move |table| (file, table)))
    }

    /// Returns the files that were read.
    pub(crate) fn files(&self) -> impl Iterator<Item = &File> {
        self.files.iter()
    }

    /// Returns the variables with the prefix that set no option of any command.
    pub(crate) fn unknown_variables(&self) -> &[Unknown] {
        &self.unknown
    }

    /// Returns the settings of the options of one command that the command line leaves open, and what is wrong with
    /// others.
    pub(super) fn settings(
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
        let of_files = self.places(names).map(Some);
        for level in std::iter::once(None).chain(of_files) {
            let mut of_level: Vec<(&Arg, Setting)> = Vec::new();
            for arg in &options {
                let is_set = set.iter().any(|other| other.get_id() == arg.get_id());
                if is_set || on.iter().any(|other| conflict(arg, other)) {
                    continue;
                }
                let found = match level {
                    None => self.variable(arg),
                    Some((file, table)) => file.setting(table, arg),
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
                        let expected = "expected 1, 0, true, false, yes, no, on or off";
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

/// The variable from which the unit of the Debian package takes options.
const OF_THE_UNIT: &str = "HPCC_GC_OPTIONS";

/// A variable with the prefix that sets no option. It may belong to another program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unknown {
    name: String,
    nearest: Option<String>,
}

impl Unknown {
    fn all(root: &clap::Command, variables: &BTreeMap<String, OsString>) -> Vec<Self> {
        let options = all_options(root);
        let known: BTreeSet<_> = options.iter().map(|option| variable(option)).collect();
        let names = variables.keys().filter(|name| name.starts_with(PREFIX));
        let unknown = names.filter(|name| !known.contains(*name) && *name != OF_THE_UNIT);
        let unknown = unknown.map(|name| Self {
            name: name.clone(),
            nearest: nearest(name, &options).map(variable),
        });
        unknown.collect()
    }

    /// Returns what is wrong, and which variable is meant, if one is similar.
    pub(crate) fn line(&self) -> String {
        let name = &self.name;
        match &self.nearest {
            Some(nearest) => {
                format!("the variable {name} sets no option; a similar one is {nearest}")
            }
            None => format!("the variable {name} sets no option"),
        }
    }

    /// Whether the name differs from that of a variable that sets an option by one slip of the fingers.
    pub(crate) fn is_mistyped(&self) -> bool {
        let nearest = self.nearest.as_deref();
        nearest.is_some_and(|nearest| is_slip(&self.name, nearest))
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
    let (origin, name) = (&setting.origin, long(arg));
    let mut values = setting.values.iter();
    if error.kind() == ErrorKind::InvalidUtf8
        && let Some(value) = values.find(|value| value.to_str().is_none())
    {
        let value = output::path(Path::new(value));
        let what = format!("{origin}: cannot use {value} as {name}: expected text in UTF-8");
        return Err(Problem::of(origin, name, what));
    }
    let value = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => printable::redacted(value).to_string(),
        _ => String::new(),
    };
    let expected = match error.get(ContextKind::ValidValue) {
        _ if value.is_empty() => "expected a value that is not empty".to_owned(),
        Some(ContextValue::Strings(all)) => format!("expected {}", all.join(", ")),
        _ => match std::error::Error::source(&error) {
            Some(error) => error.to_string(),
            None => "expected another value".to_owned(),
        },
    };
    let what = format!("{origin}: cannot use {value:?} as {name}: {expected}");
    Err(Problem::of(origin, name, what))
}
