//! `hpcc-rootfs man`: manual pages.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Command;
use clap::builder::Resettable;
use hpcc_rootfs::Count;

use crate::global::Global;
use crate::{config, output, terminal};

const PROGRAM: &str = "hpcc-rootfs";

/// The heading before which the further sections stand, as manual pages have them.
const LAST: &str = ".SH VERSION";

/// The heading of the section that has all options in one line.
const SYNOPSIS: &str = ".SH SYNOPSIS\n";

/// Exit codes of all commands.
const EXITS: [(&str, &str); 8] = [
    ("0", "The command succeeded."),
    (
        "1",
        "It failed, and will fail again until something changes.",
    ),
    (
        "2",
        "The command line, a variable or the configuration file is wrong.",
    ),
    (
        "75",
        "It failed, and the same command may succeed later without any change.",
    ),
    ("129", "SIGHUP ended it."),
    ("130", "SIGINT ended it."),
    ("141", "Its output has no reader any more."),
    ("143", "SIGTERM ended it."),
];

/// Variables that set no option.
const VARIABLES: [(&str, &str); 4] = [
    (
        "RUST_LOG",
        "Records to print on stderr: LEVEL, or TARGET=LEVEL, separated by commas.",
    ),
    (
        "XDG_CACHE_HOME",
        "Directory that the store is below, without --cache-dir.",
    ),
    (
        "XDG_CONFIG_HOME",
        "Directory that the configuration file is below.",
    ),
    (
        "HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY",
        "Proxies, without --proxy. The names in lower case count as well.",
    ),
];

/// Files of all commands.
const FILES: [(&str, &str); 3] = [
    (
        "~/.config/hpcc-rootfs/hpcc-rootfs.toml",
        "Configuration of the user.",
    ),
    (
        "/etc/hpcc-rootfs/hpcc-rootfs.toml",
        "Configuration of the host.",
    ),
    ("~/.cache/hpcc-rootfs", "The store."),
];

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  hpcc-rootfs man /usr/local/share/man/man1")]
pub(crate) struct Man {
    /// Directory for the pages; created if it does not exist
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Writes a page for each command.
pub(crate) fn run(global: &Global, command: &Man, root: Command) -> anyhow::Result<()> {
    let directory = &command.directory;
    let failed = |path: &Path| format!("cannot write {}", output::path(path));
    if directory.metadata().is_ok_and(|found| !found.is_dir()) {
        bail!("{}: not a directory; name a directory", failed(directory));
    }
    fs::create_dir_all(directory).with_context(|| failed(directory))?;
    let mut root = root.disable_help_subcommand(true);
    root.build();
    let mut pages = Vec::new();
    collect(&root, PROGRAM, &mut pages);
    for (name, command) in &pages {
        let path = directory.join(format!("{name}.1"));
        let page = page(name, command).context("cannot write a page")?;
        fs::write(&path, page).with_context(|| failed(&path))?;
    }
    if !global.quiet && !global.json {
        let directory = output::path(directory);
        terminal::say(&format!(
            "wrote {} to {directory}",
            Count::of(pages.len(), "page")
        ));
    }
    Ok(())
}

/// Collects a command and those below it, each with the name of its page.
fn collect(command: &Command, name: &str, pages: &mut Vec<(String, Command)>) {
    pages.push((
        name.to_owned(),
        command
            .clone()
            .name(name.to_owned())
            .display_name(name.to_owned()),
    ));
    for below in command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
    {
        collect(below, &format!("{name}-{}", below.get_name()), pages);
    }
}

/// Returns the page of a command.
fn page(name: &str, command: &Command) -> anyhow::Result<String> {
    // The generator has one section for it, EXTRA, which no manual page has.
    let plain = command.clone().after_help(Resettable::Reset);
    let mut page = Vec::new();
    let man = clap_mangen::Man::new(plain).title(name.to_uppercase());
    man.render(&mut page)?;
    let mut page = with_values(&String::from_utf8(page)?, command);
    let at = page.find(LAST).unwrap_or(page.len());
    page.insert_str(at, &sections(command));
    Ok(page)
}

/// Returns the page with the values of the options in its synopsis, which the generator leaves out.
fn with_values(page: &str, command: &Command) -> String {
    let Some((before, after)) = page.split_once(SYNOPSIS) else {
        return page.to_owned();
    };
    let (line, after) = after.split_once('\n').unwrap_or((after, ""));
    let mut line = line.to_owned();
    for arg in command.get_arguments() {
        let values = arg
            .get_value_names()
            .filter(|_| arg.get_action().takes_values());
        if let (Some(long), Some(values)) = (arg.get_long(), values) {
            let option = format!("\\fB{}\\fR", escaped(&format!("--{long}")));
            let value = escaped(&values.join(" "));
            line = line.replace(&option, &format!("{option} \\fI{value}\\fR"));
        }
    }
    format!("{before}{SYNOPSIS}{line}\n{after}")
}

/// Returns the sections that the generator does not have.
fn sections(command: &Command) -> String {
    let mut text = String::new();
    list(&mut text, "EXIT STATUS", EXITS.into_iter());
    let options = command.get_arguments().filter_map(|arg| arg.get_long());
    let options = options.filter(|name| !matches!(*name, "help" | "version"));
    let of_options: Vec<_> = options
        .map(|option| {
            (
                config::variables(option).join(", "),
                format!("Value of --{option}."),
            )
        })
        .collect();
    let of_options = of_options
        .iter()
        .map(|(name, what)| (name.as_str(), what.as_str()));
    list(&mut text, "ENVIRONMENT", of_options.chain(VARIABLES));
    list(&mut text, "FILES", FILES.into_iter());
    let help = command.get_after_help().map(ToString::to_string);
    let mut paragraphs = help.iter().flat_map(|help| help.split("\n\n"));
    if let Some(examples) = paragraphs.next() {
        text.push_str(".SH EXAMPLES\n.nf\n");
        for line in examples.lines().skip(1) {
            let _ = writeln!(text, "{}", escaped(line.trim_start()));
        }
        text.push_str(".fi\n");
    }
    for paragraph in paragraphs {
        let _ = writeln!(text, ".PP\n{}", escaped(&paragraph.replace('\n', " ")));
    }
    text
}

/// Writes a section of terms and what they mean.
fn list<'a>(text: &mut String, heading: &str, terms: impl Iterator<Item = (&'a str, &'a str)>) {
    let _ = writeln!(text, ".SH \"{heading}\"");
    for (term, meaning) in terms {
        let (term, meaning) = (escaped(term), escaped(meaning));
        let _ = writeln!(text, ".TP\n\\fB{term}\\fR\n{meaning}");
    }
}

