//! Where the bodies go.

use std::io::Write;

use bytes::Bytes;
use sqfs_writer::{DataWriter, FileData};

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
