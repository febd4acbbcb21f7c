//! Finds what earlier builds left that the next one can use.

use std::cmp::Reverse;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ociget::{Digest, Image};
use rustix::fs::OFlags;

use super::handle::Store;
use super::lease::Lease;
use super::{inventory, name};
use crate::artifact::{FORMAT, ImageOptions, Key, Record};
use crate::recall::{Documents, Found, Plan, Recall};
use crate::regular_file;
use crate::staging::Stop;

/// Artifacts that are opened for one build, with three files each.
const ARTIFACTS: usize = 32;

/// Artifacts that are opened for each layer: if one of them has not all of its bodies, another may.
const FOR_A_LAYER: usize = 4;

/// An artifact that is not copied from: its directory, and its image.
pub(super) type Excluded = (PathBuf, Digest);

impl Store {
    /// Returns the documents of an image that was built before.
    pub(super) fn documents(&self, identity: &Digest) -> Option<Documents> {
        let directories = self.readable();
        let mut found = directories.iter().filter_map(|directory| {
            let recall = self.recall(directory, identity).ok()?;
            recall.documents().ok()
        });
        found.next()
    }

    /// Plans which layers of an image are taken from the store; `None` if it knows none of them.
    ///
    /// # Errors
    /// The build is to stop.
    pub(super) fn plan(
        &self,
        image: &Image,
        without: &[Excluded],
        stop: &Stop,
    ) -> io::Result<Option<Plan>> {
        let found = self.choose(image, without, stop)?;
        if found.is_empty() {
            return Ok(None);
        }
        Ok(Some(Plan::new(image, &self.options().limits, found)))
    }

    /// Returns the directories to take layers from: that of the store, and the seeds.
    fn readable(&self) -> Vec<PathBuf> {
        let seeds = self.options().store.seeds.iter();
        let trusted = seeds.filter(|seed| match self.trust().directory(seed) {
            Ok(true) => true,
            Ok(false) => {
                tracing::warn!(seed = %seed.display(), "there is no such seed");
                false
            }
            Err(fault) => {
                let error = fault.into_error("take layers from", seed);
                tracing::warn!(%error, "a seed is passed over");
                false
            }
        });
        std::iter::once(self.directory().to_owned())
            .chain(trusted.cloned())
            .collect()
    }

    /// Opens artifacts that know layers of the image, those that know most of them first.
    fn choose(&self, image: &Image, without: &[Excluded], stop: &Stop) -> io::Result<Vec<Found>> {
        let limits = &self.options().limits;
        let mut candidates = Vec::new();
        for directory in self.readable() {
            for digest in inventory::digests(&directory).unwrap_or_default() {
                stop.check()?;
                let artifact = (directory.clone(), digest);
                if without.contains(&artifact) {
                    continue;
                }
                // Closed again: there may be more artifacts than files that a process can open.
                let Ok(recall) = self.recall(&artifact.0, &artifact.1) else {
                    continue;
                };
                let layers = image.layers.iter();
                let known: Vec<bool> = layers
                    .map(|layer| recall.part(layer, limits).is_some())
                    .collect();
                let count = known.iter().filter(|known| **known).count();
                if count > 0 {
                    candidates.push((artifact, known, count));
                }
            }
        }
        let identity = image.identity.get();
        candidates.sort_by_key(|((_, digest), _, count)| (digest != identity, Reverse(*count)));
        let mut places = vec![0; image.layers.len()];
        let mut found = Vec::new();
        for ((directory, digest), known, _) in candidates {
            stop.check()?;
            let mut both = places.iter().zip(&known);
            let needed = both.any(|(place, known)| *known && *place < FOR_A_LAYER);
            if !needed || found.len() == ARTIFACTS {
                continue;
            }
            match self.open_found(&directory, &digest) {
                Ok(artifact) => {
                    found.push(artifact);
                    for (place, known) in places.iter_mut().zip(known) {
                        *place += usize::from(known);
                    }
                }
                Err(error) => tracing::debug!(%digest, %error, "an artifact is not copied from"),
            }
        }
        Ok(found)
    }

    pub(super) fn recall(&self, directory: &Path, digest: &Digest) -> io::Result<Recall> {
        let path = directory.join(name::recall(digest));
        let file = regular_file::open(&path, OFlags::NOFOLLOW)?;
        let trusted = self.trust().file(&file, &path);
        trusted.map_err(|_| io::Error::from(io::ErrorKind::PermissionDenied))?;
        Recall::read(file)
    }

    fn open_found(&self, directory: &Path, digest: &Digest) -> io::Result<Found> {
        let unusable = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let recall = self.recall(directory, digest)?;
        // In a seed no file is made. While it is open it can be read, whatever its owner does to the name.
        let lease = match directory == self.directory() {
            // Nobody is waited for: the image that is built is locked meanwhile.
            true => Lease::take_within(Duration::ZERO, directory, digest, self.trust()),
            false => Lease::open(directory, digest, self.trust()),
        };
        let lease = lease.map_err(|_| unusable("the artifact cannot be pinned"))?;
        let lease = lease.ok_or(io::Error::from(io::ErrorKind::NotFound))?;
        let file = File::from(lease.as_fd().try_clone_to_owned()?);
        let record = Record::read(&file)
            .and_then(|record| record.of(digest))
            .map_err(io::Error::other)?;
        if !recall.is_of(&record.root()) {
            return Err(unusable("what its build left belongs to another artifact"));
        }
        if !holds_the_same_blocks(&record.key, &self.options().image) {
            return Err(unusable("its blocks are compressed in another way"));
        }
        let mut digests = Vec::new();
        record.chunks(&file, |digest| {
            digests.push(*digest);
            Ok(())
        })?;
        let place = (directory.to_owned(), digest.clone());
        Found::new(place, Arc::new(lease), record.image_length, digests, recall)
    }
}

/// Whether a body has the same stored blocks with this key as with these options.
fn holds_the_same_blocks(key: &Key, options: &ImageOptions) -> bool {
    key.format == FORMAT
        && key.compressor == options.compressor.to_string()
        && key.block_size == options.block_size
        && key.tails == options.tails
}
