//! The bridge from the asynchronous side to the reader. Layers are fetched and decompressed ahead in it.
//!
//! ```text
//!   serve (async, in the caller's task)      a thread for each layer           the reader
//!   source.blob() ──chunks──► [ share ] ──► BlobBody ─► inflate, hash ──► [ share ] ──► Stream
//!        ▲                                                                                │
//!        └──────────────── "send layer 2, soon 1 and 0" ◄──── Feed ◄──── open(2) ─────────┘
//! ```
//!
//! The reader takes one layer after the other, newest first. Meanwhile the next layers are fetched and decompressed,
//! each until its share of the read-ahead budget is full. Then its download pauses, and the layer being read has the
//! network to itself. None of this affects the output.
//!
//! The end of a body is a message, sent after the blob's size and digest were verified. A channel that closes without
//! it is a broken download, never the end of a layer. Either side may be dropped at any moment; the other one notices
//! at its next chunk.

mod ahead;
mod body;
mod meter;
mod queue;
mod request;
mod serve;
mod share;
#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "work of a test begins before it is awaited"
)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use tokio::sync::mpsc;

use self::ahead::Ahead;
use self::request::Request;
use crate::flatten::{LayerSource, Layers};
use crate::layer::{Error, Stream};
use crate::staging::Stop;

pub(crate) use meter::Meters;
pub(crate) use serve::{Requests, serve};
pub(crate) use share::ReadAhead;

/// Makes the two ends of the bridge. Once `stop` is requested, the blocking end fails at its next piece, whatever was
/// read ahead.
///
/// Layers that `on_demand` marks are not fetched ahead, because most likely the reader will not need them.
pub(crate) fn feed(read_ahead: ReadAhead, on_demand: Vec<bool>, stop: Stop) -> (Feed, Requests) {
    let (requests, receiver) = mpsc::channel(1);
    let meters = Arc::<Meters>::default();
    let feed = Feed {
        requests,
        meters: Arc::clone(&meters),
        read_ahead,
        stop,
        on_demand,
        started: None,
        ahead: VecDeque::new(),
    };
    (feed, Requests { receiver, meters })
}

/// The blocking end, which opens layers and has the next ones fetched.
pub(crate) struct Feed {
    requests: mpsc::Sender<Request>,
    meters: Arc<Meters>,
    read_ahead: ReadAhead,
    stop: Stop,
    /// Layers that are not started before the reader opens them.
    on_demand: Vec<bool>,
    /// The oldest layer that was started so far.
    started: Option<usize>,
    /// Layers that were started and not yet opened, newest first.
    ahead: VecDeque<(usize, Ahead)>,
}

impl Feed {
    /// Returns the meters of the stages.
    pub(crate) fn meters(&self) -> Arc<Meters> {
        Arc::clone(&self.meters)
    }

    fn start(&mut self, layer: usize, layers: Layers<'_>) -> Result<Ahead, Error> {
        let Some(spec) = layers.specs.get(layer) else {
            return Err(Error::Source(io::ErrorKind::NotFound.into()));
        };
        let (chunks, body, wanted) = body::channel(
            self.read_ahead.compressed(),
            self.meters(),
            self.stop.clone(),
        );
        let request = Request { layer, chunks };
        self.requests
            .blocking_send(request)
            .map_err(|_| Error::Source(body::stopped()))?;
        Ahead::spawn(
            body,
            wanted,
            spec.clone(),
            layers.limits.clone(),
            self.read_ahead,
            self.meters(),
            self.stop.clone(),
        )
        .map_err(|error| Error::Shortage(ociget::background::no_thread(error)))
    }
}

impl LayerSource for Feed {
    fn open(&mut self, layer: usize, layers: Layers<'_>) -> Result<Stream<'_>, Error> {
        let current = match self.ahead.pop_front() {
            Some((started, ahead)) if started == layer => ahead,
            // The layer was not fetched ahead, so it comes before those that were; these wait for their turn.
            Some(other) if other.0 < layer => {
                self.ahead.push_front(other);
                self.start(layer, layers)?
            }
            // The order differs from the announced one, so nothing that waits will be of use.
            _ => {
                self.ahead.clear();
                self.start(layer, layers)?
            }
        };
        let mut oldest = self.started.unwrap_or(layer).min(layer);
        while self.ahead.len() + 1 < self.read_ahead.layers() && oldest > 0 {
            oldest -= 1;
            if self
                .on_demand
                .get(oldest)
                .is_some_and(|on_demand| *on_demand)
            {
                continue;
            }
            let next = self.start(oldest, layers)?;
            self.ahead.push_back((oldest, next));
        }
        self.started = Some(oldest);
        Ok(current.into_stream())
    }

    fn check(&self) -> Result<(), Error> {
        self.stop.check().map_err(Error::Source)
    }
}
