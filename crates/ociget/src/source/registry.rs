//! Images in a registry, by the distribution specification's pull API, and in its mirrors.

mod body;
mod place;

use std::sync::Arc;

use tokio::sync::OnceCell;

use crate::BoxFuture;
use crate::blob::BlobStream;
use crate::client::Client;
use crate::digest::Digest;
use crate::endpoint::Endpoint;
use crate::error::{Error, conflicting_digests};
use crate::manifest::Descriptor;
use crate::media_type::MediaType;
use crate::reference::Reference;
use crate::source::registry::body::RegistryBody;
use crate::source::registry::place::Place;
use crate::source::{Document, Source};

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
    places: OnceCell<Vec<Place>>,
}

impl RegistrySource {
    /// The repository of `reference`. Asks nothing yet.
    ///
    /// # Errors
    /// [`Error::Usage`] if the host cannot be part of an URL.
    pub fn new(client: &Client, reference: Reference) -> Result<Self, Error> {
        let origin = Endpoint::origin(reference.api_host(), client.options())?;
        Ok(Self {
            shared: Arc::new(Shared {
                client: client.clone(),
                reference,
                origin: origin.into(),
                places: OnceCell::new(),
            }),
        })
    }

    async fn fetch_root(&self, expected: Option<&Digest>) -> Result<Document, Error> {
        let reference = &self.shared.reference;
        if let (Some(pinned), Some(expected)) = (reference.digest(), expected)
            && pinned != expected
        {
            return Err(conflicting_digests(pinned, expected));
        }
        match (expected.or(reference.digest()), reference.tag()) {
            (Some(digest), _) => {
                self.shared
                    .document(&digest.to_string(), Some(digest))
                    .await
            }
            (None, Some(tag)) => self.shared.document(tag, None).await,
            (None, None) => Err(Error::Usage(format!(
                "{reference} has neither tag nor digest"
            ))),
        }
    }

    async fn fetch_manifest(&self, descriptor: &Descriptor) -> Result<Document, Error> {
        let digest = &descriptor.digest;
        let document = self
            .shared
            .document(&digest.to_string(), Some(digest))
            .await?;
        let size = u64::try_from(document.bytes.len()).unwrap_or(u64::MAX);
        if size != descriptor.size {
            return Err(Error::size(&document.at, descriptor.size, size.to_string()));
        }
        Ok(document)
    }

    async fn open_blob(&self, descriptor: &Descriptor) -> Result<BlobStream, Error> {
        let name = descriptor.digest.to_string();
        match RegistryBody::open(&self.shared, name, descriptor.size).await {
            Ok(body) => Ok(BlobStream::new(descriptor, body.at(), Box::new(body))),
            Err(Error::NotFound(refusal))
                if matches!(
                    descriptor.media_type,
                    MediaType::Layer { foreign: true, .. }
                ) =>
            {
                Err(Error::Unsupported {
                    at: refusal.url,
                    what: "a foreign layer that the registry does not hold".to_owned(),
                })
            }
            Err(error) => Err(error),
        }
    }
}

impl Source for RegistrySource {
    fn root<'a>(&'a self, expected: Option<&'a Digest>) -> BoxFuture<'a, Result<Document, Error>> {
        Box::pin(self.fetch_root(expected))
    }

    fn manifest<'a>(
        &'a self,
        descriptor: &'a Descriptor,
    ) -> BoxFuture<'a, Result<Document, Error>> {
        Box::pin(self.fetch_manifest(descriptor))
    }

    fn blob<'a>(&'a self, descriptor: &'a Descriptor) -> BoxFuture<'a, Result<BlobStream, Error>> {
        Box::pin(self.open_blob(descriptor))
    }
}

impl Shared {
    async fn places(&self) -> Result<&[Place], Error> {
        let places = self
            .places
            .get_or_try_init(|| place::find(&self.client, &self.reference, &self.origin));
        Ok(places.await?)
    }

    /// A manifest by tag or digest, from the first place that has it. What the last place says,
    /// the registry itself, is what the caller hears if none has.
    async fn document(&self, name: &str, expected: Option<&Digest>) -> Result<Document, Error> {
        let places = self.places().await?;
        let last = places.len().saturating_sub(1);
        for place in places.iter().take(last) {
            if place.is_lost() || expected.is_none() && !place.resolves {
                continue;
            }
            match place.document(name, expected).await {
                Ok(document) => return Ok(document),
                Err(error) => place.failed(&error),
            }
        }
        match places.last() {
            Some(origin) => origin.document(name, expected).await,
            None => Err(Error::Usage("there is no registry to ask".to_owned())),
        }
    }
}
