//! The tags of a repository, page by page.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};

use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};
use url::Url;

use crate::client::Client;
use crate::error::Error;
use crate::go_json::{Keys, as_go_reads};
use crate::json::{self, present};
use crate::progress::Event;
use crate::reference::{self, Reference};
use crate::source::registry::RegistrySource;
use crate::source::registry::pages::{Page, Pages};
use crate::source::registry::place::Place;

/// Tags per page where the caller does not choose: the most that common registries serve.
const PAGE_SIZE: u32 = 1000;
/// Most tags of one list. A short one takes about ten times its text in memory, so bytes alone are no bound.
const MAX_TAGS: usize = 1 << 19;
/// The error of a call after a broken page.
const FAILED: &str = "the list of tags is read on after an error";

/// The tags of one repository, requested page by page.
///
/// Tags come in the order of the registry, each once. A name that the specification does not allow as a
/// tag is left out, and [`Event::Warning`] reports it.
///
/// The next page is the one that the registry's `Link` header names. It has to be at the same host. If a
/// page is full and has no `Link`, the list continues after the last tag (`last`), and an answer with
/// nothing new ends it. A list has at most 10 000 pages, 524 288 tags and 64 MiB, a page 16 MiB.
///
/// ```no_run
/// # async fn list() -> Result<(), Box<dyn std::error::Error>> {
/// use ociget::{Client, Options};
///
/// let client = Client::new(Options::default())?;
/// let reference = "ghcr.io/team/app".parse()?;
/// let mut tags = client.tags(&reference)?;
/// while let Some(page) = tags.page().await? {
///     for tag in page {
///         println!("{tag}");
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is requested until the first page is"]
pub struct Tags {
    source: RegistrySource,
    page_size: u32,
    after: Option<String>,
    /// Hashes of the tags so far.
    seen: HashSet<u64>,
    hasher: RandomState,
    state: State,
}

#[derive(Debug)]
enum State {
    Start,
    Next {
        pages: Box<Pages>,
        next: Next,
    },
    /// A page was not what it should be.
    Failed,
    End,
}

/// The page to request next.
#[derive(Clone, Debug)]
struct Next {
    url: Url,
    /// Whether nothing but the number of tags before it speaks for it.
    probes: bool,
}

impl Tags {
    pub(super) fn new(source: RegistrySource) -> Self {
        Self {
            source,
            page_size: PAGE_SIZE,
            after: None,
            seen: HashSet::new(),
            hasher: RandomState::new(),
            state: State::Start,
        }
    }

    /// Requests `count` tags per page (`n`). Default: 1000. Registries may send fewer or more. 0 leaves
    /// the number to the registry.
    pub fn page_size(mut self, count: u32) -> Self {
        self.page_size = count;
        self
    }

    /// Begins after `tag` in the registry's order (`last`). The tag need not exist. A registry that does
    /// not know the parameter sends all tags.
    pub fn after(mut self, tag: impl Into<String>) -> Self {
        self.after = Some(tag.into());
        self
    }

    /// Returns the next page, or `None` after the last one. A page may be empty.
    ///
    /// Dropping the future loses nothing. If a request fails, the next call repeats it. After a page that
    /// is not a list of tags, every call returns [`Error::Usage`].
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the registry does not know the repository, [`Error::Forbidden`] if
    /// a page leads to another host, and [`Error::Protocol`] if the pages do not end or are not lists of
    /// tags. Any other [`Error`] as its variants say.
    pub async fn page(&mut self) -> Result<Option<Vec<String>>, Error> {
        let (mut pages, url, page, probes) = match &mut self.state {
            State::End => return Ok(None),
            State::Failed => return Err(Error::Usage(FAILED.to_owned())),
            State::Start => {
                let (pages, url, page) = self.first().await?;
                (Box::new(pages), url, page, false)
            }
            State::Next { pages, next } => {
                let Next { url, probes } = next.clone();
                let page = match pages.next(&url).await {
                    Ok(page) => page,
                    // The registry has its own idea of `last`, and did not promise more.
                    Err(error) if probes && !error.is_transient() => {
                        tracing::debug!(%error, "the list of tags ends here");
                        self.state = State::End;
                        return Ok(None);
                    }
                    Err(error) => return Err(error),
                };
                match std::mem::replace(&mut self.state, State::Failed) {
                    State::Next { pages, .. } => (pages, url, page, probes),
                    State::Start | State::Failed | State::End => return Ok(None),
                }
            }
        };
        // From here on an error is the registry's, and the same page again would bring the same.
        self.state = State::Failed;
        let (tags, next) = self.take(&mut pages, &url, &page)?;
        self.state = match next {
            Some(next) => State::Next { pages, next },
            None => State::End,
        };
        if probes && tags.is_empty() {
            self.state = State::End;
            return Ok(None);
        }
        Ok(Some(tags))
    }

