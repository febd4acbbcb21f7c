//! An opened store, and the operations on its artifacts.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use ociget::{Client, Digest};
use tokio::sync::Semaphore;

use super::gc::{Bounds, Collected};
use super::inventory::Artifact;
use super::lease::Lease;
use super::link::{LinkMethod, Linked};
use super::lock::BuildLock;
use super::reading::{artifact_error, read};
use super::shared_build::SharedBuilds;
use super::trust::{Fault, Trust};
use super::turns::Turns;
use super::{entry, gc, inventory, lease, link, name, sweep, tags};
use crate::artifact::{Damage, Record, RecordError, drop_cached, verify};
use crate::error::Error;
use crate::guest::{Memory, Supplies};
use crate::measure;
use crate::options::Options;
use crate::staging::{Files, FsVerity, Kernel, StagedFile, Staging, Stop};
use crate::units::Size;

/// Threads that look whether artifacts exist, while others wait for one.
const LOOKS_MAX: usize = 16;

/// A directory of images that are ready to boot.
///
/// Cloning is cheap and gives another handle of the same store.
///
/// ```no_run
/// use hpcc_rootfs::{Agents, Bounds, Options, Store};
///
/// # async fn example() -> Result<(), hpcc_rootfs::Error> {
/// let mut options = Options::default();
/// options.agents = Agents::default().with("amd64", "/usr/lib/agent");
/// let store = Store::open("/var/lib/hpcc-rootfs", options)?;
/// store.check()?;
///
/// let pulled = store.pull_image("debian:12", None).await?;
/// println!("{}", pulled.path.display());
///
/// let mut bounds = Bounds::default();
/// bounds.max_size = Some(20 << 30);
/// println!("{} artifacts removed", store.gc(&bounds)?.removed.len());
/// # Ok(())
/// # }
/// ```
///
/// A store has one directory, one platform, agents by architecture and one set of options. Two stores that differ in
/// those and share a directory replace each other's artifacts, because the file belongs to the digest, whatever it was
/// built with. Give each its own directory.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    directory: PathBuf,
    options: Options,
    pub(super) builds: SharedBuilds,
    pub(super) turns: Turns,
    /// Bounds the threads that look whether artifacts exist.
    pub(super) looks: Semaphore,
    /// Seeds that were already reported as refused.
    pub(super) refused_seeds: Mutex<BTreeSet<PathBuf>>,
    /// The system calls with which artifacts are published.
    pub(super) files: Arc<dyn Files>,
}

impl Store {
    /// Opens the store in a directory. The directory need not exist, and is not created or changed before the first
    /// pull.
    ///
    /// # Errors
    /// Returns [`Error::Store`] if the path is not a directory, or if a relative path cannot be resolved because the
    /// current directory is gone.
    pub fn open(directory: impl AsRef<Path>, options: Options) -> Result<Self, Error> {
        Self::open_with(directory.as_ref(), options, Arc::new(Kernel))
    }

