//! The documents of an image: indexes, manifest, config. With them an image is resolved without network.

use std::fmt;
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use ociget::{
    BlobBody, BlobStream, BoxFuture, Descriptor, Digest, Document, Error, Platform, Source,
    Verified,
};

use super::bytes::{byte_string, number, put_bytes, put_number};
use super::damaged::damaged;

/// Larger than any document that a client accepts, in bytes.
const DOCUMENT_MAX: u64 = 16 << 20;

/// More documents than resolving an image takes: nested indexes, manifest and config.
const DOCUMENTS_MAX: u64 = 64;

/// Documents by their digests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Documents(Vec<Kept>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    digest: Digest,
    content_type: Option<String>,
    bytes: Bytes,
}

impl Documents {
    pub(super) fn put(&self, bytes: &mut Vec<u8>) {
        put_number(bytes, self.0.len() as u64);
        for kept in &self.0 {
            put_bytes(bytes, kept.digest.to_string().as_bytes());
            let content_type = kept.content_type.as_deref();
            put_number(bytes, content_type.is_some().into());
            put_bytes(bytes, content_type.unwrap_or_default().as_bytes());
            put_bytes(bytes, &kept.bytes);
        }
    }

    pub(super) fn read(input: &mut impl Read) -> io::Result<Self> {
        let text = |bytes| String::from_utf8(bytes).map_err(|_| damaged("a text is not UTF-8"));
        let mut documents = Vec::new();
        let count = number(input)?;
        if count > DOCUMENTS_MAX {
            return Err(damaged("there are too many documents"));
        }
        for _ in 0..count {
            let digest = text(byte_string(input)?)?;
            let has_type = number(input)? != 0;
            let content_type = text(byte_string(input)?)?;
            documents.push(Kept {
                digest: digest
                    .parse()
                    .map_err(|_| damaged("a digest is not valid"))?,
                content_type: has_type.then_some(content_type),
                bytes: byte_string(input)?.into(),
            });
        }
        Ok(Self(documents))
    }

    fn get(&self, digest: &Digest) -> Option<&Kept> {
        self.0.iter().find(|kept| kept.digest == *digest)
    }

    /// Adds the documents of another build. One whose bytes do not have its digest is left out, so that it hides no
    /// other.
    pub(crate) fn merge(&mut self, other: Self) {
        for kept in other.0 {
            if self.get(&kept.digest).is_none() && kept.document().is_ok() {
                self.0.push(kept);
            }
        }
    }

    /// Returns them as the source of an image for a platform. It has nothing else, and names what it lacks.
    pub(crate) fn source<'d>(&'d self, platform: &'d Platform) -> KeptSource<'d> {
        let documents = self;
        KeptSource {
            documents,
            platform,
        }
    }

    fn add(&mut self, digest: &Digest, content_type: Option<&str>, bytes: &Bytes) {
        if self.get(digest).is_none() {
            self.0.push(Kept {
                digest: digest.clone(),
                content_type: content_type.map(str::to_owned),
                bytes: bytes.clone(),
            });
        }
    }
}

impl Kept {
    /// Returns how errors name a document.
    fn at(digest: &Digest) -> String {
        format!("{digest} in the store")
    }

    fn document(&self) -> Result<Document, Error> {
        let (bytes, content_type) = (self.bytes.clone(), self.content_type.clone());
        Document::verified(
            Self::at(&self.digest),
            self.digest.clone(),
            bytes,
            content_type,
        )
    }
}

/// Documents that earlier builds left, as the source of an image for a platform.
#[derive(Debug)]
pub(crate) struct KeptSource<'d> {
    documents: &'d Documents,
    platform: &'d Platform,
}

impl KeptSource<'_> {
    fn get(&self, digest: &Digest, what: impl FnOnce() -> String) -> Result<&Kept, Error> {
        self.documents.get(digest).ok_or_else(|| Error::Absent {
            at: "the store".to_owned(),
            what: what(),
            available: "other documents of the image".to_owned(),
        })
    }
}