    /// Returns all tags.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    pub async fn all(mut self) -> Result<Vec<String>, Error> {
        let mut all = Vec::new();
        while let Some(page) = self.page().await? {
            all.extend(page);
        }
        Ok(all)
    }

    async fn first(&self) -> Result<(Pages, Url, Page), Error> {
        let places = self.source.places().await?;
        let request = async |size: u32| {
            let mut pages = Pages::new(places.clone(), "application/json");
            let first = pages.first(|place| self.url(place, size)).await;
            first.map(|(url, page)| (pages, url, page))
        };
        match request(self.page_size).await {
            // Some have a lower limit than 1000, and say so instead of sending fewer.
            Err(Error::Registry(refusal)) if refusal.status == 400 && self.page_size > 0 => {
                request(0).await
            }
            outcome => outcome,
        }
    }

    fn url(&self, place: &Place, size: u32) -> Result<Url, Error> {
        let mut url = place.url("tags", "list")?;
        let size = (size > 0).then(|| size.to_string());
        let pairs = [("n", size.as_deref()), ("last", self.after.as_deref())];
        for (name, value) in pairs {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        Ok(url)
    }

    /// Reads a page, and finds the one after it.
    fn take(
        &mut self,
        pages: &mut Pages,
        url: &Url,
        page: &Page,
    ) -> Result<(Vec<String>, Option<Next>), Error> {
        let listed = parse(page)?;
        let (count, last) = (listed.len(), listed.last().cloned());
        let mut invalid = 0;
        let mut tags = Vec::new();
        for tag in listed {
            if !reference::is_tag(&tag) {
                invalid += 1;
            } else if self.seen.insert(self.hasher.hash_one(&tag)) {
                tags.push(tag);
            }
        }
        if self.seen.len() > MAX_TAGS {
            let reason = format!("its list has more than {MAX_TAGS} tags");
            return Err(Error::protocol(&page.at, reason));
        }
        if invalid > 0 {
            let text = format!(
                "{}: {invalid} names in the list are not valid tags",
                page.at
            );
            self.source.tell(&Event::Warning { text: &text });
        }
        pages.brought(tags.len(), page)?;
        let next = match pages.link(page, url)? {
            Some(url) => Some(Next { url, probes: false }),
            None => last
                .filter(|_| !tags.is_empty() && count == requested(url))
                .map(|last| Next {
                    url: continued(url, &last),
                    probes: true,
                }),
        };
        Ok((tags, next))
    }
}

impl RegistrySource {
    /// Lists the tags of this repository. Requests nothing yet.
    pub fn tags(&self) -> Tags {
        Tags::new(self.clone())
    }
}

impl Client {
    /// Lists the tags of the repository of `reference`, whose tag and digest do not matter. Requests
    /// nothing yet.
    ///
    /// # Errors
    /// Returns [`Error::Usage`] if the registry's name cannot be part of a URL.
    pub fn tags(&self, reference: &Reference) -> Result<Tags, Error> {
        Ok(RegistrySource::new(self, reference.clone())?.tags())
    }
}

/// The number of tags that `url` requests; 0 if it does not say.
fn requested(url: &Url) -> usize {
    let number = url.query_pairs().find(|(name, _)| name == "n");
    number.and_then(|(_, n)| n.parse().ok()).unwrap_or(0)
}

/// `url` for the tags after `last`.
fn continued(url: &Url, last: &str) -> Url {
    let mut next = url.clone();
    let kept = url.query_pairs().filter(|(name, _)| name != "last");
    next.query_pairs_mut()
        .clear()
        .extend_pairs(kept)
        .append_pair("last", last);
    next
}

/// The names of one page, without those that are `null`.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded;

        impl<'de> Visitor<'de> for Bounded {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element::<Option<String>>()? {
                    names.extend(name);
                    if names.len() > MAX_TAGS {
                        return Err(A::Error::custom(format_args!(
                            "it has more than {MAX_TAGS} names"
                        )));
                    }
                }
                Ok(Names(names))
            }
        }

        deserializer.deserialize_seq(Bounded)
    }
}

/// The fields of a page, which clients in Go read in any case.
const KEYS: Keys = Keys {
    known: &["name", "tags"],
    maps: &[],
    records: &[],
};

fn parse(page: &Page) -> Result<Vec<String>, Error> {
    #[derive(serde::Deserialize)]
    struct List {
        // Go writes null for a list that is empty.
        #[serde(default, deserialize_with = "present")]
        tags: Option<Option<Names>>,
    }

    /// A list that is empty as Go can write it, too: without the field. Other documents have other fields.
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct NameAlone {
        #[serde(rename = "name")]
        _name: String,
    }
    let broken = |reason: String| Error::protocol(&page.at, reason);
    let text = as_go_reads(&page.body, KEYS);
    let list: List = match json::read(&text) {
        Ok(list) => list,
        Err(_) if !page.may_be_json() => {
            return Err(broken(
                "it sends a page that is not JSON for a list of tags".to_owned(),
            ));
        }
        Err(error) => return Err(broken(format!("its list of tags is not one: {error}"))),
    };
    match list.tags {
        Some(names) => Ok(names.map(|names| names.0).unwrap_or_default()),
        None if json::read::<NameAlone>(&text).is_ok() => Ok(Vec::new()),
        None => Err(broken("its list of tags has no field tags".to_owned())),
    }
}
