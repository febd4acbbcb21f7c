//! One place that may have the image: a mirror, the registry itself, or a URL that a manifest names.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::{Method, StatusCode, header};
use url::Url;

use crate::auth::{self, Authorizer, bearer};
use crate::client::Client;
use crate::digest::Digest;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::floor::MinRate;
use crate::hosts_toml::Hosts;
use crate::manifest::MAX_DOCUMENT;
use crate::media_type::ACCEPT_MANIFESTS;
use crate::options::{Budget, Options};
use crate::printable;
use crate::progress::Event;
use crate::reference::{self, Reference};
use crate::refusal::{Part, Sender, may_pass};
use crate::retry::{self, Retry};
use crate::source::{Document, verify};
use crate::target;
use crate::transport::{Answer, Request};
use crate::words;

/// How often a request to a mirror is tried again: the next host is nearer than a long wait.
const MIRROR_RETRIES: u32 = 1;
/// Longest `Retry-After` of a host that is waited for if another one is next.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Place {
    client: Client,
    what: What,
    pub(crate) endpoint: Arc<Endpoint>,
    /// Credentials for it; places that a manifest names receive none.
    authorizer: Option<Authorizer>,
    /// Whether it may resolve tags.
    pub(crate) resolves: bool,
    /// The registry that is meant, for a host that is another one.
    namespace: Option<String>,
    budget: Budget,
    /// Whether it was unreachable, and is not tried again during this pull.
    lost: AtomicBool,
    /// The end of its `Retry-After`, before which it is not tried again.
    rests_until: Mutex<Option<Instant>>,
    /// Whether it failed to serve ranges, regardless of its headers.
    without_ranges: AtomicBool,
}

/// The purpose of a request to a place.
#[derive(Debug)]
enum What {
    /// Anything of a repository.
    Repository(String),
    /// One blob, in the registry's stead.
    Blob(Url),
}

/// Returns the places to request `reference` from, in this order: mirrors, then the registry.
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
    for text in &hosts.warnings {
        tracing::warn!(text, "hosts.toml");
        options.progress.tell(&Event::Warning { text });
    }
    // Whatever the last place does not serve, a mirror has to be waited for.
    let last_resolves = match &hosts.server {
        Some(server) => server.resolves,
        None => !hosts.without_server,
    };
    let last_mirror = hosts.mirrors.len().saturating_sub(1);
    let mut places: Vec<Place> = hosts
        .mirrors
        .into_iter()
        .enumerate()
        .map(|(number, host)| {
            let is_last = hosts.without_server && number == last_mirror;
            let has_next = !is_last && (last_resolves || !host.resolves);
            let budget = Place::budget(options, has_next);
            let mut place = Place::new(client, reference, host.endpoint.into(), origin, budget);
            place.resolves = host.resolves;
            place
        })
        .collect();
    match hosts.server {
        Some(server) => {
            let endpoint = server.endpoint.into();
            let mut place = Place::new(client, reference, endpoint, origin, options.budget());
            place.resolves = server.resolves;
            places.push(place);
        }
        None if hosts.without_server => {}
        None => {
            let endpoint = Arc::clone(origin);
            let budget = options.budget();
            places.push(Place::new(client, reference, endpoint, origin, budget));
        }
    }
    Ok(places)
}

impl Place {
    fn new(
        client: &Client,
        reference: &Reference,
        endpoint: Arc<Endpoint>,
        origin: &Endpoint,
        budget: Budget,
    ) -> Self {
        let options: &Options = client.options();
        // Credentials are kept under the name that people write.
        let host = endpoint.host();
        let name = match endpoint.base.origin() == origin.base.origin() {
            true => reference.registry(),
            false => reference::registry_of(&host),
        };
        // By containerd's rule the registry's own name and port decide, whatever the scheme.
        let of = |base: &Url| (base.host_str().map(str::to_owned), base.port());
        let is_same_host = of(&endpoint.base) == of(&origin.base);
        let authorizer = Authorizer::new(
            name,
            &endpoint.repository(reference.repository()),
            Arc::clone(&endpoint),
            Arc::clone(&options.credentials),
            budget,
            options.progress.clone(),
        );
        Self {
            client: client.clone(),
            what: What::Repository(reference.repository().to_owned()),
            endpoint,
            authorizer: Some(authorizer),
            resolves: true,
            namespace: (!is_same_host).then(|| reference.registry().to_owned()),
            budget,
            lost: AtomicBool::new(false),
            rests_until: Mutex::default(),
            without_ranges: AtomicBool::new(false),
        }
    }