impl Source for KeptSource<'_> {
    fn root<'a>(&'a self, expected: Option<&'a Digest>) -> BoxFuture<'a, Result<Document, Error>> {
        Box::pin(async move {
            match expected {
                Some(digest) => self
                    .get(digest, || format!("the manifest {digest}"))?
                    .document(),
                None => Err(Error::Usage("documents are kept by digest only".to_owned())),
            }
        })
    }

    fn manifest<'a>(
        &'a self,
        descriptor: &'a Descriptor,
    ) -> BoxFuture<'a, Result<Document, Error>> {
        Box::pin(async move {
            let digest = &descriptor.digest;
            let what = || format!("the manifest {digest} for {}", self.platform);
            self.get(digest, what)?.document()
        })
    }

    fn blob<'a>(&'a self, descriptor: &'a Descriptor) -> BoxFuture<'a, Result<BlobStream, Error>> {
        Box::pin(async move {
            let digest = &descriptor.digest;
            let kept = self.get(digest, || format!("the config {digest}"))?;
            Ok(stream(descriptor, Kept::at(digest), kept.bytes.clone()))
        })
    }
}

fn stream(descriptor: &Descriptor, at: String, bytes: Bytes) -> BlobStream {
    BlobStream::new(descriptor, at, Box::new(Whole(Some(bytes))))
}

/// A blob in one piece.
struct Whole(Option<Bytes>);

impl BlobBody for Whole {
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Error>> {
        let bytes = self.0.take().filter(|bytes| !bytes.is_empty());
        Box::pin(async move { Ok(bytes) })
    }
}

/// Another source, whose documents are kept while an image is resolved from it.
pub(crate) struct Recording<'s> {
    source: &'s dyn Source,
    seen: Mutex<Documents>,
}

impl<'s> Recording<'s> {
    pub(crate) fn new(source: &'s dyn Source) -> Self {
        Self {
            source,
            seen: Mutex::default(),
        }
    }

    pub(crate) fn into_documents(self) -> Documents {
        self.seen
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn see(&self, digest: &Verified<Digest>, content_type: Option<&str>, bytes: &Bytes) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.add(digest.get(), content_type, bytes);
    }

    fn seen(&self, document: Document) -> Document {
        self.see(document.digest(), document.content_type(), document.bytes());
        document
    }
}

impl Source for Recording<'_> {
    fn root<'a>(&'a self, expected: Option<&'a Digest>) -> BoxFuture<'a, Result<Document, Error>> {
        Box::pin(async move { self.source.root(expected).await.map(|root| self.seen(root)) })
    }

    fn identity(&self) -> BoxFuture<'_, Result<Option<Digest>, Error>> {
        self.source.identity()
    }

    fn manifest<'a>(
        &'a self,
        descriptor: &'a Descriptor,
    ) -> BoxFuture<'a, Result<Document, Error>> {
        Box::pin(async move {
            let manifest = self.source.manifest(descriptor).await;
            manifest.map(|manifest| self.seen(manifest))
        })
    }

    fn blob<'a>(&'a self, descriptor: &'a Descriptor) -> BoxFuture<'a, Result<BlobStream, Error>> {
        Box::pin(async move {
            let mut blob = self.source.blob(descriptor).await?;
            if descriptor.size > DOCUMENT_MAX {
                return Ok(blob);
            }
            let (at, mut bytes) = (blob.at().to_owned(), Vec::new());
            while let Some(chunk) = blob.chunk().await? {
                bytes.extend_from_slice(&chunk);
            }
            let (digest, bytes) = (blob.finish().await?, Bytes::from(bytes));
            self.see(&digest, None, &bytes);
            Ok(stream(descriptor, at, bytes))
        })
    }
}

impl fmt::Debug for Recording<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a document that claims to be `one`.
    fn documents(bytes: &'static [u8]) -> Documents {
        Documents(vec![Kept {
            digest: Digest::of(b"one"),
            content_type: None,
            bytes: Bytes::from_static(bytes),
        }])
    }

    #[test]
    fn document_with_other_bytes_hides_none() {
        let mut all = Documents::default();
        for bytes in [b"other", &b"one"[..], b"other"] {
            all.merge(documents(bytes));
        }
        assert_eq!(all, documents(b"one"));
    }
}
