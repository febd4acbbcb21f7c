//! One request: the right connection, the redirects, the time limits.
//!
//! Nothing is decided here about retries or credentials. What is: which hosts may be spoken to in
//! clear, where a redirect may lead, and that `Authorization` never leaves the origin it is for.

mod answer;
mod informational;
mod request;
mod trouble;

use std::collections::HashSet;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use tracing::Instrument as _;
use url::{Origin, Url};

use crate::agent::AGENT;
use crate::connect::failure::{ConnectError, ProxyFailure};
use crate::error::Error;
use crate::floor::MinRate;
use crate::header_url;
use crate::options::Options;
use crate::pool::Pools;
use crate::progress::{Event, Progress};
use crate::secrets::Secrets;
use crate::target;
use crate::warning::Warnings;

use informational::Informational;

pub(crate) use answer::Answer;
pub(crate) use request::Request;
pub(crate) use trouble::Failure;

/// Registries redirect once, to their storage; some of those once more.
const MAX_REDIRECTS: usize = 10;
/// Most origins of which it is known that they have answered.
const MAX_ANSWERED: usize = 1024;

/// The connections of a [`Client`](crate::Client). Making one is free.
#[derive(Debug)]
pub(crate) struct Transport {
    pools: Arc<Pools>,
    stall_timeout: Duration,
    min_rate: MinRate,
    warnings: Warnings,
    /// What was sent and no text of a server may repeat.
    pub(crate) secrets: Secrets,
    progress: Progress,
    /// Origins that have answered in HTTP.
    answered: Mutex<HashSet<Origin>>,
}

