//! What an option is set to, other than on the command line, and where.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use clap::{Arg, ArgAction};

use crate::output;

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
    pub(super) fn is_on(&self, arg: &Arg) -> bool {
        let off = match arg.get_action() {
            ArgAction::SetTrue => "false",
            ArgAction::Count => "0",
            _ => return !self.values.is_empty(),
        };
        self.values.iter().any(|value| value != off)
    }
}
