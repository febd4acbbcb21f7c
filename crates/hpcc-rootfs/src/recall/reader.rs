//! A recall file that was opened.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::Arc;

use super::bytes::small;
use super::damaged::damaged;
use super::directory::{Directory, Rules};
use super::documents::Documents;
use super::layer::{self, Listed};
use super::places::{self, Fragment};
use super::section::{Section, SectionReader, Unreadable};
use super::wanted::{Known, Wanted};
use crate::flatten::{Counts, Remembered};

/// The recall file of an earlier build, beside its artifact.
#[derive(Debug)]
pub(crate) struct Recall {
    file: Arc<File>,
    directory: Directory,
    unreadable: Unreadable,
}

/// The part of a recall file that a build can use.
#[derive(Debug)]
pub(crate) struct Useful {
    recall: Recall,
    known: Known,
    /// The layers that are kept in memory, each with its number among those that are wanted.
    parts: Vec<(usize, Part)>,
}

/// A layer of a recall file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(super) index: usize,
    /// Whether the artifact holds all of its files.
    pub(crate) is_whole: bool,
}

impl Recall {
    /// Reads a recall file, if it was written by the rules of this program. Takes the bytes that it reads off `bytes`, also
    /// if they are of no use.
    ///
    /// # Errors
    /// Returns the reason why it is of no use.
    pub(crate) fn read(file: File, bytes: &mut u64) -> io::Result<Self> {
        let directory = Directory::read(&file, bytes)?;
        if directory.rules != Rules::CURRENT {
            return Err(damaged("it was written with other parameters"));
        }
        Ok(Self {
            file: Arc::new(file),
            directory,
            unreadable: Unreadable::default(),
        })
    }

    /// Finds the layers that are wanted. `keeps` says for each, with whether the artifact has all files of it, whether it is
    /// kept in memory. All others are dropped, because a directory takes a kilobyte of memory for each layer. If the image
    /// of the artifact has a layer several times, a part with all of its files is preferred.
    pub(crate) fn useful(
        mut self,
        wanted: &Wanted,
        mut keeps: impl FnMut(usize, bool) -> bool,
    ) -> Useful {
        let mut best: BTreeMap<usize, Part> = BTreeMap::new();
        for (index, layer) in self.directory.layers.iter().enumerate() {
            let Some(number) = wanted.find(layer) else {
                continue;
            };
            let is_whole = layer.whole;
            let part = Part { index, is_whole };
            let found = best.entry(number).or_insert(part);
            if is_whole && !found.is_whole {
                *found = part;
            }
        }
        let mut known = Known::default();
        for (number, part) in &best {
            known.insert(*number, part.is_whole);
        }
        best.retain(|number, part| keeps(*number, part.is_whole));
        let layers = std::mem::take(&mut self.directory.layers);
        let mut layers: Vec<_> = layers.into_iter().map(Some).collect();
        let mut parts = Vec::with_capacity(best.len());
        for (number, Part { index, is_whole }) in best {
            if let Some(layer) = layers.get_mut(index).and_then(Option::take) {
                let index = self.directory.layers.len();
                self.directory.layers.push(layer);
                parts.push((number, Part { index, is_whole }));
            }
        }
        Useful {
            recall: self,
            known,
            parts,
        }
    }

    /// Returns the root of the record of the artifact to which it belongs.
    pub(crate) fn root(&self) -> &str {
        &self.directory.root
    }

    /// Returns whether it belongs to the artifact whose record has this root.
    pub(crate) fn is_of(&self, root: &str) -> bool {
        self.directory.root == root
    }

    /// Returns the digests and sizes of the blobs of its layers, and whether the artifact holds all files of each.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = (&str, u64, bool)> {
        let layers = self.directory.layers.iter();
        layers.map(|layer| (layer.blob(), layer.size, layer.whole))
    }

    /// Opens one of its layers, whose bodies are in this artifact.
    pub(super) fn layer(
        &self,
        part: Part,
        layer: &ociget::Layer,
        artifact: u16,
    ) -> io::Result<Listed> {
        let part = self.directory.layers.get(part.index);
        let part = part.ok_or_else(|| damaged("there is no such layer"))?;
        let open = |section| self.open(section);
        Ok(Listed {
            list: open(&part.list)?,
            places: open(&part.places)?,
            recovered: layer::recovered(open(&part.recovered)?, part.entries)?.into(),
            ordinal: 0,
            left: part.entries,
            counts: Counts {
                entries: part.headers,
                logical_bytes: part.logical_bytes,
                unpacked_bytes: part.unpacked_bytes,
            },
            artifact,
            xattrs: part.xattrs(),
            remembered: Remembered {
                blob: layer.descriptor.digest.clone(),
                diff_id: layer.diff_id.clone(),
            },
        })
    }

    fn open(&self, section: &Section) -> io::Result<SectionReader> {
        SectionReader::new(Arc::clone(&self.file), section, &self.unreadable)
    }

    /// Returns the error of the disk if reading a section failed because of it.
    pub(super) fn unreadable(&self) -> Option<&str> {
        self.unreadable.get().map(String::as_str)
    }

    /// Appends the fragments of the artifact, in the order of their indexes, if there are at most `most`.
    pub(super) fn fragments(&self, into: &mut Vec<Fragment>, most: usize) -> io::Result<()> {
        let mut section = self.open(&self.directory.fragments)?;
        let count: usize = small(&mut section)?;
        if count > most {
            return Err(damaged("there are too many fragments"));
        }
        into.try_reserve_exact(count).map_err(io::Error::from)?;
        for _ in 0..count {
            into.push(places::read_fragment(&mut section)?);
        }
        section.finish()
    }

    /// Returns the documents of the image.
    ///
    /// # Errors
    /// Returns an error if they cannot be read or are damaged.
    pub(crate) fn documents(&self) -> io::Result<Documents> {
        let mut section = self.open(&self.directory.documents)?;
        let documents = Documents::read(&mut section)?;
        section.finish()?;
        Ok(documents)
    }
}

impl Useful {
    /// Returns the layers that the artifact knows.
    pub(crate) fn known(&self) -> &Known {
        &self.known
    }

    pub(super) fn parts(&self) -> &[(usize, Part)] {
        &self.parts
    }

    pub(super) fn recall(&self) -> &Recall {
        &self.recall
    }
}
