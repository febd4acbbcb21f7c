//! The sink, with the position in the image.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::summary::Progress;

/// The sink. Positions count from the start of the image, whose first 96 bytes do not pass through it.
pub(crate) struct Output<W> {
    sink: W,
    position: u64,
    /// Time spent in the sink.
    busy: Duration,
    /// The values that the listener received last, and the changes since.
    progress: Progress,
    listener: Option<Listener>,
}

/// Receives the progress of the image.
pub(crate) type Listener = Box<dyn FnMut(Progress) + Send>;

impl<W: Write> Output<W> {
    pub(crate) fn new(sink: W, position: u64) -> Self {
        Self {
            sink,
            position,
            busy: Duration::ZERO,
            progress: Progress::default(),
            listener: None,
        }
    }

    /// Returns the position of the next byte in the image.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Writes all bytes, and returns the position of the first.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<u64, Error> {
        let start = self.position;
        let clock = Instant::now();
        self.sink.write_all(bytes).map_err(Error::Sink)?;
        self.busy += clock.elapsed();
        self.position += bytes.len() as u64;
        self.progress.image_bytes = self.position;
        if let Some(listener) = &mut self.listener {
            listener(self.progress);
        }
        Ok(start)
    }

    pub(crate) fn listen(&mut self, listener: Listener) {
        self.listener = Some(listener);
    }

    /// Returns the progress that the listener receives with the next write.
    pub(crate) fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }

    /// Returns the time spent in the sink so far.
    pub(crate) fn busy(&self) -> Duration {
        self.busy
    }

    pub(crate) fn into_sink(mut self) -> Result<W, Error> {
        flush(&mut self.sink).map_err(Error::Sink)?;
        Ok(self.sink)
    }
}

/// Flushes the sink, as often as a signal interrupts it: writes go on after one too.
pub(crate) fn flush(sink: &mut impl Write) -> io::Result<()> {
    loop {
        match sink.flush() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}
