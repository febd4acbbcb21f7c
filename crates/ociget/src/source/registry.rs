//! Images in a registry, by the distribution specification's pull API, and in its mirrors.

mod body;
mod gathered;
mod link;
mod pages;
mod place;
mod ranges;
mod raw;
pub(crate) mod referrers;
mod senders;
pub(crate) mod tags;

use std::sync::Arc;

use tracing::Instrument as _;

use crate::blob::{BlobPrefix, BlobStream};
use crate::client::Client;
use crate::digest::Digest;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::future::BoxFuture;
use crate::joint::{Drivers, Once};
use crate::manifest::Descriptor;
use crate::media_type::ACCEPT_MANIFESTS;
use crate::progress::Event;
use crate::reference::Reference;
use crate::source::agreed::agreed;
use crate::source::registry::body::RegistryBody;
use crate::source::registry::place::Place;
use crate::source::{Document, Source};

/// Most URLs of a foreign layer that are tried.
const MAX_URLS: usize = 8;

/// One repository of a registry.
#[derive(Clone, Debug)]
pub struct RegistrySource {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    reference: Reference,
    origin: Arc<Endpoint>,
    /// Mirrors, then the registry; known once the first request needs them.
    places: Once<Arc<[Place]>>,
    /// Digest that the tag resolved to when it was requested.
    identity: Once<Option<Digest>>,
}

impl RegistrySource {
    /// Returns the repository of `reference`, without a request.
    ///
    /// # Errors
    /// [`Error::Usage`] if the host cannot be part of a URL.
    pub fn new(client: &Client, reference: Reference) -> Result<Self, Error> {
        let origin = Endpoint::origin(reference.api_host(), client.options())?;
        Ok(Self {
            shared: Arc::new(Shared {
                client: client.clone(),
                reference,
                origin: origin.into(),
                places: Once::new(Drivers::All),
                identity: Once::new(Drivers::OfRuntime),
            }),
        })
    }

    fn reference(&self) -> &Reference {
        &self.shared.reference
    }

    fn tag(&self) -> Result<&str, Error> {
        self.shared.tag()
    }

    /// The places to request from: mirrors, then the registry.
    async fn places(&self) -> Result<Arc<[Place]>, Error> {
        self.shared.places().await.cloned()
    }

    /// A manifest by tag or digest that is sent as one of the types of `accept`.
    async fn document(
        &self,
        name: &str,
        expected: Option<&Digest>,
        accept: &'static str,
    ) -> Result<Document, Error> {
        self.shared.document_as(name, expected, accept).await
    }

    /// A manifest by another tag of this repository than the source's own.
    async fn by_tag(&self, tag: &str) -> Result<Document, Error> {
        self.shared.document(tag, None).await
    }

    fn tell(&self, event: &Event<'_>) {
        self.shared.client.options().progress.tell(event);
    }

    async fn fetch_root(&self, expected: Option<&Digest>) -> Result<Document, Error> {
        if let Some(digest) = agreed(self.shared.reference.digest(), expected)? {
            return self.shared.by_digest(digest).await;
        }
        let tag = self.shared.tag()?;
        if let Some(digest) = self.shared.identify().await? {
            match self.shared.by_digest(&digest).await {
                // The tag has moved and its old target was deleted, or the place has no requests by digest.
                Err(Error::NotFound(_)) => {}
                outcome => return outcome,
            }
        }
        self.shared.document(tag, None).await
    }

    async fn fetch_identity(&self) -> Result<Option<Digest>, Error> {
        match self.shared.reference.digest() {
            Some(pinned) => Ok(Some(pinned.clone())),
            None => self.shared.identify().await,
        }
    }

    async fn fetch_manifest(&self, descriptor: &Descriptor) -> Result<Document, Error> {
        let digest = &descriptor.digest;
        let document = self.shared.by_digest(digest).await?;
        let size = u64::try_from(document.bytes.len()).unwrap_or(u64::MAX);
        if size != descriptor.size {
            return Err(Error::size(&document.at, descriptor.size, size.to_string()));
        }
        Ok(document)
    }

