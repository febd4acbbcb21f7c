//! One place that may have the image: a mirror, the registry itself, or an URL that a manifest names.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::{Method, StatusCode, Url, header};

use crate::auth::{self, Authorizer};
use crate::client::Client;
use crate::digest::Digest;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::floor::MinRate;
use crate::hosts_toml::Hosts;
use crate::manifest::MAX_DOCUMENT;
use crate::media_type::ACCEPT_MANIFESTS;
use crate::options::Options;
use crate::printable;
use crate::progress::Event;
use crate::reference::Reference;
use crate::retry::{self, Retry};
use crate::source::{Document, verify};
use crate::target;
use crate::transport::{Answer, Request};

/// How often a request to a mirror is tried again: the next host is nearer than a long wait.
const MIRROR_RETRIES: u32 = 1;

#[derive(Debug)]
pub(crate) struct Place {
    client: Client,
    what: What,
    pub(crate) endpoint: Arc<Endpoint>,
    /// What it hears about us; places that a manifest names hear nothing.
    authorizer: Option<Authorizer>,
    /// Whether it may be asked what a tag stands for.
    pub(crate) resolves: bool,
    /// The registry that a mirror is asked to stand in for.
    mirrors: Option<String>,
    pub(crate) retries: u32,
    /// Out of reach: not asked again in the course of this pull.
    lost: AtomicBool,
    /// Has been seen not to serve ranges, whatever it says.
    without_ranges: AtomicBool,
}

/// What is asked for there.
#[derive(Debug)]
enum What {
    /// Anything of a repository.
    Repository(String),
    /// One blob, in the registry's stead.
    Blob(Url),
}

/// Where to ask for `reference`, in this order: mirrors, then the registry.
pub(crate) async fn find(
    client: &Client,
    reference: &Reference,
    origin: &Arc<Endpoint>,
) -> Result<Vec<Place>, Error> {
    let options = client.options();
    let hosts = match &options.hosts_dir {
        Some(dir) => Hosts::find(dir, reference.registry(), options).await?,
        None => Hosts::default(),
    };
    let mut places: Vec<Place> = hosts
        .mirrors
        .into_iter()
        .map(|host| {
            let retries = options.retries.min(MIRROR_RETRIES);
            let mut place = Place::new(client, reference, host.endpoint.into(), None, retries);
            place.resolves = host.resolves;
            place.mirrors = Some(reference.registry().to_owned());
            place
        })
        .collect();
    places.push(match hosts.server {
        Some(server) if server.base != origin.base => {
            Place::new(client, reference, server.into(), None, options.retries)
        }
        _ => {
            let name = Some(reference.registry());
            Place::new(client, reference, Arc::clone(origin), name, options.retries)
        }
    });
    Ok(places)
}

impl Place {
    /// `name` is what its credentials are kept under, if that is not its host.
    fn new(
        client: &Client,
        reference: &Reference,
        endpoint: Arc<Endpoint>,
        name: Option<&str>,
        retries: u32,
    ) -> Self {
        let options: &Options = client.options();
        let host = endpoint.host();
        let authorizer = Authorizer::new(
            name.unwrap_or(&host),
            reference.repository(),
            Arc::clone(&endpoint),
            Arc::clone(&options.credentials),
            retries,
            options.progress.clone(),
        );
        Self {
            client: client.clone(),
            what: What::Repository(reference.repository().to_owned()),
            endpoint,
            authorizer: Some(authorizer),
            resolves: true,
            mirrors: None,
            retries,
            lost: AtomicBool::new(false),
            without_ranges: AtomicBool::new(false),
        }
    }

