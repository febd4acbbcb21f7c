//! Streams of blobs, which count and hash the bytes.

mod body;
#[cfg(feature = "stream")]
mod polled;
#[cfg(feature = "stream")]
mod stream;

use std::fmt;

use bytes::Bytes;

#[cfg(feature = "stream")]
use crate::blob::polled::Polled;
use crate::digest::{Digest, Mismatch, Verified, Verifier};
use crate::error::{Error, mismatch};
use crate::manifest::Descriptor;

pub use crate::blob::body::BlobBody;

/// A blob as an asynchronous stream of chunks, whose end is a proof.
///
/// The stream returns bytes before the blob is verified. So the caller must not publish anything that depends
/// on them until [`chunk`](Self::chunk) has returned `None` or [`finish`](Self::finish) has returned the proof.
/// The stream never returns more bytes than the descriptor allows. Dropping it ends the request.
#[must_use = "a blob is verified only when it is read to its end"]
pub struct BlobStream {
    at: String,
    size: u64,
    received: u64,
    body: Box<dyn BlobBody>,
    state: State,
    #[cfg(feature = "stream")]
    polled: Polled,
}

/// The first bytes of a blob that the caller already has, from a download that broke off.
///
/// ```
/// use ociget::{BlobPrefix, Digest};
///
/// let mut prefix = BlobPrefix::new(Digest::of(b"hello"));
/// prefix.update(b"hel");
/// assert_eq!(prefix.len(), 3);
/// ```
#[derive(Debug)]
pub struct BlobPrefix {
    verifier: Verifier<Digest>,
    length: u64,
}

impl BlobPrefix {
    /// Returns an empty prefix of the blob `digest`.
    #[must_use]
    pub fn new(digest: Digest) -> Self {
        Self {
            verifier: Verifier::new(digest),
            length: 0,
        }
    }

    /// Appends bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.verifier.update(bytes);
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.length = self.length.saturating_add(length);
    }

    /// Returns whether it was made for this digest.
    pub(crate) fn is_of(&self, digest: &Digest) -> bool {
        self.verifier.expected() == digest
    }

    /// Returns the number of bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Returns whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Returns the proof if the bytes are the whole blob.
    ///
    /// # Errors
    /// Returns [`Mismatch`] if they are not.
    pub fn finish(self) -> Result<Verified<Digest>, Mismatch> {
        self.verifier.finish()
    }
}

enum State {
    Open(Box<Verifier<Digest>>),
    Done(Verified<Digest>),
    /// With an error that was not returned yet.
    Failed(Option<Error>),
}

impl State {
    fn failed(reason: String) -> Self {
        Self::Failed(Some(Error::Usage(reason)))
    }
}

impl BlobStream {
    /// Returns a stream of `body`, which should be the blob of `descriptor`. `at` names its origin in
    /// messages.
    pub fn new(descriptor: &Descriptor, at: impl Into<String>, body: Box<dyn BlobBody>) -> Self {
        let prefix = BlobPrefix::new(descriptor.digest.clone());
        Self::resumed(descriptor, at, prefix, body)
    }

    /// Returns a stream of the bytes after `prefix`, which `body` delivers. The proof at its end is about the
    /// whole blob, and [`received`](Self::received) begins with the length of `prefix`. A prefix of another digest, or
    /// longer than the blob, makes a stream that fails.
    pub fn resumed(
        descriptor: &Descriptor,
        at: impl Into<String>,
        prefix: BlobPrefix,
        body: Box<dyn BlobBody>,
    ) -> Self {
        let at = at.into();
        let digest = &descriptor.digest;
        // The proof would be about another blob.
        let state = if !prefix.is_of(digest) {
            let other = prefix.verifier.expected();
            State::failed(format!(
                "{at}: {digest} cannot go on after a prefix of {other}"
            ))
        } else if prefix.length > descriptor.size {
            let (length, size) = (prefix.length, descriptor.size);
            State::failed(format!(
                "{at}: {digest} has {size} bytes, its prefix {length}"
            ))
        } else {
            State::Open(Box::new(prefix.verifier))
        };
        Self {
            at,
            size: descriptor.size,
            received: prefix.length,
            body,
            state,
            #[cfg(feature = "stream")]
            polled: Polled::default(),
        }
    }

