//! The layers that a build looks for in recall files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;

use ociget::Image;

use super::directory::LayerPart;
use super::head::{self, BlockRules, Name};
use super::layer_set::LayerSet;
use crate::artifact::ImageOptions;
use crate::layer::Limits;

/// The layers of an image by their digests, each once however often the image has it.
#[derive(Debug)]
pub(crate) struct Wanted {
    rules: BlockRules,
    limits: Limits,
    distinct: Vec<ociget::Layer>,
    /// For each layer of the image: its index among the distinct ones.
    numbers: Vec<usize>,
    /// The distinct ones in the order of their names. A million names are looked up in stores of many artifacts.
    by_name: Vec<(Name, usize)>,
}

/// The distinct layers of an image that an artifact knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    pub(crate) any: LayerSet,
    /// Those of which it has all files.
    pub(crate) whole: LayerSet,
}

impl Known {
    pub(super) fn insert(&mut self, number: usize, is_whole: bool) {
        self.any.insert(number);
        if is_whole {
            self.whole.insert(number);
        }
    }
}

impl Wanted {
    pub(crate) fn new(image: &Image, limits: &Limits, options: &ImageOptions) -> Self {
        let mut by_name: BTreeMap<Name, usize> = BTreeMap::new();
        let mut wanted = Self {
            rules: BlockRules::of(options),
            limits: limits.clone(),
            distinct: Vec::new(),
            numbers: Vec::with_capacity(image.layers.len()),
            by_name: Vec::new(),
        };
        for layer in &image.layers {
            let digest = layer.descriptor.digest.to_string();
            let name = Name::new(&layer.diff_id.to_string(), &digest, layer.descriptor.size);
            let next = wanted.distinct.len();
            let number = *by_name.entry(name).or_insert(next);
            let is_same = |first: &ociget::Layer| {
                first.diff_id == layer.diff_id && first.descriptor.digest == layer.descriptor.digest
            };
            // Names that are equal by chance are different layers, of which the second is not looked for.
            let number = match wanted.distinct.get(number) {
                Some(first) if is_same(first) => number,
                _ => {
                    wanted.distinct.push(layer.clone());
                    next
                }
            };
            wanted.numbers.push(number);
        }
        wanted.by_name = by_name.into_iter().collect();
        wanted
    }

    fn named(&self, name: Name) -> Option<usize> {
        let found = self.by_name.binary_search_by_key(&name, |(name, _)| *name);
        self.by_name.get(found.ok()?).map(|(_, number)| *number)
    }

    /// Returns the number of distinct layers.
    pub(crate) fn count(&self) -> usize {
        self.distinct.len()
    }

    /// Returns the number among the distinct layers of a layer of the image.
    pub(super) fn number(&self, layer: usize) -> Option<usize> {
        self.numbers.get(layer).copied()
    }

    pub(super) fn layer(&self, number: usize) -> Option<&ociget::Layer> {
        self.distinct.get(number)
    }

    /// Returns which layers a recall file claims to know, and the number of bytes that were read of it.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or has another version.
    pub(crate) fn claimed(&self, file: &File) -> io::Result<(Known, u64)> {
        let mut known = Known::default();
        let read = head::read(file, self.rules, |name, is_whole| {
            if let Some(number) = self.named(name) {
                known.insert(number, is_whole);
            }
        })?;
        Ok((known, read))
    }

    /// Returns the number of the layer that a part of a recall file describes, if it would be read under the limits.
    pub(super) fn find(&self, part: &LayerPart) -> Option<usize> {
        let number = self.named(part.name())?;
        let layer = self.distinct.get(number)?;
        part.is(layer, &self.limits).then_some(number)
    }
}

#[cfg(test)]
impl Wanted {
    /// Returns the wish for one layer, the head of a file that knows it, and the head of one that knows another.
    pub(crate) fn with_heads() -> (Self, Vec<u8>, Vec<u8>) {
        let rules = BlockRules::of(&ImageOptions::default());
        let [name, other] = ["blob", "other"].map(|blob| Name::new("diff", blob, 1));
        let heads = [name, other].map(|name| {
            let layers = std::iter::once((name, true));
            head::encode(rules, layers).unwrap()
        });
        let wanted = Self {
            rules,
            limits: Limits::default(),
            distinct: Vec::new(),
            numbers: Vec::new(),
            by_name: vec![(name, 0)],
        };
        let [knowing, not] = heads;
        (wanted, knowing, not)
    }
}
