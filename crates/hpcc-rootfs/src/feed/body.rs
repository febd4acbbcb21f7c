//! The compressed bytes of one layer, passed from the asynchronous side to a thread that reads them.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::meter::{Meters, Spent};
use crate::layer::Pieces;
use crate::staging::Stop;

/// Pieces of fewer bytes than this are copied out of the buffer in which they arrived.
const SMALL: usize = 4 << 10;

/// Smallest charge for a piece in bytes, for its message and its allocation.
const LEAST: usize = 128;

/// Makes the two ends of a channel that holds at most `bytes` bytes. `stop` ends the reading side.
pub(super) fn channel(bytes: u32, meters: Arc<Meters>, stop: Stop) -> (Sender, BlobBody, Wanted) {
    // Permits that travel with the bytes bound them.
    let (messages, receiver) = mpsc::unbounded_channel();
    let (wanted, kept) = mpsc::channel(1);
    let sender = Sender {
        messages,
        wanted,
        room: Arc::new(Semaphore::new(bytes as usize)),
        bytes,
    };
    let body = BlobBody {
        messages: receiver,
        used: None,
        half: bytes as usize / 2,
        verified: false,
        meters,
        stop,
    };
    (sender, body, Wanted(kept))
}

enum Message {
    Data(Bytes, OwnedSemaphorePermit),
    /// The blob was sent in full, and matched its descriptor.
    Verified,
}

/// The asynchronous end.
pub(super) struct Sender {
    messages: mpsc::UnboundedSender<Message>,
    wanted: mpsc::Sender<()>,
    room: Arc<Semaphore>,
    bytes: u32,
}

impl Sender {
    /// Waits for capacity and sends. Returns `false` if the reader was dropped.
    pub(super) async fn data(&self, mut bytes: Bytes) -> bool {
        if bytes.len() < SMALL {
            // A piece may be one byte of a large buffer, which would be kept for each piece.
            bytes = Bytes::copy_from_slice(&bytes);
        }
        // A piece may be larger than the whole capacity; it then passes alone.
        let length = bytes.len().max(LEAST);
        let length = u32::try_from(length).map_or(self.bytes, |length| length.min(self.bytes));
        let room = Arc::clone(&self.room).acquire_many_owned(length);
        tokio::select! {
            permit = room => match permit {
                Ok(permit) => self.messages.send(Message::Data(bytes, permit)).is_ok(),
                Err(_) => false,
            },
            () = self.closed() => false,
        }
    }

    /// Reports that the blob is complete and verified.
    pub(super) fn verified(&self) {
        // If the reader was dropped, its own error says why.
        let _ = self.messages.send(Message::Verified);
    }

    /// Waits until the reader is dropped.
    pub(super) async fn closed(&self) {
        tokio::select! {
            () = self.messages.closed() => {}
            () = self.wanted.closed() => {}
        }
    }
}

/// Shows that the bytes are wanted for as long as it lives. The reader itself cannot show it while it waits for a
/// silent server.
pub(super) struct Wanted(
    #[expect(dead_code, reason = "it is there to be dropped")] mpsc::Receiver<()>,
);

/// The blocking end.
pub(super) struct BlobBody {
    messages: mpsc::UnboundedReceiver<Message>,
    /// Permits of the bytes that were read. They are released half of the capacity at a time, because a release wakes
    /// the sender.
    used: Option<OwnedSemaphorePermit>,
    half: usize,
    verified: bool,
    meters: Arc<Meters>,
    stop: Stop,
}

impl Pieces for BlobBody {
    fn next(&mut self) -> io::Result<Bytes> {
        while !self.verified {
            // The pieces received so far may decompress to a thousand times as much, or to nothing.
            self.stop.check()?;
            match self.message() {
                Some(Message::Data(bytes, permit)) => {
                    match &mut self.used {
                        Some(used) => used.merge(permit),
                        None => self.used = Some(permit),
                    }
                    // An empty piece would mean the end.
                    if !bytes.is_empty() {
                        return Ok(bytes);
                    }
                }
                Some(Message::Verified) => self.verified = true,
                None => return Err(stopped()),
            }
        }
        Ok(Bytes::new())
    }
}

impl BlobBody {
    /// Returns whether the next piece has not arrived yet.
    pub(super) fn would_wait(&self) -> bool {
        !self.verified && self.messages.is_empty()
    }

