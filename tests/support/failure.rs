//! One error for everything a test may return: a text that a person reads.

use std::error::Error;
use std::fmt;

/// What went wrong, with every cause, as one text.
///
/// It deliberately does not implement [`Error`], so that any error turns into it with `?`.
pub struct Failure(String);

/// The result of everything here that runs a program or touches the disk.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// Returns a failure that has no error below it.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// Says what was being done when `cause` came up; for `map_err`.
    pub fn when<E: fmt::Display>(doing: impl fmt::Display) -> impl FnOnce(E) -> Self {
        move |cause| Self(format!("{doing}: {cause}"))
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        Self(text)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As the text itself: a test that returns `Err` prints it this way.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
