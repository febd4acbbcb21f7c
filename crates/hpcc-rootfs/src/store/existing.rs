//! An artifact that exists: whether it is what a build would write, and when it was used.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use ociget::Digest;

use super::handle::Store;
use super::last_use;
use super::lease;
use super::lease_file;
use super::note::Note;
use super::note_lock::NoteLock;
use super::pulled::Pulled;
use super::reading::read;
use crate::artifact::{Digests, Key, Record, RecordError, has_fs_verity, verify};
use crate::error::Error;
use crate::guest::Supplies;
use crate::progress::Event;
use crate::staging::{FsVerity, Stop, enable_fs_verity};

impl Store {
    /// Creates the file that VMs lock by its name. A lease creates it as well if it is missing.
    pub(super) fn make_lease_file(&self, identity: &Digest) {
        if let Err(error) = lease_file::make(self.directory(), identity, self.trust()) {
            tracing::debug!(%error, "there is no lease file yet");
        }
    }

    /// Enables fs-verity on an existing artifact if the options require it. Returns false if the artifact is damaged, which
    /// the file system would guard from then on as it is. It is quarantined, so that no later look takes it for intact.
    fn protect(&self, identity: &Digest, path: &Path) -> Result<bool, Error> {
        let fs_verity = self.options().store.fs_verity;
        if fs_verity == FsVerity::Off {
            return Ok(true);
        }
        let failed = |source| Error::store("enable fs-verity on", path, source);
        let Some(file) = lease::open(path).map_err(failed)? else {
            // The file was removed meanwhile.
            return Ok(true);
        };
        let file = File::from(file);
        if has_fs_verity(&file) {
            return Ok(true);
        }
        fs_verity.enable(&file, enable_fs_verity).map_err(failed)?;
        if !has_fs_verity(&file) {
            return Ok(true);
        }
        // The kernel has read all of it just now.
        match Record::read(&file).and_then(|record| verify(&file, &record)) {
            Ok(damage) if damage.is_empty() => Ok(true),
            Err(RecordError::Io(error)) => Err(failed(error)),
            Ok(_) | Err(_) => {
                self.set_aside(identity, file.as_fd()).map_err(failed)?;
                Ok(false)
            }
        }
    }

    /// Returns the key that a build of the image of a record would have.
    fn key(&self, record: &Record, supplies: Digests) -> Key {
        let options = self.options();
        Key::new(
            record.key.identity.clone(),
            // Identity and platform determine the manifest; only the network could show it.
            record.key.manifest.clone(),
            options.platform.to_string(),
            supplies,
            &options.image,
        )
    }

    /// Returns whether the artifact exists as a build would write it, and changes nothing. Host files that cannot be
    /// read are taken for those that it was built with.
    pub(super) fn is_built(&self, identity: &Digest, stop: &Stop) -> bool {
        let Ok(record) = read(&self.path_for(identity), identity, self.trust()) else {
            return false;
        };
        let note = Note::read(self.directory(), identity, self.trust()).unwrap_or_default();
        let supplies = Supplies::open(self.options(), true, stop);
        let digests = supplies.and_then(|supplies| supplies.digests(&note.supplies));
        let digests = digests.unwrap_or_else(|_| Digests {
            agent: record.key.agent.clone(),
            injected: record.key.injected.clone(),
        });
        self.key(&record, digests) == record.key
    }

    /// Returns the artifact if it exists and its key shows that a build would write the same bytes. Then sets its time
    /// of last use to now.
    pub(super) fn up_to_date(
        &self,
        identity: &Digest,
        supplies: &Supplies,
        tell: bool,
    ) -> Result<Option<Pulled>, Error> {
        let options = self.options();
        let outdated = |because: &str| {
            if tell {
                let digest = identity;
                options.progress.tell(&Event::Outdated { digest, because });
            }
            Ok(None)
        };
        let path = self.path_for(identity);
        let record = match read(&path, identity, self.trust()) {
            Ok(record) => record,
            Err(RecordError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            // No file can be put there, which must not become clear only after the build.
            Err(_) if fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir()) => {
                let problem = "a directory has this name; remove it";
                let error = io::Error::new(io::ErrorKind::IsADirectory, problem);
                return Err(Error::store("publish to", &path, error));
            }
            Err(error) => return outdated(&error.to_string()),
        };
        let note = Note::read(self.directory(), identity, self.trust()).unwrap_or_default();
        let key = self.key(&record, supplies.digests(&note.supplies)?);
        if record.key != key {
            let fields = record.key.difference(&key).join(", ");
            return outdated(&format!("built with another {fields}"));
        }
        if !self.protect(identity, &path)? {
            return outdated("damaged before fs-verity was enabled");
        }
        self.make_lease_file(identity);
        last_use::set(self.directory(), identity);
        let memory = supplies.memory(&note.supplies);
        if memory != note.supplies {
            // Hashing took time, and another pull may have added its reference.
            let _lock = NoteLock::take(self.directory(), self.trust());
            if let Ok(mut note) = Note::read(self.directory(), identity, self.trust()) {
                note.supplies = memory;
                note.write(self.directory(), identity);
            }
        }
        Ok(Some(Pulled {
            digest: identity.clone(),
            path,
            record,
            built: None,
        }))
    }
}
