//! Errors about the kernel command line.

/// Reason why an artifact has no kernel command line. The caller can correct each of these.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// [`BootOptions::device`](super::BootOptions::device) or [`BootOptions::init`](super::BootOptions::init) would be read as something else.
    #[error(
        "a kernel line cannot name the {what} {value:?}: expected an absolute path of printable ASCII without blanks, quotes, commas, semicolons and backslashes"
    )]
    Value {
        /// The option, for people.
        what: &'static str,
        /// Its value.
        value: String,
    },
    /// [`BootOptions::append`](super::BootOptions::append) would hide the options after it, or would be read as
    /// something else.
    #[error("a kernel line cannot begin with {value:?}: {problem}")]
    Append {
        /// Its value.
        value: String,
        /// The reason.
        problem: &'static str,
    },
    /// The artifact has no agent, so the default init does not exist.
    #[error(
        "the artifact has no agent, so a kernel would find no /.hpcc/agent; build the artifact with an agent, or name another program as PID 1"
    )]
    NoAgent,
    /// The line is longer than a kernel accepts; a kernel ignores the rest.
    #[error(
        "the kernel line has {found} bytes, and a kernel takes {limit}; shorten its options or its command"
    )]
    TooLong {
        /// Length of the line in bytes.
        found: usize,
        /// The largest length that a kernel accepts.
        limit: usize,
    },
    /// The line has more words for PID 1 than a kernel accepts; a kernel panics.
    #[error(
        "the kernel line has {found} words {what}, and a kernel takes {limit}; remove some, or pass them as words with a dot in their names"
    )]
    TooManyWords {
        /// Kind of the words, for people.
        what: &'static str,
        /// Number of such words in the line.
        found: usize,
        /// The largest number that a kernel accepts.
        limit: usize,
    },
}