impl Transport {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            pools: Arc::new(Pools::new(options.connect_timeout, options.stall_timeout)),
            stall_timeout: options.stall_timeout,
            min_rate: options.min_rate(),
            warnings: Warnings::default(),
            secrets: Secrets::default(),
            progress: options.progress.clone(),
            answered: Mutex::default(),
        }
    }

    /// Sends a request, following redirects as far as they may be followed.
    pub(crate) async fn send_once(&self, request: &Request<'_>) -> Result<Answer, Failure> {
        let mut url = request.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let span = tracing::debug_span!(
                "request",
                method = %request.method,
                host = url.host_str(),
                path = self.shown(request, &url, url.path()),
            );
            let hidden = |failure| self.without_secrets(request, &url, failure);
            let exchanged = self.exchange(request, &url).instrument(span).await;
            let (response, proxy) = exchanged.map_err(hidden)?;
            let status = response.status();
            let location = response.headers().get(header::LOCATION);
            let Some(location) = location.filter(|_| is_redirect(status)) else {
                let left = match request.method == Method::HEAD {
                    true => None,
                    false => self.framing(&url, response.headers()).map_err(hidden)?,
                };
                return Ok(Answer {
                    left,
                    response,
                    asked: target::shown(&request.url),
                    url: self.shown(request, &url, &target::shown(&url)),
                    at_home: url.origin() == request.url.origin(),
                    proxy,
                    in_clear: trouble::needs_tls(&url),
                    attempts: 1,
                    stall_timeout: self.stall_timeout,
                    min_rate: self.min_rate,
                    secrets: self.secrets.clone(),
                });
            };
            let next = url
                .join(&header_url::text(location))
                .map_err(|_| misbehaves(&url, "redirects to something that is not a URL"))
                .map_err(hidden)?;
            self.secrets.note_query(&next);
            request
                .home
                .check(&next, &url)
                .map_err(|error| hidden(Failure::Error(self.hide_in(error))))?;
            if request.method == Method::POST {
                let what = "redirects a POST that carries a secret";
                return Err(hidden(misbehaves(&url, what)));
            }
            url = next;
        }
        let what = format!("redirects more than {MAX_REDIRECTS} times, one after the other");
        Err(misbehaves(&request.url, &what))
    }

    /// Returns the length of a body that hyper would read to the end of the connection. `identity`, which HTTP once had,
    /// changes nothing, and any other coding than `chunked` was not asked for.
    fn framing(&self, url: &Url, headers: &HeaderMap) -> Result<Option<u64>, Failure> {
        let fields = headers.get_all(header::TRANSFER_ENCODING).iter();
        let texts = fields.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let all = texts.collect::<Vec<_>>().join(", ");
        let names = all.split(',').map(|name| name.trim().to_ascii_lowercase());
        let names: Vec<String> = names.filter(|name| !name.is_empty()).collect();
        if !names
            .iter()
            .all(|name| name == "chunked" || name == "identity")
        {
            let reason = format!(
                "sends an answer with Transfer-Encoding {:?}, which was not asked for",
                self.secrets.hide(&all)
            );
            return Err(misbehaves(url, &reason));
        }
        match names.iter().position(|name| name == "chunked") {
            Some(place) if place + 1 < names.len() => {
                let what =
                    "sends an answer with a Transfer-Encoding whose last coding is not chunked";
                return Err(misbehaves(url, what));
            }
            None if !names.is_empty() => {}
            _ => return Ok(None),
        }
        let length = headers.get(header::CONTENT_LENGTH);
        Ok(length.and_then(|length| length.to_str().ok()?.trim().parse().ok()))
    }

    /// Returns an error about a URL that a server chose, with its secrets hidden.
    pub(crate) fn hide_in(&self, error: Error) -> Error {
        match error {
            Error::Forbidden {
                url,
                target,
                reason,
            } => Error::Forbidden {
                target: self.secrets.hide(&target),
                reason: self.secrets.hide(&reason),
                url,
            },
            Error::Protocol { url, reason } => Error::Protocol {
                reason: self.secrets.hide(&reason),
                url,
            },
            other => other,
        }
    }

    /// Returns a text with `url`, without secrets if it is a server's: the caller's own may look like one.
    fn shown(&self, request: &Request<'_>, url: &Url, text: &str) -> String {
        match *url == request.url {
            true => text.to_owned(),
            false => self.secrets.hide(text),
        }
    }

    /// Returns a failure at `url`, without secrets if a server chose it.
    fn without_secrets(&self, request: &Request<'_>, url: &Url, failure: Failure) -> Failure {
        let own = |shown: String| match shown == target::shown(url) {
            true => self.secrets.hide(&shown),
            false => shown,
        };
        match failure {
            failure if *url == request.url => failure,
            Failure::Error(error) => Failure::Error(match self.hide_in(error) {
                Error::Protocol { url, reason } => Error::Protocol {
                    url: own(url),
                    reason,
                },
                Error::Forbidden {
                    url,
                    target,
                    reason,
                } => Error::Forbidden {
                    url: own(url),
                    target,
                    reason,
                },
                other => other,
            }),
            Failure::Connection(mut trouble) => {
                trouble.url = self.secrets.hide(&trouble.url);
                Failure::Connection(trouble)
            }
        }
    }

    async fn exchange(
        &self,
        request: &Request<'_>,
        url: &Url,
    ) -> Result<(http::Response<Incoming>, Option<String>), Failure> {
        let mut headers = HeaderMap::new();
        let is_home = url.origin() == request.home.base.origin();
        if is_home {
            headers.clone_from(&request.home.headers);
            self.secrets.note_headers(&headers);
        }
        headers.insert(header::USER_AGENT, HeaderValue::from_static(AGENT));
        // A layer is compressed already, and what is hashed is what is stored.
        headers.insert(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("identity"),
        );
        let accept = request.accept.unwrap_or("*/*");
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        if let Some(authorization) = &request.authorization
            && url.origin() == request.url.origin()
        {
            self.secrets.note_authorization(authorization);
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        let range = match request.until {
            Some(until) => Some(format!(
                "bytes={}-{}",
                request.from,
                until.saturating_sub(1)
            )),
            None => (request.from > 0).then(|| format!("bytes={}-", request.from)),
        };
        if let Some(Ok(range)) = range.map(HeaderValue::try_from) {
            headers.insert(header::RANGE, range);
        }
        let way = request.home.way(url, &self.pools).map_err(Failure::Error)?;
        if way.proxy.is_some() && !request.home.is_base_of(url) {
            let admitted = self.pools.admit(url, way.reach).await;
            admitted.map_err(|refused| trouble::forbidden(request, url, refused))?;
        }
        let forwarder = way.proxy.as_ref().filter(|proxy| proxy.forwards(url));
        if let Some(proxy) = forwarder {
            if let Some(failure) = self.pools.experience.refusal(proxy) {
                return Err(trouble::of_connecting(
                    request,
                    url,
                    &way,
                    ConnectError::Proxy(failure),
                ));
            }
            if let Some(authorization) = proxy.authorization() {
                self.secrets.note_authorization(&authorization);
                headers.insert(header::PROXY_AUTHORIZATION, authorization);
            }
        }
        let pool = self.pools.get(&way, url).await.map_err(Failure::Error)?;
        let mut body = Full::default();
        if let Some(form) = &request.form {
            self.secrets.note_form(form);
            let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
            headers.insert(header::CONTENT_TYPE, form_type);
            body = Full::new(Bytes::from(form.clone()));
        }
        let uri: Uri = url.as_str().parse().map_err(|_| {
            misbehaves(
                &request.url,
                "leads to a URL that no request can be sent to",
            )
        })?;
        let mut outgoing = http::Request::new(body);
        *outgoing.method_mut() = request.method.clone();
        *outgoing.uri_mut() = uri;
        *outgoing.headers_mut() = headers;
        let informational = Informational::of(&mut outgoing);
        let (mut answer, mut flood) =
            (pin!(pool.request(outgoing)), pin!(informational.too_many()));
        let first = poll_fn(|context| match flood.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => answer.as_mut().poll(context).map(Some),
        });
        let response = match tokio::time::timeout(self.stall_timeout, first).await {
            Ok(Some(Ok(response))) => response,
            Ok(Some(Err(error))) => {
                let has_answered = self.answered().contains(&url.origin());
                return Err(trouble::of_pool(request, url, &way, has_answered, &error));
            }
            outcome => {
                if let Some(reason) = informational.reason() {
                    return Err(trouble::unfinished(request, url, reason, outcome.is_ok()));
                }
                let reason = trouble::no_progress(self.stall_timeout);
                let Some(proxy) = forwarder else {
                    return Err(trouble::broken(request, url, reason));
                };
                // It took the request, and whether it has sent that on is known to it alone.
                let failure = ProxyFailure::passing(
                    proxy,
                    format!("{reason}; it, or the host that it sends requests on to, is silent"),
                );
                let error = ConnectError::Proxy(failure);
                return Err(trouble::of_connecting(request, url, &way, error));
            }
        };
        self.note_answered(url);
        let status = response.status().as_u16();
        tracing::debug!(status, "answer");
        self.progress.tell(&Event::Answered {
            url: &self.shown(request, url, &target::shown(url)),
            status,
        });
        if let Some(proxy) = forwarder
            && response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED
        {
            let what = match proxy.login {
                Some(_) => "it answered 407; check the user and the password in the proxy's URL",
                None => "it answered 407; put USER:PASSWORD@ into the proxy's URL",
            };
            let failure = ProxyFailure {
                proxy: proxy.shown(),
                status: Some(407),
                reason: what.to_owned(),
                is_final: true,
                is_of_login: true,
            };
            self.pools.experience.note_refused(proxy, failure.clone());
            return Err(trouble::of_connecting(
                request,
                url,
                &way,
                ConnectError::Proxy(failure),
            ));
        }
        if is_home {
            for text in self.warnings.new_in(response.headers(), &self.secrets) {
                let host = request.home.host();
                tracing::warn!(host, text, "the registry warns");
                self.progress.tell(&Event::Warning {
                    text: &format!("{host} says: {text}"),
                });
            }
        }
        Ok((response, forwarder.map(|proxy| proxy.shown())))
    }

    fn note_answered(&self, url: &Url) {
        let mut answered = self.answered();
        if answered.len() >= MAX_ANSWERED {
            answered.clear();
        }
        answered.insert(url.origin());
    }

    fn answered(&self) -> MutexGuard<'_, HashSet<Origin>> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn misbehaves(url: &Url, reason: &str) -> Failure {
    Failure::Error(Error::protocol(target::shown(url), format!("it {reason}")))
}
