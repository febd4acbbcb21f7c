//! A blob as a `Stream` of chunks, and as tokio's `AsyncRead`.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use futures_core::Stream;
use tokio::io::{AsyncRead, ReadBuf};

use super::{BlobStream, State};
use crate::blob::polled::Away;
use crate::error::Error;

impl BlobStream {
    /// The next bytes, by polls.
    pub(super) fn poll_chunk(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, Error>> {
        if !self.polled.left.is_empty() {
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.polled.left))));
        }
        if !matches!(self.state, State::Open(_)) {
            return Poll::Ready(self.take(Ok(None)));
        }
        let body = &mut self.body;
        let running = self.polled.running.get_or_insert_with(|| {
            let mut body = std::mem::replace(body, Box::new(Away));
            Box::pin(async move {
                let delivered = body.chunk().await;
                (body, delivered)
            })
        });
        let (body, delivered) = ready!(running.as_mut().poll(context));
        self.polled.running = None;
        self.body = body;
        Poll::Ready(self.take(delivered))
    }
}

/// Ends after the last chunk of a verified blob, or after the first error.
impl Stream for BlobStream {
    type Item = Result<Bytes, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let stream = self.get_mut();
        if matches!(stream.state, State::Failed(None)) {
            return Poll::Ready(None);
        }
        stream.poll_chunk(context).map(Result::transpose)
    }
}

/// The end of the file means that the blob is verified. A reader that stops before it, as
/// `AsyncReadExt::read_exact` does, has bytes that are not verified.
///
/// An [`Error`] is the source of the I/O error, whose kind is `InvalidData` if the content is wrong.
impl AsyncRead for BlobStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            let mut chunk = match ready!(stream.poll_chunk(context)) {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return Poll::Ready(Ok(())),
                Err(error) => return Poll::Ready(Err(into_io(error))),
            };
            // An empty read would mean the end.
            if chunk.is_empty() {
                continue;
            }
            let length = chunk.len().min(buffer.remaining());
            buffer.put_slice(&chunk[..length]);
            chunk.advance(length);
            stream.polled.left = chunk;
            return Poll::Ready(Ok(()));
        }
    }
}

fn into_io(error: Error) -> io::Error {
    let kind = match &error {
        Error::Size { .. } | Error::Digest { .. } => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
