//! Why there is no kernel command line.

/// Why there is no kernel line for an artifact. All of these are the caller's to mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// [`BootOptions::device`](super::BootOptions::device) or [`BootOptions::init`](super::BootOptions::init) would be read as something else.
    #[error(
        "a kernel line cannot name the {what} {value:?}: expected an absolute path of printable ASCII without blanks, quotes, commas, semicolons and backslashes"
    )]
    Value {
        /// Which of them, for people.
        what: &'static str,
        /// What it was.
        value: String,
    },
    /// [`BootOptions::append`](super::BootOptions::append) would hide the options behind it, or would be read as something else.
    #[error("a kernel line cannot begin with {value:?}: {problem}")]
    Append {
        /// What it was.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The artifact has no agent, so the default init does not exist.
    #[error(
        "the artifact has no agent, so a kernel would find no /.hpcc/agent; name another init, or build the artifact with an agent"
    )]
    NoAgent,
    /// The line is longer than a kernel takes, which ignores the rest.
    #[error(
        "the kernel line has {found} bytes, and a kernel takes {limit}; shorten its options or its command"
    )]
    TooLong {
        /// Bytes of the line.
        found: usize,
        /// The most that a kernel takes.
        limit: usize,
    },
    /// The line has more words for PID 1 than a kernel takes, which panics.
    #[error(
        "the kernel line has {found} words {what}, and a kernel takes {limit}; remove some, or pass them as words with a dot in their names"
    )]
    TooManyWords {
        /// Kind of the words, for people.
        what: &'static str,
        /// Number of such words in the line.
        found: usize,
        /// The most that a kernel takes.
        limit: usize,
    },
}
