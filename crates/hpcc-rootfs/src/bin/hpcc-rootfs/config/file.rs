//! `hpcc-rootfs.toml`.
//!
//! The file can name the agent that guests run and a proxy for all connections. So it is trusted under the rules for
//! the store: only this user and root may be able to write to it, and the current directory is not searched.

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use clap::{Arg, Command};
use toml::de::{DeTable, DeValue};

use super::nearest::advice;
use super::options::{NOT_IN_FILES, all_options, long, options_of, own_options};
use super::problem::Problem;
use super::setting::{Origin, Setting};
use super::value::Value;
use crate::global::absolute_of;
use crate::output;

const NAME: &str = "hpcc-rootfs.toml";
/// Most bytes of a file.
const LENGTH_MAX: u64 = 1 << 20;
/// Most problems of one file that are reported. The search for a similar name takes half a millisecond.
const PROBLEMS_MAX: usize = 64;
/// Permission bits with which users other than the owner can write.
const OTHERS_WRITE: u32 = 0o022;

/// Advice that names where the options are listed.
const LIST: &str = "hpcc-rootfs config show lists the options";

/// Returns the tables of a command, the one that counts first at the front, and at last the lines above all tables.
/// `doctor` checks what `pull` would do.
pub(crate) fn tables<'a>(names: &[&'a str]) -> Vec<Option<&'a str>> {
    let own = names.first().copied();
    let other = own.filter(|name| *name == "doctor").map(|_| "pull");
    let named = own.into_iter().chain(other).map(Some);
    named.chain([None]).collect()
}

/// A file that was read.
#[derive(Clone, Debug)]
pub(crate) struct File {
    path: PathBuf,
    keys: Vec<Key>,
}

/// A key with its value.
#[derive(Clone, Debug)]
struct Key {
    /// The table that it is in: a command, or `None` for all commands.
    command: Option<String>,
    name: String,
    line: usize,
    value: Value,
    /// Whether it stands for an empty table, and is no key.
    is_table: bool,
}

/// Returns the paths at which a file is looked up, the one that counts first at the front.
pub(crate) fn places() -> Vec<PathBuf> {
    let home = || absolute_of("HOME").map(|home| home.join(".config"));
    let own = absolute_of("XDG_CONFIG_HOME").or_else(home);
    let directories = own.into_iter().chain([PathBuf::from("/etc")]);
    directories
        .map(|directory| directory.join("hpcc-rootfs").join(NAME))
        .collect()
}

/// Reads the file that is named, or those at the default paths. `none` means no file. A file that cannot be used as a
/// whole is left out, and so is every wrong part of one.
pub(crate) fn find(named: Option<PathBuf>) -> (Vec<File>, Vec<Problem>) {
    let (mut files, mut problems) = (Vec::new(), Vec::new());
    let mut read = |path: PathBuf, file| match File::read(path, file) {
        Ok((file, mut wrong)) => {
            files.push(file);
            problems.append(&mut wrong);
        }
        Err(problem) => problems.push(problem),
    };
    let Some(path) = named else {
        let mut unreadable = Vec::new();
        for path in places() {
            match open(&path) {
                Ok(file) => read(path, file),
                Err(error) if is_absent(&path, &error) => {}
                Err(error) => unreadable.push(self::unreadable(&path, &error)),
            }
        }
        problems.append(&mut unreadable);
        return (files, problems);
    };
    if path == Path::new("none") {
        return (files, problems);
    }
    match open(&path) {
        Ok(file) => read(path, file),
        Err(error) => problems.push(unreadable(&path, &error)),
    }
    (files, problems)
}

/// Returns whether there is no file at a path. A directory that cannot be searched, such as another user's home, does
/// not hold a file of this user. A file that exists counts, even if it cannot be read or is a symlink to nothing.
fn is_absent(path: &Path, error: &io::Error) -> bool {
    let may_be_absent = matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::PermissionDenied
    );
    may_be_absent && std::fs::symlink_metadata(path).is_err()
}

fn unreadable(path: &Path, error: &io::Error) -> Problem {
    let shown = output::path(path);
    let what = format!("cannot read the configuration {shown}: {error}");
    let advice = "name another one with --config, or --config none";
    Problem::of_file(path, what, advice.to_owned())
}

/// Opens a regular file without waiting.
fn open(path: &Path) -> io::Result<std::fs::File> {
    hpcc_rootfs::open_artifact(path)
}

