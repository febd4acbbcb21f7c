//! The documents of an image: indexes, manifest, config. With them an image is resolved without network.

use std::fmt;
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use ociget::{
    BlobBody, BlobStream, BoxFuture, Descriptor, Digest, Document, Error, Image, Source, Verified,
};

use super::bytes::{byte_string, number, put_bytes, put_number};
use super::damaged::damaged;
use crate::options::Options;

/// Larger than any document that a client accepts, in bytes.
const DOCUMENT_MAX: u64 = 16 << 20;

/// More documents than resolving an image takes: nested indexes, manifest and config.
const DOCUMENTS_MAX: u64 = 64;

/// Documents by their digests. As a source, it has nothing else.
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

    fn get(&self, digest: &Digest) -> Result<&Kept, Error> {
        let found = self.0.iter().find(|kept| kept.digest == *digest);
        found.ok_or_else(|| Error::Usage(format!("{digest} is not remembered")))
    }

    fn document(&self, digest: &Digest) -> Result<Document, Error> {
        let kept = self.get(digest)?;
        let (bytes, content_type) = (kept.bytes.clone(), kept.content_type.clone());
        Document::verified("the store", digest.clone(), bytes, content_type)
    }

    fn add(&mut self, digest: &Digest, content_type: Option<&str>, bytes: &Bytes) {
        if self.get(digest).is_err() {
            self.0.push(Kept {
                digest: digest.clone(),
                content_type: content_type.map(str::to_owned),
                bytes: bytes.clone(),
            });
        }
    }
}

impl Documents {
    /// Resolves the image from the kept documents; returns `None` if one is missing.
    pub(crate) async fn resolve(&self, identity: &Digest, options: &Options) -> Option<Image> {
        let platform = &options.platform;
        let image = match options.insist_on_platform {
            true => ociget::resolve_insisting(self, Some(identity), platform).await,
            false => ociget::resolve(self, Some(identity), platform).await,
        };
        image.ok().filter(|image| image.platform.os() == "linux")
    }
}

impl Source for Documents {
    fn root<'a>(&'a self, expected: Option<&'a Digest>) -> BoxFuture<'a, Result<Document, Error>> {
        Box::pin(async move {
            match expected {
                Some(digest) => self.document(digest),
                None => Err(Error::Usage("documents are kept by digest only".to_owned())),
            }
        })
    }

    fn manifest<'a>(
        &'a self,
        descriptor: &'a Descriptor,
    ) -> BoxFuture<'a, Result<Document, Error>> {
        Box::pin(async move { self.document(&descriptor.digest) })
    }

    fn blob<'a>(&'a self, descriptor: &'a Descriptor) -> BoxFuture<'a, Result<BlobStream, Error>> {
        Box::pin(async move {
            let bytes = self.get(&descriptor.digest)?.bytes.clone();
            Ok(stream(descriptor, bytes))
        })
    }
}

fn stream(descriptor: &Descriptor, bytes: Bytes) -> BlobStream {
    BlobStream::new(descriptor, "the store", Box::new(Whole(Some(bytes))))
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
            let mut bytes = Vec::new();
            while let Some(chunk) = blob.chunk().await? {
                bytes.extend_from_slice(&chunk);
            }
            let (digest, bytes) = (blob.finish().await?, Bytes::from(bytes));
            self.see(&digest, None, &bytes);
            Ok(stream(descriptor, bytes))
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
