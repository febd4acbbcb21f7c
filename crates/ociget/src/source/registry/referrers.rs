//! What refers to an image: signatures, SBOMs and attestations, by the referrers API or by the tag that
//! stands in for it.

use std::collections::HashSet;

use serde::Deserialize;
use url::Url;

use crate::artifact::ArtifactManifest;
use crate::client::Client;
use crate::digest::Digest;
use crate::error::Error;
use crate::go_json::as_go_reads;
use crate::manifest::{ARTIFACT_KEYS, Descriptor, RawEntry};
use crate::media_type::{ACCEPT_MANIFESTS, MediaType};
use crate::progress::Event;
use crate::reference::Reference;
use crate::refusal::Part;
use crate::source::registry::RegistrySource;
use crate::source::registry::pages::{Page, Pages};

/// Most manifests that are fetched because the referrers tag does not say what they are.
const MAX_LOOKS: u32 = 64;
/// Most characters of the encoded part of a digest in a referrers tag, by the specification.
const MAX_ENCODED: usize = 64;
/// The error of a call after a broken page.
const FAILED: &str = "the list of referrers is read on after an error";

/// The manifests that name one image as their `subject`, requested page by page.
///
/// A registry without the referrers API keeps them in an index under the tag `sha256-HEX`. That index is
/// read if the API answers 400, 404, 405, 406, 415 or 501, or with something that is not JSON. If there
/// is no such tag, nothing refers to the image.
///
/// The list itself is not verified: a registry can leave out entries and add others. The manifest of an
/// entry is verified by its digest. Its `subject` ([`ArtifactManifest::subject`]) names the image that it refers to.
///
/// Each descriptor comes once. The client requests a filter by artifact type; whether the registry applies it or not,
/// entries of another type are left out. An entry with an unsupported digest is left out, and
/// [`Event::Warning`] reports it. The bounds are those of [`Tags`](crate::Tags).
///
/// ```no_run
/// # async fn sboms(client: ociget::Client, image: ociget::Reference, digest: ociget::Digest)
/// # -> Result<(), ociget::Error> {
/// let wanted = Some("application/spdx+json");
/// for sbom in client.referrers(&image, &digest, wanted)?.all().await? {
///     println!("{} {:?}", sbom.digest, sbom.annotations);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is requested until the first page is"]
pub struct Referrers {
    source: RegistrySource,
    subject: Digest,
    artifact_type: Option<String>,
    seen: HashSet<Digest>,
    looks: u32,
    is_fallback: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    Start,
    Next {
        pages: Box<Pages>,
        url: Url,
    },
    /// A page was not what it should be.
    Failed,
    End,
}

