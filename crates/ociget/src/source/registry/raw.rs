//! Manifests and blobs as they are, whatever their media type.

use std::time::Instant;

use http::{Method, StatusCode, header};
use tracing::Instrument as _;

use crate::blob::BlobStream;
use crate::client::Client;
use crate::digest::Digest;
use crate::error::Error;
use crate::floor::Floor;
use crate::manifest::Descriptor;
use crate::media_type::ACCEPT_ANY;
use crate::reference::Reference;
use crate::source::registry::RegistrySource;
use crate::source::registry::place::Place;
use crate::source::{Document, Source as _};
use crate::transport::{Answer, Request};

/// The media type of a blob about which nothing is known.
const OCTETS: &str = "application/octet-stream";
/// Most bytes that are read only to count them: 4 GiB.
const MAX_COUNTED: u64 = 4 << 30;

impl RegistrySource {
    /// Fetches a manifest by `digest`, or the one that the reference of this source names, whatever its
    /// media type is.
    ///
    /// The bytes are verified and not interpreted. [`ArtifactManifest`](crate::ArtifactManifest) reads
    /// them. A document has at most [`MAX_DOCUMENT`](crate::MAX_DOCUMENT) bytes.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no such manifest, and [`Error::Digest`] if it has another
    /// digest. Any other [`Error`] as its variants say.
    pub async fn raw_manifest(&self, digest: Option<&Digest>) -> Result<Document, Error> {
        let digest = digest.or(self.reference().digest());
        let fetching = async {
            match digest {
                Some(digest) => {
                    self.document(&digest.to_string(), Some(digest), ACCEPT_ANY)
                        .await
                }
                None => self.document(self.tag()?, None, ACCEPT_ANY).await,
            }
        };
        fetching.instrument(self.span(digest)).await
    }

    /// Opens a blob by its digest alone, whatever its media type is. Its length is that of the registry.
    ///
    /// # Errors
    /// As [`describe_blob`](Self::describe_blob) and [`Source::blob`](crate::Source::blob).
    pub async fn raw_blob(&self, digest: &Digest) -> Result<BlobStream, Error> {
        let descriptor = self.describe_blob(digest).await?;
        self.blob(&descriptor).await
    }

    /// Finds the size of a blob, for a caller that knows its digest alone. The media type of the
    /// descriptor is `application/octet-stream`.
    ///
    /// The size comes from a `HEAD`, or from the header of a `GET` if that has none. A registry that sends
    /// neither has to send the blob twice: once to be counted, up to 4 GiB.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no such blob. Any other [`Error`] as its variants say.
    pub async fn describe_blob(&self, digest: &Digest) -> Result<Descriptor, Error> {
        let finding = async {
            let places = self.places().await?;
            let last = places.len().saturating_sub(1);
            for (number, place) in places.iter().enumerate() {
                if number < last && place.is_left_out() {
                    continue;
                }
                match size(place, digest).await {
                    Ok(size) => return Ok(Descriptor::new(OCTETS, digest.clone(), size)),
                    Err(error) if number < last => place.failed(&error),
                    Err(error) => return Err(error),
                }
            }
            Err(Error::Usage("there is no registry to ask".to_owned()))
        };
        finding.instrument(self.span(Some(digest))).await
    }
}

impl Client {
    /// Fetches the manifest that `reference` names by tag or digest, whatever its media type is.
    ///
    /// # Errors
    /// As [`RegistrySource::raw_manifest`].
    pub async fn raw_manifest(&self, reference: &Reference) -> Result<Document, Error> {
        let source = RegistrySource::new(self, reference.clone())?;
        source.raw_manifest(None).await
    }

    /// Opens a blob in the repository of `reference` by its digest alone, whatever its media type is.
    ///
    /// # Errors
    /// As [`RegistrySource::raw_blob`].
    pub async fn raw_blob(
        &self,
        reference: &Reference,
        digest: &Digest,
    ) -> Result<BlobStream, Error> {
        let source = RegistrySource::new(self, reference.clone())?;
        source.raw_blob(digest).await
    }
}

/// The size of a blob at one place.
async fn size(place: &Place, digest: &Digest) -> Result<u64, Error> {
    let url = place.url("blobs", &digest.to_string())?;
    let mut request = Request::get(url, &place.endpoint);
    request.method = Method::HEAD;
    let mut retry = place.patience();
    match place.head(&mut request, &mut retry).await? {
        Some(answer) if answer.is_whole() => {
            // Some answer a HEAD with the length of its own body.
            if let Some(size) = announced(&answer).filter(|size| *size > 0) {
                return Ok(size);
            }
        }
        // Credentials that were refused are not sent again.
        Some(answer)
            if answer.status() == StatusCode::UNAUTHORIZED && request.authorization.is_some() =>
        {
            return Err(place.refuse(answer).await);
        }
        // Signed URLs are for one method, and some proxies know no HEAD.
        _ => {}
    }
    request.method = Method::GET;
    loop {
        let answer = place.send(&mut request, &mut retry).await?;
        if !answer.is_whole() {
            return Err(place.refuse(answer).await);
        }
        if let Some(size) = announced(&answer) {
            return Ok(size);
        }
        let asked = answer.at();
        match count(place, answer).await? {
            Ok(size) => return Ok(size),
            Err(reason) => {
                if !retry.pause(None, &asked, &reason).await {
                    return Err(Error::Unreachable {
                        url: asked,
                        redirected_from: None,
                        advice: "; check the network".to_owned(),
                        reason,
                        attempts: retry.attempts(),
                    });
                }
            }
        }
    }
}

/// The size that an answer promises for the blob itself.
fn announced(answer: &Answer) -> Option<u64> {
    if answer.is_encoded() {
        return None;
    }
    answer.header(header::CONTENT_LENGTH)?.trim().parse().ok()
}

/// Reads a body to its end for its length alone. The inner error may pass.
async fn count(place: &Place, mut answer: Answer) -> Result<Result<u64, String>, Error> {
    let mut floor = Floor::new(place.min_rate());
    let mut size = 0_u64;
    floor.start(Instant::now());
    loop {
        let chunk = match answer.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return Ok(Ok(size)),
            Err(reason) => return Ok(Err(reason)),
        };
        if let Err(slow) = floor.receive(chunk.len(), Instant::now()) {
            return Ok(Err(slow));
        }
        size = size.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        if size > MAX_COUNTED {
            let reason = format!(
                "it does not say how long the blob is, and sends more than {MAX_COUNTED} bytes"
            );
            return Err(Error::protocol(answer.at(), reason));
        }
    }
}
