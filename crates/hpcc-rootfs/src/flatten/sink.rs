//! Where flattening writes the bodies of files.

use std::io::Write;

use bytes::Bytes;
use sqfs_writer::{DataWriter, FileData};

use super::known::{Counts, KnownBody, Proof};
use super::layers::LayerSpec;
use crate::layer::Entry;

/// Takes the contents of files and returns handles for them.
pub trait BodySink {
    /// A handle of a body that was written.
    type Handle;
    /// The error of the sink.
    type Error: std::error::Error + Send + Sync + 'static;
    /// A body being written. Dropping it before it is finished means that the image is abandoned.
    type Body<'a>: Body<Handle = Self::Handle, Error = Self::Error>
    where
        Self: 'a;

    /// Begins a body of `size` bytes, holes included.
    ///
    /// # Errors
    /// Returns an error of the sink.
    fn begin(&mut self, size: u64) -> Result<Self::Body<'_>, Self::Error>;

    /// Takes a body of a [known layer](super::LayerSource::known). The default implementation returns `None`, for a
    /// sink that takes only bytes; its source must then know no layer.
    ///
    /// # Errors
    /// Returns an error of the sink.
    fn replay(&mut self, body: &KnownBody) -> Result<Option<Self::Handle>, Self::Error> {
        let _ = body;
        Ok(None)
    }

    /// Announces a layer, whose entries follow. Not called for the second pass over a layer, for the bodies that are
    /// missing. The default implementation does nothing.
    fn begin_layer(&mut self, spec: &LayerSpec) {
        let _ = spec;
    }

    /// Takes the next entry of the layer, after it was charged against the limits. If it has a body that is needed, the
    /// body follows. An entry that creates no file of its own, such as a whiteout, arrives as a directory without
    /// attributes, and a hard link arrives without attributes. The default implementation does nothing.
    fn entry(&mut self, entry: &Entry) {
        let _ = entry;
    }

    /// Announces the next body: that of the entry `ordinal`, counted from 0, of a layer whose entries were taken before
    /// without that body. Layers are counted from 0, the oldest. Called after all layers. The default implementation
    /// does nothing.
    fn recovers(&mut self, layer: usize, ordinal: u64) {
        let _ = (layer, ordinal);
    }

    /// Announces the end of the layer.
    fn end_layer(&mut self, counts: Counts, proof: &Proof) {
        let _ = (counts, proof);
    }
}

/// One body that a [`BodySink`] takes, front to back.
pub trait Body {
    /// The handle, as [`BodySink::Handle`].
    type Handle;
    /// The error, as [`BodySink::Error`].
    type Error;

    /// Appends `bytes`, which is never empty. `bytes` is a slice of a shared chunk of up to 256 KiB, and holding it
    /// keeps the whole chunk allocated.
    ///
    /// # Errors
    /// Returns an error of the sink.
    fn data(&mut self, bytes: Bytes) -> Result<(), Self::Error>;

    /// Appends `length` zeros that the archive did not store. `length` is never 0.
    ///
    /// # Errors
    /// Returns an error of the sink.
    fn hole(&mut self, length: u64) -> Result<(), Self::Error>;

    /// Finishes the body, after as many bytes as were announced.
    ///
    /// # Errors
    /// Returns an error of the sink.
    fn finish(self) -> Result<Self::Handle, Self::Error>;
}

/// The squashfs writer, which writes bodies to the image as they arrive.
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