impl Referrers {
    /// Returns the next page, or `None` after the last one. A page may be empty.
    ///
    /// Dropping the future loses nothing. If a request fails, the next call repeats it. After a page that
    /// is not a list of descriptors, every call returns [`Error::Usage`].
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the registry does not know the repository, [`Error::Forbidden`] if
    /// a page leads to another host, and [`Error::Protocol`] if the pages do not end or are not lists of
    /// descriptors. Any other [`Error`] as its variants say.
    pub async fn page(&mut self) -> Result<Option<Vec<Descriptor>>, Error> {
        let (mut pages, url, page) = match &mut self.state {
            State::End => return Ok(None),
            State::Failed => return Err(Error::Usage(FAILED.to_owned())),
            State::Start => match self.first().await? {
                Some(first) => first,
                None => {
                    let found = self.by_tag().await?;
                    self.is_fallback = true;
                    self.state = State::End;
                    return Ok(Some(found));
                }
            },
            State::Next { pages, url } => {
                let url = url.clone();
                let page = pages.next(&url).await?;
                match std::mem::replace(&mut self.state, State::Failed) {
                    State::Next { pages, .. } => (pages, url, page),
                    State::Start | State::Failed | State::End => return Ok(None),
                }
            }
        };
        // From here on an error is the registry's, and the same page again would bring the same.
        self.state = State::Failed;
        let listed = parse(&page.body, &page.at)?;
        let is_filtered = page
            .headers
            .get_all("oci-filters-applied")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|filter| filter.trim().eq_ignore_ascii_case("artifactType"));
        let (mut found, fresh) = self.admit(listed, &page.at);
        if let Some(wanted) = &self.artifact_type {
            found.retain(|entry| match &entry.artifact_type {
                Some(artifact_type) => artifact_type == wanted,
                None => is_filtered,
            });
        }
        pages.brought(fresh, &page)?;
        self.state = match pages.link(&page, &url)? {
            Some(url) => State::Next { pages, url },
            None => State::End,
        };
        Ok(Some(found))
    }

    /// Returns all referrers.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    pub async fn all(mut self) -> Result<Vec<Descriptor>, Error> {
        let mut all = Vec::new();
        while let Some(page) = self.page().await? {
            all.extend(page);
        }
        Ok(all)
    }

    /// Returns whether the entries come from the referrers tag, because the registry has no referrers API. `false`
    /// before the first page.
    #[must_use]
    pub fn is_fallback(&self) -> bool {
        self.is_fallback
    }

    /// The first page of the referrers API; `None` if the registry does not have it.
    async fn first(&self) -> Result<Option<(Box<Pages>, Url, Page)>, Error> {
        let mut pages = Pages::new(self.source.places().await?, ACCEPT_MANIFESTS);
        let first = pages.first(|place| {
            let mut url = place.url("referrers", &self.subject.to_string())?;
            if let Some(wanted) = &self.artifact_type {
                url.query_pairs_mut().append_pair("artifactType", wanted);
            }
            Ok(url)
        });
        match first.await {
            // Some send every path that they do not know to a page for people.
            Ok((_, page)) if !page.may_be_json() => Ok(None),
            Ok((url, page)) => Ok(Some((Box::new(pages), url, page))),
            Err(Error::NotFound(_)) => Ok(None),
            Err(Error::Registry(refusal))
                if refusal.part != Part::Token
                    && matches!(refusal.status, 400 | 405 | 406 | 415 | 501) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the entries of the index under the referrers tag.
    async fn by_tag(&mut self) -> Result<Vec<Descriptor>, Error> {
        let document = match self.source.by_tag(&referrers_tag(&self.subject)).await {
            Ok(document) => document,
            Err(Error::NotFound(refusal)) if refusal.code.as_deref() != Some("NAME_UNKNOWN") => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        // Some registries take the tag for the digest that it is made of, and send the image itself.
        if *document.digest.get() == self.subject || !is_index(&document.bytes) {
            let text = format!("{} is not an index of referrers", document.at);
            self.source.tell(&Event::Warning { text: &text });
            return Ok(Vec::new());
        }
        let listed = parse(&document.bytes, &document.at)?;
        // A call before this one may have failed after it had seen them.
        self.seen.clear();
        let (found, _) = self.admit(listed, &document.at);
        let Some(wanted) = self.artifact_type.clone() else {
            return Ok(found);
        };
        let mut kept = Vec::new();
        for mut entry in found {
            // Clients keep this index, and some of them leave the type out.
            if entry.artifact_type.is_none() && self.looks < MAX_LOOKS {
                self.looks += 1;
                entry.artifact_type = self.look(&entry).await?;
            }
            if entry.artifact_type.as_ref() == Some(&wanted) {
                kept.push(entry);
            }
        }
        Ok(kept)
    }

    /// The artifact type that a manifest itself has.
    async fn look(&self, entry: &Descriptor) -> Result<Option<String>, Error> {
        let document = match self.source.raw_manifest(Some(&entry.digest)).await {
            Ok(document) => document,
            Err(Error::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let manifest = ArtifactManifest::parse(&document.bytes).ok();
        Ok(manifest.and_then(|found| found.artifact_type().map(str::to_owned)))
    }

    /// Descriptors of `listed` that did not come before, and how many these are.
    fn admit(&mut self, listed: Vec<RawEntry>, at: &str) -> (Vec<Descriptor>, usize) {
        let mut found = Vec::new();
        let mut invalid = 0;
        for raw in listed {
            let entry = raw.read().ok().and_then(|raw| raw.any().ok());
            match entry {
                None => invalid += 1,
                Some(entry) if self.seen.insert(entry.digest.clone()) => found.push(entry),
                Some(_) => {}
            }
        }
        if invalid > 0 {
            let text = format!(
                "{at}: {invalid} referrers are not valid or have no digest or size that is supported"
            );
            self.source.tell(&Event::Warning { text: &text });
        }
        let fresh = found.len();
        (found, fresh)
    }
}

impl RegistrySource {
    /// Lists the manifests of this repository that name `subject` as theirs, of one artifact type or of
    /// all. Requests nothing yet.
    pub fn referrers(&self, subject: &Digest, artifact_type: Option<&str>) -> Referrers {
        Referrers {
            source: self.clone(),
            subject: subject.clone(),
            artifact_type: artifact_type.map(str::to_owned),
            seen: HashSet::new(),
            looks: 0,
            is_fallback: false,
            state: State::Start,
        }
    }
}

impl Client {
    /// Lists the manifests in the repository of `reference` that name `subject` as theirs, of one artifact
    /// type or of all. The tag and the digest of `reference` do not matter. Requests nothing yet.
    ///
    /// # Errors
    /// Returns [`Error::Usage`] if the registry's name cannot be part of a URL.
    pub fn referrers(
        &self,
        reference: &Reference,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Referrers, Error> {
        let source = RegistrySource::new(self, reference.clone())?;
        Ok(source.referrers(subject, artifact_type))
    }
}

/// The tag that stands in for the referrers API.
fn referrers_tag(subject: &Digest) -> String {
    let encoded: String = subject.hex().chars().take(MAX_ENCODED).collect();
    format!("{}-{encoded}", subject.algorithm().as_str())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawIndex {
    schema_version: Option<u64>,
    media_type: Option<String>,
    manifests: Option<Vec<RawEntry>>,
}

fn is_index(bytes: &[u8]) -> bool {
    let text = as_go_reads(bytes, ARTIFACT_KEYS);
    crate::json::read::<RawIndex>(&text).is_ok_and(|index| {
        let said = index.media_type.as_deref().and_then(MediaType::parse);
        index.manifests.is_some() && said.is_none_or(MediaType::is_index)
    })
}

fn parse(body: &[u8], at: &str) -> Result<Vec<RawEntry>, Error> {
    let parsed = crate::json::parse_as_go(body, ARTIFACT_KEYS);
    let index: RawIndex = parsed.map_err(|error| {
        Error::protocol(at, format!("its list of referrers is not one: {error}"))
    })?;
    if index.manifests.is_none() && index.schema_version.is_none() {
        return Err(Error::protocol(at, "its list of referrers is not an index"));
    }
    Ok(index.manifests.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn referrers_tag_has_at_most_64_digits() {
        let digits = "0123456789abcdef".repeat(8);
        let long: Digest = format!("sha512:{digits}").parse().unwrap();
        assert_eq!(referrers_tag(&long), format!("sha512-{}", &digits[..64]));
        let digest = Digest::of(b"");
        assert_eq!(referrers_tag(&digest), format!("sha256-{}", digest.hex()));
    }
}
