//! Values of a configuration file, and which of them an option takes.
//!
//! The description of the command line decides: a switch takes `true` or `false`, an option whose value is or begins with a
//! number, a size or a time span takes a whole number as well as a string, and every other option takes a string. A value of
//! another type is refused, because its text would be taken for something that the user did not write: `agent = true`
//! names no file.

use std::any::TypeId;
use std::ffi::OsString;
use std::time::Duration;

use clap::{Arg, ArgAction, Command};
use toml::de::{DeInteger, DeValue};

/// A value of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    /// A whole number in decimal digits.
    Integer(String),
    Switch(bool),
    Array(Vec<Value>),
    /// A value that no option takes, as a message names it.
    Other(String),
}

/// The type of the values that an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Switch,
    /// A switch that counts how often it is given.
    Count,
    /// `yes` or `no`.
    Choice,
    Number,
    Text,
}

impl Type {
    fn of(arg: &Arg) -> Self {
        match arg.get_action() {
            ArgAction::SetTrue | ArgAction::SetFalse => return Self::Switch,
            ArgAction::Count => return Self::Count,
            _ => {}
        }
        let value = arg.get_value_parser().type_id();
        let numbers = [
            TypeId::of::<u8>(),
            TypeId::of::<u16>(),
            TypeId::of::<u32>(),
            TypeId::of::<u64>(),
            TypeId::of::<usize>(),
            TypeId::of::<Duration>(),
        ];
        if value == TypeId::of::<bool>() {
            Self::Choice
        } else if numbers.into_iter().any(|number| value == number) || begins_with_number(arg) {
            Self::Number
        } else {
            Self::Text
        }
    }

    /// Returns what an option of this type expects.
    fn expected(self) -> &'static str {
        match self {
            Self::Switch | Self::Choice => "true or false",
            Self::Count => "true, false or a whole number",
            Self::Number => "a whole number or a string",
            Self::Text => "a string",
        }
    }

    /// Returns the word of the command line that a value stands for, if the type has it.
    fn word(self, value: &Value) -> Option<OsString> {
        let word = match (self, value) {
            (Self::Switch, Value::Switch(is_on)) => is_on.to_string(),
            (Self::Count, Value::Switch(is_on)) => u8::from(*is_on).to_string(),
            (Self::Choice, Value::Switch(true)) => "yes".to_owned(),
            (Self::Choice, Value::Switch(false)) => "no".to_owned(),
            (Self::Count | Self::Number, Value::Integer(number)) => number.clone(),
            (Self::Choice | Self::Number | Self::Text, Value::Text(text)) => text.clone(),
            _ => return None,
        };
        Some(word.into())
    }
}

impl Value {
    pub(super) fn of(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.clone().into_owned()),
            DeValue::Integer(number) => Self::Integer(decimal(number)),
            DeValue::Boolean(is_on) => Self::Switch(*is_on),
            DeValue::Float(number) => Self::Other(format!("the float {number}")),
            DeValue::Datetime(time) => Self::Other(format!("the date or time {time}")),
            DeValue::Table(_) => Self::Other("a table".to_owned()),
            DeValue::Array(all) => {
                Self::Array(all.iter().map(|value| Self::of(value.get_ref())).collect())
            }
        }
    }

    /// Returns what the value is. A string is not repeated, because it may be a secret.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Text(_) => "a string".to_owned(),
            Self::Integer(number) => format!("the whole number {number}"),
            Self::Switch(is_on) => format!("the boolean {is_on}"),
            Self::Array(_) => "an array".to_owned(),
            Self::Other(name) => name.clone(),
        }
    }

    /// Returns the words that an option is given.
    ///
    /// # Errors
    /// Returns what was found and what is expected if the option takes no value of this type.
    pub(super) fn of_option(&self, arg: &Arg) -> Result<Vec<OsString>, (String, String)> {
        let (own, may_repeat) = (Type::of(arg), matches!(arg.get_action(), ArgAction::Append));
        let expected = || match (may_repeat, self) {
            (true, _) => format!("{}, or an array of these", own.expected()),
            (false, Self::Array(_)) => {
                format!("{}, because the option cannot be repeated", own.expected())
            }
            (false, _) => own.expected().to_owned(),
        };
        match self {
            Self::Array(all) if may_repeat => {
                let words = all.iter().map(|value| {
                    let found = || format!("an array with {}", value.name());
                    own.word(value).ok_or_else(|| (found(), expected()))
                });
                words.collect()
            }
            value => {
                let word = own.word(value).ok_or_else(|| (value.name(), expected()));
                Ok(vec![word?])
            }
        }
    }
}

/// Whether a number is a value of an option, and a word is not: `--vsock CID[:PATH]`.
fn begins_with_number(arg: &Arg) -> bool {
    let own = Arg::new("value").value_parser(arg.get_value_parser().clone());
    let command = Command::new("value").no_binary_name(true).arg(own);
    let takes = |word| command.clone().try_get_matches_from([word]).is_ok();
    takes("3") && !takes("text")
}

/// Returns a number in decimal digits. One that no option is as large as stays as it is.
fn decimal(number: &DeInteger<'_>) -> String {
    let parsed = i128::from_str_radix(number.as_str(), number.radix());
    parsed.map_or_else(|_| number.to_string(), |number| number.to_string())
}
