//! How the store uses the disk that it is on.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::staging::FsVerity;

/// Use of the disk that the store is on. No option here changes a byte of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreOptions {
    /// Bytes of the file system that builds leave free for others. Checked before a build and every 16 MiB of it, so a
    /// build may use up to 16 MiB of them. Default: 64 MiB.
    pub min_free: u64,
    /// Whether the store is used although users other than this one and root own its files and directories or can write
    /// to them. Those users then choose what the guests run. Default: false.
    pub trusted: bool,
    /// Whether layers that earlier builds recorded are copied from their artifacts instead of being fetched. Default:
    /// true.
    pub reuse: bool,
    /// Whether no request is sent to any registry. A tag then refers to the artifact that it was last pulled to, and an
    /// image that needs more than the store has is [`Error::Offline`](crate::Error::Offline). Default: false.
    pub offline: bool,
    /// Further stores from whose artifacts layers are copied. They are read and never written. As with the store
    /// itself, only this user and root may own them or write to them, unless [`trusted`](Self::trusted) is set. A
    /// missing one is skipped silently, and an untrusted one with [`Event::SeedRefused`](crate::Event::SeedRefused).
    /// Default: none.
    pub seeds: Vec<PathBuf>,
    /// Whether the file system is to reject changed blocks of an artifact. An existing artifact gets this when it is
    /// pulled the next time. [`build`](crate::build) gives it to its file as well. With [`FsVerity::On`], a file system
    /// without it is an error before any request is sent. Default: [`FsVerity::Off`].
    pub fs_verity: FsVerity,
    /// Number of builds, at least one, that run concurrently in this process on one [`Store`](crate::Store) and its
    /// clones. Further ones wait, first in, first out, and report [`Event::Queued`](crate::Event::Queued). Default:
    /// the number of CPUs that this process may use.
    pub builds: NonZeroUsize,
    /// Bytes of memory that all of these builds may take together. This lowers [`builds`](Self::builds) if
    /// [`Options::build_memory`](crate::Options::build_memory) of each exceeds it; one build may always run. Default: 4
    /// GiB.
    pub memory: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            min_free: 64 << 20,
            trusted: false,
            reuse: true,
            offline: false,
            seeds: Vec::new(),
            fs_verity: FsVerity::Off,
            builds: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            memory: 4 << 30,
        }
    }
}