    async fn open_blob(&self, descriptor: &Descriptor) -> Result<BlobStream, Error> {
        let client = &self.shared.client;
        let places = Arc::clone(self.shared.places().await?);
        let body = match RegistryBody::open(client, places, descriptor, 0).await {
            Err(Error::NotFound(refusal)) if descriptor.media_type.is_foreign() => {
                self.open_foreign(descriptor, refusal.url).await?
            }
            outcome => outcome?,
        };
        Ok(BlobStream::new(descriptor, body.at(), Box::new(body)))
    }

    async fn reopen_blob(
        &self,
        descriptor: &Descriptor,
        prefix: BlobPrefix,
    ) -> Result<BlobStream, Error> {
        // The caller has something else than the beginning of this blob.
        if prefix.len() > descriptor.size || !prefix.is_of(&descriptor.digest) {
            return self.open_blob(descriptor).await;
        }
        let client = &self.shared.client;
        let places = Arc::clone(self.shared.places().await?);
        let from = prefix.len();
        match RegistryBody::open(client, places, descriptor, from).await {
            Ok(body) => {
                let at = body.at();
                Ok(BlobStream::resumed(descriptor, at, prefix, Box::new(body)))
            }
            // The registry has answered, and the whole blob would get the same answer.
            Err(
                error @ (Error::Unauthorized(_)
                | Error::Denied(_)
                | Error::Throttled(_)
                | Error::Unreachable { .. }),
            ) => Err(error),
            // The whole may be had where a part is not.
            Err(error) => {
                tracing::debug!(%error, from, "cannot resume the blob");
                self.open_blob(descriptor).await
            }
        }
    }

    /// Opens a layer that its owner does not allow the registry at `at` to store, from the URLs of the manifest.
    async fn open_foreign(
        &self,
        descriptor: &Descriptor,
        at: String,
    ) -> Result<RegistryBody, Error> {
        let Shared { client, origin, .. } = &*self.shared;
        let mut failure = Error::Unsupported {
            at,
            what: "a foreign layer that the registry does not hold and that has no URL".to_owned(),
        };
        // The author of the manifest chose the URLs. Each costs time, and may point to the host of a third party.
        let mut urls = descriptor.urls.iter().take(MAX_URLS).peekable();
        while let Some(url) = urls.next() {
            let has_next = urls.peek().is_some();
            let opened = match Place::elsewhere(client, origin, url, has_next) {
                Ok(place) => RegistryBody::open(client, Arc::new([place]), descriptor, 0).await,
                Err(error) => Err(error),
            };
            match opened {
                Ok(body) => return Ok(body),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn span(&self, digest: Option<&Digest>) -> tracing::Span {
        let reference = &self.shared.reference;
        tracing::debug_span!(
            "pull",
            host = reference.registry(),
            repository = reference.repository(),
            tag = reference.tag().filter(|_| digest.is_none()),
            digest = digest.map(tracing::field::display),
        )
    }
}

impl Source for RegistrySource {
    fn root<'a>(&'a self, expected: Option<&'a Digest>) -> BoxFuture<'a, Result<Document, Error>> {
        let span = self.span(expected.or(self.shared.reference.digest()));
        Box::pin(self.fetch_root(expected).instrument(span))
    }

    fn identity(&self) -> BoxFuture<'_, Result<Option<Digest>, Error>> {
        let span = self.span(self.shared.reference.digest());
        Box::pin(self.fetch_identity().instrument(span))
    }

    fn admit<'a>(&'a self, expected: &'a Digest) -> BoxFuture<'a, Result<(), Error>> {
        let own = self.shared.reference.digest();
        Box::pin(async move { agreed(own, Some(expected)).map(drop) })
    }

    fn manifest<'a>(
        &'a self,
        descriptor: &'a Descriptor,
    ) -> BoxFuture<'a, Result<Document, Error>> {
        let span = self.span(Some(&descriptor.digest));
        Box::pin(self.fetch_manifest(descriptor).instrument(span))
    }