    /// As [`open`](Self::open), with these system calls for publishing.
    pub(super) fn open_with(
        given: &Path,
        mut options: Options,
        files: Arc<dyn Files>,
    ) -> Result<Self, Error> {
        let failed = |source| Error::store("open the store", given, source);
        let directory = std::path::absolute(given).map_err(failed)?;
        match fs::metadata(&directory) {
            Ok(metadata) if !metadata.is_dir() => {
                return Err(failed(io::ErrorKind::NotADirectory.into()));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let mut seeds = Vec::new();
        for seed in &options.store.seeds {
            let seed = std::path::absolute(seed)
                .map_err(|source| Error::store("use the seed", seed, source))?;
            if seed != directory && !seeds.contains(&seed) {
                seeds.push(seed);
            }
        }
        options.store.seeds = seeds;
        measure::describe();
        Ok(Self {
            inner: Arc::new(Inner {
                directory,
                turns: Turns::new(&options),
                looks: Semaphore::new(LOOKS_MAX),
                options,
                builds: SharedBuilds::new(),
                refused_seeds: Mutex::default(),
                files,
            }),
        })
    }

    /// Returns the directory, as an absolute path.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.inner.directory
    }

    /// Returns the options that the store was opened with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    /// Returns whether the directory exists. Checks its owner and permissions before anything in it is used.
    pub(super) fn is_made(&self, operation: &'static str) -> Result<bool, Error> {
        let directory = self.directory();
        let checked = self.trust().directory(directory);
        checked.map_err(|fault| fault.into_error(operation, directory))
    }

    /// Makes the directory if it does not exist, and checks it.
    pub(super) fn make(&self) -> Result<(), Error> {
        let directory = self.directory();
        let made = self.trust().make_directory(directory);
        made.map_err(|fault| fault.into_error("create the store", directory))
    }

    /// Refuses a pull that could not enable fs-verity, before any work is done for it. Makes the directory if that is to
    /// be found out.
    pub(super) fn check_fs_verity(&self) -> Result<(), Error> {
        let fs_verity = self.options().store.fs_verity;
        if fs_verity != FsVerity::On {
            return Ok(());
        }
        self.make()?;
        let directory = self.directory();
        let checked = fs_verity.check(directory);
        checked.map_err(|error| Error::store("enable fs-verity in", directory, error))
    }

    pub(super) fn trust(&self) -> Trust {
        Trust::new(&self.options().store)
    }

    /// Returns the digests of all finished artifacts, sorted. Files with other names are skipped unread, and so are
    /// files that other users own or can write to. A missing directory is an empty list.
    ///
    /// # Errors
    /// Returns [`Error::Store`] if the directory cannot be read, and [`Error::Untrusted`] if other users can write to
    /// it.
    pub fn existing_images(&self) -> Result<Vec<Digest>, Error> {
        let _span = tracing::debug_span!("existing_images").entered();
        let mut digests = self.digests()?;
        let trust = self.trust();
        digests.retain(|digest| {
            let trusted = trust.named(&self.directory().join(name::artifact(digest)));
            if let Err(Fault::Untrusted(untrusted)) = &trusted {
                tracing::warn!(%digest, %untrusted, "an artifact is not trusted");
            }
            trusted.is_ok()
        });
        Ok(digests)
    }

    /// Returns the digests of all artifacts, including those that are not trusted.
    pub(super) fn digests(&self) -> Result<Vec<Digest>, Error> {
        const OPERATION: &str = "list the store";
        if !self.is_made(OPERATION)? {
            return Ok(Vec::new());
        }
        inventory::digests(self.directory())
            .map_err(|source| Error::store(OPERATION, self.directory(), source))
    }

    /// Returns the details of all artifacts, sorted by digest. A missing directory is an empty list.
    ///
    /// # Errors
    /// Returns [`Error::Store`] if the directory cannot be read, and [`Error::Untrusted`] if other users can write to
    /// it. An error of a single artifact is in its [`Artifact::record`].
    pub fn artifacts(&self) -> Result<Vec<Artifact>, Error> {
        let (digests, trust) = (self.digests()?, self.trust());
        // An artifact that was removed since it was listed is left out.
        Ok(digests
            .into_iter()
            .filter_map(|digest| inventory::artifact(self.directory(), digest, trust))
            .collect())
    }

    /// Returns the details of one artifact, or `None` if it does not exist.
    ///
    /// # Errors
    /// Returns [`Error::Untrusted`] if other users can write to the directory. An error of the artifact is in its
    /// [`Artifact::record`].
    pub fn artifact(&self, digest: &Digest) -> Result<Option<Artifact>, Error> {
        if !self.is_made("look into the store")? {
            return Ok(None);
        }
        let (directory, trust) = (self.directory(), self.trust());
        Ok(inventory::artifact(directory, digest.clone(), trust))
    }

    /// Returns the absolute path of the artifact of an image, whether it is built or not.
    #[must_use]
    pub fn path_for(&self, digest: &Digest) -> PathBuf {
        let _span = tracing::debug_span!("path_for", %digest).entered();
        self.directory().join(name::artifact(digest))
    }

    /// Returns the record of an artifact, or `None` if the artifact does not exist.
    ///
    /// # Errors
    /// Returns [`Error::Artifact`] if the file is damaged or was not written by this program.
    pub fn record(&self, digest: &Digest) -> Result<Option<Record>, Error> {
        let path = self.path_for(digest);
        if !self.is_made("read an artifact in")? {
            return Ok(None);
        }
        match read(&path, digest, self.trust()) {
            Ok(record) => Ok(Some(record)),
            Err(RecordError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(artifact_error(&path, source)),
        }
    }

    /// Pins an artifact against [`gc`](Self::gc). Returns `None` if it does not exist. On a read-only file system,
    /// where nothing can be collected, the artifact is only opened.
    ///
    /// # Errors
    /// Returns [`Error::Store`] if the artifact cannot be opened, or if its lease file cannot be created or locked, for
    /// example by a user who may only read the store. The error is transient if another process has kept the lease file
    /// locked exclusively for five seconds. It waits for that long, so call this in a blocking thread if the caller is
    /// asynchronous.
    pub fn lease(&self, digest: &Digest) -> Result<Option<Lease>, Error> {
        const OPERATION: &str = "pin the artifact";
        let path = self.path_for(digest);
        if !self.is_made(OPERATION)? {
            return Ok(None);
        }
        Lease::take(self.directory(), digest, self.trust())
            .map_err(|fault| fault.into_error(OPERATION, &path))
    }

    /// Returns the absolute path of the file that leases of an image lock, whether it exists or not. Another program
    /// pins the artifact by locking it: `flock --shared --close FILE firecracker …`. Builds create it.
    #[must_use]
    pub fn lease_file(&self, digest: &Digest) -> PathBuf {
        self.directory().join(name::lease(digest))
    }

    /// Gives an artifact a second name, for a VM that cannot see the store: a hard link, else a file that shares its
    /// blocks, else a copy. Returns `None` if the artifact does not exist. The file cannot be written to, and its name
    /// appears when it is complete. A hard link takes the permission to write from the artifact's owner as well, and
    /// its owner and mode must not be changed, because they are those of the artifact. [`link_with`](Self::link_with)
    /// can make a separate file.
    ///
    /// A copy reads the whole file, so call this in a blocking thread if the caller is asynchronous.
    ///
    /// # Errors
    /// Returns [`Error::Store`] if `path` exists and is not the artifact, is in the directory of a store, or cannot be
    /// created, and [`Error::Artifact`] if the artifact has no sound record, as one that was cut; otherwise the errors of
    /// [`lease`](Self::lease).
    pub fn link(&self, digest: &Digest, path: impl AsRef<Path>) -> Result<Option<Linked>, Error> {
        self.link_with(digest, path, LinkMethod::ALL)
    }

    /// Links like [`link`](Self::link), by the first of `methods` that works. [`LinkMethod::OWN_FILE`] makes a file
    /// that you may give to another user.
    ///
    /// # Errors
    /// Returns the errors of [`link`](Self::link), and an error if none of the methods works.
    pub fn link_with(
        &self,
        digest: &Digest,
        path: impl AsRef<Path>,
        methods: &[LinkMethod],
    ) -> Result<Option<Linked>, Error> {
        let failed = |source| Error::store("link the artifact to", path.as_ref(), source);
        let absolute = std::path::absolute(&path).map_err(failed)?;
        let Some(lease) = self.lease(digest)? else {
            return Ok(None);
        };
        let own = self.path_for(digest);
        link::refuse_store(&absolute, &own).map_err(failed)?;
        // A file that is cut, or belongs to another image, must not get a second name.
        let file = lease.as_fd().try_clone_to_owned().map_err(failed)?;
        Record::read(&file.into())
            .and_then(|record| record.of(digest))
            .map_err(|source| artifact_error(&own, source))?;
        let method = link::link(&lease, &absolute, methods).map_err(failed)?;
        Ok(Some(Linked {
            path: absolute,
            method,
            lease,
        }))
    }

    /// Reads all of an artifact and compares it with its record. A damaged artifact is quarantined: it loses its name,
    /// and the next pull rebuilds it. It keeps its name while a build is about to replace it. Bytes that the disk does not
    /// read, although it reads later ones, are damaged.
    ///
    /// Returns `None` if the artifact does not exist, and an empty list if it is intact. Verifying reads the whole
    /// file, so call this in a blocking thread if the caller is asynchronous.
    ///
    /// # Errors
    /// Returns [`Error::Artifact`] if the record itself cannot be believed, in which case the file is quarantined as
    /// well, and [`Error::Store`] if the file cannot be read. A damaged artifact that cannot be quarantined, for example
    /// in a read-only store, is a warning in the log. [`pull_image`](Self::pull_image) still returns it, so verify again
    /// after a pull that built nothing.
    pub fn verify(&self, digest: &Digest) -> Result<Option<Vec<Damage>>, Error> {
        let _span = tracing::info_span!("verify", %digest).entered();
        let path = self.path_for(digest);
        let failed = |source| Error::store("verify", &path, source);
        if !self.is_made("verify an artifact in")? {
            return Ok(None);
        }
        let Some(file) = lease::open(&path).map_err(failed)? else {
            return Ok(None);
        };
        // Intact or not, the file is not believed. It keeps its name, and the next pull replaces it.
        self.trust()
            .file(&file, &path)
            .map_err(|fault| artifact_error(&path, fault.into()))?;
        let file = File::from(file);
        drop_cached(&file);
        let record = Record::read(&file).and_then(|record| record.of(digest));
        let verdict = match record.and_then(|record| verify(&file, &record)) {
            Ok(damage) => Ok(damage),
            Err(RecordError::Io(error)) => return Err(failed(error)),
            Err(source) => Err(artifact_error(&path, source)),
        };
        if verdict.as_ref().map_or(true, |damage| !damage.is_empty())
            && let Err(error) = self.set_aside(digest, file.as_fd())
        {
            tracing::warn!(%digest, %error, "a damaged artifact keeps its name");
        }
        verdict.map(Some)
    }

    /// Gives a damaged artifact a name that no reader uses. Returns false if another process works on it, or if the name
    /// belongs to another file by now.
    pub(super) fn set_aside(&self, digest: &Digest, bad: BorrowedFd<'_>) -> io::Result<bool> {
        let path = self.path_for(digest);
        let Some(_lock) = BuildLock::try_take(self.directory(), digest, self.trust())? else {
            return Ok(false);
        };
        if !entry::has_name(bad, &path)? {
            return Ok(false);
        }
        tags::settle(self.directory(), digest, self.trust());
        fs::rename(&path, self.directory().join(name::bad(digest)))?;
        tracing::warn!(%digest, "a damaged artifact was quarantined");
        Ok(true)
    }

    /// Removes artifacts until the bounds are kept, least recently used first, and all files that belong to no
    /// artifact. Artifacts that are pinned by a [`Lease`] or being built stay. A missing directory is not an error.
    /// Files that cannot be removed are in [`Collected::failed`]. This is disk work, so call it in a blocking thread if
    /// the caller is asynchronous.
    ///
    /// # Errors
    /// Returns [`Error::Store`] if the directory cannot be read, and [`Error::Untrusted`] if other users can write to
    /// it.
    pub fn gc(&self, bounds: &Bounds) -> Result<Collected, Error> {
        const OPERATION: &str = "collect the garbage of";
        let directory = self.directory();
        self.is_made(OPERATION)?;
        match gc::collect(directory, bounds, SystemTime::now(), self.trust()) {
            Ok(collected) => {
                let removed = &collected.removed;
                let count = u64::try_from(removed.len()).unwrap_or(u64::MAX);
                let bytes = removed.iter().flat_map(|gone| [gone.size, gone.beside]);
                if !bounds.dry_run {
                    measure::collection(count, bytes.sum::<Size>().0);
                }
                Ok(collected)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Collected::default()),
            Err(error) => Err(Error::store(OPERATION, directory, error)),
        }
    }

    /// Removes leftovers of terminated builds, and returns their number. A worker calls this when it starts; every
    /// build does the same. A missing directory is not an error, and a file that cannot be removed is a warning in the
    /// log.
    ///
    /// # Errors
    /// Returns [`Error::Store`] if the directory cannot be read, and [`Error::Untrusted`] if other users can write to
    /// it.
    pub fn sweep(&self) -> Result<u64, Error> {
        self.is_made("sweep")?;
        match sweep::sweep(self.directory(), self.trust()) {
            Ok(swept) => {
                for error in swept.failed {
                    tracing::warn!(%error, "a leftover stays");
                }
                Ok(swept.removed)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(Error::store("sweep", self.directory(), error)),
        }
    }

    /// Checks for problems that would make every pull fail: options out of range, those of the network unless the store
    /// is offline, an agent or an injected file that cannot be read, a directory that cannot be written or has too little
    /// free space, or fs-verity that is required and missing. Makes the directory.
    ///
    /// # Errors
    /// Returns the first problem.
    pub fn check(&self) -> Result<(), Error> {
        let options = self.options();
        options.check()?;
        if !options.store.offline {
            Client::new(options.network.clone())?;
        }
        Supplies::open(options, true, &Stop::default())?.digests(&Memory::default())?;
        self.make()?;
        self.check_fs_verity()?;
        let directory = self.directory();
        // A locked file that vanishes.
        StagedFile::create(directory, Staging::new(options.store.min_free, None))
            .and_then(|mut staged| staged.write_all_at(&[0; 4096], 0))
            .map_err(|error| Error::store("write to", directory, error))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn check_refuses_network_options_that_fail_every_pull() {
        let directory = tempfile::tempdir().unwrap();
        let mut options = Options {
            no_agent: true,
            ..Options::default()
        };
        options.network.connect_timeout = Duration::ZERO;
        let check = |options: &Options| Store::open(&directory, options.clone()).unwrap().check();
        let error = check(&options).unwrap_err();
        assert!(error.is_usage(), "{error}");
        options.store.offline = true;
        check(&options).unwrap();
    }
}
