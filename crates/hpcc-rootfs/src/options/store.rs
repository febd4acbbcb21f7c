//! How the store treats the disk that it is on.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::staging::FsVerity;

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
    /// Whether no registry is asked for anything; false by default. A tag is then what it was pulled to last,
    /// and an image that needs more than the store has is [`Error::Offline`](crate::Error::Offline).
    pub offline: bool,
    /// Further stores from whose artifacts layers are taken; none by default. They are read and never written. As with
    /// the store itself, only this user and root may own them or write to them, unless [`trusted`](Self::trusted) is set.
    /// One that is missing is passed over, and one that is not trusted with
    /// [`Event::SeedRefused`](crate::Event::SeedRefused).
    pub seeds: Vec<PathBuf>,
    /// Whether the file system is to refuse changed blocks of an artifact; [`FsVerity::Off`] by default. An existing
    /// artifact gets it when it is pulled the next time. [`build`](crate::build) gives it to its file as well. With
    /// [`FsVerity::On`], a file system that has none is an error before any request is sent.
    pub fs_verity: FsVerity,
    /// Number of builds that run concurrently in this process on one [`Store`](crate::Store) and its clones, 1 and
    /// more; by default the CPUs this process may use. Further ones wait, first in, first out, and report
    /// [`Event::Queued`](crate::Event::Queued).
    pub builds: NonZeroUsize,
    /// Bytes of memory that all of these builds may take together; 4 GiB by default. It lowers
    /// [`builds`](Self::builds) by what [`Options::build_memory`](crate::Options::build_memory) says of one; one build
    /// may always run.
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
