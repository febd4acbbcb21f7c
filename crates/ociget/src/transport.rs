//! One request: the right connection, the redirects, the time limits.
//!
//! Nothing is decided here about retries or credentials. What is: which hosts may be spoken to in
//! clear, where a redirect may lead, and that `Authorization` never leaves the origin it is for.

use std::error::Error as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use tracing::Instrument as _;

use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::floor::{Floor, MinRate};
use crate::options::Options;
use crate::pool::{Pools, RefusedAddress};
use crate::target;

/// Registries redirect once, to their storage; some of those once more.
const MAX_REDIRECTS: usize = 5;
/// A document has to be whole after so many stall limits: one byte at a time is progress, and would
/// hold us for as long as it pleases the other side.
const DOCUMENT_PATIENCE: u32 = 5;

/// The connections of a [`Client`](crate::Client). Making one is free.
#[derive(Debug)]
pub(crate) struct Transport {
    pools: Pools,
    stall_timeout: Duration,
    min_rate: MinRate,
}

/// What is sent.
#[derive(Clone, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    /// The registry on whose behalf this is sent.
    pub(crate) home: &'a Endpoint,
    pub(crate) accept: Option<&'static str>,
    pub(crate) authorization: Option<HeaderValue>,
    /// Start of the range asked for; 0 without an end asks for everything, without `Range`.
    pub(crate) from: u64,
    /// One past the last byte asked for; the end of the blob if there is none.
    pub(crate) until: Option<u64>,
    /// The body of a POST.
    pub(crate) form: Option<String>,
}

impl<'a> Request<'a> {
    pub(crate) fn get(url: Url, home: &'a Endpoint) -> Self {
        Self {
            method: Method::GET,
            url,
            home,
            accept: None,
            authorization: None,
            from: 0,
            until: None,
            form: None,
        }
    }
}

/// What came back, its body unread.
#[derive(Debug)]
pub(crate) struct Answer {
    response: reqwest::Response,
    /// The URL asked for, as it may be shown.
    pub(crate) asked: String,
    /// Whether it came from the origin that was asked, not from where that redirected to.
    pub(crate) at_home: bool,
    pub(crate) attempts: u32,
    stall_timeout: Duration,
    min_rate: MinRate,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The same again may work.
    Transient(String),
    /// It will not.
    Permanent(String),
    /// Not a matter of the network.
    Error(Error),
}

impl Transport {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            pools: Pools::new(options.connect_timeout),
            stall_timeout: options.stall_timeout,
            min_rate: options.min_rate(),
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
                path = url.path(),
            );
            let response = self.exchange(request, &url).instrument(span).await?;
            let status = response.status();
            let location = response.headers().get(header::LOCATION);
            let Some(location) = location.filter(|_| is_redirect(status)) else {
                return Ok(Answer {
                    response,
                    asked: target::shown(&request.url),
                    at_home: url.origin() == request.url.origin(),
                    attempts: 1,
                    stall_timeout: self.stall_timeout,
                    min_rate: self.min_rate,
                });
            };
            let next = location
                .to_str()
                .ok()
                .and_then(|location| url.join(location).ok())
                .ok_or_else(|| misbehaves(&url, "redirects to something that is not an URL"))?;
            request.home.check(&next, &url).map_err(Failure::Error)?;
            if request.method == Method::POST {
                return Err(misbehaves(&url, "redirects a POST that carries a secret"));
            }
            url = next;
        }
        Err(misbehaves(&request.url, "redirects without end"))
    }

    async fn exchange(
        &self,
        request: &Request<'_>,
        url: &Url,
    ) -> Result<reqwest::Response, Failure> {
        let mut headers = HeaderMap::new();
        if url.origin() == request.home.base.origin() {
            headers.clone_from(&request.home.headers);
        }
        // A layer is compressed already, and what is hashed is what is stored.
        headers.insert(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("identity"),
        );
        if let Some(accept) = request.accept {
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        }
        if let Some(authorization) = &request.authorization
            && url.origin() == request.url.origin()
        {
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
        let way = request.home.way(url, &self.pools);
        if !way.direct && !request.home.is_own_host(url) {
            let admitted = self.pools.admit(url, way.reach).await;
            admitted.map_err(|refused| forbidden(request, url, refused))?;
        }
        let pool = self.pools.get(&way).await.map_err(Failure::Error)?;
        let mut builder = pool.request(request.method.clone(), url.clone());
        if let Some(form) = &request.form {
            let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
            headers.insert(header::CONTENT_TYPE, form_type);
            builder = builder.body(form.clone());
        }
        let sending = builder.headers(headers).send();
        match tokio::time::timeout(self.stall_timeout, sending).await {
            Ok(Ok(response)) => {
                tracing::debug!(status = response.status().as_u16(), "answer");
                Ok(response)
            }
            Ok(Err(error)) if is_certificate_trouble(&error) => {
                Err(Failure::Permanent(causes(&error)))
            }
            Ok(Err(error)) => Err(match refused_address(&error) {
                Some(refused) => forbidden(request, url, *refused),
                None => Failure::Transient(causes(&error)),
            }),
            Err(_) => Err(Failure::Transient(no_progress(self.stall_timeout))),
        }
    }
}