    fn message(&mut self) -> Option<Message> {
        let used = self.used.as_ref();
        if used.is_some_and(|used| used.num_permits() >= self.half) {
            self.used = None;
        }
        if let Ok(message) = self.messages.try_recv() {
            return Some(message);
        }
        // Release the permits before blocking, because the sender may be waiting for them.
        self.used = None;
        let messages = &mut self.messages;
        let meter = &self.meters.inflate;
        meter.time(Spent::Starved, || messages.blocking_recv())
    }
}

pub(super) fn stopped() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the download stopped")
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "work of a test begins before it is awaited"
)]
mod tests {
    use super::*;

    fn all(body: &mut BlobBody) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        loop {
            let piece = body.next()?;
            if piece.is_empty() {
                return Ok(bytes);
            }
            bytes.extend_from_slice(&piece);
        }
    }

    #[tokio::test]
    async fn permits_are_released_by_half_and_before_blocking() {
        let (sender, mut body, _wanted) = channel(10_000, Arc::default(), Stop::default());
        for length in [4000, 2000, 1000, 0] {
            assert!(sender.data(Bytes::from(vec![1; length])).await);
        }
        let room = || sender.room.available_permits();
        let left = 3000 - LEAST;
        assert_eq!(room(), left);
        assert_eq!(body.next().unwrap().len(), 4000);
        assert_eq!(body.next().unwrap().len(), 2000);
        assert_eq!(room(), left, "4000 are less than half");
        assert_eq!(body.next().unwrap().len(), 1000);
        assert_eq!(room(), left + 6000);
        // An empty piece is not the end; nothing has arrived after it yet.
        assert!(!body.would_wait());
        let reader = tokio::task::spawn_blocking(move || body.next());
        while room() < 10_000 {
            tokio::task::yield_now().await;
        }
        sender.verified();
        assert_eq!(reader.await.unwrap().unwrap(), "");
    }

    #[tokio::test]
    async fn small_pieces_are_charged_exactly_and_free_their_buffer() {
        let (sender, mut body, _wanted) = channel(10 * 128, Arc::default(), Stop::default());
        let buffer = Bytes::from(vec![1; 1 << 20]);
        for at in 0..10 {
            assert!(sender.data(buffer.slice(at..=at)).await);
        }
        assert_eq!(sender.room.available_permits(), 0);
        assert!(buffer.is_unique());
        assert_eq!(body.next().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn no_more_bytes_wait_than_there_is_room_for() {
        let (sender, mut body, _wanted) = channel(10, Arc::default(), Stop::default());
        assert!(sender.data(Bytes::from_static(b"12345678")).await);
        let more = sender.data(Bytes::from_static(b"abc"));
        tokio::pin!(more);
        tokio::select! {
            biased;
            _ = &mut more => panic!("eleven bytes where ten have room"),
            () = tokio::task::yield_now() => {}
        }
        let reader = tokio::task::spawn_blocking(move || all(&mut body));
        assert!(more.await);
        // A piece larger than the whole capacity passes too, alone.
        assert!(sender.data(Bytes::from(vec![b'z'; 100])).await);
        sender.verified();
        let bytes = reader.await.unwrap().unwrap();
        assert_eq!(bytes, [&b"12345678abc"[..], &[b'z'; 100]].concat());
    }

    #[tokio::test]
    async fn channel_that_closes_is_never_the_end_of_a_layer() {
        let (sender, mut body, _wanted) = channel(10, Arc::default(), Stop::default());
        assert!(sender.data(Bytes::from_static(b"half")).await);
        drop(sender);
        let read = tokio::task::spawn_blocking(move || all(&mut body));
        let error = read.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    }

    #[tokio::test]
    async fn a_reader_that_went_away_ends_the_waiting_for_room() {
        let (sender, body, _wanted) = channel(4, Arc::default(), Stop::default());
        assert!(sender.data(Bytes::from_static(b"full")).await);
        let more = sender.data(Bytes::from_static(b"more"));
        drop(body);
        assert!(!more.await);
    }

    #[tokio::test]
    async fn dropped_interest_ends_the_waiting_on_both_sides() {
        let (sender, mut body, wanted) = channel(4, Arc::default(), Stop::default());
        let reader = tokio::task::spawn_blocking(move || body.next());
        drop(wanted);
        sender.closed().await;
        drop(sender);
        assert!(reader.await.unwrap().is_err());
    }
}