    fn blob<'a>(&'a self, descriptor: &'a Descriptor) -> BoxFuture<'a, Result<BlobStream, Error>> {
        let span = self.span(Some(&descriptor.digest));
        Box::pin(self.open_blob(descriptor).instrument(span))
    }

    fn resume<'a>(
        &'a self,
        descriptor: &'a Descriptor,
        prefix: BlobPrefix,
    ) -> BoxFuture<'a, Result<BlobStream, Error>> {
        let span = self.span(Some(&descriptor.digest));
        Box::pin(self.reopen_blob(descriptor, prefix).instrument(span))
    }
}

impl Shared {
    async fn places(self: &Arc<Self>) -> Result<&Arc<[Place]>, Error> {
        let find = || {
            let own = Arc::clone(self);
            async move {
                let places = place::find(&own.client, &own.reference, &own.origin).await?;
                Ok(places.into())
            }
        };
        self.places.get_or_make(find).await
    }

    fn tag(&self) -> Result<&str, Error> {
        let reference = &self.reference;
        reference
            .tag()
            .ok_or_else(|| Error::Usage(format!("{reference} has neither tag nor digest")))
    }

    /// Returns the digest that the tag resolves to, the same every time: two requests of one pull must not see two
    /// images.
    async fn identify(self: &Arc<Self>) -> Result<Option<Digest>, Error> {
        let ask = || {
            let own = Arc::clone(self);
            async move { own.ask().await }
        };
        self.identity.get_or_make(ask).await.cloned()
    }

    async fn ask(self: &Arc<Self>) -> Result<Option<Digest>, Error> {
        let (tag, places) = (self.tag()?, self.places().await?);
        let Some((origin, mirrors)) = places.split_last() else {
            return Err(no_host(&self.reference));
        };
        let mut may_resolve = false;
        for mirror in mirrors {
            if mirror.is_left_out() || !mirror.resolves {
                continue;
            }
            match mirror.identify(tag).await {
                Ok(Some(digest)) => return Ok(Some(digest)),
                // A GET may do better.
                Ok(None) => may_resolve = true,
                Err(error) => mirror.failed(&error),
            }
        }
        match origin.resolves {
            true => origin.identify(tag).await,
            false if may_resolve => Ok(None),
            false => Err(no_resolver(&self.reference)),
        }
    }

    async fn by_digest(self: &Arc<Self>, digest: &Digest) -> Result<Document, Error> {
        self.document(&digest.to_string(), Some(digest)).await
    }

    /// Returns a manifest by tag or digest, from the first place that has it. If none has it, the error is that
    /// of the last place, the registry itself.
    async fn document(
        self: &Arc<Self>,
        name: &str,
        expected: Option<&Digest>,
    ) -> Result<Document, Error> {
        self.document_as(name, expected, ACCEPT_MANIFESTS).await
    }

    async fn document_as(
        self: &Arc<Self>,
        name: &str,
        expected: Option<&Digest>,
        accept: &'static str,
    ) -> Result<Document, Error> {
        let places = self.places().await?;
        let Some((origin, mirrors)) = places.split_last() else {
            return Err(no_host(&self.reference));
        };
        for mirror in mirrors {
            if mirror.is_left_out() || expected.is_none() && !mirror.resolves {
                continue;
            }
            match mirror.document(name, expected, accept).await {
                Ok(document) => return Ok(document),
                Err(error) => mirror.failed(&error),
            }
        }
        if expected.is_none() && !origin.resolves {
            return Err(no_resolver(&self.reference));
        }
        origin.document(name, expected, accept).await
    }
}

fn no_host(reference: &Reference) -> Error {
    Error::Usage(format!(
        "hosts.toml leaves no host to pull {reference} from: found no host with the capability \"pull\""
    ))
}

fn no_resolver(reference: &Reference) -> Error {
    Error::Usage(format!(
        "hosts.toml leaves no host that may resolve the tag of {reference}; pin the image by digest, or give \
         the server the capability \"resolve\""
    ))
}
