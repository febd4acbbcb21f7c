//! Finds artifacts and recall files of earlier builds that the next build can use.

use std::cmp::Reverse;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ociget::{Digest, Image};
use rustix::fs::OFlags;

use super::handle::Store;
use super::lease::Lease;
use super::{inventory, name};
use crate::artifact::{FORMAT, ImageOptions, Key, Record};
use crate::error::Error;
use crate::progress::Event;
use crate::recall::{Documents, Found, Plan, Recall};
use crate::regular_file;
use crate::staging::Stop;

/// Largest number of artifacts that are opened for one build.
const ARTIFACTS: usize = 160;

/// Number of descriptors that one of them takes.
const FILES: usize = 3;

/// Number of artifacts among them that may be opened although no layer of theirs is known to have all its files.
const ALTERNATIVES: usize = 32;

/// Number of alternatives that are opened for each layer: if one of them lacks a body, another may have it.
const FOR_A_LAYER: usize = 4;

/// An artifact from which nothing is copied: its directory, and its image.
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

    /// Plans which layers of an image are copied from the store; returns `None` if it has none of them.
    ///
    /// # Errors
    /// Returns an error if the build is to stop.
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
        let plan = Plan::new(image, &self.options().limits, found);
        Ok(Some(plan.only_way(self.options().store.offline)))
    }

    /// Returns the directories to copy layers from: that of the store, and the seeds.
    fn readable(&self) -> Vec<PathBuf> {
        let seeds = self.options().store.seeds.iter();
        let trusted = seeds.filter(|seed| match self.trust().directory(seed) {
            Ok(true) => true,
            Ok(false) => {
                tracing::warn!(seed = %seed.display(), "there is no such seed");
                false
            }
            Err(fault) => {
                self.refuse(seed, &fault.into_error("take layers from", seed));
                false
            }
        });
        std::iter::once(self.directory().to_owned())
            .chain(trusted.cloned())
            .collect()
    }

    /// Reports that a seed is refused, once for each seed.
    fn refuse(&self, seed: &Path, error: &Error) {
        let refused = &self.inner.refused_seeds;
        let mut refused = refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.insert(seed.to_owned()) {
            tracing::warn!(%error, "a seed is skipped");
            let because = error.to_string();
            let because = because.as_str();
            let event = Event::SeedRefused { seed, because };
            self.options().progress.tell(&event);
        }
    }

    /// Opens artifacts that know layers of the image: first that of the same image; then, for the other layers, as few
    /// artifacts as possible that have all files of them; then, for the layers that remain, those that know most of
    /// them.
    fn choose(&self, image: &Image, without: &[Excluded], stop: &Stop) -> io::Result<Vec<Found>> {
        let identity = image.identity.get();
        let mut candidates = self.candidates(image, without, stop)?;
        candidates.sort_by_key(|candidate| Reverse(candidate.count()));
        let mut found = Vec::new();
        let mut covered = vec![false; image.layers.len()];
        let is_same = |candidate: &mut Candidate| candidate.artifact.1 == *identity;
        for same in candidates.extract_if(.., is_same) {
            stop.check()?;
            if let Some(artifact) = self.open_candidate(&same) {
                found.push(artifact);
                same.cover(&mut covered, |part| part.is_some());
                break;
            }
        }
        let artifacts = self.artifacts_for_a_build();
        while found.len() < artifacts {
            stop.check()?;
            let gains = candidates.iter().map(|candidate| candidate.gain(&covered));
            let gains = gains.enumerate().filter(|(_, gain)| *gain > 0);
            let best = gains.max_by_key(|(index, gain)| (*gain, Reverse(*index)));
            let Some((best, _)) = best else { break };
            let best = candidates.remove(best);
            if let Some(artifact) = self.open_candidate(&best) {
                found.push(artifact);
                best.cover(&mut covered, |part| part == Some(true));
            }
        }
        let mut places = vec![0; image.layers.len()];
        let most = artifacts.min(found.len() + ALTERNATIVES);
        for candidate in candidates {
            stop.check()?;
            let known = candidate.layers.iter().map(Option::is_some);
            let wanted = covered.iter().zip(&places);
            let wanted = wanted.map(|(covered, place)| !covered && *place < FOR_A_LAYER);
            if !known.zip(wanted).any(|(known, wanted)| known && wanted) || found.len() == most {
                continue;
            }
            if let Some(artifact) = self.open_candidate(&candidate) {
                found.push(artifact);
                for (place, layer) in places.iter_mut().zip(&candidate.layers) {
                    *place += usize::from(layer.is_some());
                }
            }
        }
        Ok(found)
    }

    /// Returns how many artifacts one build may open, so that all builds together leave half of its descriptors to the
    /// process.
    fn artifacts_for_a_build(&self) -> usize {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let files = limit.map_or(usize::MAX, |limit| {
            usize::try_from(limit).unwrap_or(usize::MAX)
        });
        let share = files / 2 / FILES / self.options().concurrent_builds().max(1);
        share.clamp(ALTERNATIVES, ARTIFACTS)
    }

    /// Returns the artifacts that know layers of an image. None of them is open, because they may be more than the
    /// files that a process can open.
    fn candidates(
        &self,
        image: &Image,
        without: &[Excluded],
        stop: &Stop,
    ) -> io::Result<Vec<Candidate>> {
        let limits = &self.options().limits;
        let mut candidates = Vec::new();
        for directory in self.readable() {
            for digest in inventory::digests(&directory).unwrap_or_default() {
                stop.check()?;
                let artifact = (directory.clone(), digest);
                if without.contains(&artifact) {
                    continue;
                }
                let Ok(recall) = self.recall(&artifact.0, &artifact.1) else {
                    continue;
                };
                let layers = image.layers.iter().map(|layer| {
                    let part = recall.part(layer, limits);
                    part.map(|part| part.is_whole)
                });
                let layers = layers.collect();
                let candidate = Candidate { artifact, layers };
                if candidate.count() > 0 {
                    candidates.push(candidate);
                }
            }
        }
        Ok(candidates)
    }

    fn open_candidate(&self, candidate: &Candidate) -> Option<Found> {
        let (directory, digest) = &candidate.artifact;
        let found = self.open_found(directory, digest);
        found
            .inspect_err(|error| tracing::debug!(%digest, %error, "an artifact is not copied from"))
            .ok()
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
        // No file is created in a seed. While the artifact is open it can be read, whatever its owner does to the name.
        let lease = match directory == self.directory() {
            // The lease must not wait, because the image that is being built is locked meanwhile.
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
        let file = Arc::new(lease);
        Ok(Found::new(
            place,
            file,
            record.image_length,
            digests,
            recall,
        ))
    }
}

/// An artifact that knows layers of an image.
struct Candidate {
    artifact: Excluded,
    /// For each layer of the image, whether the artifact has all its files; `None` if it does not know the layer.
    layers: Vec<Option<bool>>,
}

impl Candidate {
    /// Returns the number of layers that it knows.
    fn count(&self) -> usize {
        self.layers.iter().flatten().count()
    }

    /// Returns the number of layers that are not covered and of which it has all files.
    fn gain(&self, covered: &[bool]) -> usize {
        let both = self.layers.iter().zip(covered);
        both.filter(|(layer, covered)| **layer == Some(true) && !**covered)
            .count()
    }

    /// Marks its layers as covered.
    fn cover(&self, covered: &mut [bool], by: impl Fn(Option<bool>) -> bool) {
        for (covered, layer) in covered.iter_mut().zip(&self.layers) {
            *covered |= by(*layer);
        }
    }
}

/// Returns whether a body has the same stored blocks with this key as with these options.
fn holds_the_same_blocks(key: &Key, options: &ImageOptions) -> bool {
    key.format == FORMAT
        && key.compressor == options.compressor.to_string()
        && key.block_size == options.block_size
        && key.tails == options.tails
}