    /// Returns the next bytes, or `None` when all bytes have arrived and their digest is correct.
    ///
    /// # Errors
    /// Returns [`Error::Size`] or [`Error::Digest`] if the content does not match the descriptor, and the errors
    /// of the source. After an error the stream returns no more bytes.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        #[cfg(feature = "stream")]
        if self.polled.is_busy() {
            return std::future::poll_fn(|context| self.poll_chunk(context)).await;
        }
        if let State::Open(_) = self.state {
            let delivered = self.body.chunk().await;
            return self.take(delivered);
        }
        self.take(Ok(None))
    }

    /// Counts and hashes bytes of the body.
    fn take(&mut self, delivered: Result<Option<Bytes>, Error>) -> Result<Option<Bytes>, Error> {
        if let State::Done(_) = self.state {
            return Ok(None);
        }
        if let State::Failed(error) = &mut self.state {
            return Err(error.take().unwrap_or_else(|| again(&self.at)));
        }
        let State::Open(verifier) = &mut self.state else {
            return Ok(None);
        };
        let outcome = match delivered {
            Ok(Some(chunk)) => {
                let length = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
                if length <= self.size.saturating_sub(self.received) {
                    self.received += length;
                    verifier.update(&chunk);
                    return Ok(Some(chunk));
                }
                Err(Error::size(
                    &self.at,
                    self.size,
                    format!("more than {}", self.size),
                ))
            }
            Ok(None) if self.received < self.size => {
                Err(Error::size(&self.at, self.size, self.received.to_string()))
            }
            Ok(None) => match std::mem::replace(&mut self.state, State::Failed(None)) {
                State::Open(verifier) => verifier.finish().map_err(|found| {
                    let origin = self.body.origin();
                    mismatch(origin.as_deref().unwrap_or(&self.at), found)
                }),
                State::Done(proof) => Ok(proof),
                State::Failed(_) => return Ok(None),
            },
            Err(error) => Err(error),
        };
        self.state = State::Failed(None);
        self.state = State::Done(outcome?);
        Ok(None)
    }

    /// Reads the rest, and returns the proof that the blob is correct.
    ///
    /// # Errors
    /// As [`chunk`](Self::chunk).
    pub async fn finish(mut self) -> Result<Verified<Digest>, Error> {
        while self.chunk().await?.is_some() {}
        match self.state {
            State::Done(proof) => Ok(proof),
            State::Open(_) | State::Failed(_) => Err(again(&self.at)),
        }
    }

    /// Reads the rest as [`finish`](Self::finish) does, and checks that the blob is the one of `digest`: a caller's own
    /// source may return a stream of another one.
    pub(crate) async fn finish_as(self, digest: &Digest) -> Result<Verified<Digest>, Error> {
        let at = self.at.clone();
        let proof = self.finish().await?;
        requested(&at, digest, proof.get())?;
        Ok(proof)
    }

    /// Returns its origin, for people.
    #[must_use]
    pub fn at(&self) -> &str {
        &self.at
    }

    /// Returns the number of bytes returned so far, with those of a [`BlobPrefix`].
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Returns the number of bytes in the descriptor.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }
}

/// Refuses content that is intact and not what was requested. The sources of this crate never return that; a caller's own
/// source could.
pub(crate) fn requested(at: &str, requested: &Digest, found: &Digest) -> Result<(), Error> {
    if found == requested {
        return Ok(());
    }
    let (expected, found) = (requested.clone(), found.clone());
    Err(mismatch(at, Mismatch { expected, found }))
}

fn again(at: &str) -> Error {
    Error::Usage(format!("{at}: read on after an error, which had the cause"))
}

impl fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobStream")
            .field("at", &self.at)
            .field("size", &self.size)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::future::BoxFuture;

    struct Chunks(Vec<&'static [u8]>);

    impl BlobBody for Chunks {
        fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Error>> {
            let next = (!self.0.is_empty()).then(|| Bytes::from_static(self.0.remove(0)));
            Box::pin(async { Ok(next) })
        }
    }

    fn stream(promised: &[u8], chunks: &[&'static [u8]]) -> BlobStream {
        let descriptor = Descriptor::new(
            "application/vnd.oci.image.layer.v1.tar",
            Digest::of(promised),
            u64::try_from(promised.len()).unwrap(),
        );
        BlobStream::new(&descriptor, "test", Box::new(Chunks(chunks.to_vec())))
    }

    #[tokio::test]
    async fn the_end_is_a_proof_or_an_error() {
        for (promised, chunks, says) in [
            (&b"hello"[..], &[&b"hel"[..], b"", b"lo"][..], None),
            (b"", &[], None),
            (
                b"hello",
                &[b"hel"],
                Some("has 3 bytes, its descriptor says 5"),
            ),
            (b"hello", &[b"hello", b"!"], Some("more than 5")),
            (b"hello", &[b"hello!"], Some("more than 5")),
            (b"hello", &[b"hellO"], Some("digest mismatch")),
        ] {
            match (stream(promised, chunks).finish().await, says) {
                (Ok(proof), None) => assert_eq!(proof.get(), &Digest::of(promised)),
                (Err(error), Some(says)) => assert!(error.to_string().contains(says), "{error}"),
                (outcome, _) => panic!("{chunks:?}: {outcome:?}"),
            }
        }
    }

    #[tokio::test]
    async fn stream_after_a_wrong_prefix_says_so_first() {
        let hello = Descriptor::new("x", Digest::of(b"hello"), 5);
        let mut long = BlobPrefix::new(hello.digest.clone());
        long.update(b"hello!");
        let other = BlobPrefix::new(Digest::of(b"other"));
        for (prefix, says) in [(long, "its prefix 6"), (other, "after a prefix of sha256:")] {
            let body = Box::new(Chunks(Vec::new()));
            let mut stream = BlobStream::resumed(&hello, "test", prefix, body);
            let error = stream.chunk().await.unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
            let error = stream.finish().await.unwrap_err().to_string();
            assert!(error.contains("read on after an error"), "{error}");
        }
    }

    #[tokio::test]
    async fn no_excess_byte_is_returned_and_an_error_stays() {
        let mut stream = stream(b"ab", &[b"a", b"bc", b"d"]);
        assert_eq!(stream.chunk().await.unwrap().unwrap(), "a");
        assert!(matches!(stream.chunk().await, Err(Error::Size { .. })));
        assert!(matches!(stream.chunk().await, Err(Error::Usage(_))));
        assert_eq!(stream.received(), 1);
        assert!(stream.finish().await.is_err());
    }
}
