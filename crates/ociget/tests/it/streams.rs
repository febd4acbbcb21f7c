//! Blobs as `Stream` and as `AsyncRead`, which the feature `stream` adds.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure here is a failed test"
)]

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use futures_core::Stream as _;
use ociget::Bytes;
use ociget::{BlobBody, BlobPrefix, BlobStream, BoxFuture, Descriptor, Digest, Error};
use tokio::io::AsyncReadExt as _;

use crate::support::{Content, Delivery, Reply, Server, noise, quick};

async fn next(blob: &mut BlobStream) -> Option<Result<Bytes, Error>> {
    poll_fn(|context| Pin::new(&mut *blob).poll_next(context)).await
}

/// A body that is pending before each chunk, with a timer that only a kept future wakes.
struct Slow(Vec<&'static [u8]>);

impl BlobBody for Slow {
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Error>> {
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let next = (!self.0.is_empty()).then(|| Bytes::from_static(self.0.remove(0)));
            Ok(next)
        })
    }
}

fn slow(promised: &[u8], chunks: &[&'static [u8]]) -> BlobStream {
    let size = u64::try_from(promised.len()).unwrap();
    let descriptor = Descriptor::new("x", Digest::of(promised), size);
    BlobStream::new(&descriptor, "test", Box::new(Slow(chunks.to_vec())))
}

#[tokio::test]
async fn stream_ends_after_the_proof_or_the_first_error() {
    let mut good = slow(b"hello", &[b"hel", b"", b"lo"]);
    let mut bytes = Vec::new();
    while let Some(chunk) = next(&mut good).await {
        bytes.extend_from_slice(&chunk.unwrap());
    }
    assert_eq!(bytes, b"hello");
    assert_eq!(good.finish().await.unwrap().get(), &Digest::of(b"hello"));
    for chunks in [&[&b"hel"[..]][..], &[b"hello!"], &[b"hellO"]] {
        let mut bad = slow(b"hello", chunks);
        let mut errors = 0;
        while let Some(chunk) = next(&mut bad).await {
            errors += u32::from(chunk.is_err());
        }
        assert_eq!(errors, 1);
        assert!(bad.finish().await.is_err());
    }
}

#[tokio::test]
async fn reader_gets_every_byte_and_the_error_of_the_blob() {
    let mut good = slow(b"hello world", &[b"hello", b"", b" world"]);
    let mut some = [0; 3];
    good.read_exact(&mut some).await.unwrap();
    assert_eq!(&some, b"hel");
    // The rest of a chunk is not lost to the other ways to read.
    assert_eq!(good.chunk().await.unwrap().unwrap(), "lo");
    let mut rest = String::new();
    good.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, " world");
    let _proof = good.finish().await.unwrap();
    for chunks in [&[&b"hel"[..]][..], &[b"hello!"], &[b"hellO"]] {
        let error = slow(b"hello", chunks)
            .read_to_end(&mut Vec::new())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
        let inner = error.get_ref().unwrap().downcast_ref::<Error>();
        assert_eq!(inner.unwrap().kind(), ociget::ErrorKind::Corrupt);
    }
}

#[tokio::test]
async fn chunk_that_was_polled_for_is_not_lost() {
    let mut blob = slow(b"hello", &[b"hel", b"lo"]);
    let first = poll_fn(|context| Poll::Ready(Pin::new(&mut blob).poll_next(context))).await;
    assert!(first.is_pending());
    // A future of `chunk` goes on where the poll was, and may be dropped as well.
    {
        let mut dropped = pin!(blob.chunk());
        let polled = poll_fn(|context| Poll::Ready(dropped.as_mut().poll(context))).await;
        assert!(polled.is_pending());
    }
    assert_eq!(blob.chunk().await.unwrap().unwrap(), "hel");
    assert_eq!(next(&mut blob).await.unwrap().unwrap(), "lo");
    assert!(next(&mut blob).await.is_none());
}

#[tokio::test]
async fn stall_in_a_stream_is_resumed() {
    let layer = noise(300_000);
    let (content, _) = Content::image(&layer);
    let path = format!("/v2/app/blobs/{}", Digest::of(&layer));
    let body = layer.clone();
    let server = Server::start(&content, move |seen| {
        let stalls = seen.path == path && seen.header("range").is_none();
        stalls.then(|| Reply::new(200, body.clone()).sent(Delivery::Stall(100_000)))
    })
    .await;
    let size = u64::try_from(layer.len()).unwrap();
    let descriptor = Descriptor::new("x", Digest::of(&layer), size);
    let mut blob = server.source(quick()).blob(&descriptor).await.unwrap();
    let mut bytes = Vec::new();
    blob.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(bytes, layer);
}

#[tokio::test]
async fn stream_after_a_wrong_prefix_is_not_an_empty_one() {
    let hello = Descriptor::new("x", Digest::of(b"hello"), 5);
    let wrong = || {
        let prefix = BlobPrefix::new(Digest::of(b"other"));
        BlobStream::resumed(&hello, "test", prefix, Box::new(Slow(Vec::new())))
    };
    let mut polled = wrong();
    let error = next(&mut polled).await.unwrap().unwrap_err();
    assert!(
        error.to_string().contains("after a prefix of sha256:"),
        "{error}"
    );
    assert!(next(&mut polled).await.is_none());
    let mut bytes = Vec::new();
    let error = pin!(wrong()).read_to_end(&mut bytes).await.unwrap_err();
    assert!(
        error.to_string().contains("after a prefix of sha256:"),
        "{error}"
    );
}
