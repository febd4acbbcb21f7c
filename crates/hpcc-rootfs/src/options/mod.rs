//! The options of a store or a build, in plain structs with defaults.

mod agents;
mod injection;
mod store;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use ociget::{Digest, Platform};

use crate::artifact::{Digests, ImageOptions, Injected, Key, MountPoint, Record};
use crate::error::Error;
use crate::layer::Limits;
use crate::progress::Progress;

pub use agents::Agents;
pub use injection::Injection;
pub(crate) use injection::places;
pub use store::StoreOptions;

/// All options of a [`Store`](crate::Store) or a [`build`](crate::build()).
///
/// ```
/// use hpcc_rootfs::{Agents, Options};
///
/// let mut options = Options::default();
/// options.agents = Agents::default().with("amd64", "agent-x86_64");
/// options.limits.logical_bytes = 8 << 30;
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Platform to select from an image index. Default: the host's platform.
    pub platform: Platform,
    /// The programs that become PID 1, by architecture. Each build opens the file by the path as it was given.
    pub agents: Agents,
    /// Whether images get no agent, whatever [`agents`](Self::agents) names, because the guest's PID 1 comes from
    /// elsewhere. Default: false, so that a forgotten agent is an error.
    pub no_agent: bool,
    /// Further files for the guest, below `/.hpcc`. Default: none.
    pub injections: Vec<Injection>,
    /// The options that change the bytes of an artifact.
    pub image: ImageOptions,
    /// Limits on the resources that images may take.
    pub limits: Limits,
    /// Number of threads that compress, 1 to [`THREADS_MAX`](Self::THREADS_MAX). Never changes a byte. Default: as many as
    /// this process may use.
    pub threads: NonZeroUsize,
    /// Number of layers that are fetched and decompressed concurrently, at least 1. Never changes a byte. Default: 3.
    pub parallel_layers: NonZeroUsize,
    /// Bytes of all layers together, fetched or decompressed, that may wait until it is their turn. Divided evenly
    /// among the layers; never changes a byte. Default: 24 MiB.
    pub read_ahead: usize,
    /// Use of the disk by the store.
    pub store: StoreOptions,
    /// Whether an index and the config that it refers to may name different platforms, in which case
    /// [`platform`](Self::platform) decides. For a caller that chose the platform explicitly. Default: false.
    pub insist_on_platform: bool,
    /// Place for archives that cannot be read where they are.
    pub spool: SpoolOptions,
    /// Options of the registry client. The spool replaces its [`archives`](field@ociget::Options::archives).
    pub network: ociget::Options,
    /// Callback for progress events. Default: none.
    pub progress: Progress,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            platform: Platform::host(),
            agents: Agents::default(),
            no_agent: false,
            injections: Vec::new(),
            image: ImageOptions::default(),
            limits: Limits::default(),
            threads: std::thread::available_parallelism()
                .map_or(NonZeroUsize::MIN, |cpus| cpus.min(Self::THREADS_MAX)),
            parallel_layers: const { NonZeroUsize::new(3).unwrap() },
            read_ahead: 24 << 20,
            store: StoreOptions::default(),
            insist_on_platform: false,
            spool: SpoolOptions::default(),
            network: ociget::Options::default(),
            progress: Progress::default(),
        }
    }
}

/// Place for an archive while it is read, if it is compressed as a whole or comes from a pipe.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpoolOptions {
    /// Directory of the file, which has no name. Default: the directory in which the artifact is made.
    pub directory: Option<PathBuf>,
    /// Most bytes of one archive, decompressed. Default: 16 GiB.
    pub bytes: u64,
}

impl Default for SpoolOptions {
    fn default() -> Self {
        Self {
            directory: None,
            bytes: 16 << 30,
        }
    }
}

impl Options {
    /// Largest number of [`threads`](Self::threads).
    pub const THREADS_MAX: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

    /// Returns the largest number of bytes of memory that one build may take with these options: the read-ahead, the
    /// names and attributes of the image, and the writer's budget. It leaves out the code itself and the state of
    /// codecs, a few MiB per thread that compresses.
    ///
    /// ```
    /// let options = hpcc_rootfs::Options::default();
    /// assert_eq!(options.build_memory(), (24 + 384 + 128) << 20);
    /// ```
    #[must_use]
    pub fn build_memory(&self) -> u64 {
        let writer = self.image.writer(self.threads).memory;
        let bytes = |size: usize| u64::try_from(size).unwrap_or(u64::MAX);
        bytes(self.read_ahead)
            .saturating_add(self.limits.metadata_bytes)
            .saturating_add(bytes(writer))
    }

    /// Returns the number of builds that may run concurrently within both bounds of the store, at least 1.
    pub(crate) fn concurrent_builds(&self) -> usize {
        let by_memory = self.store.memory / self.build_memory().max(1);
        let by_memory = usize::try_from(by_memory).unwrap_or(usize::MAX).max(1);
        // Far below the largest count of a semaphore.
        self.store.builds.get().min(by_memory).min(1 << 20)
    }

    /// Checks that the values are in their ranges and agree with each other. Every build does this first. No file is
    /// read.
    ///
    /// # Errors
    /// Returns [`Error::Options`] for a value out of range, and [`Error::Injection`] for a path that no injected file
    /// can have.
    pub fn check(&self) -> Result<(), Error> {
        if self.threads > Self::THREADS_MAX {
            return Err(refused(format!(
                "{} threads cannot compress one image; choose at most {}",
                self.threads,
                Self::THREADS_MAX
            )));
        }
        self.image
            .writer(self.threads)
            .check()
            .map_err(|error| Error::Options(Arc::new(error)))?;
        let places = places(&self.injections)?;
        self.check_mount_points()?;
        let digest = Digest::of(b"");
        let injected = places.into_iter().map(|(path, injection)| Injected {
            path,
            digest: digest.clone(),
            mode: injection.mode,
        });
        let digests = Digests {
            agent: Some(digest.clone()),
            injected: injected.collect(),
        };
        let platform = self.platform.to_string();
        let key = Key::new(digest.clone(), digest, platform, digests, &self.image);
        match Record::excess(&key) {
            0 => Ok(()),
            excess => {
                let (files, points) = (self.injections.len(), key.mount_points.len());
                Err(refused(format!(
                    "{files} injected files and {points} mount points take {excess} bytes more than the record of an \
                     artifact has for them; name fewer of them, or shorter paths"
                )))
            }
        }
    }

    /// Refuses mount points that exclude each other in every image.
    fn check_mount_points(&self) -> Result<(), Error> {
        let points = &self.image.mount_points;
        let files: BTreeMap<Vec<&str>, &MountPoint> = points
            .iter()
            .filter(|point| point.is_file())
            .map(|point| (point.names().collect(), point))
            .collect();
        for point in points {
            let names: Vec<_> = point.names().collect();
            let own = names.len() - usize::from(point.is_file());
            let on_the_way = (1..=own).find_map(|length| files.get(names.get(..length)?));
            if let Some(file) = on_the_way {
                return Err(refused(format!(
                    "the mount points {file} and {point} exclude each other: the first is a file, and the second needs a \
                     directory there; leave one out"
                )));
            }
        }
        Ok(())
    }
}

fn refused(problem: String) -> Error {
    Error::Options(Arc::new(sqfs_writer::Error::Options(problem)))
}

#[cfg(test)]
mod tests;
