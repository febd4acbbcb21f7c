//! How much of the disk each artifact takes, and which layers it has in common with others.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;

use ociget::Digest;

use super::handle::Store;
use super::inventory::{self, on_disk};
use super::name::{self, Beside};
use crate::error::Error;
use crate::recall::BlockRules;
use crate::units::Size;

/// The disk space of a store.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Usage {
    /// The artifacts, sorted by digest.
    pub artifacts: Vec<ArtifactUsage>,
    /// Bytes on the disk of notes, locks, lease files and recall files.
    pub beside: u64,
    /// Bytes on the disk of quarantined artifacts and unfinished files, which [`gc`](Store::gc) removes unless a build
    /// works with them.
    pub leftovers: u64,
    /// Artifacts that could not be measured, each with the reason. The numbers leave them out.
    pub failed: Vec<Error>,
}

/// The disk space of one artifact.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ArtifactUsage {
    /// The identity.
    pub digest: Digest,
    /// The reference that it was last built from, if known.
    pub source: Option<String>,
    /// Bytes of the file.
    pub size: u64,
    /// Bytes that the file takes on the disk; less than `size` if it has holes. As far as this program knows, artifacts
    /// share no blocks: each is a whole file.
    pub disk: u64,
    /// Number of names that the file has. Removing the artifact frees its space only if it is 1.
    pub links: u64,
    /// The compressed layers that it was made from; `None` if the build left no list of them.
    pub layers: Option<LayerUsage>,
}

/// The compressed layers of an image, in bytes as the registry stores them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayerUsage {
    /// Bytes of all layers.
    pub total: u64,
    /// Bytes of the layers of which another artifact holds all files, with the same compressor, block size and tails.
    /// After the image is removed, a pull of it with the same options does not fetch these again.
    pub shared: u64,
}

impl Store {
    /// Returns how much of the disk the artifacts take, and how many bytes of their layers they share. A missing
    /// directory is an empty store.
    ///
    /// # Errors
    /// Returns [`Error::Store`] if the directory cannot be read, and [`Error::Untrusted`] if other users can write to
    /// it.
    pub fn usage(&self) -> Result<Usage, Error> {
        const OPERATION: &str = "measure the store";
        let mut usage = Usage::default();
        if !self.is_made(OPERATION)? {
            return Ok(usage);
        }
        let directory = self.directory();
        let failed = |source| Error::store(OPERATION, directory, source);
        for entry in fs::read_dir(directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let beside = entry.file_name().to_str().and_then(name::classify);
            let Some(beside) = beside else { continue };
            let bytes = entry.metadata().map_or(0, |metadata| on_disk(&metadata));
            match beside {
                Beside::Lock(_) | Beside::Lease(_) | Beside::Note(_) | Beside::Recall(_) => {
                    usage.beside = usage.beside.saturating_add(bytes);
                }
                Beside::Bad(_) | Beside::Staged => {
                    usage.leftovers = usage.leftovers.saturating_add(bytes);
                }
            }
        }
        let digests = inventory::digests(directory).map_err(failed)?;
        let layers: Vec<_> = digests.iter().map(|digest| self.held(digest)).collect();
        let mut whole: BTreeMap<(BlockRules, &str), u64> = BTreeMap::new();
        for (rules, layers) in layers.iter().flatten() {
            for (blob, _) in layers.iter().filter(|(_, layer)| layer.is_whole) {
                *whole.entry((*rules, blob)).or_default() += 1;
            }
        }
        for (digest, layers) in digests.iter().zip(&layers) {
            let metadata = match fs::symlink_metadata(self.path_for(digest)) {
                Ok(metadata) => metadata,
                // The file was removed since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                // One artifact must not hide the others.
                Err(source) => {
                    let error = Error::store("look at", &self.path_for(digest), source);
                    usage.failed.push(error);
                    continue;
                }
            };
            let shared = |rules, blob: &str, layer: &Held| {
                let artifacts = whole.get(&(rules, blob)).copied();
                artifacts.unwrap_or_default() > u64::from(layer.is_whole)
            };
            usage.artifacts.push(ArtifactUsage {
                digest: digest.clone(),
                source: self.source_of(digest),
                size: metadata.len(),
                disk: on_disk(&metadata),
                links: metadata.nlink(),
                layers: layers.as_ref().map(|(rules, layers)| {
                    let shared = layers
                        .iter()
                        .filter(|(blob, layer)| shared(*rules, blob, layer));
                    LayerUsage {
                        total: layers.values().map(|layer| layer.size).sum::<Size>().0,
                        shared: shared.map(|(_, layer)| layer.size).sum::<Size>().0,
                    }
                }),
            });
        }
        Ok(usage)
    }

    /// Returns the sizes of an image's compressed layers by the digests of their blobs; `None` if the artifact does
    /// not exist, or if its build left no list of them.
    #[must_use]
    pub fn layer_sizes(&self, digest: &Digest) -> Option<BTreeMap<String, u64>> {
        let (_, layers) = self.held(digest)?;
        let layers = layers.into_iter();
        Some(layers.map(|(blob, layer)| (blob, layer.size)).collect())
    }

    /// Returns how an artifact stores blocks, and what it holds of the layers of its image by the digests of their blobs.
    fn held(&self, digest: &Digest) -> Option<(BlockRules, BTreeMap<String, Held>)> {
        let recall = self.recall(self.directory(), digest, &mut 0).ok()?;
        let record = self.record(digest).ok()??;
        if !recall.is_of(&record.root()) {
            return None;
        }
        let mut layers: BTreeMap<String, Held> = BTreeMap::new();
        for (blob, size, is_whole) in recall.blobs() {
            let layer = layers.entry(blob.to_owned()).or_default();
            layer.size = size;
            layer.is_whole |= is_whole;
        }
        Some((BlockRules::of(&record.key.image_options()?), layers))
    }
}

/// What an artifact holds of a layer.
#[derive(Debug, Default)]
struct Held {
    /// Bytes of the compressed layer.
    size: u64,
    /// Whether the artifact has all of its files.
    is_whole: bool,
}