    /// An URL that a manifest names for one blob. Whoever made the manifest chose it, so it is
    /// treated like a redirect (CVE-2020-15157): checked, and without credentials whatever it asks.
    ///
    /// # Errors
    /// [`Error::Forbidden`] if it is no place to go to.
    pub(crate) fn elsewhere(
        client: &Client,
        origin: &Arc<Endpoint>,
        url: &str,
    ) -> Result<Self, Error> {
        let url = Url::parse(url).map_err(|_| {
            Error::protocol(
                target::shown(&origin.base),
                "one of the URLs that the manifest names for a layer is none",
            )
        })?;
        origin.check(&url, &origin.base)?;
        Ok(Self {
            client: client.clone(),
            what: What::Blob(url),
            endpoint: Arc::clone(origin),
            authorizer: None,
            resolves: false,
            mirrors: None,
            retries: client.options().retries,
            lost: AtomicBool::new(false),
            without_ranges: AtomicBool::new(false),
        })
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Takes note of a failure, after which another place is asked.
    pub(crate) fn failed(&self, error: &Error) {
        self.left(&error.to_string());
        if matches!(error, Error::Unreachable { .. }) {
            self.lost.store(true, Ordering::Relaxed);
        }
    }

    /// Tells that another place is asked from here on.
    pub(crate) fn left(&self, reason: &str) {
        let host = self.endpoint.host();
        let reason = &printable::text(reason);
        tracing::warn!(host, reason, "asking the next host");
        let progress = &self.client.options().progress;
        progress.tell(&Event::NextHost {
            host: &host,
            reason,
        });
    }

    /// Whether several ranges at once are worth a try.
    pub(crate) fn may_serve_ranges(&self) -> bool {
        !self.without_ranges.load(Ordering::Relaxed)
    }

    /// Takes note that it said so and did not.
    pub(crate) fn serves_no_ranges(&self) {
        self.without_ranges.store(true, Ordering::Relaxed);
    }

    /// Patience for one thing that is wanted from here.
    pub(crate) fn patience(&self) -> Retry {
        Retry::new(self.retries, self.client.options().progress.clone())
    }

    /// The least rate at which bodies have to come from here.
    pub(crate) fn min_rate(&self) -> MinRate {
        self.client.options().min_rate()
    }

    /// `…/v2/<repository>/<kind>/<name>`. Both names were checked when they were parsed, so
    /// that neither can leave its place in the path.
    pub(crate) fn url(&self, kind: &str, name: &str) -> Result<Url, Error> {
        let repository = match &self.what {
            What::Repository(repository) => repository,
            What::Blob(url) => return Ok(url.clone()),
        };
        let path = format!("{repository}/{kind}/{name}");
        let mut url = self
            .endpoint
            .base
            .join(&path)
            .map_err(|error| Error::Usage(format!("{path:?} is not an URL path: {error}")))?;
        if let Some(registry) = &self.mirrors {
            // As containerd has it: one mirror of many registries has to know which is meant.
            url.query_pairs_mut().append_pair("ns", registry);
        }
        Ok(url)
    }

    /// What a tag stands for, by a `HEAD`: registries that limit pulls count each `GET`.
    ///
    /// `None` if it does not say; a `GET` may then do better.
    pub(crate) async fn identify(&self, tag: &str) -> Result<Option<Digest>, Error> {
        let mut request = Request::get(self.url("manifests", tag)?, &self.endpoint);
        request.method = Method::HEAD;
        request.accept = Some(ACCEPT_MANIFESTS);
        let mut retry = self.patience();
        let answer = self.send(&mut request, &mut retry).await?;
        let status = answer.status();
        match status.as_u16() {
            200 => Ok(claimed(&answer)),
            401 | 408 | 429 | 500..=599 => {
                // The words come with a GET alone. Credentials that have been refused are not sent
                // again with it: some registries count how often.
                request.method = Method::GET;
                if status == StatusCode::UNAUTHORIZED {
                    request.authorization = None;
                }
                let words = retry::send(self.client.transport(), &request, &mut retry).await?;
                match words.status() {
                    found if found == status => Err(self.refuse(words).await),
                    _ if status == StatusCode::UNAUTHORIZED => Err(self.refuse(answer).await),
                    _ => Ok(None),
                }
            }
            _ => Ok(None),
        }
    }

    /// A manifest by tag or digest.
    pub(crate) async fn document(
        &self,
        name: &str,
        expected: Option<&Digest>,
        accept: &'static str,
    ) -> Result<Document, Error> {
        let mut request = Request::get(self.url("manifests", name)?, &self.endpoint);
        request.accept = Some(accept);
        let mut retry = self.patience();
        loop {
            let mut answer = self.send(&mut request, &mut retry).await?;
            if answer.status() != StatusCode::OK {
                return Err(self.refuse(answer).await);
            }
            let Some(bytes) = retry::read(&mut answer, MAX_DOCUMENT, &mut retry).await? else {
                continue;
            };
            // For a tag the header is what the registry believes to send; ours is what counts, but
            // a difference says that the bytes suffered on their way.
            let own = Digest::of(&bytes);
            if expected.is_none()
                && let Some(claimed) = claimed(&answer)
            {
                let _proof = verify(&answer.asked, claimed, &bytes)?;
            }
            return Ok(Document {
                digest: verify(&answer.asked, expected.cloned().unwrap_or(own), &bytes)?,
                content_type: answer.header(header::CONTENT_TYPE).map(str::to_owned),
                bytes,
                at: answer.asked,
                identity: None,
            });
        }
    }

    /// Sends a request with what the host wants to hear about us.
    pub(crate) async fn send(
        &self,
        request: &mut Request<'_>,
        retry: &mut Retry,
    ) -> Result<Answer, Error> {
        let transport = self.client.transport();
        let Some(authorizer) = &self.authorizer else {
            return retry::send(transport, request, retry).await;
        };
        let mut answers = 0;
        loop {
            let ticket = authorizer.ticket(transport).await?;
            request.authorization.clone_from(&ticket.header);
            let answer = retry::send(transport, request, retry).await?;
            // A 401 of a place that the registry redirected to is not for our credentials.
            if answer.status() != StatusCode::UNAUTHORIZED || !answer.at_home {
                return Ok(answer);
            }
            // One answer to the challenge, and another if it turns out to be too narrow.
            let allowed = 1 + u32::from(auth::wants_more_scope(answer.headers()));
            if answers >= allowed
                || !authorizer
                    .answer(&ticket, answer.headers(), transport)
                    .await?
            {
                return Ok(answer);
            }
            answers += 1;
        }
    }

    pub(crate) async fn refuse(&self, answer: Answer) -> Error {
        let told = matches!(answer.status().as_u16(), 401 | 403);
        let who = match &self.authorizer {
            Some(authorizer) if told => authorizer.who().await,
            _ => String::new(),
        };
        retry::refuse(answer, who).await
    }
}

/// What the registry believes to send, or to have.
fn claimed(answer: &Answer) -> Option<Digest> {
    let claimed = answer.header(header::HeaderName::from_static("docker-content-digest"))?;
    claimed.parse().ok()
}
