//! How the store treats the disk that it is on.

/// How the store treats the disk that it is on. None of it changes a byte of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreOptions {
    /// Bytes of the file system that builds leave free for others; 64 MiB by default. Looked at
    /// before a build and every 16 MiB of it, so a build may go below by as much.
    pub min_free: u64,
    /// Whether the store is used although users other than this one and root own its files and
    /// directories or can write to them; false by default. Those users then choose what the guests run.
    pub trusted: bool,
    /// Whether layers that earlier builds know are taken from their artifacts, instead of being fetched; true by
    /// default.
    pub reuse: bool,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            min_free: 64 << 20,
            trusted: false,
            reuse: true,
        }
    }
}
