//! The bytes of one range, on their way from the task that fetches it to the reader of the blob.
//!
//! Bytes are copied into pieces of their own, because a few bytes of a connection keep its whole buffer in memory. So a
//! range that waits takes about as much memory as it has bytes, however few of them come at a time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

/// Most bytes of a piece.
const PIECE: usize = 64 << 10;

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Something came, or nothing more will.
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Of [`PIECE`] bytes each.
    full: VecDeque<Bytes>,
    /// Those after them.
    last: Vec<u8>,
    /// Why there are no more after them.
    failure: Option<String>,
    is_ended: bool,
    is_abandoned: bool,
}

/// Makes the two ends.
pub(super) fn pair() -> (Sender, Receiver) {
    let shared = Arc::<Shared>::default();
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

/// The end of the task. Dropping it ends the bytes.
#[derive(Debug)]
pub(super) struct Sender(Arc<Shared>);

/// The end of the reader.
#[derive(Debug)]
pub(super) struct Receiver(Arc<Shared>);

impl Sender {
    /// Returns whether there still is a reader.
    pub(super) fn send(&self, mut bytes: &[u8]) -> bool {
        let mut state = self.0.state();
        while !bytes.is_empty() && !state.is_abandoned {
            let room = PIECE.saturating_sub(state.last.len());
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            state.append(now);
            bytes = later;
        }
        let is_read = !state.is_abandoned;
        drop(state);
        self.0.news.notify_one();
        is_read
    }

    /// Ends the bytes with the reason why there are no more.
    pub(super) fn fail(self, reason: String) {
        self.0.state().failure = Some(reason);
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.state().is_ended = true;
        self.0.news.notify_one();
    }
}

impl Receiver {
    /// Waits for the next bytes, and returns all that came, up to a piece; `None` at the end. Dropping the future loses
    /// none.
    pub(super) async fn recv(&mut self) -> Option<Result<Bytes, String>> {
        loop {
            {
                let mut state = self.0.state();
                if let Some(bytes) = state.take() {
                    return Some(Ok(bytes));
                }
                if state.is_ended {
                    return state.failure.take().map(Err);
                }
            }
            self.0.news.notified().await;
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut state = self.0.state();
        *state = State {
            is_abandoned: true,
            ..State::default()
        };
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Appends bytes, which must fit the last piece.
    fn append(&mut self, bytes: &[u8]) {
        let length = self.last.len() + bytes.len();
        if length > self.last.capacity() {
            // Twice as much each time, as a vector does by itself, but never more than a piece.
            let capacity = (2 * self.last.capacity()).min(PIECE).max(length);
            self.last.reserve_exact(capacity - self.last.len());
        }
        self.last.extend_from_slice(bytes);
        if self.last.len() >= PIECE {
            self.full.push_back(std::mem::take(&mut self.last).into());
        }
    }

    fn take(&mut self) -> Option<Bytes> {
        let piece = self.full.pop_front();
        piece.or_else(|| (!self.last.is_empty()).then(|| std::mem::take(&mut self.last).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_arrive_in_order_before_the_reason_of_their_end() {
        let all: Vec<u8> = (0..=u8::MAX).cycle().take(3 * PIECE + 7).collect();
        for size in [1, 1000, PIECE - 1, PIECE, PIECE + 1, all.len()] {
            let (sender, mut receiver) = pair();
            for bytes in all.chunks(size) {
                assert!(sender.send(bytes));
                let state = receiver.0.state();
                assert!(state.last.capacity() <= PIECE, "{size}");
            }
            assert_eq!(receiver.0.state().full.len(), 3);
            sender.fail("it broke".to_owned());
            let mut found = Vec::new();
            while let Some(Ok(bytes)) = receiver.recv().await {
                found.extend_from_slice(&bytes);
            }
            assert!(found == all, "{size}");
        }
        let (sender, mut receiver) = pair();
        sender.send(b"some");
        assert_eq!(receiver.recv().await, Some(Ok(Bytes::from_static(b"some"))));
        sender.fail("it broke".to_owned());
        assert_eq!(receiver.recv().await, Some(Err("it broke".to_owned())));
        assert_eq!(receiver.recv().await, None);
    }

    #[tokio::test]
    async fn reader_that_waits_gets_a_single_byte() {
        let (sender, mut receiver) = pair();
        let (received, ()) = tokio::join!(receiver.recv(), async {
            tokio::task::yield_now().await;
            sender.send(b"a");
        });
        assert_eq!(received, Some(Ok(Bytes::from_static(b"a"))));
        drop(receiver);
        assert!(!sender.send(b"b"));
    }
}
