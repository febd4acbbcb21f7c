//! A recall file that was opened.

use std::cmp::Reverse;
use std::fs::File;
use std::io;
use std::sync::Arc;

use super::bytes::small;
use super::damaged::damaged;
use super::directory::{Directory, Rules};
use super::documents::Documents;
use super::layer::{self, Listed};
use super::places::{self, Fragment};
use super::section::SectionReader;
use crate::flatten::{Counts, Remembered};
use crate::layer::Limits;

/// The recall file of an earlier build, beside its artifact.
#[derive(Debug)]
pub(crate) struct Recall {
    file: Arc<File>,
    directory: Directory,
}

/// A layer of a recall file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(super) index: usize,
    /// Whether the artifact holds all of its files.
    pub(crate) is_whole: bool,
}

impl Recall {
    /// Reads a recall file, if it was written by the rules of this program.
    ///
    /// # Errors
    /// Returns the reason why it is of no use.
    pub(crate) fn read(file: File) -> io::Result<Self> {
        let directory = Directory::read(&file)?;
        if directory.rules != Rules::CURRENT {
            return Err(damaged("it was written with other parameters"));
        }
        Ok(Self {
            file: Arc::new(file),
            directory,
        })
    }

    /// Returns whether it belongs to the artifact whose record has this root.
    pub(crate) fn is_of(&self, root: &str) -> bool {
        self.directory.root == root
    }

    /// Returns the digests and sizes of the blobs of its layers.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = (&str, u64)> {
        let layers = self.directory.layers.iter();
        layers.map(|layer| (layer.blob(), layer.size))
    }

    /// Returns the part for this layer, read under limits that are no stricter than these. If the image has the layer
    /// several times, a part with all of its files is preferred.
    pub(crate) fn part(&self, layer: &ociget::Layer, limits: &Limits) -> Option<Part> {
        let parts = self.directory.layers.iter().enumerate();
        let same = parts.filter(|(_, part)| part.is(layer, limits));
        let same = same.map(|(index, part)| Part {
            index,
            is_whole: part.whole,
        });
        same.max_by_key(|part| (part.is_whole, Reverse(part.index)))
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
        let open = |section| SectionReader::new(Arc::clone(&self.file), section);
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

    /// Appends the fragments of the artifact, in the order of their indexes, if there are at most `most`.
    pub(super) fn fragments(&self, into: &mut Vec<Fragment>, most: usize) -> io::Result<()> {
        let mut section = SectionReader::new(Arc::clone(&self.file), &self.directory.fragments)?;
        let count: usize = small(&mut section)?;
        if count > most {
            return Err(damaged("there are too many fragments"));
        }
        into.reserve_exact(count);
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
        let mut section = SectionReader::new(Arc::clone(&self.file), &self.directory.documents)?;
        let documents = Documents::read(&mut section)?;
        section.finish()?;
        Ok(documents)
    }
}
