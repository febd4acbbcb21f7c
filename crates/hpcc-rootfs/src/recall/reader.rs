//! A recall file that was opened.

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::bytes::number;
use super::damaged::damaged;
use super::directory::{Directory, Rules};
use super::documents::Documents;
use super::layer::{self, Listed};
use super::places::{self, Fragment};
use super::section::SectionReader;
use crate::flatten::{Counts, Remembered};
use crate::layer::Limits;

/// What an earlier build left beside its artifact.
#[derive(Debug)]
pub(crate) struct Recall {
    file: Arc<File>,
    directory: Directory,
}

impl Recall {
    /// Reads what is in a file, if it was written by the rules of this program.
    ///
    /// # Errors
    /// Returns why it is of no use.
    pub(crate) fn read(file: File) -> io::Result<Self> {
        let directory = Directory::read(&file)?;
        if directory.rules != Rules::CURRENT {
            return Err(damaged("it was written by other rules"));
        }
        Ok(Self {
            file: Arc::new(file),
            directory,
        })
    }

    /// Whether it belongs to the artifact whose record has this root.
    pub(crate) fn is_of(&self, root: &str) -> bool {
        self.directory.root == root
    }

    /// Returns the digests and sizes of the blobs of its layers.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = (&str, u64)> {
        let layers = self.directory.layers.iter();
        layers.map(|layer| (layer.blob(), layer.size))
    }

    /// Returns which of its layers is this one, read under limits that are no stricter than these.
    pub(crate) fn part(&self, layer: &ociget::Layer, limits: &Limits) -> Option<usize> {
        let mut parts = self.directory.layers.iter();
        parts.position(|part| part.is(layer, limits))
    }

    /// Opens one of its layers, whose bodies are in this artifact.
    pub(super) fn layer(
        &self,
        part: usize,
        layer: &ociget::Layer,
        artifact: u16,
    ) -> io::Result<Listed> {
        let part = self.directory.layers.get(part);
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

    /// Returns the fragments of the artifact, in the order of their indexes. Its image has `image_length` bytes.
    pub(super) fn fragments(&self, image_length: u64) -> io::Result<Vec<Fragment>> {
        let mut section = SectionReader::new(Arc::clone(&self.file), &self.directory.fragments)?;
        let mut fragments = Vec::new();
        let count = number(&mut section)?;
        if count > image_length {
            return Err(damaged("there are more fragments than bytes for them"));
        }
        for _ in 0..count {
            fragments.push(places::read_fragment(&mut section)?);
        }
        section.finish()?;
        Ok(fragments)
    }

    /// Returns the documents of the image.
    ///
    /// # Errors
    /// They cannot be read, or are damaged.
    pub(crate) fn documents(&self) -> io::Result<Documents> {
        let mut section = SectionReader::new(Arc::clone(&self.file), &self.directory.documents)?;
        let documents = Documents::read(&mut section)?;
        section.finish()?;
        Ok(documents)
    }
}
