//! `hpcc-rootfs.toml`.
//!
//! The file can name the agent that guests run and a proxy for all connections. So it is believed under
//! the rules for the store: nobody but this user and root may be able to write to it, and the current
//! directory is not searched.

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::options::{NOT_IN_FILES, all_options, long, options_of, own_options};
use super::problem::Problem;
use super::setting::{Origin, Setting};
use crate::output;

const NAME: &str = "hpcc-rootfs.toml";
/// Most bytes of a file.
const LENGTH_MAX: u64 = 1 << 20;
/// Permission bits with which users other than the owner can write.
const OTHERS_WRITE: u32 = 0o022;

/// Where the names of options are.
const LIST: &str = "hpcc-rootfs config show lists the options";

/// Returns the tables of a command, the one that counts first in front. `doctor` checks what `pull` would do.
fn tables(command: &str) -> Vec<&str> {
    match command {
        "doctor" => vec!["doctor", "pull"],
        command => vec![command],
    }
}

/// A file that was read.
#[derive(Debug)]
pub(crate) struct File {
    path: PathBuf,
    keys: Vec<Key>,
}

/// A key with its value.
#[derive(Debug)]
struct Key {
    /// The table that it is in: a command, or none for all commands.
    command: Option<String>,
    name: String,
    line: usize,
    value: Value,
}

#[derive(Debug)]
enum Value {
    One(Scalar),
    Many(Vec<Scalar>),
    /// Something that no option takes: what it is.
    Other(&'static str),
}

#[derive(Debug)]
enum Scalar {
    Text(String),
    Number(String),
    Switch(bool),
}

/// Returns the places where a file is looked for, the one that counts first in front.
pub(crate) fn places() -> Vec<PathBuf> {
    let from = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty());
    let home = || from("HOME").map(|home| PathBuf::from(home).join(".config"));
    let own = from("XDG_CONFIG_HOME").map(PathBuf::from).or_else(home);
    let directories = own.into_iter().chain([PathBuf::from("/etc")]);
    directories
        .map(|directory| directory.join("hpcc-rootfs").join(NAME))
        .collect()
}

/// Reads the file that is named, or those that are in their places. `none` names none. A file that cannot be used as a
/// whole is left out, and so is what is wrong in one.
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

/// Whether a place has no file. A directory that cannot be searched, such as another user's home, is no place of this
/// user's file. A file that exists is one, also if it cannot be read, or is a symlink to nothing.
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

/// Opens a regular file, and waits for none.
fn open(path: &Path) -> io::Result<std::fs::File> {
    hpcc_rootfs::open_artifact(path)
}

impl File {
    /// Reads a file of a user who may decide what guests run.
    fn read(path: PathBuf, file: std::fs::File) -> Result<(Self, Vec<Problem>), Problem> {
        let failed = |error: io::Error| unreadable(&path, &error);
        let metadata = file.metadata().map_err(failed)?;
        let user = rustix::process::geteuid().as_raw();
        let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
        if (owner != user && owner != 0) || mode & OTHERS_WRITE != 0 {
            let shown = output::path(&path);
            let what = format!(
                "cannot trust the configuration {shown}: user {owner} owns it (mode {mode:o}), and only \
                 user {user} and root may be able to write to it"
            );
            let advice = format!("run chown {user} and chmod go-w on it");
            return Err(Problem::of_file(&path, what, advice));
        }
        let mut text = String::new();
        let read = file.take(LENGTH_MAX + 1).read_to_string(&mut text);
        read.map_err(failed)?;
        if u64::try_from(text.len()).unwrap_or(u64::MAX) > LENGTH_MAX {
            return Err(failed(io::Error::other("it has more than 1 MiB")));
        }
        Ok(Self::parse(path, &text))
    }