/// Returns a line that roff prints as it is.
fn escaped(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-");
    match line.starts_with(['.', '\'']) {
        true => format!("\\&{line}"),
        false => line,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use crate::args::Args;

    use super::*;

    #[test]
    fn pages_have_the_sections_of_manual_pages() {
        let mut root = Args::command().disable_help_subcommand(true);
        root.build();
        let mut pages = Vec::new();
        collect(&root, PROGRAM, &mut pages);
        for (name, command) in &pages {
            let page = page(name, command).unwrap();
            assert!(!page.contains("EXTRA"), "{name}");
            let mut rest = page.as_str();
            for heading in ["OPTIONS", "\"EXIT STATUS\"", "\"ENVIRONMENT\"", "\"FILES\""] {
                let at = rest.find(&format!(".SH {heading}\n"));
                rest = &rest[at.unwrap_or_else(|| panic!("{name} lacks {heading}:\n{page}"))..];
            }
            let has_examples = command.get_after_help().is_some();
            assert_eq!(rest.contains(".SH EXAMPLES"), has_examples, "{name}");
        }
        let pull = pages.iter().find(|(name, _)| name == "hpcc-rootfs-pull");
        let (name, command) = pull.unwrap();
        let page = page(name, command).unwrap();
        assert!(page.contains("HPCC_TIME, SOURCE_DATE_EPOCH"));
        assert!(page.contains("\nhpcc\\-rootfs pull debian:12"), "{page}");
    }

    #[test]
    fn synopsis_has_the_value_of_each_option() {
        let mut root = Args::command().disable_help_subcommand(true);
        root.build();
        let mut pages = Vec::new();
        collect(&root, PROGRAM, &mut pages);
        for (name, command) in &pages {
            let page = page(name, command).unwrap();
            let synopsis = page.split(SYNOPSIS).nth(1).unwrap();
            let synopsis = synopsis.lines().next().unwrap().replace('\\', "");
            for arg in command.get_arguments() {
                let (Some(long), true) = (arg.get_long(), arg.get_action().takes_values()) else {
                    continue;
                };
                let value = arg.get_value_names().unwrap().join(" ");
                let words = format!("fB--{long}fR fI{value}fR");
                assert_eq!(synopsis.matches(&words).count(), 1, "{name}: {synopsis}");
            }
        }
    }

    #[test]
    fn lines_are_printed_as_they_are() {
        for (line, expected) in [(".x", "\\&.x"), ("'x", "\\&'x"), ("a-b\\c", "a\\-b\\ec")] {
            assert_eq!(escaped(line), expected);
        }
    }
}
