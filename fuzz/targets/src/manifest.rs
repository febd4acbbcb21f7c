//! Hostile manifests, indexes and configs: nothing panics, and an image that resolves is one.
//!
//! The input is documents separated by the byte 0xff, which no JSON holds. In a document `$1`
//! stands for the members `"digest":…,"size":…` of the document after it, `$2` for the one after
//! that, so that mutations get past the hash. The first document is what the tag stands for.

use std::collections::BTreeMap;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use ociget::{
    BlobBody, BlobStream, BoxFuture, Descriptor, Digest, Document, Error, ImageConfig,
    MAX_DOCUMENT, Manifest, Platform, Source,
};

/// Panics if a promise is broken.
pub fn check(input: &[u8]) {
    for document in input.split(|byte| *byte == 0xff) {
        for content_type in [None, Some("application/vnd.oci.image.index.v1+json")] {
            if let Ok(manifest) = Manifest::parse(document, content_type) {
                check_manifest(&manifest);
            }
        }
        let raw = Bytes::copy_from_slice(document);
        if let Ok(config) = ImageConfig::parse(raw.clone()) {
            assert_eq!(config.raw, raw);
        }
    }

    let documents = Documents::linked(input);
    let platform: Platform = "linux/amd64".parse().unwrap();
    if let Ok(image) = now(ociget::resolve(&documents, None, &platform)) {
        assert_eq!(image.identity.get(), &documents.root);
        assert!(documents.by_digest.contains_key(image.manifest.get()));
        assert!(documents.by_digest.contains_key(image.config_digest.get()));
        assert_eq!(image.layers.len(), image.config.diff_ids.len());
        assert!(platform.accepts(&image.platform));
    }
}

fn check_manifest(manifest: &Manifest) {
    match manifest {
        Manifest::Image(image) => {
            assert!(image.media_type.is_manifest());
            assert!(image.config.media_type.is_config());
            assert!(image.config.size <= MAX_DOCUMENT);
            for layer in &image.layers {
                assert!(i64::try_from(layer.size).is_ok());
            }
        }
        Manifest::Index(index) => {
            assert!(index.media_type.is_index());
            for entry in &index.entries {
                assert!(entry.descriptor.size <= MAX_DOCUMENT);
            }
        }
    }
}

/// The documents of an input under their true digests.
#[derive(Debug)]
struct Documents {
    root: Digest,
    by_digest: BTreeMap<Digest, Bytes>,
}

impl Documents {
    fn linked(input: &[u8]) -> Self {
        // The last `$` reference of a document ends at a later one, so the last comes first.
        let mut done: Vec<(Digest, Bytes)> = Vec::new();
        for document in input.split(|byte| *byte == 0xff).rev() {
            let mut bytes = Vec::new();
            let mut rest = document.iter().copied().peekable();
            while let Some(byte) = rest.next() {
                let ahead = rest
                    .peek()
                    .filter(|_| byte == b'$')
                    .and_then(|digit| char::from(*digit).to_digit(10))
                    .and_then(|digit| done.len().checked_sub(digit as usize))
                    .and_then(|index| done.get(index));
                match ahead {
                    Some((digest, target)) => {
                        rest.next();
                        let size = target.len();
                        let members = format!("\"digest\":\"{digest}\",\"size\":{size}");
                        bytes.extend_from_slice(members.as_bytes());
                    }
                    None => bytes.push(byte),
                }
            }
            done.push((Digest::of(&bytes), bytes.into()));
        }
        Self {
            root: done.last().unwrap().0.clone(),
            by_digest: done.into_iter().collect(),
        }
    }

    fn get(&self, digest: &Digest) -> Result<Bytes, Error> {
        let found = self.by_digest.get(digest).cloned();
        found.ok_or_else(|| Error::Usage(format!("there is no {digest}")))
    }

    fn document(&self, digest: &Digest) -> Result<Document, Error> {
        Document::verified("the input", digest.clone(), self.get(digest)?, None)
    }
}

impl Source for Documents {
    fn root<'a>(&'a self, expected: Option<&'a Digest>) -> BoxFuture<'a, Result<Document, Error>> {
        Box::pin(async move { self.document(expected.unwrap_or(&self.root)) })
    }

    fn manifest<'a>(
        &'a self,
        descriptor: &'a Descriptor,
    ) -> BoxFuture<'a, Result<Document, Error>> {
        Box::pin(async move { self.document(&descriptor.digest) })
    }

    fn blob<'a>(&'a self, descriptor: &'a Descriptor) -> BoxFuture<'a, Result<BlobStream, Error>> {
        Box::pin(async move {
            let body = Once(Some(self.get(&descriptor.digest)?));
            Ok(BlobStream::new(descriptor, "the input", Box::new(body)))
        })
    }
}

struct Once(Option<Bytes>);

impl BlobBody for Once {
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Error>> {
        Box::pin(async { Ok(self.0.take()) })
    }
}

/// Returns the outcome of a future that has nothing to wait for.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => unreachable!("the documents are in memory"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeds;

    /// All but an image of another variant, and documents that are refused.
    #[test]
    fn seeds_are_images() {
        let platform: Platform = "linux/amd64".parse().unwrap();
        for (number, seed) in seeds::manifest().iter().enumerate() {
            if matches!(number, 1 | 4 | 5) {
                continue;
            }
            let documents = Documents::linked(seed);
            let image = now(ociget::resolve(&documents, None, &platform));
            assert!(image.is_ok(), "{number}: {image:?}");
        }
    }
}
