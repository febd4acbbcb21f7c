//! The guest agents, which become PID 1: one for each architecture.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Agent files by architecture, in the names of OCI (`amd64`, `arm64`).
///
/// ```
/// use hpcc_rootfs::Agents;
///
/// let agents = Agents::default()
///     .with("amd64", "agent-x86_64")
///     .with("arm64", "agent-aarch64");
/// assert!(agents.path("riscv64").is_none());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agents(BTreeMap<String, PathBuf>);

impl Agents {
    /// Returns the agents with one for a further architecture; a second file for the same one replaces the first.
    #[must_use]
    pub fn with(mut self, architecture: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        self.0.insert(architecture.into(), path.into());
        self
    }

    /// Returns the file for an architecture.
    #[must_use]
    pub fn path(&self, architecture: &str) -> Option<&Path> {
        self.0.get(architecture).map(PathBuf::as_path)
    }

    /// Returns the architectures that have an agent.
    pub fn architectures(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}
