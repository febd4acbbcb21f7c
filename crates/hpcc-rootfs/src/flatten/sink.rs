//! Where the bodies go.

use std::io::Write;

use bytes::Bytes;
use sqfs_writer::{DataWriter, FileData};

use super::known::{Counts, KnownBody, Proof};
use super::layers::LayerSpec;
use crate::layer::Entry;

/// Takes the content of files and gives handles for it.
pub trait BodySink {
    /// What leads to a body that was written.
    type Handle;
    /// Why one could not be.
    type Error: std::error::Error + Send + Sync + 'static;
    /// A body that is being written. Dropping it unfinished means that the image is given up.
    type Body<'a>: Body<Handle = Self::Handle, Error = Self::Error>
    where
        Self: 'a;

    /// Begins a body of that many bytes, holes included.
    ///
    /// # Errors
    /// The sink's own.
    fn begin(&mut self, size: u64) -> Result<Self::Body<'_>, Self::Error>;

    /// Takes a body of a [known layer](super::LayerSource::known). `None` if the sink takes bytes alone, as by default;
    /// then no source of its may know a layer.
    ///
    /// # Errors
    /// The sink's own.
    fn replay(&mut self, body: &KnownBody) -> Result<Option<Self::Handle>, Self::Error> {
        let _ = body;
        Ok(None)
    }

    /// A layer begins, whose entries follow. Not called when a layer is read a second time, for the bodies that are
    /// missing. By default nobody listens.
    fn begin_layer(&mut self, spec: &LayerSpec) {
        let _ = spec;
    }

    /// Takes the next entry of the layer, after it was charged against the limits. If it has a body that is needed, that
    /// follows. An entry that leaves no file of its own, such as a whiteout, comes as a directory without attributes, and
    /// a hard link without attributes. By default nobody listens.
    fn entry(&mut self, entry: &Entry) {
        let _ = entry;
    }

    /// Announces the next body: of the entry `ordinal`, counted from 0, of a layer that was taken before without that
    /// body. Layers are counted from 0, the oldest. Called after all layers. By default nobody listens.
    fn recovers(&mut self, layer: usize, ordinal: u64) {
        let _ = (layer, ordinal);
    }

    /// The layer is through.
    fn end_layer(&mut self, counts: Counts, proof: &Proof) {
        let _ = (counts, proof);
    }
}

/// One body on its way into a [`BodySink`], front to back.
pub trait Body {
    /// As [`BodySink::Handle`].
    type Handle;
    /// As [`BodySink::Error`].
    type Error;

    /// The next bytes; never none. Whoever keeps them keeps the chunk of some hundred KiB that they are a part of.
    ///
    /// # Errors
    /// The sink's own.
    fn data(&mut self, bytes: Bytes) -> Result<(), Self::Error>;

    /// That many zeros that were not stored; never none.
    ///
    /// # Errors
    /// The sink's own.
    fn hole(&mut self, length: u64) -> Result<(), Self::Error>;

    /// The end: as many bytes were given as were announced.
    ///
    /// # Errors
    /// The sink's own.
    fn finish(self) -> Result<Self::Handle, Self::Error>;
}

/// The squashfs writer: bodies go into the image as they come.
impl<W: Write> BodySink for DataWriter<W> {
    type Handle = FileData;
    type Error = sqfs_writer::Error;
    type Body<'a>
        = sqfs_writer::Body<'a, W>
    where
        Self: 'a;

    fn begin(&mut self, _size: u64) -> Result<Self::Body<'_>, Self::Error> {
        Ok(DataWriter::begin(self))
    }
}

impl<W: Write> Body for sqfs_writer::Body<'_, W> {
    type Handle = FileData;
    type Error = sqfs_writer::Error;

    fn data(&mut self, bytes: Bytes) -> Result<(), Self::Error> {
        self.append_bytes(bytes)
    }

    fn hole(&mut self, length: u64) -> Result<(), Self::Error> {
        Self::hole(self, length)
    }

    fn finish(self) -> Result<FileData, Self::Error> {
        Self::finish(self)
    }
}
