//! The commands' part of `docs/commands.md`, which `hpcc-rootfs completions markdown` prints.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Context as _;
use clap::{Arg, Command};

use crate::config;
use crate::output::{self, Notation};

/// Prints every command with its options, as Markdown.
pub(crate) fn run(root: Command) -> anyhow::Result<()> {
    let mut root = root.disable_help_subcommand(true);
    root.build();
    let mut text = String::from("### Options of all commands\n");
    let global = root.get_arguments().filter(|arg| arg.is_global_set());
    options(&mut text, global.map(|arg| (arg, String::new())));
    let mut groups = Vec::new();
    for command in root.get_subcommands() {
        describe(&mut text, command, "hpcc-rootfs", &mut groups);
    }
    for group in groups {
        let commands = group.commands.join("`, `");
        let _ = write!(text, "\n### {}\n\nOf `{commands}`.\n", group.heading);
        let all = &group.commands;
        let rows = group.options.iter().map(|offered| match &offered.commands {
            commands if commands == all => (&offered.arg, String::new()),
            commands => (
                &offered.arg,
                format!("; of `{}` alone", commands.join("`, `")),
            ),
        });
        options(&mut text, rows);
    }
    let mut stdout = output::stdout(Notation::Text);
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .context("cannot write to stdout")
}

/// Options under one heading, which several commands have.
struct Group {
    heading: String,
    commands: Vec<String>,
    options: Vec<Offered>,
}

/// An option under a heading, and the commands that have it.
struct Offered {
    arg: Arg,
    commands: Vec<String>,
}

/// Adds the options of a command that stand under headings.
fn collect(groups: &mut Vec<Group>, command: &Command) {
    for arg in command.get_arguments().filter(|arg| !arg.is_global_set()) {
        let Some(heading) = arg.get_help_heading() else {
            continue;
        };
        let at = groups.iter().position(|group| group.heading == heading);
        let at = at.unwrap_or_else(|| {
            groups.push(Group {
                heading: heading.to_owned(),
                commands: Vec::new(),
                options: Vec::new(),
            });
            groups.len() - 1
        });
        let Some(group) = groups.get_mut(at) else {
            continue;
        };
        let name = command.get_name().to_owned();
        if !group.commands.contains(&name) {
            group.commands.push(name);
        }
        let mut offered = group.options.iter_mut();
        match offered.find(|other| other.arg.get_id() == arg.get_id()) {
            Some(other) => other.commands.push(command.get_name().to_owned()),
            None => group.options.push(Offered {
                arg: arg.clone(),
                commands: vec![command.get_name().to_owned()],
            }),
        }
    }
}

fn describe(text: &mut String, command: &Command, above: &str, groups: &mut Vec<Group>) {
    if command.is_hide_set() {
        return;
    }
    let name = format!("{above} {}", command.get_name());
    let about = command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").trim();
    // Writing to a string can't fail.
    let _ = write!(
        text,
        "\n### `{name}`\n\n{}. Usage: `{usage}`\n",
        cell(&about)
    );
    collect(groups, command);
    let own = |arg: &&Arg| {
        let has_own_place = arg.get_help_heading().is_none();
        !arg.is_global_set() && !arg.is_hide_set() && has_own_place
    };
    let positionals: Vec<_> = command.get_positionals().collect();
    if !positionals.is_empty() {
        text.push_str("\n| argument | is |\n|---|---|\n");
        for arg in positionals {
            let _ = writeln!(text, "| `{}` | {} |", value(arg), cell(&help(arg)));
        }
    }
    let own = command.get_arguments().filter(own);
    options(text, own.map(|arg| (arg, String::new())));
    if let Some(examples) = command.get_after_help() {
        let examples = examples.to_string();
        let lines = examples.lines().skip(1).map(str::trim).collect::<Vec<_>>();
        let _ = write!(text, "\n```sh\n{}\n```\n", lines.join("\n"));
    }
    for below in command.get_subcommands() {
        describe(text, below, &name, groups);
    }
}

/// Adds a table of options, each with a note after its help.
fn options<'a>(text: &mut String, args: impl Iterator<Item = (&'a Arg, String)>) {
    let args = args.filter(|(arg, _)| {
        let name = config::long(arg);
        !name.is_empty() && !matches!(name, "help" | "version")
    });
    let args: Vec<_> = args.collect();
    if args.is_empty() {
        return;
    }
    text.push_str("\n| option | variable | is |\n|---|---|---|\n");
    for (arg, note) in args {
        let name = config::long(arg);
        let short = arg
            .get_short()
            .map_or(String::new(), |short| format!("`-{short}`, "));
        let variables = config::variables(name).join("`, `");
        let value = value(arg);
        let value = if value.is_empty() {
            value
        } else {
            format!(" {value}")
        };
        let mut help = help(arg);
        let defaults = arg.get_default_values().iter();
        let defaults: Vec<_> = defaults.map(|value| value.to_string_lossy()).collect();
        if !value.is_empty() && !defaults.is_empty() && !arg.is_hide_default_value_set() {
            let _ = write!(help, " [default: {}]", defaults.join(", "));
        }
        let possible = arg.get_possible_values();
        let possible: Vec<_> = possible.iter().map(|value| value.get_name()).collect();
        if !value.is_empty() && !possible.is_empty() && !arg.is_hide_possible_values_set() {
            let _ = write!(help, "; one of {}", possible.join(", "));
        }
        help.push_str(&note);
        let _ = writeln!(
            text,
            "| {short}`--{name}{}` | `{variables}` | {} |",
            cell(&value),
            cell(&help)
        );
    }
}

/// Returns the name of an option's value, or nothing for a switch.
fn value(arg: &Arg) -> String {
    let takes_value = arg.is_positional() || arg.get_action().takes_values();
    let names = arg.get_value_names().filter(|_| takes_value);
    names.map_or(String::new(), |names| names.join(" "))
}

fn help(arg: &Arg) -> String {
    arg.get_help().map(ToString::to_string).unwrap_or_default()
}

/// Returns text for a cell of a table.
fn cell(text: &str) -> String {
    let text = text.replace('\n', " ").replace('|', "\\|");
    text.replace('<', "&lt;").replace('*', "\\*")
}
