//! Which layers of an image earlier builds recorded, and which artifacts have them.

use std::cmp::Reverse;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ociget::Digest;

use super::chunks::{Held, Original, Problem};
use super::copies::{Copies, Outcome};
use super::cost::Cost;
use super::fragments::Fragments;
use super::layer::ARTIFACTS_MAX;
use super::reader::{Part, Useful};
use super::wanted::Wanted;
use crate::flatten::KnownLayer;

/// Number of places from which a layer may be taken: if a body is missing in one, another may have it.
pub(crate) const CHOICES: usize = 4;

/// An artifact of the store, and the recall file of its build.
pub(crate) struct Found {
    /// Directory of the artifact, and the image that it holds.
    place: (PathBuf, Digest),
    original: Original,
    recall: Useful,
}

impl Found {
    /// Takes the artifact of an image with the length of its image and the digests of its chunks. The artifact is open
    /// and held for as long as it is copied from.
    pub(crate) fn new(
        place: (PathBuf, Digest),
        file: Arc<dyn Held>,
        image_length: u64,
        digests: Vec<[u8; 32]>,
        recall: Useful,
    ) -> Self {
        Self {
            place,
            original: Original {
                file,
                image_length,
                digests: digests.into(),
            },
            recall,
        }
    }

    fn failed(&self, unreadable: Option<String>) -> Failed<'_> {
        Failed {
            directory: &self.place.0,
            digest: &self.place.1,
            file: self.original.file.as_fd(),
            unreadable,
        }
    }

    /// Returns the number of digests that are kept in memory.
    pub(crate) fn digests(&self) -> usize {
        self.original.digests.len()
    }
}

/// An artifact from which copying failed.
pub(crate) struct Failed<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) digest: &'a Digest,
    pub(crate) file: BorrowedFd<'a>,
    /// Why it could not be read; otherwise it contradicts its record.
    pub(crate) unreadable: Option<String>,
}

/// The layers of an image that earlier builds recorded.
pub(crate) struct Plan {
    wanted: Wanted,
    found: Vec<Found>,
    fragments: Arc<Fragments>,
    /// For each distinct layer: indexes of the artifacts, and of the layer in each.
    choices: Vec<Vec<Choice>>,
    outcome: Outcome,
    /// Artifacts that are not copied from because the disk failed at their recall files, with its errors.
    lost: Vec<((PathBuf, Digest), String)>,
    /// Whether no registry may be requested, so that layers cannot be read instead.
    is_only_way: bool,
}

#[derive(Clone, Copy)]
struct Choice {
    found: usize,
    part: Part,
}

impl Plan {
    /// Sets whether copying is the only way to the layers; then it may cost more than reading them.
    pub(crate) fn only_way(self, is_only_way: bool) -> Self {
        Self {
            is_only_way,
            ..self
        }
    }

    /// Matches an image with the artifacts that were found. For each layer, an artifact of the same image comes first,
    /// then one that has all files of the layer, then those that have most of the layers.
    pub(crate) fn new(identity: &Digest, wanted: Wanted, mut found: Vec<Found>) -> Self {
        found.sort_by_cached_key(|found| {
            (
                found.place.1 != *identity,
                Reverse(found.recall.known().any.count()),
                found.place.1.to_string(),
            )
        });
        found.truncate(ARTIFACTS_MAX);
        let mut all: Vec<Vec<Choice>> = vec![Vec::new(); wanted.count()];
        for (index, found) in found.iter().enumerate() {
            for (number, part) in found.recall.parts() {
                if let Some(choices) = all.get_mut(*number) {
                    choices.push(Choice {
                        found: index,
                        part: *part,
                    });
                }
            }
        }
        for choices in &mut all {
            let is_same = |choice: &Choice| {
                let found = found.get(choice.found);
                found.is_some_and(|found| found.place.1 == *identity)
            };
            choices.sort_by_key(|choice| (!is_same(choice), !choice.part.is_whole));
            choices.truncate(CHOICES);
        }
        let mut fragments = Fragments::default();
        let mut kept = Vec::new();
        let mut is_chosen = vec![false; found.len()];
        for choice in all.iter().flatten() {
            if let Some(is_chosen) = is_chosen.get_mut(choice.found) {
                *is_chosen = true;
            }
        }
        let (mut places, mut lost) = (Vec::with_capacity(found.len()), Vec::new());
        for (found, is_chosen) in found.into_iter().zip(is_chosen) {
            // Only artifacts from which bodies are copied need memory for their fragments.
            let is_readable = is_chosen
                && fragments
                    .add(|into, most| found.recall.recall().fragments(into, most))
                    .inspect_err(|error| {
                        tracing::debug!(digest = %found.place.1, %error, "an artifact is not copied from");
                    })
                    .is_ok();
            places.push(is_readable.then_some(kept.len()));
            if is_readable {
                kept.push(found);
            } else if let Some(error) = found.recall.recall().unreadable() {
                lost.push((found.place.clone(), error.to_owned()));
            }
        }
        fragments.sort();
        let choices = all.into_iter().map(|choices| {
            let kept = choices.into_iter().filter_map(|choice| {
                let found = (*places.get(choice.found)?)?;
                Some(Choice { found, ..choice })
            });
            kept.collect()
        });
        let count = kept.len();
        Self {
            wanted,
            choices: choices.collect(),
            found: kept,
            fragments: Arc::new(fragments),
            outcome: Outcome::new(count),
            lost,
            is_only_way: false,
        }
    }

