//! The sink, and how far it has been written.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::summary::Progress;

/// Counts positions from the start of the image, whose first 96 bytes never go through here.
pub(crate) struct Output<W> {
    sink: W,
    position: u64,
    /// How long the sink has taken.
    busy: Duration,
    /// What whoever wants to know was told last.
    progress: Progress,
    listener: Option<Listener>,
}

/// Wants to know how far the image is.
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

    /// Where in the image the next byte goes.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Writes all of it, and returns where it begins.
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

    /// What to tell the listener with the next write.
    pub(crate) fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }

    /// How long the sink has taken so far.
    pub(crate) fn busy(&self) -> Duration {
        self.busy
    }

    pub(crate) fn into_sink(mut self) -> Result<W, Error> {
        self.sink.flush().map_err(Error::Sink)?;
        Ok(self.sink)
    }
}
