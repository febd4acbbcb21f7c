//! Sources of images: one trait for registries, layouts, directories and archives.

mod agreed;
mod archive;
mod arriving;
mod beneath;
mod by_offset;
pub(crate) mod directory;
pub(crate) mod docker_archive;
mod docker_layers;
pub(crate) mod kind;
pub(crate) mod layout;
mod made;
mod piece;
pub(crate) mod registry;
pub(crate) mod request;
mod section;
pub(crate) mod spec;
pub(crate) mod tar;
mod tar_extensions;
mod tar_header;
mod tar_headers;
mod tar_index;
mod tar_sparse;
mod transport;

use std::fmt;

use bytes::Bytes;

use crate::blob::{BlobPrefix, BlobStream, requested};
use crate::digest::{Digest, Verified, Verifier};
use crate::error::{Error, mismatch};
use crate::future::BoxFuture;
use crate::manifest::Descriptor;

/// A source of one image: a registry, a layout, a directory or an archive.
pub trait Source: Send + Sync + fmt::Debug {
    /// Returns the manifest or index of the image: the one with the digest `expected`, or, if that
    /// is `None`, with the digest or tag that the source was made with.
    ///
    /// # Errors
    /// Returns [`Error::Usage`] if the source was made with another digest than `expected`, and any
    /// other [`Error`] under the conditions of its variants.
    fn root<'a>(&'a self, expected: Option<&'a Digest>) -> BoxFuture<'a, Result<Document, Error>>;

    /// Returns the digest that the tag resolves to, that is, the digest of the document that
    /// [`root`](Self::root) returns for `expected = None`. A caller that already has that image
    /// needs no further request.
    ///
    /// The source resolves the tag once, in the cheapest way, and `root` then returns the document
    /// with that digest. Returns `None` if only the document itself has it.
    fn identity(&self) -> BoxFuture<'_, Result<Option<Digest>, Error>> {
        Box::pin(async { Ok(None) })
    }

    /// Checks that `expected` can be the digest of this image, for a caller that already has a document with that
    /// digest.
    ///
    /// The default implementation calls [`root`](Self::root). [`RegistrySource`](crate::RegistrySource) sends no
    /// request, and compares `expected` only with the digest in its reference.
    ///
    /// # Errors
    /// As [`root`](Self::root), and [`Error::Digest`] if that returns another document.
    fn admit<'a>(&'a self, expected: &'a Digest) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let root = self.root(Some(expected)).await?;
            requested(root.at(), expected, root.named().get())
        })
    }

    /// Returns a manifest or index that another one lists.
    fn manifest<'a>(&'a self, descriptor: &'a Descriptor)
    -> BoxFuture<'a, Result<Document, Error>>;

    /// Opens a config or layer. Several streams of one source can run concurrently.
    fn blob<'a>(&'a self, descriptor: &'a Descriptor) -> BoxFuture<'a, Result<BlobStream, Error>>;

    /// Opens a config or layer of which the caller already has the first bytes.
    ///
    /// The stream begins after `prefix`, or at the start of the blob if the source cannot do that:
    /// [`BlobStream::received`] returns the position. The default implementation begins at the start.
    ///
    /// # Errors
    /// As [`blob`](Self::blob).
    fn resume<'a>(
        &'a self,
        descriptor: &'a Descriptor,
        prefix: BlobPrefix,
    ) -> BoxFuture<'a, Result<BlobStream, Error>> {
        drop(prefix);
        self.blob(descriptor)
    }

    /// Announces the blobs that the caller will open from now on, `needed`, and the one among them that it opens
    /// first, only once and without waiting for another, `once`.
    ///
    /// A source that can be read only once, such as an archive from a pipe, keeps only what is needed
    /// later. The default implementation does nothing, because every blob can be opened at any time.
    fn announce<'a>(&'a self, needed: &'a [Digest], once: Option<&'a Digest>) -> BoxFuture<'a, ()> {
        let _ = (needed, once);
        Box::pin(async {})
    }

    /// Ends the use of a source that can be read only once, and checks the part that was not read. The default
    /// implementation does nothing.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if the rest is damaged.
    fn finish(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }
}

/// A manifest or index whose bytes match its digest.
#[derive(Clone, Debug)]
pub struct Document {
    pub(crate) digest: Verified<Digest>,
    pub(crate) bytes: Bytes,
    pub(crate) content_type: Option<String>,
    pub(crate) at: String,
    pub(crate) identity: Option<Verified<Digest>>,
}

impl Document {
    /// Returns a document for a source that you implement: `bytes`, if they hash to `digest`.
    ///
    /// # Errors
    /// Returns [`Error::Digest`] if they do not.
    pub fn verified(
        at: impl Into<String>,
        digest: Digest,
        bytes: Bytes,
        content_type: Option<String>,
    ) -> Result<Self, Error> {
        let at = at.into();
        Ok(Self {
            digest: verify(&at, digest, &bytes)?,
            bytes,
            content_type,
            at,
            identity: None,
        })
    }

    /// Returns the digest that the bytes hash to.
    pub fn digest(&self) -> &Verified<Digest> {
        &self.digest
    }

    /// Returns the document.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns the media type that the source declared, or `None` if it declared none.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// Returns the origin of the document, for messages.
    #[must_use]
    pub fn at(&self) -> &str {
        &self.at
    }

    /// Returns the identity of the image if that is not the digest of this document: a root file system in a tar file is
    /// identified by the digest of the tar.
    #[must_use]
    pub fn identity(&self) -> Option<&Verified<Digest>> {
        self.identity.as_ref()
    }

    /// The identity of the image: the digest that a caller may have expected.
    pub(crate) fn named(&self) -> &Verified<Digest> {
        self.identity.as_ref().unwrap_or(&self.digest)
    }
}

/// Returns the proof that a document has the expected digest.
fn verify(at: &str, digest: Digest, bytes: &[u8]) -> Result<Verified<Digest>, Error> {
    let mut verifier = Verifier::new(digest);
    verifier.update(bytes);
    verifier.finish().map_err(|found| mismatch(at, found))
}