/// Returns why a file is not this user's alone, and what to do about it.
fn distrusted(owner: u32, mode: u32, user: u32) -> (String, String) {
    let mut wrong = Vec::new();
    let mut advice = Vec::new();
    if owner != user && owner != 0 {
        wrong.push(format!("user {owner} owns it"));
        advice.push(format!("chown {user}"));
    }
    if mode & OTHERS_WRITE != 0 {
        wrong.push(format!(
            "users other than its owner can write to it (mode {mode:04o})"
        ));
        advice.push("chmod go-w".to_owned());
    }
    let advice = format!("run {} on it", advice.join(" and "));
    (wrong.join(", and "), advice)
}

impl File {
    /// Reads a file of a user who may choose what guests run.
    fn read(path: PathBuf, file: std::fs::File) -> Result<(Self, Vec<Problem>), Problem> {
        let failed = |error: io::Error| unreadable(&path, &error);
        let metadata = file.metadata().map_err(failed)?;
        let user = rustix::process::geteuid().as_raw();
        let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
        if (owner != user && owner != 0) || mode & OTHERS_WRITE != 0 {
            let shown = output::path(&path);
            let (wrong, advice) = distrusted(owner, mode, user);
            let what = format!("cannot trust the configuration {shown}: {wrong}");
            return Err(Problem::of_file(&path, what, advice));
        }
        let mut text = Vec::new();
        let read = file.take(LENGTH_MAX + 1).read_to_end(&mut text);
        read.map_err(failed)?;
        if u64::try_from(text.len()).unwrap_or(u64::MAX) > LENGTH_MAX {
            return Err(failed(io::Error::other("it has more than 1 MiB")));
        }
        match String::from_utf8(text) {
            Ok(text) => Ok(Self::parse(path, &text)),
            Err(error) => {
                let before = error.as_bytes().get(..error.utf8_error().valid_up_to());
                let before = before.unwrap_or_default().iter();
                let line = before.filter(|byte| **byte == b'\n').count() + 1;
                let what = format!("{}:{line}: expected text in UTF-8", output::path(&path));
                let advice = "correct or remove this line";
                let mut problem = Problem::of_file(&path, what, advice.to_owned());
                problem.place.line = Some(line);
                Err(problem)
            }
        }
    }

    /// Returns the keys, less those of lines that are not TOML.
    pub(super) fn parse(path: PathBuf, text: &str) -> (Self, Vec<Problem>) {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let ends: Vec<usize> = ends.map(|(at, _)| at).collect();
        let line = |at: usize| ends.partition_point(|end| *end < at) + 1;
        let (table, errors) = DeTable::parse_recoverable(text);
        let (mut problems, mut wrong) = (Vec::new(), BTreeSet::new());
        for error in &errors {
            let line = line(error.span().map_or(0, |span| span.start));
            // Further errors of a line follow from the first one.
            if !wrong.insert(line) || problems.len() == PROBLEMS_MAX {
                continue;
            }
            let what = format!("{}:{line}: {}", output::path(&path), error.message());
            let advice = "correct or remove this line";
            let mut problem = Problem::of_file(&path, what, advice.to_owned());
            problem.place.line = Some(line);
            problems.push(problem);
        }
        let is_toml = |line| !wrong.contains(&line);
        let mut keys = Vec::new();
        let mut add = |command: Option<&str>, name: Option<&str>, at, value: &DeValue<'_>| {
            let line = line(at);
            if is_toml(line) {
                keys.push(Key {
                    command: command.map(str::to_owned),
                    name: name.unwrap_or_default().to_owned(),
                    line,
                    value: Value::of(value),
                    is_table: name.is_none(),
                });
            }
        };
        for (name, value) in table.get_ref() {
            let (at, name) = (name.span().start, name.get_ref().as_ref());
            match value.get_ref() {
                DeValue::Table(table) => {
                    for (key, value) in table {
                        let (at, key) = (key.span().start, key.get_ref().as_ref());
                        add(Some(name), Some(key), at, value.get_ref());
                    }
                    if table.is_empty() {
                        add(Some(name), None, at, value.get_ref());
                    }
                }
                value => add(None, Some(name), at, value),
            }
        }
        (Self { path, keys }, problems)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes keys that are not options, and values that no option takes. Returns the problem of each. After
    /// [`PROBLEMS_MAX`] of them the rest of the file is left out.
    pub(crate) fn check(&mut self, root: &Command) -> Vec<Problem> {
        let keys = std::mem::take(&mut self.keys);
        let mut problems = Vec::new();
        for key in keys {
            if problems.len() == PROBLEMS_MAX {
                break;
            }
            match self.check_key(&key, root) {
                Ok(()) => self.keys.push(key),
                Err(problem) => problems.push(problem),
            }
        }
        problems.sort_by_key(|problem| problem.place.line);
        problems
    }

