//! Which layers of an image are known, and from where.

use std::cmp::Reverse;
use std::fs::File;
use std::io;
use std::sync::Arc;

use ociget::{Digest, Image};

use super::copies::{Copies, Original, Outcome};
use super::layer::ARTIFACTS_MAX;
use super::reader::Recall;
use crate::flatten::KnownLayer;
use crate::layer::Limits;

/// Places that a layer may be taken from: if a body is missing in one, another may have it.
const CHOICES: usize = 4;

/// An artifact of the store, and what its build left.
pub(crate) struct Found {
    /// The image that it is.
    pub(crate) digest: Digest,
    /// The artifact, open and held.
    pub(crate) file: Arc<File>,
    /// What keeps it from being collected.
    pub(crate) _held: Box<dyn std::any::Any + Send + Sync>,
    /// Bytes of its image.
    pub(crate) image_length: u64,
    /// The digests of its chunks.
    pub(crate) digests: Vec<[u8; 32]>,
    pub(crate) recall: Recall,
}

/// The layers of an image that earlier builds know.
pub(crate) struct Plan {
    layers: Vec<ociget::Layer>,
    found: Vec<Found>,
    /// For each layer: which of the found, and which of its layers.
    choices: Vec<Vec<Choice>>,
    outcome: Outcome,
}

struct Choice {
    found: usize,
    part: usize,
}

impl Plan {
    /// Matches an image with what was found. An artifact of the same image comes first, then those that know most of
    /// the layers.
    pub(crate) fn new(image: &Image, limits: &Limits, found: Vec<Found>) -> Self {
        let identity = image.identity.get();
        let mut matches: Vec<_> = found
            .into_iter()
            .filter_map(|found| {
                let layers = image.layers.iter();
                let parts: Vec<_> = layers
                    .map(|layer| found.recall.part(layer, limits))
                    .collect();
                let count = parts.iter().flatten().count();
                (count > 0).then_some((found, parts, count))
            })
            .collect();
        matches.sort_by_key(|(found, _, count)| {
            (
                Reverse(found.digest == *identity),
                Reverse(*count),
                found.digest.to_string(),
            )
        });
        let mut choices: Vec<Vec<Choice>> = image.layers.iter().map(|_| Vec::new()).collect();
        let mut kept = Vec::new();
        for (found, parts, _) in matches {
            let mut needed = false;
            for (choices, part) in choices.iter_mut().zip(parts) {
                if let Some(part) = part
                    && choices.len() < CHOICES
                {
                    needed = true;
                    choices.push(Choice {
                        found: kept.len(),
                        part,
                    });
                }
            }
            if needed {
                kept.push(found);
            }
            if kept.len() == ARTIFACTS_MAX {
                break;
            }
        }
        let count = kept.len();
        Self {
            layers: image.layers.clone(),
            found: kept,
            choices,
            outcome: Outcome::new(count),
        }
    }

    /// Whether a layer need not be fetched ahead.
    pub(crate) fn knows(&self, layer: usize) -> bool {
        self.choices
            .get(layer)
            .is_some_and(|choices| !choices.is_empty())
    }

    /// Opens the entries of a layer.
    pub(crate) fn known(&self, layer: usize, choice: usize) -> Option<Box<dyn KnownLayer>> {
        let of = self.layers.get(layer)?;
        for choice in self.choices.get(layer)?.get(choice..)? {
            let found = self.found.get(choice.found)?;
            let artifact = u16::try_from(choice.found).ok()?;
            match found.recall.layer(choice.part, of, artifact) {
                Ok(listed) => return Some(Box::new(listed)),
                Err(error) => tracing::debug!(%error, "a layer of an earlier build is of no use"),
            }
        }
        None
    }

    /// Opens what the bodies of known layers are copied from.
    ///
    /// # Errors
    /// What an earlier build left cannot be read, or is damaged.
    pub(crate) fn copies(&self) -> io::Result<Copies> {
        let originals = self.found.iter().map(|found| {
            Ok(Original {
                file: Arc::clone(&found.file),
                image_length: found.image_length,
                digests: found.digests.clone(),
                fragments: found.recall.fragments()?,
            })
        });
        Copies::new(originals.collect::<io::Result<_>>()?, self.outcome.clone())
    }

    /// Returns the digests of the images whose stored bytes were copied.
    pub(crate) fn sources(&self) -> Vec<Digest> {
        let used = |index: &usize| self.outcome.used(*index);
        let indexes = (0..self.found.len()).filter(used);
        let found = indexes.filter_map(|index| self.found.get(index));
        found.map(|found| found.digest.clone()).collect()
    }

    /// Returns the image whose artifact was found damaged while it was copied from, and its open file.
    pub(crate) fn damaged(&self) -> Option<(&Digest, &File)> {
        let found = self.found.get(self.outcome.damaged()?)?;
        Some((&found.digest, &found.file))
    }

    /// Returns how many stored bytes were copied.
    pub(crate) fn copied(&self) -> u64 {
        self.outcome.bytes()
    }
}