    /// Returns the keys, less those of lines that are not TOML.
    pub(super) fn parse(path: PathBuf, text: &str) -> (Self, Vec<Problem>) {
        let line = |at: usize| {
            let before = text.bytes().take(at).filter(|byte| *byte == b'\n');
            before.count() + 1
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut problems: Vec<Problem> = Vec::new();
        for error in &errors {
            let line = line(error.span().map_or(0, |span| span.start));
            // What follows from the first error of a line says nothing new.
            if problems.iter().any(|other| other.place.line == Some(line)) {
                continue;
            }
            let what = format!("{}:{line}: {}", output::path(&path), error.message());
            let advice = "correct or remove this line";
            let mut problem = Problem::of_file(&path, what, advice.to_owned());
            problem.place.line = Some(line);
            problems.push(problem);
        }
        let is_toml = |line| problems.iter().all(|other| other.place.line != Some(line));
        let mut keys = Vec::new();
        let mut add =
            |command: Option<&str>, name: &str, at: usize, value: &Spanned<DeValue<'_>>| {
                let line = line(at);
                if is_toml(line) {
                    keys.push(Key {
                        command: command.map(str::to_owned),
                        name: name.to_owned(),
                        line,
                        value: Value::of(value.get_ref()),
                    });
                }
            };
        for (name, value) in table.get_ref() {
            let (at, name) = (name.span().start, name.get_ref().as_ref());
            match value.get_ref() {
                DeValue::Table(table) => {
                    for (key, value) in table {
                        add(Some(name), key.get_ref(), key.span().start, value);
                    }
                    if table.is_empty() {
                        add(Some(name), "", at, value);
                    }
                }
                _ => add(None, name, at, value),
            }
        }
        (Self { path, keys }, problems)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes keys that are no options, and values that no option takes. Returns what was wrong with each.
    pub(crate) fn check(&mut self, root: &clap::Command) -> Vec<Problem> {
        let keys = std::mem::take(&mut self.keys);
        let mut problems = Vec::new();
        for key in keys {
            match self.check_key(&key, root) {
                Ok(()) => self.keys.push(key),
                Err(problem) => problems.push(problem),
            }
        }
        problems.sort_by_key(|problem| problem.place.line);
        problems
    }

    fn check_key(&self, key: &Key, root: &clap::Command) -> Result<(), Problem> {
        let known: Vec<String> = match &key.command {
            None => all_options(root),
            Some(name) => {
                let Some(command) = root.find_subcommand(name) else {
                    let mut problem = self.wrong(key, format!("there is no command {name:?}"));
                    problem.place.key = Some(name.clone());
                    problem.advice = "correct or remove this table".to_owned();
                    return Err(problem);
                };
                let own = own_options(root).into_iter().chain(own_options(command));
                own.map(|arg| long(&arg).to_owned()).collect()
            }
        };
        if key.name.is_empty() {
            return Ok(());
        }
        let of = key.command.as_deref().unwrap_or("any command");
        if NOT_IN_FILES.contains(&key.name.as_str()) {
            let mut problem = self.wrong(key, format!("{} cannot be set in a file", key.name));
            problem.advice = "remove this line".to_owned();
            return Err(problem);
        }
        if !known.contains(&key.name) {
            let what = format!("{:?} is not an option of {of}", key.name);
            let mut problem = self.wrong(key, what);
            problem.advice = match known.iter().find(|name| name.replace('-', "_") == key.name) {
                Some(close) => format!("write {close}"),
                None => format!("correct or remove this line; {LIST}"),
            };
            return Err(problem);
        }
        let commands: Vec<&str> = match &key.command {
            Some(name) => vec![name.as_str()],
            None => root
                .get_subcommands()
                .map(clap::Command::get_name)
                .collect(),
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

    /// Returns what the file sets an option of a command to.
    pub(crate) fn setting(&self, names: &[&str], arg: &Arg) -> Result<Option<Setting>, Problem> {
        let keys = self.keys.iter().filter(|key| key.name == long(arg));
        let of = |command: Option<&str>| {
            let mut keys = keys.clone();
            keys.find(|key| key.command.as_deref() == command)
        };
        let own = names.iter().take(1).flat_map(|name| tables(name));
        let mut own = own.filter_map(|table| of(Some(table)));
        own.next()
            .or_else(|| of(None))
            .map(|key| self.take(key, arg))
            .transpose()
    }

    fn take(&self, key: &Key, arg: &Arg) -> Result<Setting, Problem> {
        let values = key.value.of_option(arg);
        let values = values.map_err(|expected| {
            let name = &key.name;
            self.wrong(
                key,
                format!("cannot use this value as {name}: expected {expected}"),
            )
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

impl Value {
    fn of(value: &DeValue<'_>) -> Self {
        let scalar = |value: &DeValue<'_>| match value {
            DeValue::String(text) => Ok(Scalar::Text(text.clone().into_owned())),
            DeValue::Integer(number) if number.radix() == 10 => {
                Ok(Scalar::Number(number.as_str().replace('_', "")))
            }
            DeValue::Boolean(switch) => Ok(Scalar::Switch(*switch)),
            other => Err(other.type_str()),
        };
        match value {
            DeValue::Array(all) => {
                let all: Result<Vec<_>, _> =
                    all.iter().map(|value| scalar(value.get_ref())).collect();
                all.map_or_else(Self::Other, Self::Many)
            }
            value => scalar(value).map_or_else(Self::Other, Self::One),
        }
    }

    /// Returns the words that an option is given, or what it expects instead.
    fn of_option(&self, arg: &Arg) -> Result<Vec<OsString>, String> {
        let word = |scalar: &Scalar| match scalar {
            Scalar::Text(text) | Scalar::Number(text) => OsString::from(text),
            Scalar::Switch(switch) => OsString::from(if *switch { "yes" } else { "no" }),
        };
        match (arg.get_action(), self) {
            (ArgAction::SetTrue, Self::One(Scalar::Switch(switch))) => {
                Ok(vec![switch.to_string().into()])
            }
            (ArgAction::SetTrue, _) => Err("true or false".to_owned()),
            (ArgAction::Count, Self::One(Scalar::Switch(switch))) => {
                Ok(vec![u8::from(*switch).to_string().into()])
            }
            (ArgAction::Count, Self::One(Scalar::Number(number))) => Ok(vec![number.into()]),
            (ArgAction::Count, _) => Err("true, false or a number".to_owned()),
            (ArgAction::Append, Self::Many(all)) => Ok(all.iter().map(word).collect()),
            (_, Self::One(scalar)) => Ok(vec![word(scalar)]),
            (ArgAction::Append, Self::Other(_)) => {
                Err("a string, or an array of strings".to_owned())
            }
            (_, Self::Many(_)) => Err("one value, because it cannot be repeated".to_owned()),
            (_, Self::Other(found)) => Err(format!("a string, not a {found}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::args::Args;

    fn parse(text: &str) -> Result<File, String> {
        let (mut file, mut problems) = File::parse("f.toml".into(), text);
        problems.append(&mut file.check(&Args::command()));
        match problems.first() {
            Some(problem) => Err(problem.line()),
            None => Ok(file),
        }
    }

    #[test]
    fn lines_beside_a_wrong_one_are_kept() {
        let text = "level = \nagent = \"a\"\n[pull]\nagnet = 1\nseed = \"x\"\n[pul]\nx = 1\n";
        let (mut file, mut problems) = File::parse("f.toml".into(), text);
        problems.append(&mut file.check(&Args::command()));
        let places = problems.iter().map(|problem| {
            let place = &problem.place;
            (place.line, place.key.as_deref())
        });
        let places: Vec<_> = places.collect();
        let expected = [
            (Some(1), None),
            (Some(4), Some("agnet")),
            (Some(7), Some("pul")),
        ];
        assert_eq!(places, expected, "{problems:?}");
        let mut kept: Vec<_> = file.keys.iter().map(|key| key.name.as_str()).collect();
        kept.sort_unstable();
        assert_eq!(kept, ["agent", "seed"]);
    }

    #[test]
    fn doctor_has_the_table_of_pull_after_its_own() {
        let file = parse("agent = \"a\"\n[pull]\nagent = \"b\"\nlevel = 1\n[doctor]\nlevel = 2\n");
        let (file, root) = (file.unwrap(), Args::command());
        let line = |option: &str| {
            let args = options_of(&root, &["doctor"]);
            let arg = args.iter().find(|arg| long(arg) == option).unwrap();
            let setting = file.setting(&["doctor"], arg).unwrap();
            setting.map(|setting| setting.origin.to_string())
        };
        assert_eq!(line("agent").as_deref(), Some("f.toml:3"));
        assert_eq!(line("level").as_deref(), Some("f.toml:6"));
    }

    #[test]
    fn wrong_files_are_refused_with_the_line() {
        for (text, says) in [
            ("a = \n", "f.toml:1: "),
            (
                "\nagnet = \"x\"",
                "f.toml:2: \"agnet\" is not an option of any command",
            ),
            (
                "[pull]\n\n agnet = 1",
                "f.toml:3: \"agnet\" is not an option of pull",
            ),
            (
                "[gc]\nagent = \"x\"",
                "f.toml:2: \"agent\" is not an option of gc",
            ),
            (
                "cache_dir = \"x\"",
                "f.toml:1: \"cache_dir\" is not an option of any command; write cache-dir",
            ),
            ("[pul]\n", "f.toml:1: there is no command \"pul\""),
            (
                "json = \"yes\"",
                "f.toml:1: cannot use this value as json: expected true or false",
            ),
            ("agent = [\"a\", \"b\"]", "because it cannot be repeated"),
            ("max-size = 1.5", "expected a string, not a float"),
            ("seed = [1.5]", "expected a string, or an array of strings"),
            ("agent = 1979-05-27", "expected a string, not a datetime"),
            ("[pull.agent]\nx = 1", "expected a string, not a table"),
            ("config = \"x\"", "f.toml:1: config cannot be set in a file"),
            ("agent = \"a\"\nagent = \"b\"", "f.toml:2: "),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(says), "{text:?}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
        assert!(parse("").is_ok());
        assert!(parse("[pull]\n").is_ok());
    }

    #[test]
    fn table_of_a_command_comes_before_what_all_commands_have() {
        let file =
            parse("agent = \"a\"\nlevel = 5\ntails = true\n[build]\nagent = \"b\"\nseed = []\n");
        assert!(file.is_err(), "build has no seed");
        let file = parse(
            "agent = \"a\"\nlevel = -5\ntails = true\nseed = \"x\"\n[build]\nagent = \"b\"\n",
        );
        let file = file.unwrap();
        let root = Args::command();
        let value = |command: &str, option: &str| {
            let args = options_of(&root, &[command]);
            let arg = args.iter().find(|arg| long(arg) == option).unwrap();
            let setting = file.setting(&[command], arg).unwrap()?;
            Some((setting.values, setting.origin.to_string()))
        };
        let is = |value: &str, line: u8| Some((vec![value.into()], format!("f.toml:{line}")));
        assert_eq!(value("pull", "agent"), is("a", 1));
        assert_eq!(value("build", "agent"), is("b", 6));
        assert_eq!(value("build", "level"), is("-5", 2));
        assert_eq!(value("pull", "tails"), is("yes", 3));
        assert_eq!(value("pull", "seed"), is("x", 4));
        assert_eq!(value("pull", "platform"), None);
    }
}