impl Answer {
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// One header as text.
    pub(crate) fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
    }

    /// How many bytes the body will have, where the answer says so.
    pub(crate) fn length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// The next bytes. The clock of the stall limit runs only while somebody waits for them.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, String> {
        match tokio::time::timeout(self.stall_timeout, self.response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(causes(&error)),
            Err(_) => Err(no_progress(self.stall_timeout)),
        }
    }

    /// The whole body, if it has at most `cap` bytes and does not take forever.
    pub(crate) async fn read(&mut self, cap: u64) -> Result<Bytes, Failure> {
        let limit = self.stall_timeout.saturating_mul(DOCUMENT_PATIENCE);
        match tokio::time::timeout(limit, self.gather(cap)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::Transient(format!(
                "a small document was not there after {} s",
                limit.as_secs_f32()
            ))),
        }
    }

    async fn gather(&mut self, cap: u64) -> Result<Bytes, Failure> {
        let too_long = |asked: &str| {
            Failure::Error(Error::protocol(
                asked,
                format!("it sends a document of more than {cap} bytes"),
            ))
        };
        if self.length().is_some_and(|length| length > cap) {
            return Err(too_long(&self.asked));
        }
        let mut body = Vec::new();
        let mut floor = Floor::new(self.min_rate);
        floor.start(Instant::now());
        while let Some(chunk) = self.chunk().await.map_err(Failure::Transient)? {
            let kept_up = floor.receive(chunk.len(), Instant::now());
            kept_up.map_err(Failure::Transient)?;
            let length = u64::try_from(body.len() + chunk.len()).unwrap_or(u64::MAX);
            if length > cap {
                return Err(too_long(&self.asked));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.into())
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn misbehaves(url: &Url, reason: &str) -> Failure {
    Failure::Error(Error::protocol(target::shown(url), format!("it {reason}")))
}

/// The failure of a request whose next step leads to a place where one does not go.
fn forbidden(request: &Request<'_>, url: &Url, refused: RefusedAddress) -> Failure {
    let asker = match *url == request.url {
        true => &request.home.base,
        false => &request.url,
    };
    Failure::Error(Error::Forbidden {
        url: target::shown(asker),
        target: target::shown(url),
        reason: refused.to_string(),
    })
}

fn no_progress(limit: Duration) -> String {
    format!("nothing came for {} s", limit.as_secs_f32())
}

/// The chain of causes without the outermost words, which say "error sending request" and may
/// name the URL with its query.
fn causes(error: &reqwest::Error) -> String {
    let mut words = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push(error.to_string());
        cause = error.source();
    }
    if words.is_empty() {
        return if error.is_timeout() {
            "timed out"
        } else {
            "the request failed"
        }
        .to_owned();
    }
    // Wrappers tend to repeat what they wrap.
    words.dedup();
    let mut text = words.join(": ");
    if text.contains("fatal alert") {
        text.push_str(" (it may want a client certificate, or another one)");
    }
    if text.contains("corrupt message") {
        text.push_str(
            " (it does not speak TLS; a registry without it has to be named for plain http)",
        );
    }
    text
}

/// The rule by which a name was not connected to, if that was it: asking again changes nothing.
fn refused_address(error: &reqwest::Error) -> Option<&RefusedAddress> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// A certificate does not become valid by asking again, nor does a server learn TLS.
fn is_certificate_trouble(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(found) = tls_error(error) {
            return matches!(
                found,
                rustls::Error::InvalidCertificate(_)
                    | rustls::Error::InvalidMessage(_)
                    | rustls::Error::AlertReceived(_)
            );
        }
        cause = error.source();
    }
    false
}

/// The TLS error that this is, in however many I/O errors it was wrapped: their `source()` skips
/// what they hold.
fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(found) = error.downcast_ref() {
        return Some(found);
    }
    tls_error(error.downcast_ref::<std::io::Error>()?.get_ref()?)
}
