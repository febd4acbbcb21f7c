//! A layer that its own thread decompresses ahead of the reader.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use ociget::{DiffId, Verified};

use super::body::{BlobBody, Wanted};
use super::meter::{Meters, Spent};
use super::queue::{self, queue};
use super::share::ReadAhead;
use crate::flatten::LayerSpec;
use crate::layer::{Chunk, Error, Inflated, Inflater, Limits, Pieces, Stopped, Stream};
use crate::staging::Stop;

/// A layer in flight.
pub(super) struct Ahead {
    turn: Sender<()>,
    received: Received,
}

enum Message {
    Chunk(Chunk),
    /// The end of the layer, or the reason why it stopped early.
    End(Result<Verified<DiffId>, Stopped>),
}

impl Ahead {
    /// Starts the thread.
    pub(super) fn spawn(
        body: BlobBody,
        wanted: Wanted,
        spec: LayerSpec,
        limits: Limits,
        read_ahead: ReadAhead,
        meters: Arc<Meters>,
        stop: Stop,
    ) -> io::Result<Self> {
        let (turn, my_turn) = channel();
        let (sender, messages) = queue(read_ahead.chunks());
        let meter = Arc::clone(&meters);
        let work = move || {
            let turn = Turn {
                comes: my_turn,
                came: false,
                window: read_ahead.window(),
                meters: Arc::clone(&meter),
            };
            let output = Output {
                messages: &sender,
                meters: &meter,
            };
            let end = inflate(body, spec, &limits, turn, read_ahead.chunk(), output);
            // If the receiver was dropped, no answer is needed.
            let _ = sender.send(Message::End(end));
        };
        let thread = thread::Builder::new()
            .name("inflate".to_owned())
            .spawn(work)?;
        Ok(Self {
            turn,
            received: Received {
                _wanted: wanted,
                messages,
                end: None,
                meters,
                stop,
                _thread: Thread(Some(thread)),
            },
        })
    }

    /// Takes the layer's stream, because it is this layer's turn.
    pub(super) fn into_stream(self) -> Stream<'static> {
        // A thread that has finished needs no turn.
        let _ = self.turn.send(());
        Stream::new(Box::new(self.received))
    }
}

/// When a layer that needs much memory may allocate it.
struct Turn {
    comes: Receiver<()>,
    came: bool,
    /// Largest window in bytes that may be allocated before the turn.
    window: u64,
    meters: Arc<Meters>,
}

impl Turn {
    fn wait(&mut self, window: u64) -> io::Result<()> {
        if window > self.window && !self.came {
            let comes = &self.comes;
            let meter = &self.meters.turn;
            meter
                .time(Spent::Blocked, || comes.recv())
                .map_err(|_| gone())?;
            self.came = true;
        }
        Ok(())
    }
}

/// The destination of decompressed bytes.
struct Output<'a> {
    messages: &'a queue::Sender<Message>,
    meters: &'a Meters,
}

/// Compressed bytes for a thread that may wait long for the next ones.
struct Flushing<'a> {
    body: BlobBody,
    messages: &'a queue::Sender<Message>,
}

impl Pieces for Flushing<'_> {
    fn next(&mut self) -> io::Result<Bytes> {
        if self.body.would_wait() {
            self.messages.flush();
        }
        self.body.next()
    }
}

fn inflate(
    body: BlobBody,
    spec: LayerSpec,
    limits: &Limits,
    mut turn: Turn,
    chunk: usize,
    output: Output<'_>,
) -> Result<Verified<DiffId>, Stopped> {
    let LayerSpec { size, diff_id, .. } = spec;
    let meter = &output.meters.inflate;
    let admit = Box::new(move |window| turn.wait(window));
    let messages = output.messages;
    let body = Flushing { body, messages };
    let mut inflater = Inflater::open(body, size, diff_id, limits, admit, chunk)?;
    loop {
        let Some(chunk) = meter.time(Spent::Busy, || inflater.next())? else {
            return Ok(Box::new(inflater).finish()?);
        };
        meter.bytes(chunk.len());
        let sent = || output.messages.send(Message::Chunk(chunk));
        if !meter.time(Spent::Blocked, sent) {
            return Err(Error::Source(gone()).into());
        }
    }
}

/// The reader's end.
struct Received {
    // The order matters: fields are dropped from top to bottom, and the thread is joined last, when nothing is left
    // that it could wait for.
    _wanted: Wanted,
    messages: queue::Receiver<Message>,
    end: Option<Verified<DiffId>>,
    meters: Arc<Meters>,
    stop: Stop,
    _thread: Thread,
}

impl Inflated for Received {
    fn next(&mut self) -> Result<Option<Chunk>, Stopped> {
        if self.end.is_some() {
            return Ok(None);
        }
        self.stop.check().map_err(Error::Source)?;
        let messages = &self.messages;
        let message = self.meters.reader.time(Spent::Starved, || messages.recv());
        match message {
            Some(Message::Chunk(chunk)) => Ok(Some(chunk)),
            Some(Message::End(end)) => {
                self.end = Some(end?);
                Ok(None)
            }
            // The thread reports how it ended, unless it broke off.
            None => {
                let error = io::Error::other("internal error: the decompressing thread panicked");
                Err(Error::Source(error).into())
            }
        }
    }

    fn finish(self: Box<Self>) -> Result<Verified<DiffId>, Error> {
        self.end.ok_or_else(|| Error::Source(gone()))
    }
}

/// A thread that is joined on drop, so that nothing outlives the build.
struct Thread(Option<JoinHandle<()>>);

impl Drop for Thread {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // The reader already saw a panic of the thread as an end without a proof.
            let _ = thread.join();
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the other end of a decompressing thread is gone")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(window: u64) -> (Sender<()>, Turn) {
        let (sender, comes) = channel();
        let turn = Turn {
            comes,
            came: false,
            window,
            meters: Arc::default(),
        };
        (sender, turn)
    }

    #[test]
    fn large_window_waits_only_for_its_turn() {
        let (sender, mut waits) = turn(100);
        waits.wait(100).unwrap();
        let (told, tell) = channel();
        let thread = thread::spawn(move || {
            waits.wait(101).unwrap();
            told.send("mine").unwrap();
            // The sender was dropped, and it is still this layer's turn.
            waits.wait(1 << 27).unwrap();
        });
        assert!(tell.try_recv().is_err());
        sender.send(()).unwrap();
        drop(sender);
        assert_eq!(tell.recv().unwrap(), "mine");
        thread.join().unwrap();
    }

    #[test]
    fn unread_layer_stops_waiting() {
        let (sender, mut waits) = turn(100);
        drop(sender);
        waits.wait(100).unwrap();
        assert!(waits.wait(101).is_err());
    }
}
