//! Finds artifacts and recall files of earlier builds that the next build can use.

use std::cmp::Reverse;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ociget::{Digest, Image};

use super::handle::Store;
use super::lease::Lease;
use super::survey::{self, Candidate, Survey};
use super::trials::{Excluded, Trials};
use crate::artifact::{CHUNK, FORMAT, ImageOptions, Key, Record};
use crate::error::Error;
use crate::progress::Event;
use crate::recall::{
    CHOICES, Documents, Failed, Found, Known, LayerSet, Plan, Recall, Useful, Wanted, disk_error,
};
use crate::staging::Stop;

/// Largest number of artifacts that are opened for one build.
const ARTIFACTS: usize = 160;

/// Number of descriptors that one of them takes.
const FILES: usize = 3;

/// Number of artifacts among them that may be opened although no layer of theirs is known to have all its files.
const ALTERNATIVES: usize = 32;

/// Number of alternatives that are opened for each layer: if one of them lacks a body, another may have it.
const FOR_A_LAYER: usize = 4;

/// Number of recall files whose directories are read for one build, whether or not they turn out to be of use.
const TRIES: usize = 2 * ARTIFACTS;

/// Bytes of directories that are read for one build: about 0.1 s. The last one may exceed it.
const DIRECTORIES: u64 = 12 << 20;

/// Digests of chunks that are kept of all artifacts together, with 32 bytes for each: 8 MiB, for 256 GiB of artifacts.
const DIGESTS: usize = 1 << 18;

impl Store {
    /// Returns the documents that builds of an image left in the store and in the seeds. Each build of an index leaves
    /// those of its own platform.
    pub(super) fn documents(&self, identity: &Digest) -> Documents {
        let mut all = Documents::default();
        for directory in self.readable() {
            let recall = self.recall(&directory, identity, &mut 0);
            match recall.and_then(|recall| recall.documents()) {
                Ok(documents) => all.merge(documents),
                Err(error) => {
                    let directory = directory.display();
                    tracing::debug!(%directory, %error, "there are no documents of the image");
                }
            }
        }
        all
    }

    /// Plans which layers of an image are copied from the store; returns `None` if it has none of them. If there is no
    /// other way to the layers and an attempt failed, all artifacts are compared with their records first.
    ///
    /// # Errors
    /// Returns an error if the build is to stop.
    pub(super) fn plan(
        &self,
        image: &Image,
        trials: &mut Trials,
        is_only_way: bool,
        stop: &Stop,
    ) -> io::Result<Option<Plan>> {
        let options = self.options();
        let identity = image.identity.get();
        loop {
            let wanted = Wanted::new(image, &options.limits, &options.image);
            let found = self.choose(identity, &wanted, trials, stop)?;
            if found.is_empty() {
                return Ok(None);
            }
            let plan = Plan::new(identity, wanted, found).only_way(is_only_way);
            if !is_only_way || !trials.has_failed() {
                return Ok(Some(plan));
            }
            let checked = |directory: &Path, digest: &Digest| {
                let mut checked = trials.checked.iter();
                checked.any(|(of, image)| of == directory && image == digest)
            };
            let failed = plan.verify(checked, || stop.check())?;
            trials.checked.extend(plan.artifacts().cloned());
            if failed.is_empty() {
                return Ok(Some(plan));
            }
            for failed in failed {
                self.lose(&failed, trials);
            }
        }
    }

    /// Excludes an artifact from which copying failed, and sets it aside if it is damaged and in the store itself.
    pub(super) fn lose(&self, failed: &Failed<'_>, trials: &mut Trials) {
        let (source, directory) = (failed.digest, failed.directory);
        let because = match &failed.unreadable {
            Some(error) => format!("it cannot be read: {error}"),
            None if directory != self.directory() => "it is damaged".to_owned(),
            None => match self.set_aside(source, failed.file) {
                Ok(true) => "it is damaged and was quarantined".to_owned(),
                Ok(false) => "it is damaged".to_owned(),
                Err(error) => format!("it is damaged and cannot be quarantined: {error}"),
            },
        };
        self.exclude(&(directory.to_owned(), source.clone()), &because, trials);
    }