    /// Returns whether a layer need not be fetched ahead.
    pub(crate) fn knows(&self, layer: usize) -> bool {
        let choices = self.choices(layer);
        choices.is_some_and(|choices| !choices.is_empty())
    }

    fn choices(&self, layer: usize) -> Option<&[Choice]> {
        let number = self.wanted.number(layer)?;
        self.choices.get(number).map(Vec::as_slice)
    }

    /// Opens the entries of a layer.
    pub(crate) fn known(&self, layer: usize, choice: usize) -> Option<Box<dyn KnownLayer>> {
        let of = self.wanted.layer(self.wanted.number(layer)?)?;
        for choice in self.choices(layer)?.get(choice..)? {
            let found = self.found.get(choice.found)?;
            let artifact = u16::try_from(choice.found).ok()?;
            match found.recall.recall().layer(choice.part, of, artifact) {
                Ok(listed) => return Some(Box::new(listed)),
                Err(error) => tracing::debug!(%error, "a layer of an earlier build is of no use"),
            }
        }
        None
    }

    /// Opens the artifacts from which the bodies of recorded layers are copied.
    ///
    /// # Errors
    /// Returns an error if a recall file cannot be read or is damaged.
    pub(crate) fn copies(&self) -> io::Result<Copies> {
        let originals = self.found.iter().map(|found| found.original.clone());
        let fragments = Arc::clone(&self.fragments);
        let cost = match self.is_only_way {
            true => Cost::unbounded(),
            false => {
                let known = self.choices.iter().filter(|choices| !choices.is_empty());
                Cost::of_layers(known.count())
            }
        };
        Copies::new(originals.collect(), fragments, self.outcome.clone(), cost)
    }

    /// Returns the digests of the images from which bytes were copied.
    pub(crate) fn sources(&self) -> Vec<Digest> {
        let used = |index: &usize| self.outcome.used(*index);
        let indexes = (0..self.found.len()).filter(used);
        let found = indexes.filter_map(|index| self.found.get(index));
        found.map(|found| found.place.1.clone()).collect()
    }

    /// Returns the artifact from which copying failed.
    pub(crate) fn failed(&self) -> Option<Failed<'_>> {
        let (index, unreadable) = self.outcome.failed()?;
        let found = self.found.get(index)?;
        Some(found.failed(unreadable.map(str::to_owned)))
    }

    /// Returns the artifacts at whose recall files the disk failed so far, with its errors.
    pub(crate) fn unreadable(&self) -> impl Iterator<Item = (&(PathBuf, Digest), &str)> {
        let lost = self.lost.iter().map(|(place, error)| (place, &**error));
        let found = self.found.iter().filter_map(|found| {
            let error = found.recall.recall().unreadable()?;
            Some((&found.place, error))
        });
        lost.chain(found)
    }

    /// Compares the artifacts with their records as a whole, except those for which `is_known` returns true. Returns
    /// those that do not match.
    ///
    /// # Errors
    /// Returns the first error of `check`, which is called often.
    pub(crate) fn verify<E>(
        &self,
        is_known: impl Fn(&Path, &Digest) -> bool,
        mut check: impl FnMut() -> Result<(), E>,
    ) -> Result<Vec<Failed<'_>>, E> {
        let mut failed = Vec::new();
        for found in &self.found {
            if is_known(&found.place.0, &found.place.1) {
                continue;
            }
            match found.original.verify(&mut check)? {
                Ok(()) => {}
                Err(Problem::Unreadable(error)) => {
                    failed.push(found.failed(Some(error.to_string())))
                }
                Err(_) => failed.push(found.failed(None)),
            }
        }
        Ok(failed)
    }

    /// Returns the artifacts from which bodies may be copied: their directories, and their images.
    pub(crate) fn artifacts(&self) -> impl Iterator<Item = &(PathBuf, Digest)> {
        self.found.iter().map(|found| &found.place)
    }

    /// Returns the number of bytes that were copied.
    pub(crate) fn copied(&self) -> u64 {
        self.outcome.bytes()
    }
}
