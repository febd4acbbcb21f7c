//! The options of commands, as the description of the command line has them.

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches};

/// What every variable begins with.
pub(super) const PREFIX: &str = "HPCC_";

/// Variables that set an option besides its own, which comes first.
pub(super) const OTHERS: [(&str, &str); 1] = [("time", "SOURCE_DATE_EPOCH")];

/// Options that only the command line and the environment can set: they say where the file is.
pub(super) const NOT_IN_FILES: [&str; 1] = ["config"];

/// Returns the names of the commands that were given, and the matches of the last one.
pub(super) fn leaf(matches: &ArgMatches) -> (Vec<&str>, &ArgMatches) {
    let (mut names, mut leaf) = (Vec::new(), matches);
    while let Some((name, below)) = leaf.subcommand() {
        names.push(name);
        leaf = below;
    }
    (names, leaf)
}

/// Returns the command without required options, which may come from elsewhere.
pub(super) fn relaxed(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| match arg.is_positional() {
        true => arg,
        false => arg.required(false),
    });
    let groups: Vec<_> = required_groups(&command).collect();
    let command = groups.into_iter().fold(command, optional_group);
    command.mut_subcommands(relaxed)
}

/// Returns the groups of options of which one has to be given.
pub(super) fn required_groups(command: &clap::Command) -> impl Iterator<Item = clap::Id> {
    let groups = command.get_groups().filter(|group| {
        let group: &clap::ArgGroup = group;
        group.is_required_set()
    });
    groups.map(|group| group.get_id().clone())
}

pub(super) fn optional_group(command: clap::Command, group: clap::Id) -> clap::Command {
    command.mut_group(group, |group| group.required(false))
}

/// Whether an option stands on the command line.
pub(super) fn is_given(given: &ArgMatches, arg: &Arg) -> bool {
    let id = arg.get_id().as_str();
    let is_known = given.try_contains_id(id).is_ok();
    is_known && given.value_source(id) == Some(ValueSource::CommandLine)
}

/// Returns the options of a command, those of all commands among them.
pub(super) fn options_of(root: &clap::Command, names: &[&str]) -> Vec<Arg> {
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
pub(super) fn own_options(command: &clap::Command) -> Vec<Arg> {
    let args = command.get_arguments().filter(|arg| {
        let is_option = arg.get_long().is_some();
        is_option && !matches!(long(arg), "help" | "version")
    });
    args.cloned().collect()
}

/// Returns the names of all options of all commands.
pub(super) fn all_options(command: &clap::Command) -> Vec<String> {
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
pub(super) fn variable(option: &str) -> String {
    format!("{PREFIX}{}", option.replace('-', "_").to_ascii_uppercase())
}

/// Returns all variables of an option, the one that counts first in front.
pub(crate) fn variables(option: &str) -> Vec<String> {
    let others = OTHERS.iter().filter(|(name, _)| *name == option);
    let others = others.map(|(_, other)| (*other).to_owned());
    std::iter::once(variable(option)).chain(others).collect()
}
