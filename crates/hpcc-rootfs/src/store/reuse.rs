//! Finds what earlier builds left that the next one can use.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ociget::{Digest, Image};
use rustix::fs::OFlags;

use super::key::Key;
use super::lease::Lease;
use super::record::Record;
use super::{Store, inventory, name};
use crate::layer::Limits;
use crate::options::{ImageOptions, Options};
use crate::recall::{Documents, Found, Plan, Recall};
use crate::regular_file;

/// Artifacts that are opened for one build.
const ARTIFACTS: usize = 64;

/// Artifacts that are opened for each layer: if one of them has not all of its bodies, another may.
const FOR_A_LAYER: usize = 4;

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
    pub(super) fn plan(&self, image: &Image) -> Option<Plan> {
        let options = self.options();
        let chosen = self.choose(image, &options.limits);
        let found: Vec<_> = chosen
            .iter()
            .filter_map(
                |(directory, digest)| match self.find(directory, digest, options) {
                    Ok(found) => Some(found),
                    Err(error) => {
                        tracing::debug!(%digest, %error, "an artifact is not copied from");
                        None
                    }
                },
            )
            .collect();
        (!found.is_empty()).then(|| Plan::new(image, &options.limits, found))
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

    /// Returns artifacts that know layers of the image, each with its directory, those that know most of them first.
    fn choose(&self, image: &Image, limits: &Limits) -> Vec<(PathBuf, Digest)> {
        let directories = self.readable();
        let all = directories.iter().flat_map(|directory| {
            let digests = inventory::digests(directory).unwrap_or_default();
            digests.into_iter().map(move |digest| (directory, digest))
        });
        let mut candidates: Vec<_> = all
            .filter_map(|(directory, digest)| {
                // Closed again: there may be more artifacts than files that a process can open.
                let recall = self.recall(directory, &digest).ok()?;
                let layers = image.layers.iter();
                let known: Vec<bool> = layers
                    .map(|layer| recall.part(layer, limits).is_some())
                    .collect();
                let count = known.iter().filter(|known| **known).count();
                (count > 0).then_some(((directory.clone(), digest), known, count))
            })
            .collect();
        let identity = image.identity.get();
        candidates.sort_by_key(|((_, digest), _, count)| {
            (*digest != *identity, std::cmp::Reverse(*count))
        });
        let mut places = vec![0; image.layers.len()];
        let mut chosen = Vec::new();
        for (artifact, known, _) in candidates {
            let mut needed = false;
            for (place, known) in places.iter_mut().zip(known) {
                if known && *place < FOR_A_LAYER {
                    *place += 1;
                    needed = true;
                }
            }
            if needed && chosen.len() < ARTIFACTS {
                chosen.push(artifact);
            }
        }
        chosen
    }

    fn recall(&self, directory: &Path, digest: &Digest) -> io::Result<Recall> {
        let path = directory.join(name::recall(digest));
        let file = regular_file::open(&path, OFlags::NOFOLLOW)?;
        let trusted = self.trust().file(&file, &path);
        trusted.map_err(|_| io::Error::from(io::ErrorKind::PermissionDenied))?;
        Recall::read(file)
    }

    fn find(&self, directory: &Path, digest: &Digest, options: &Options) -> io::Result<Found> {
        let unusable = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let recall = self.recall(directory, digest)?;
        let path = directory.join(name::artifact(digest));
        let lease = Lease::take(path, digest, self.trust())
            .map_err(|_| unusable("the artifact cannot be pinned"))?;
        let lease = lease.ok_or(io::Error::from(io::ErrorKind::NotFound))?;
        let file = File::from(lease.as_fd().try_clone_to_owned()?);
        let record = Record::read(&file)
            .and_then(|record| record.of(digest))
            .map_err(io::Error::other)?;
        if !recall.is_of(&record.root()) {
            return Err(unusable("what its build left belongs to another artifact"));
        }
        if !holds_the_same_blocks(&record.key, &options.image) {
            return Err(unusable("its blocks are compressed in another way"));
        }
        let mut digests = Vec::new();
        record.chunks(&file, |digest| {
            digests.push(*digest);
            Ok(())
        })?;
        Ok(Found {
            digest: digest.clone(),
            file: Arc::new(file),
            _held: Box::new(lease),
            image_length: record.image_length,
            digests,
            recall,
        })
    }
}

/// Whether a body has the same stored blocks with this key as with these options.
fn holds_the_same_blocks(key: &Key, options: &ImageOptions) -> bool {
    key.format == super::FORMAT
        && key.compressor == options.compressor.to_string()
        && key.block_size == options.block_size
        && key.tails == options.tails
}