    fn check_key(&self, key: &Key, root: &Command) -> Result<(), Problem> {
        let known: Vec<String> = match &key.command {
            None => all_options(root),
            Some(name) => match root.find_subcommand(name) {
                Some(command) => {
                    let own = own_options(root).into_iter().chain(own_options(command));
                    own.map(|arg| long(&arg).to_owned()).collect()
                }
                None => return Err(self.wrong_table(key, name, root)),
            },
        };
        if key.is_table {
            return Ok(());
        }
        if NOT_IN_FILES.contains(&key.name.as_str()) {
            let mut problem = self.wrong(key, format!("{} cannot be set in a file", key.name));
            problem.advice = "remove this line".to_owned();
            return Err(problem);
        }
        if !known.contains(&key.name) {
            return Err(self.wrong_name(key, &known, root));
        }
        let commands: Vec<&str> = match &key.command {
            Some(name) => vec![name.as_str()],
            None => root.get_subcommands().map(Command::get_name).collect(),
        };
        for command in commands {
            for arg in options_of(root, &[command]) {
                if long(&arg) == key.name {
                    self.take(key, &arg)?;
                }
            }
        }
        Ok(())
    }

    /// Returns the problem with a table that is not that of a command.
    fn wrong_table(&self, key: &Key, name: &str, root: &Command) -> Problem {
        let mut problem = self.wrong(key, format!("there is no command {name:?}"));
        problem.place.key = Some(name.to_owned());
        let commands = root.get_subcommands().map(Command::get_name);
        let commands: Vec<_> = commands.map(str::to_owned).collect();
        problem.advice = match advice(name, &commands) {
            Some(advice) => format!("{advice}; correct or remove this table"),
            None if all_options(root).iter().any(|option| option == name) => {
                format!("{name} is an option, which takes no table; correct or remove this table")
            }
            None => "correct or remove this table".to_owned(),
        };
        problem
    }

    /// Returns the problem with a key that is not an option.
    fn wrong_name(&self, key: &Key, known: &[String], root: &Command) -> Problem {
        let name = &key.name;
        if key.command.is_none() && root.find_subcommand(name).is_some() {
            let found = key.value.name();
            let what = format!("cannot use {found} as {name}: expected a table");
            let mut problem = self.wrong(key, what);
            problem.advice = format!("{name} is a command; write its options below [{name}]");
            return problem;
        }
        let of = key.command.as_deref().unwrap_or("any command");
        let mut problem = self.wrong(key, format!("{name:?} is not an option of {of}"));
        let others = root.get_subcommands().filter(|command| {
            let own = own_options(command);
            own.iter().any(|arg| long(arg) == name)
        });
        let others: Vec<_> = others.map(Command::get_name).collect();
        problem.advice = match advice(name, known) {
            _ if !others.is_empty() => {
                let others = others.join(", ");
                format!("it is one of {others}; correct or remove this line")
            }
            Some(advice) => format!("{advice}; correct or remove this line"),
            None => format!("correct or remove this line; {LIST}"),
        };
        problem
    }

    /// Returns the setting of an option in one table, or in the lines above all tables.
    pub(crate) fn setting(
        &self,
        table: Option<&str>,
        arg: &Arg,
    ) -> Result<Option<Setting>, Problem> {
        let mut keys = self.keys.iter();
        let key = keys.find(|key| key.command.as_deref() == table && key.name == long(arg));
        key.map(|key| self.take(key, arg)).transpose()
    }

    fn take(&self, key: &Key, arg: &Arg) -> Result<Setting, Problem> {
        let values = key.value.of_option(arg);
        let values = values.map_err(|(found, expected)| {
            let name = &key.name;
            let what = format!("cannot use {found} as {name}: expected {expected}");
            self.wrong(key, what)
        })?;
        let (path, line) = (self.path.clone(), key.line);
        Ok(Setting {
            values,
            origin: Origin::File { path, line },
        })
    }

    fn wrong(&self, key: &Key, what: String) -> Problem {
        let (path, line) = (self.path.clone(), key.line);
        let origin = Origin::File { path, line };
        Problem::of(&origin, &key.name, format!("{origin}: {what}"))
    }
}

#[cfg(test)]
mod tests;
