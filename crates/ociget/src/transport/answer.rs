//! An answer, and the reading of it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderMap};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

use crate::error::Error;
use crate::floor::{Floor, MinRate};
use crate::json;
use crate::printable;
use crate::refusal::NeedsTls;
use crate::secrets::Secrets;
use crate::transport::trouble::{Failure, Trouble, causes, no_progress};
use crate::words;

/// Number of stall limits within which a document must be complete: one byte at a time is progress, and would
/// hold us for as long as it pleases the other side.
const DOCUMENT_PATIENCE: u32 = 5;

/// The codings of IANA's registry of HTTP content codings that are compressions.
const CODINGS: [&str; 9] = [
    "gzip",
    "x-gzip",
    "deflate",
    "br",
    "zstd",
    "compress",
    "x-compress",
    "dcb",
    "dcz",
];

/// An answer whose body is unread.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(super) response: http::Response<Incoming>,
    /// Bytes of the body that are still to come, where hyper reads to the end of the connection and `Content-Length`
    /// says more.
    pub(super) left: Option<u64>,
    /// The requested URL, in a form that may be shown.
    pub(super) asked: String,
    /// The URL that gave the answer, as it may be shown.
    pub(crate) url: String,
    /// Whether it came from the requested origin, not from the target of a redirect.
    pub(crate) at_home: bool,
    /// The proxy that the request was sent to in clear.
    pub(crate) proxy: Option<String>,
    /// Where TLS was not spoken: why.
    pub(super) in_clear: Option<NeedsTls>,
    pub(crate) attempts: u32,
    pub(super) stall_timeout: Duration,
    pub(super) min_rate: MinRate,
    /// Hidden in whatever is shown of the answer.
    pub(crate) secrets: Secrets,
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

    /// One header as text that may be shown; empty if there is none.
    pub(crate) fn quoted(&self, name: header::HeaderName) -> String {
        self.secrets.hide(self.header(name).unwrap_or_default())
    }

    /// The code and the message of a body of this answer, as they may be shown.
    pub(crate) fn words(&self, body: &[u8]) -> (Option<String>, Option<String>) {
        words::of(self.header(header::CONTENT_TYPE), body, &self.secrets)
    }

    /// Whether the body is all of what was requested. A status of this class that a client does not know is to be
    /// taken for 200 (RFC 9110, 15); 203 is an answer that a proxy may have changed, which a digest shows.
    pub(crate) fn is_whole(&self) -> bool {
        let status = self.status();
        status.is_success() && !matches!(status.as_u16(), 202 | 204..=206)
    }

    /// Number of bytes of the body, if the answer has it.
    pub(crate) fn length(&self) -> Option<u64> {
        self.left
            .or_else(|| self.response.body().size_hint().exact())
    }

    /// Returns its origin, for people.
    pub(crate) fn at(&self) -> String {
        match self.redirected_from() {
            Some(from) => format!("{} (to which {from} redirects)", self.url),
            None => self.url.clone(),
        }
    }

    /// The requested URL, if another one answered.
    pub(crate) fn redirected_from(&self) -> Option<String> {
        (self.url != self.asked).then(|| self.asked.clone())
    }

    /// Returns whether a refusal with this body means that TLS was expected.
    pub(crate) fn needs_tls(&self, body: &[u8]) -> Option<NeedsTls> {
        let reason = self.in_clear?;
        let text = String::from_utf8_lossy(body).to_ascii_lowercase();
        let says = ["https", "ssl-enabled", "tls"]
            .iter()
            .any(|word| text.contains(word));
        (self.status() == StatusCode::BAD_REQUEST && says).then_some(reason)
    }

    /// Returns the encoding of the body as it may be shown, if it is not the requested identity.
    pub(crate) fn encoding(&self) -> Option<String> {
        let fields = self.headers().get_all(header::CONTENT_ENCODING).iter();
        let texts = fields.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let all: Vec<String> = texts.collect();
        let all = all.join(", ");
        let is_none = |one: &str| one.is_empty() || one.eq_ignore_ascii_case("identity");
        let is_encoded = all.split(',').any(|one| !is_none(one.trim()));
        is_encoded.then(|| self.secrets.hide(&all))
    }

    /// Whether the answer declares a coding that changes bytes, not a word such as `aws-chunked` or `utf-8` that a
    /// store took for one. The bytes may still be those that were requested.
    pub(crate) fn is_encoded(&self) -> bool {
        let fields = self.headers().get_all(header::CONTENT_ENCODING).iter();
        let texts =
            fields.map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase());
        texts
            .into_iter()
            .any(|text| text.split(',').any(|one| CODINGS.contains(&one.trim())))
    }

    /// Checks that `what`, which is not what was requested, comes in the requested encoding.
    ///
    /// # Errors
    /// Returns [`Error::Protocol`] that names the encoding.
    pub(crate) fn check_encoding(&self, what: &str) -> Result<(), Error> {
        let Some(encoding) = self.encoding() else {
            return Ok(());
        };
        let reason = format!(
            "it sends {what} with Content-Encoding {encoding:?}, which was not asked for; a proxy or a cache in \
             between may be the cause"
        );
        Err(Error::protocol(self.at(), reason))
    }

    /// Returns the next bytes. The clock of the stall limit runs only during this call.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, String> {
        loop {
            if self.left == Some(0) {
                return Ok(None);
            }
            let frame = self.response.body_mut().frame();
            match tokio::time::timeout(self.stall_timeout, frame).await {
                Ok(Some(Ok(frame))) => {
                    // Trailers are none of our business.
                    if let Ok(mut bytes) = frame.into_data() {
                        if let Some(left) = &mut self.left {
                            bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                            *left -= u64::try_from(bytes.len()).unwrap_or(*left);
                        }
                        return Ok(Some(bytes));
                    }
                }
                Ok(Some(Err(error))) => return Err(causes(&error)),
                Ok(None) if self.left.is_some() => {
                    return Err("the connection ended before the body did".to_owned());
                }
                Ok(None) => return Ok(None),
                Err(_) => return Err(no_progress(self.stall_timeout)),
            }
        }
    }

    /// The whole body, if it has at most `cap` bytes and does not take forever.
    pub(crate) async fn read(&mut self, cap: u64) -> Result<Bytes, Failure> {
        let limit = self.stall_timeout.saturating_mul(DOCUMENT_PATIENCE);
        match tokio::time::timeout(limit, self.gather(cap)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.broken(format!(
                "a small document was not complete after {}",
                printable::exact(limit)
            ))),
        }
    }

    /// At most `cap` bytes of the body, or as many as came in a short time.
    pub(crate) async fn read_start(&mut self, cap: usize) -> Vec<u8> {
        let limit = self.stall_timeout.saturating_mul(DOCUMENT_PATIENCE);
        let mut body = Vec::new();
        let reading = async {
            while body.len() < cap {
                match self.chunk().await {
                    Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                    Ok(None) | Err(_) => break,
                }
            }
        };
        let _ = tokio::time::timeout(limit, reading).await;
        body.truncate(cap);
        body
    }

    fn broken(&self, reason: String) -> Failure {
        Failure::Connection(Box::new(Trouble {
            url: self.url.clone(),
            redirected_from: self.redirected_from(),
            reason,
            advice: "; check the network".to_owned(),
            is_final: false,
            is_unanswered: false,
            proxy: None,
        }))
    }

    async fn gather(&mut self, cap: u64) -> Result<Bytes, Failure> {
        let too_long = |at: &str| {
            Failure::Error(Error::protocol(
                at,
                format!("it sends a document of more than {cap} bytes"),
            ))
        };
        let too_large = |source| {
            let work = "hold a document in memory";
            Failure::Error(Error::Thread { work, source })
        };
        if self.length().is_some_and(|length| length > cap) {
            return Err(too_long(&self.at()));
        }
        let mut body = Vec::new();
        let mut floor = Floor::new(self.min_rate);
        floor.start(Instant::now());
        loop {
            let chunk = match self.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => {
                    json::reserve(&body).map_err(too_large)?;
                    return Ok(body.into());
                }
                Err(reason) => return Err(self.broken(reason)),
            };
            if let Err(slow) = floor.receive(chunk.len(), Instant::now()) {
                return Err(self.broken(slow));
            }
            let length = u64::try_from(body.len() + chunk.len()).unwrap_or(u64::MAX);
            if length > cap {
                return Err(too_long(&self.at()));
            }
            body.try_reserve(chunk.len())
                .map_err(|error| too_large(error.into()))?;
            body.extend_from_slice(&chunk);
        }
    }
}