    /// Excludes the artifacts at whose recall files the disk failed. Returns whether there are any.
    pub(super) fn exclude_unreadable(&self, plan: &Plan, trials: &mut Trials) -> bool {
        let mut any = false;
        for (place, error) in plan.unreadable() {
            any = true;
            self.exclude_recall(place, error, trials);
        }
        any
    }

    /// Excludes an artifact at whose recall file the disk failed.
    fn exclude_recall(&self, place: &Excluded, error: &str, trials: &mut Trials) {
        let because = format!("its recall file cannot be read: {error}");
        self.exclude(place, &because, trials);
    }

    /// Excludes an artifact, and reports why.
    fn exclude(&self, place: &Excluded, because: &str, trials: &mut Trials) {
        let (directory, source) = place;
        tracing::warn!(digest = %source, because, "an artifact cannot be copied from");
        self.options().progress.tell(&Event::SourceFailed {
            source,
            directory,
            because,
        });
        trials.note(source, because);
        trials.excluded.push(place.clone());
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
    fn choose(
        &self,
        identity: &Digest,
        wanted: &Wanted,
        trials: &mut Trials,
        stop: &Stop,
    ) -> io::Result<Vec<Found>> {
        let directories = self.readable();
        let without = trials.excluded.clone();
        let mut opening = Opening::new(self, wanted, trials);
        let mut tried = Vec::new();
        for directory in &directories {
            stop.check()?;
            let same = (directory.clone(), identity.clone());
            if without.contains(&same) {
                continue;
            }
            let opened = opening.open(&same);
            tried.push(same);
            if let Some(known) = opened {
                opening.covered.add(&known.any);
                break;
            }
        }
        if opening.covered.count() == wanted.count() {
            // The other recall files need not even be listed.
            return Ok(opening.found);
        }
        let without = [without, tried].concat();
        let mut survey = Survey::new(&directories, &without, wanted, self.trust());
        let mut candidates: Vec<Candidate> = Vec::new();
        let artifacts = self.artifacts_for_a_build();
        while opening.found.len() < artifacts && opening.may_go_on() {
            stop.check()?;
            let missing = wanted.count() - opening.covered.count();
            let gain =
                |candidate: &Candidate| candidate.known.whole.count_without(&opening.covered);
            let gains = candidates.iter().map(gain).enumerate();
            let mut best = gains.max_by_key(|(index, gain)| (*gain, Reverse(*index)));
            // Looks at further files only as long as no artifact has everything.
            while best.is_none_or(|(_, gain)| gain < missing)
                && missing > 0
                && let Some(candidate) = survey.next()
            {
                stop.check()?;
                let (index, gain) = (candidates.len(), gain(&candidate));
                candidates.push(candidate);
                if best.is_none_or(|(_, most)| gain > most) {
                    best = Some((index, gain));
                }
            }
            let Some((best, _)) = best.filter(|(_, gain)| *gain > 0) else {
                break;
            };
            let best = candidates.swap_remove(best);
            if let Some(known) = opening.open(&best.artifact) {
                opening.covered.add(&known.whole);
            }
        }
        if let Some((artifact, error)) = survey.unreadable.take() {
            self.exclude_recall(&artifact, &error, opening.trials);
        }
        candidates.sort_by_cached_key(|candidate| {
            let known = Reverse(candidate.known.any.count());
            (known, candidate.artifact.1.to_string())
        });
        let mut places = vec![0; wanted.count()];
        let most = artifacts.min(opening.found.len() + ALTERNATIVES);
        for candidate in &candidates {
            stop.check()?;
            let mut numbers = 0..places.len();
            let is_wanted = numbers.any(|number| {
                candidate.known.any.contains(number)
                    && !opening.covered.contains(number)
                    && places
                        .get(number)
                        .is_some_and(|places| *places < FOR_A_LAYER)
            });
            if opening.found.len() == most || !opening.may_go_on() {
                break;
            }
            if !is_wanted {
                continue;
            }
            if let Some(known) = opening.open(&candidate.artifact) {
                for (number, places) in places.iter_mut().enumerate() {
                    *places += usize::from(known.any.contains(number));
                }
            }
        }
        if !opening.may_go_on() {
            tracing::info!(
                "further artifacts are not copied from: reading what they know takes too long"
            );
        }
        Ok(opening.found)
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

    pub(super) fn recall(
        &self,
        directory: &Path,
        digest: &Digest,
        bytes: &mut u64,
    ) -> io::Result<Recall> {
        Recall::read(survey::open(directory, digest, self.trust())?, bytes)
    }

    /// Opens an artifact to copy from. Its record may have at most `digests` digests of chunks.
    fn open_found(
        &self,
        (directory, digest): &Excluded,
        recall: Useful,
        root: &str,
        most: usize,
    ) -> io::Result<Found> {
        let unusable = |what| io::Error::new(io::ErrorKind::InvalidData, what);
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
        if root != record.root() {
            return Err(unusable("what its build left belongs to another artifact"));
        }
        if !holds_the_same_blocks(&record.key, &self.options().image) {
            return Err(unusable("its blocks are compressed in another way"));
        }
        if record.image_length.div_ceil(CHUNK as u64) > most as u64 {
            return Err(unusable("its digests take too much memory"));
        }
        let mut digests = Vec::new();
        record.chunks(&file, |digest| {
            digests.push(*digest);
            Ok(())
        })?;
        let place = (directory.clone(), digest.clone());
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

/// The artifacts that are opened for one build.
struct Opening<'s> {
    store: &'s Store,
    wanted: &'s Wanted,
    trials: &'s mut Trials,
    found: Vec<Found>,
    /// The layers for which no further artifact is needed.
    covered: LayerSet,
    /// For each layer, how many opened artifacts have all files of it, and how many have some.
    kept: Vec<[usize; 2]>,
    /// Number of recall files that may still be read.
    tries: usize,
    /// Bytes of directories that may still be read.
    bytes: u64,
    /// Digests of chunks that may still be kept in memory.
    digests: usize,
}

impl<'s> Opening<'s> {
    fn new(store: &'s Store, wanted: &'s Wanted, trials: &'s mut Trials) -> Self {
        Self {
            store,
            wanted,
            trials,
            found: Vec::new(),
            covered: LayerSet::default(),
            kept: vec![[0; 2]; wanted.count()],
            tries: TRIES,
            bytes: DIRECTORIES,
            digests: DIGESTS,
        }
    }

    /// Returns whether more recall files may be read.
    fn may_go_on(&self) -> bool {
        self.tries > 0 && self.bytes > 0
    }

    /// Opens an artifact, and returns the layers that it knows, if it can be copied from.
    fn open(&mut self, artifact: &Excluded) -> Option<Known> {
        self.tries = self.tries.saturating_sub(1);
        let found = self.try_to_open(artifact);
        let (found, known) = match found {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            // The operator of the disk has to know, whatever the build does without this artifact.
            Err(error) if let Some(text) = disk_error(&error) => {
                let because = format!("it cannot be read: {text}");
                self.store.exclude(artifact, &because, self.trials);
                return None;
            }
            Err(error) => {
                tracing::debug!(digest = %artifact.1, %error, "an artifact is not copied from");
                self.trials.note(&artifact.1, &error.to_string());
                return None;
            }
        };
        self.digests = self.digests.saturating_sub(found.digests());
        self.found.push(found);
        Some(known)
    }

    fn try_to_open(&mut self, artifact: &Excluded) -> io::Result<(Found, Known)> {
        let recall = self
            .store
            .recall(&artifact.0, &artifact.1, &mut self.bytes)?;
        let root = recall.root().to_owned();
        let kept = &self.kept;
        let keeps = |number: usize, is_whole: bool| {
            let kept = kept.get(number);
            kept.is_some_and(|[whole, some]| if is_whole { *whole } else { *some } < CHOICES)
        };
        let useful = recall.useful(self.wanted, keeps);
        let known = useful.known().clone();
        if known.any.count() == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it knows no layer of the image under these limits",
            ));
        }
        let found = self
            .store
            .open_found(artifact, useful, &root, self.digests)?;
        for (number, [whole, some]) in self.kept.iter_mut().enumerate() {
            *whole += usize::from(known.whole.contains(number));
            *some += usize::from(known.any.contains(number) && !known.whole.contains(number));
        }
        Ok((found, known))
    }
}

/// Returns whether a body has the same stored blocks with this key as with these options.
fn holds_the_same_blocks(key: &Key, options: &ImageOptions) -> bool {
    key.format == FORMAT
        && key.compressor == options.compressor.to_string()
        && key.block_size == options.block_size
        && key.tails == options.tails
}
