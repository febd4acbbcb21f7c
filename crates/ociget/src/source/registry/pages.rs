//! Lists that a registry sends in pages: the requests for them, and their bounds.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap};
use url::Url;

use crate::error::Error;
use crate::retry;
use crate::source::registry::link;
use crate::source::registry::place::Place;
use crate::target;
use crate::transport::Request;

/// Most bytes of one page. Registries without pagination send all tags at once.
const MAX_PAGE: u64 = 16 << 20;
/// Most bytes of all pages of one list.
const MAX_TOTAL: u64 = 64 << 20;
/// Most pages of one list.
const MAX_PAGES: u32 = 10_000;
/// Most pages in a row with nothing new in them. A registry may filter a page to nothing.
const MAX_EMPTY: u32 = 100;

/// One page as it came.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The URL without its query.
    pub(super) at: String,
}

impl Page {
    /// Whether the page may be JSON: `Content-Type` is missing, or says so.
    pub(super) fn may_be_json(&self) -> bool {
        let sent = self.headers.get(header::CONTENT_TYPE);
        let Some(sent) = sent.and_then(|sent| sent.to_str().ok()) else {
            return true;
        };
        let name = sent.split(';').next().unwrap_or_default().trim();
        let name = name.to_ascii_lowercase();
        // Old registries and file servers name no type.
        name.ends_with("json") || matches!(&*name, "" | "text/plain" | "application/octet-stream")
    }
}

/// The address of a list, from its first page to its last.
#[derive(Debug)]
pub(super) struct Pages {
    places: Arc<[Place]>,
    /// The place that answered, once there is one: tokens for the next page are its own.
    chosen: Option<usize>,
    accept: &'static str,
    /// Hashes of the URLs of the pages so far, because a URL may be as long as a head.
    seen: HashSet<u64>,
    hasher: RandomState,
    bytes: u64,
    empty: u32,
}

impl Pages {
    pub(super) fn new(places: Arc<[Place]>, accept: &'static str) -> Self {
        Self {
            places,
            chosen: None,
            accept,
            seen: HashSet::new(),
            hasher: RandomState::new(),
            bytes: 0,
            empty: 0,
        }
    }

    /// Requests the first page, from the first place that has it: mirrors that may resolve tags, then
    /// the registry. `url` makes the URL at a place.
    ///
    /// # Errors
    /// Returns what the registry itself answers if no place has the list.
    pub(super) async fn first(
        &mut self,
        url: impl Fn(&Place) -> Result<Url, Error>,
    ) -> Result<(Url, Page), Error> {
        let places = Arc::clone(&self.places);
        let last = places.len().saturating_sub(1);
        for (number, place) in places.iter().enumerate() {
            let is_mirror = number < last;
            let is_other = match self.chosen {
                Some(chosen) => chosen != number,
                None => is_mirror && (place.is_left_out() || !place.resolves),
            };
            if is_other {
                continue;
            }
            let url = url(place)?;
            match self.get(place, &url).await {
                Ok(page) => {
                    self.chosen = Some(number);
                    self.seen.insert(self.hasher.hash_one(&url));
                    return Ok((url, page));
                }
                Err(error) if is_mirror => place.failed(&error),
                Err(error) => return Err(error),
            }
        }
        Err(Error::Usage("there is no registry to ask".to_owned()))
    }

    /// Requests a page after the first one.
    ///
    /// # Errors
    /// Returns [`Error::Protocol`] if the page was requested before or if the list is too long.
    pub(super) async fn next(&mut self, url: &Url) -> Result<Page, Error> {
        let endless = |reason: String| Error::protocol(target::shown(url), reason);
        let hash = self.hasher.hash_one(url);
        if self.seen.contains(&hash) {
            return Err(endless("its pages lead in a circle".to_owned()));
        }
        if self.seen.len() >= usize::try_from(MAX_PAGES).unwrap_or(usize::MAX) {
            return Err(endless(format!("its list has more than {MAX_PAGES} pages")));
        }
        let places = Arc::clone(&self.places);
        let Some(place) = self.chosen.and_then(|chosen| places.get(chosen)) else {
            return Err(Error::Usage("there is no registry to ask".to_owned()));
        };
        let page = self.get(place, url).await?;
        self.seen.insert(hash);
        Ok(page)
    }

    /// Returns the URL of the page after `page`, if its `Link` header names one.
    pub(super) fn link(&self, page: &Page, asked: &Url) -> Result<Option<Url>, Error> {
        let target = link::next(&page.headers);
        target
            .map(|target| link::follow(&target, asked))
            .transpose()
    }

    /// Takes note of how many entries of a page were new.
    ///
    /// # Errors
    /// Returns [`Error::Protocol`] if there were none for too long.
    pub(super) fn brought(&mut self, entries: usize, page: &Page) -> Result<(), Error> {
        self.empty = if entries == 0 { self.empty + 1 } else { 0 };
        if self.empty <= MAX_EMPTY {
            return Ok(());
        }
        let reason = format!("its list has {MAX_EMPTY} pages in a row with nothing new");
        Err(Error::protocol(&page.at, reason))
    }

    async fn get(&mut self, place: &Place, url: &Url) -> Result<Page, Error> {
        let mut request = Request::get(url.clone(), &place.endpoint);
        request.accept = Some(self.accept);
        let mut retry = match self.chosen {
            Some(_) => place.patience_without_next(),
            None => place.patience(),
        };
        loop {
            let mut answer = place.send(&mut request, &mut retry).await?;
            if !answer.is_whole() {
                return Err(place.refuse(answer).await);
            }
            let Some(body) = retry::read(&mut answer, MAX_PAGE, &mut retry).await? else {
                continue;
            };
            // Stores and proxies leave the header on bytes that nothing encoded.
            if crate::json::read::<serde::de::IgnoredAny>(&body).is_err() {
                answer.check_encoding("the list")?;
            }
            let length = u64::try_from(body.len()).unwrap_or(u64::MAX);
            self.bytes = self.bytes.saturating_add(length);
            if self.bytes > MAX_TOTAL {
                let reason = format!("its list has more than {MAX_TOTAL} bytes");
                return Err(Error::protocol(answer.at(), reason));
            }
            return Ok(Page {
                headers: answer.headers().clone(),
                body,
                at: answer.at(),
            });
        }
    }
}
