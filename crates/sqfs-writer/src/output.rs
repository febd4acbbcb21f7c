//! The sink, and how far it has been written.

use std::io::Write;

use crate::error::Error;

/// Counts positions from the start of the image, whose first 96 bytes never go through here.
pub(crate) struct Output<W> {
    sink: W,
    position: u64,
}

impl<W: Write> Output<W> {
    pub(crate) fn new(sink: W, position: u64) -> Self {
        Self { sink, position }
    }

    /// Where in the image the next byte goes.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Writes all of it, and returns where it begins.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<u64, Error> {
        let start = self.position;
        self.sink.write_all(bytes).map_err(Error::Sink)?;
        self.position += bytes.len() as u64;
        Ok(start)
    }

    pub(crate) fn into_sink(mut self) -> Result<W, Error> {
        self.sink.flush().map_err(Error::Sink)?;
        Ok(self.sink)
    }
}