    /// The patience of a place that is one of several, and whether there is another one after it.
    fn budget(options: &Options, has_next: bool) -> Budget {
        let mut budget = options.budget();
        budget.retries = budget.retries.min(MIRROR_RETRIES);
        if has_next {
            budget.longest_asked = LONGEST_WAIT;
        }
        budget
    }

    /// A URL that a manifest names for one blob. The author of the manifest chose it, so it is
    /// treated like a redirect (CVE-2020-15157): checked, and without credentials whatever it asks.
    ///
    /// # Errors
    /// [`Error::Forbidden`] if it is no place to go to.
    pub(crate) fn elsewhere(
        client: &Client,
        origin: &Arc<Endpoint>,
        url: &str,
        has_next: bool,
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
            namespace: None,
            budget: Self::budget(client.options(), has_next),
            lost: AtomicBool::new(false),
            rests_until: Mutex::default(),
            without_ranges: AtomicBool::new(false),
        })
    }

    /// Returns whether it is left out now, because it is lost or asked for a pause.
    pub(crate) fn is_left_out(&self) -> bool {
        let rests_until = *self.rest();
        self.lost.load(Ordering::Relaxed) || rests_until.is_some_and(|end| Instant::now() < end)
    }

    fn rest(&self) -> MutexGuard<'_, Option<Instant>> {
        let rest = self.rests_until.lock();
        rest.unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a failure, after which the client tries another place.
    pub(crate) fn failed(&self, error: &Error) {
        self.left(&error.to_string());
        if matches!(error, Error::Unreachable { .. } | Error::Proxy { .. }) {
            self.lost.store(true, Ordering::Relaxed);
        }
        let refusal = error.refusal().filter(|refusal| may_pass(refusal.status));
        if let Some(asked) = refusal.and_then(|refusal| refusal.retry_after) {
            match Instant::now().checked_add(asked) {
                Some(end) => *self.rest() = Some(end),
                None => self.lost.store(true, Ordering::Relaxed),
            }
        }
    }

    /// Reports that the client continues with another place.
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

    /// Returns whether several concurrent ranges are worth a try.
    pub(crate) fn may_serve_ranges(&self) -> bool {
        !self.without_ranges.load(Ordering::Relaxed)
    }

    /// Takes note that it said so and did not.
    pub(crate) fn serves_no_ranges(&self) {
        self.without_ranges.store(true, Ordering::Relaxed);
    }

    /// Patience for one thing that is wanted from here.
    pub(crate) fn patience(&self) -> Retry {
        Retry::new(self.budget, self.client.options().progress.clone())
    }

    /// Patience for what no other place can send.
    pub(crate) fn patience_without_next(&self) -> Retry {
        let options = self.client.options();
        let mut budget = self.budget;
        budget.longest_asked = options.budget().longest_asked;
        Retry::new(budget, options.progress.clone())
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
            .map_err(|error| Error::Usage(format!("{path:?} is not a URL path: {error}")))?;
        if let Some(registry) = &self.namespace {
            // As containerd has it: one mirror of many registries has to know which is meant.
            url.query_pairs_mut().append_pair("ns", registry);
        }
        Ok(url)
    }

    /// Resolves a tag with a `HEAD`, because registries that limit pulls count each `GET`.
    ///
    /// `None` if it does not say; a `GET` may then do better.
    pub(crate) async fn identify(&self, tag: &str) -> Result<Option<Digest>, Error> {
        let mut request = Request::get(self.url("manifests", tag)?, &self.endpoint);
        request.method = Method::HEAD;
        request.accept = Some(ACCEPT_MANIFESTS);
        let mut retry = self.patience();
        let Some(answer) = self.head(&mut request, &mut retry).await? else {
            return Ok(None);
        };
        let status = answer.status();
        match status.as_u16() {
            _ if answer.is_whole() => Ok(claimed(&answer)),
            // Nothing was sent that could be refused, and a GET may have a challenge or need none.
            401 if request.authorization.is_none() => Ok(None),
            // It gets the pause that it asked for: a GET for its words would be another request.
            _ if self.rests_after(&answer) => Err(self.refuse(answer).await),
            401 | 408 | 429 | 500..=599 => {
                // The words come with a GET alone. Passwords that have been refused are not sent
                // again with it: some registries count how often.
                request.method = Method::GET;
                let is_of_password = status == StatusCode::UNAUTHORIZED
                    && !request
                        .authorization
                        .as_ref()
                        .is_some_and(bearer::is_header);
                if is_of_password {
                    request.authorization = None;
                }
                let words = retry::send(self.client.transport(), &request, &mut retry).await?;
                match words.status() {
                    found if found == status => Err(self.refuse(words).await),
                    _ if is_of_password => Err(self.refuse(answer).await),
                    _ => Ok(None),
                }
            }
            _ => Ok(None),
        }
    }

    /// Returns whether an answer asks for a pause, in which the next host gets the requests.
    fn rests_after(&self, answer: &Answer) -> bool {
        let has_next = self.budget.longest_asked == LONGEST_WAIT;
        has_next && may_pass(answer.status().as_u16()) && retry::retry_after(answer).is_some()
    }

    /// Sends a `HEAD`. `None` if a server that was reached does not answer it; a `GET` may then do better.
    pub(crate) async fn head(
        &self,
        request: &mut Request<'_>,
        retry: &mut Retry,
    ) -> Result<Option<Answer>, Error> {
        match self.send(request, retry).await {
            Err(error) if retry.take_unanswered_head() => {
                tracing::debug!(%error, "no answer to HEAD");
                Ok(None)
            }
            outcome => outcome.map(Some),
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
            if !answer.is_whole() {
                return Err(self.refuse(answer).await);
            }
            let Some(bytes) = retry::read(&mut answer, MAX_DOCUMENT, &mut retry).await? else {
                continue;
            };
            let at = answer.at();
            // For a tag the header is the digest that the registry means to send. The computed digest counts, but
            // a difference shows that the bytes were changed on their way.
            let own = Digest::of(&bytes);
            let wanted = expected.cloned().or_else(|| claimed(&answer));
            let is_vouched_for = wanted.is_some();
            let digest = match verify(&at, wanted.unwrap_or_else(|| own.clone()), &bytes) {
                Ok(digest) if is_vouched_for => digest,
                outcome => match not_a_manifest(&answer, &bytes) {
                    Some(error) => return Err(error),
                    None => outcome?,
                },
            };
            let digest = match expected {
                Some(_) => digest,
                None => verify(&at, own, &bytes)?,
            };
            return Ok(Document {
                digest,
                content_type: answer.header(header::CONTENT_TYPE).map(str::to_owned),
                bytes,
                at,
                identity: None,
            });
        }
    }

    /// Sends a request with the credentials for the host.
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
            let is_denied = answer.status() == StatusCode::FORBIDDEN;
            let is_unauthorized = answer.status() == StatusCode::UNAUTHORIZED;
            let is_narrow = is_unauthorized && authorizer.is_narrow()
                || (is_unauthorized || is_denied) && auth::wants_more_scope(answer.headers());
            let is_challenge = is_unauthorized || is_narrow;
            // A 401 of a place that the registry redirected to is not for our credentials.
            if !is_challenge || !answer.at_home {
                return Ok(answer);
            }
            // One answer to the challenge, and another if it turns out to be too narrow.
            if answers > u32::from(is_narrow) {
                return Ok(answer);
            }
            let answering = authorizer.answer(&ticket, answer.headers(), transport);
            let is_answered = match answering.await {
                // The registry's own words say more than that its challenge cannot be used.
                Err(Error::Protocol { .. } | Error::Forbidden { .. }) if is_denied => false,
                outcome => outcome?,
            };
            if !is_answered {
                return Ok(answer);
            }
            answers += 1;
        }
    }

    pub(crate) async fn refuse(&self, answer: Answer) -> Error {
        self.refuse_part(answer, Part::Manifest).await
    }

    /// Returns the error of an answer that refuses `part` of an image.
    pub(crate) async fn refuse_part(&self, answer: Answer, part: Part) -> Error {
        let told = matches!(answer.status().as_u16(), 401 | 403 | 429);
        let mut sender = match &self.authorizer {
            Some(authorizer) if told && answer.at_home => authorizer.who().await,
            _ => Sender::default(),
        };
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            // Whose requests were too many is known; only the advice depends on it.
            sender.credentials.clear();
        }
        retry::refuse(answer, sender, part).await
    }
}

/// Returns why the bytes of a successful answer are no manifest, if its headers show it.
fn not_a_manifest(answer: &Answer, bytes: &[u8]) -> Option<Error> {
    if let Err(error) = answer.check_encoding("the manifest") {
        return Some(error);
    }
    let kind = answer.header(header::CONTENT_TYPE);
    words::is_page(kind, bytes).then(|| {
        let (_, title) = answer.words(bytes);
        let title = title.map(|title| format!(", {title:?},")).unwrap_or_default();
        let reason = format!(
            "it answers with a web page (text/html){title} where a manifest was expected; the address may be that of a \
             web server or of a page to sign in at"
        );
        Error::protocol(answer.at(), reason)
    })
}

/// Returns the digest that the registry claims to send, or to have.
fn claimed(answer: &Answer) -> Option<Digest> {
    let claimed = answer.header(header::HeaderName::from_static("docker-content-digest"))?;
    claimed.parse().ok()
}
