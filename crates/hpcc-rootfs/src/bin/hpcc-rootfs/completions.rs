//! `hpcc-rootfs completions`: scripts for shells.

mod script;

use std::ffi::OsStr;
use std::io::Write as _;

use anyhow::Context as _;
use clap::builder::{EnumValueParser, PossibleValue, TypedValueParser};
use clap::{Arg, Command, ValueEnum, ValueHint};

use crate::output::{self, Notation};
use crate::reference;

const PROGRAM: &str = "hpcc-rootfs";

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hpcc-rootfs completions bash > /etc/bash_completion.d/hpcc-rootfs
  hpcc-rootfs completions zsh > /usr/local/share/zsh/site-functions/_hpcc-rootfs
  hpcc-rootfs completions fish > ~/.config/fish/completions/hpcc-rootfs.fish")]
pub(crate) struct Completions {
    /// Shell that runs the script
    #[arg(value_name = "SHELL", value_parser = ShellParser)]
    shell: Shell,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    /// Not a shell: the reference of the commands for `docs/commands.md`.
    #[value(skip)]
    Markdown,
}

/// Parses a shell, and the one word that help and completions leave out.
#[derive(Clone, Copy, Debug)]
struct ShellParser;

impl TypedValueParser for ShellParser {
    type Value = Shell;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Shell, clap::Error> {
        if value == "markdown" {
            return Ok(Shell::Markdown);
        }
        EnumValueParser::<Shell>::new().parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let shells = Shell::value_variants().iter();
        Some(Box::new(shells.filter_map(ValueEnum::to_possible_value)))
    }
}

/// Prints the script that completes the command line.
pub(crate) fn run(command: &Completions, root: Command) -> anyhow::Result<()> {
    let shell = match command.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
        Shell::Markdown => return reference::run(root),
    };
    let commands = root.get_subcommands().filter(|below| !below.is_hide_set());
    let commands: Vec<_> = commands.map(|below| below.get_name().to_owned()).collect();
    let mut root = hinted(root, &commands);
    let mut generated = Vec::new();
    clap_complete::generate(shell, &mut root, PROGRAM, &mut generated);
    let generated = String::from_utf8(generated).context("the script is not UTF-8")?;
    let script = match shell {
        clap_complete::Shell::Bash => script::bash(&generated, &root),
        clap_complete::Shell::Fish => script::fish(&generated, &root),
        clap_complete::Shell::Zsh => script::zsh(&generated),
        _ => generated,
    };
    let mut stdout = output::stdout(Notation::Text);
    stdout
        .write_all(script.as_bytes())
        .and_then(|()| stdout.flush())
        .context("cannot write to stdout")
}

/// Returns a command whose options say what their values are, so that a shell completes file names only where an option
/// takes them, and knows that they may have spaces.
fn hinted(command: Command, commands: &[String]) -> Command {
    let command = command.mut_args(|arg| {
        let takes_any = arg.get_action().takes_values() && arg.get_possible_values().is_empty();
        let name = arg.get_value_names().and_then(<[_]>::first);
        let Some(name) = name.filter(|_| takes_any).map(ToString::to_string) else {
            return arg;
        };
        match name.as_str() {
            "FILE" | "HOST:GUEST[:MODE]" => arg.value_hint(ValueHint::FilePath),
            // The commands whose options are shown.
            "COMMAND" => arg.value_parser(commands.to_vec()),
            "DIR" => arg.value_hint(ValueHint::DirPath),
            "SOURCE" | "NAME" | "PATH" if arg.is_positional() => arg.value_hint(ValueHint::AnyPath),
            // The words themselves.
            words if words.contains('|') => {
                let words: Vec<_> = words.split('|').map(str::to_owned).collect();
                arg.value_parser(words)
            }
            _ => arg.value_hint(ValueHint::Other),
        }
    });
    command.mut_subcommands(|below| hinted(below, commands))
}
