//! A response body that is read as it is sent, and that can be cut, bent and held up on the way.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame};
use tokio::time::Sleep;

use crate::image::Content;

const CHUNK: u64 = 64 * 1024;

/// How long bytes that were handed to the connection get to leave before it is cut. hyper drops
/// what it still buffers when a body fails.
const FLUSH: Duration = Duration::from_millis(20);

/// The bytes `from..to` of a content.
///
/// It never tells its length (no `size_hint`), so that the Content-Length header may say anything.
#[derive(Debug)]
pub(super) struct Payload {
    content: Content,
    from: u64,
    to: u64,
    corrupt: Option<u64>,
    /// Where the connection is cut.
    cut: Option<u64>,
    stall: Option<(u64, Duration)>,
    /// From where on bytes come in small pieces, and how long each takes.
    drip: Option<(u64, Duration)>,
    /// Bytes of such a piece.
    piece: u64,
    /// Begins again at its end.
    endless: bool,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Payload {
    pub(super) fn of(content: Content, from: u64, to: u64) -> Self {
        Self {
            content,
            from,
            to,
            corrupt: None,
            cut: None,
            stall: None,
            drip: None,
            piece: 1,
            endless: false,
            waiting: None,
        }
    }

    pub(super) fn text(text: impl Into<String>) -> Self {
        let content = Content::Memory(text.into().into_bytes().into());
        let to = content.size();
        Self::of(content, 0, to)
    }

    pub(super) fn len(&self) -> u64 {
        self.to - self.from
    }

    pub(super) fn corrupt_at(&mut self, position: u64) {
        self.corrupt = Some(position);
    }

    pub(super) fn cut_at(&mut self, position: u64) {
        self.cut = Some(position);
    }

    pub(super) fn stall_at(&mut self, position: u64, time: Duration) {
        self.stall = Some((position, time));
    }

    pub(super) fn drip_at(&mut self, position: u64, every: Duration) {
        self.drip = Some((position, every));
    }

    pub(super) fn throttle(&mut self, piece: u64, every: Duration) {
        self.drip = Some((0, every));
        self.piece = piece.max(1);
    }

    pub(super) fn go_on_forever(&mut self) {
        self.endless = true;
    }

    fn drips(&self) -> Option<Duration> {
        let (at, every) = self.drip?;
        (self.from >= at && self.from < self.to).then_some(every)
    }

    /// Returns the next bytes, up to the next place where something happens.
    fn next(&mut self) -> io::Result<Bytes> {
        let stops = [
            self.cut,
            self.stall.map(|(at, _)| at),
            self.drip.map(|(at, _)| at),
        ];
        let most = if self.drips().is_some() {
            self.piece
        } else {
            CHUNK
        };
        let mut end = self.to.min(self.from + most);
        for stop in stops.into_iter().flatten() {
            if stop > self.from {
                end = end.min(stop);
            }
        }
        let most = usize::try_from(end - self.from).map_err(io::Error::other)?;
        let mut bytes = self.content.read_at(self.from, most)?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(distance) = self.corrupt.and_then(|at| at.checked_sub(self.from))
            && let Ok(index) = usize::try_from(distance)
            && let Some(byte) = bytes.get_mut(index)
        {
            *byte ^= 1;
        }
        self.from += u64::try_from(bytes.len()).map_err(io::Error::other)?;
        Ok(bytes.into())
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            if let Some(sleep) = &mut self.waiting {
                std::task::ready!(sleep.as_mut().poll(context));
                self.waiting = None;
                if self.cut.is_some_and(|at| self.from >= at) {
                    return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())));
                }
                if self.drips().is_some() {
                    return Poll::Ready(Some(self.next().map(Frame::data)));
                }
            }
            if self.endless && self.from >= self.to {
                self.from = 0;
            }
            let pause = match self.stall {
                Some((at, time)) if self.from >= at => {
                    self.stall = None;
                    time
                }
                _ if self.cut.is_some_and(|at| self.from >= at) => FLUSH,
                _ if self.from >= self.to => return Poll::Ready(None),
                _ if self.drips().is_some() => self.drips().unwrap_or_default(),
                _ => return Poll::Ready(Some(self.next().map(Frame::data))),
            };
            self.waiting = Some(Box::pin(tokio::time::sleep(pause)));
        }
    }
}
