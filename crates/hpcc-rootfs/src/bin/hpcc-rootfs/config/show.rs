//! `hpcc-rootfs config show`.

use std::collections::BTreeMap;
use std::ffi::OsStr;

use clap::{Arg, ArgAction, ArgMatches, Command};
use ociget::printable;
use serde_json::{Value, json};

use super::file::places;
use super::layers::Layers;
use super::nearest::advice;
use super::options::{is_given, leaf, long, options_of, relaxed};
use super::problem::Problem;
use super::setting::{Origin, Setting};
use crate::failure::UsageError;
use crate::global::Global;
use crate::table::{self, Column};
use crate::{output, render, terminal};

#[derive(Debug, clap::Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Example:
  hpcc-rootfs config show"
)]
pub(crate) struct Config {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Print the value of every option and its origin
    Show(Show),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hpcc-rootfs config show
  HPCC_LEVEL=9 hpcc-rootfs config show pull")]
pub(crate) struct Show {
    /// Command whose options to print [default: all commands]
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
}

const COLUMNS: [Column; 3] = [
    Column::text("OPTION", 0),
    Column::cut("VALUE"),
    Column::text("FROM", 0),
];

/// Prints the options, even if there is a problem. With a problem, other commands refuse to run, and so this one fails
/// at its end. `checks` are the problems of commands whose settings cannot be used together.
pub(crate) fn run(
    global: &Global,
    config: &Config,
    layers: &Layers,
    root: &Command,
    checks: [(&str, Option<Problem>); 2],
) -> anyhow::Result<()> {
    let Action::Show(show) = &config.action;
    let commands: Vec<&str> = match &show.command {
        Some(name) => match root.find_subcommand(name) {
            Some(command) => vec![command.get_name()],
            None => {
                let commands = root.get_subcommands().map(Command::get_name);
                let commands: Vec<_> = commands.map(str::to_owned).collect();
                let advice = advice(name, &commands).map(|advice| format!("; {advice}"));
                let advice = advice.unwrap_or_default();
                let name = printable::redacted(name);
                return Err(UsageError(format!("there is no command {name:?}{advice}")).into());
            }
        },
        None => root.get_subcommands().map(Command::get_name).collect(),
    };
    // The options of all commands may stand on this command line as well.
    let given = relaxed(root.clone()).try_get_matches()?;
    let (_, given) = leaf(&given);
    let mut problems = layers.problems().to_vec();
    let mut options: BTreeMap<String, Vec<(&str, Shown)>> = BTreeMap::new();
    for name in commands {
        let (settings, wrong) = layers.settings(root, &[name], given);
        for problem in wrong {
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        for arg in options_of(root, &[name]) {
            let shown = Shown::of(&arg, settings.get(arg.get_id().as_str()), given);
            options
                .entry(long(&arg).to_owned())
                .or_default()
                .push((name, shown));
        }
    }
    let of_shown = |name: &str| show.command.as_deref().is_none_or(|shown| shown == name);
    for (_, problem) in checks.into_iter().filter(|(name, _)| of_shown(name)) {
        if let Some(problem) = problem.filter(|problem| !problems.contains(problem)) {
            problems.push(problem);
        }
    }
    let (mut rows, mut values) = (Vec::new(), Vec::new());
    for (option, mut of_commands) in options {
        while let Some((_, shown)) = of_commands.first() {
            let shown = shown.clone();
            let (same, others): (Vec<_>, Vec<_>) = of_commands
                .into_iter()
                .partition(|(_, other)| *other == shown);
            let commands: Vec<_> = same.iter().map(|(command, _)| *command).collect();
            let name =
                match others.is_empty() && values.last().is_none_or(|last| !is_of(last, &option)) {
                    true => option.clone(),
                    false => format!("{option} ({})", commands.join(", ")),
                };
            rows.push(vec![name, shown.text.clone(), shown.from.clone()]);
            values.push(shown.json(&option, &commands));
            of_commands = others;
        }
    }
    let width = output::width();
    let lines = table::lines(&COLUMNS, &rows, width, true);
    let files: Vec<_> = layers
        .files()
        .map(|file| output::path(file.path()))
        .collect();
    let value = json!({
        "files": files,
        "options": values,
        "problems": problems.iter().map(Problem::json).collect::<Vec<_>>(),
    });
    render::print(global, &value, &lines)?;
    if files.is_empty() && problems.is_empty() && !global.quiet && !global.json {
        let places: Vec<_> = places().iter().map(|path| output::path(path)).collect();
        terminal::say(&format!(
            "no configuration file is read; places: {}",
            places.join(", ")
        ));
    }
    for variable in layers.unknown_variables() {
        terminal::warn(&variable.line());
    }
    let [others @ .., last] = problems.as_slice() else {
        return Ok(());
    };
    for problem in others {
        terminal::warn(&problem.line());
    }
    Err(UsageError(last.line()).into())
}

fn is_of(value: &Value, option: &str) -> bool {
    value["option"] == option
}

/// A value and its origin, without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shown {
    text: String,
    values: Option<Vec<String>>,
    from: String,
    origin: Option<Origin>,
}

impl Shown {
    fn of(arg: &Arg, setting: Option<&Setting>, given: &ArgMatches) -> Self {
        let shown = |value: &OsStr| printable::redacted(&value.to_string_lossy()).to_string();
        if let Some(setting) = setting {
            let values = setting.values.iter();
            let values: Vec<_> = values.map(|value| shown(value)).collect();
            return Self {
                text: values.join(", "),
                values: Some(values),
                from: setting.origin.to_string(),
                origin: Some(setting.origin.clone()),
            };
        }
        if is_given(given, arg) {
            let values = given.get_raw(arg.get_id().as_str()).into_iter().flatten();
            let mut values: Vec<_> = values.map(shown).collect();
            if values.is_empty() {
                values.push("true".to_owned());
            }
            return Self {
                text: values.join(", "),
                values: Some(values),
                from: "command line".to_owned(),
                origin: None,
            };
        }
        Self {
            text: default(arg),
            values: None,
            from: "default".to_owned(),
            origin: None,
        }
    }

    fn json(&self, option: &str, commands: &[&str]) -> Value {
        let from = match &self.origin {
            Some(Origin::Variable(name)) => json!({ "kind": "environment", "variable": name }),
            Some(Origin::File { path, line }) => {
                json!({ "kind": "file", "file": output::path(path), "line": line })
            }
            None => json!({ "kind": self.from }),
        };
        json!({
            "option": option,
            "commands": commands,
            "values": self.values,
            "from": from,
        })
    }
}

/// Returns the default of an option, from its help.
fn default(arg: &Arg) -> String {
    let defaults = arg.get_default_values().iter();
    let defaults: Vec<_> = defaults.map(|value| value.to_string_lossy()).collect();
    if !defaults.is_empty() {
        return defaults.join(", ");
    }
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return "false".to_owned();
    }
    if matches!(arg.get_action(), ArgAction::Append) {
        return "-".to_owned();
    }
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let default = help
        .split_once("[default: ")
        .and_then(|(_, rest)| rest.split_once(']'));
    default.map_or_else(|| "-".to_owned(), |(default, _)| default.to_owned())
}
