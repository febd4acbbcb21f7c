//! Problems of the environment or a configuration file.

use std::path::{Path, PathBuf};

use clap::Arg;
use ociget::printable;
use serde_json::{Value, json};

use super::options::long;
use super::setting::{Origin, Setting};
use crate::failure::shortened;
use crate::output;

/// Something in the environment or a configuration file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The problem, with its place.
    pub(crate) what: String,
    /// The advice.
    pub(crate) advice: String,
    /// Boxed, because most results with a problem hold a value instead.
    pub(crate) place: Box<Place>,
}

/// The place of the problem, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) variable: Option<String>,
    pub(crate) file: Option<PathBuf>,
    /// Line in the file, counted from 1.
    pub(crate) line: Option<usize>,
    /// Name of the option, as the file has it.
    pub(crate) key: Option<String>,
}

impl Place {
    pub(crate) fn json(&self) -> Value {
        json!({
            "variable": self.variable,
            "file": self.file.as_deref().map(output::path),
            "line": self.line,
            "key": self.key.as_deref().map(|key| shortened(printable::text(key))),
        })
    }
}

impl Problem {
    /// Returns the problem with the value of an option. `what` names where it is set.
    pub(crate) fn of(origin: &Origin, key: &str, what: String) -> Self {
        let mut place = Place {
            key: Some(key.to_owned()),
            ..Place::default()
        };
        let advice = match origin {
            Origin::Variable(name) => {
                place.variable = Some(name.clone());
                format!("correct or unset {name}")
            }
            Origin::File { path, line } => {
                place.file = Some(path.clone());
                place.line = Some(*line);
                "correct or remove this line".to_owned()
            }
        };
        Self {
            what,
            advice,
            place: Box::new(place),
        }
    }

    /// Returns the problem of two options that exclude each other.
    pub(crate) fn both(arg: &Arg, setting: &Setting, other: &Setting) -> Self {
        let (one, two) = (&setting.origin, &other.origin);
        let problem = Self::of(
            one,
            long(arg),
            format!("{one} and {two} exclude each other"),
        );
        Self {
            advice: "take one away".to_owned(),
            ..problem
        }
    }

    /// Returns the problem with a file as a whole.
    pub(crate) fn of_file(path: &Path, what: String, advice: String) -> Self {
        let place = Place {
            file: Some(path.to_owned()),
            ..Place::default()
        };
        Self {
            what,
            advice,
            place: Box::new(place),
        }
    }

    /// Returns the whole message, in one line of printable text.
    pub(crate) fn line(&self) -> String {
        shortened(printable::text(format!("{}; {}", self.what, self.advice)))
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "message": shortened(printable::text(&self.what)),
            "advice": shortened(printable::text(&self.advice)),
            "place": self.place.json(),
        })
    }
}
