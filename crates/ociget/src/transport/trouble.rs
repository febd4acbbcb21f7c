//! Failures on the way to an answer, with the responsible party.

use std::time::Duration;

use url::Url;

use crate::connect::failure::{ConnectError, ProxyFailure};
use crate::error::Error;
use crate::pool::{MAX_HEAD, MAX_HEADERS, Way};
use crate::printable;
use crate::reach::RefusedAddress;
use crate::refusal::NeedsTls;
use crate::target;
use crate::tls::words;
use crate::transport::request::Request;

/// What hyper says of a head with too many headers or bytes. Its method that tells so is for servers.
const TOO_LARGE: &str = "message head is too large";

/// How hyper begins what it says of bytes that are no answer in HTTP/1.
const NOT_HTTP: [&str; 2] = [
    "invalid HTTP version parsed",
    "invalid HTTP status-code parsed",
];

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A matter of the network.
    Connection(Box<Trouble>),
    /// Anything else.
    Error(Error),
}

/// A connection that did not come about, or broke.
#[derive(Debug)]
pub(crate) struct Trouble {
    /// The URL, as it may be shown.
    pub(crate) url: String,
    pub(super) redirected_from: Option<String>,
    pub(crate) reason: String,
    pub(super) advice: String,
    /// Whether the same again ends in the same way.
    pub(crate) is_final: bool,
    /// Whether there was a connection, and no answer to the request.
    pub(crate) is_unanswered: bool,
    /// If it is the proxy's.
    pub(super) proxy: Option<ProxyFailure>,
}

impl Trouble {
    /// The error that this is after a number of attempts.
    pub(crate) fn into_error(self, attempts: u32) -> Error {
        match self.proxy {
            Some(failure) => Error::Proxy {
                proxy: failure.proxy,
                url: self.url,
                status: failure.status,
                reason: failure.reason,
                attempts,
            },
            None => Error::Unreachable {
                url: self.url,
                redirected_from: self.redirected_from,
                reason: self.reason,
                advice: self.advice,
                attempts,
            },
        }
    }
}

/// Returns the failure that an error of the pool means. `has_answered` says whether the origin of `url` has answered in
/// HTTP before.
pub(super) fn of_pool(
    request: &Request<'_>,
    url: &Url,
    way: &Way,
    has_answered: bool,
    error: &(dyn std::error::Error + 'static),
) -> Failure {
    let mut cause = Some(error);
    while let Some(found) = cause {
        if let Some(error) = found.downcast_ref::<ConnectError>() {
            return match error {
                ConnectError::Refused(refused) => forbidden(request, url, *refused),
                error => of_connecting(request, url, way, error.clone()),
            };
        }
        // With TLS 1.3 a server refuses a client's certificate after the handshake.
        if let Some(error) = words::tls_error(found) {
            return of_connecting(request, url, way, ConnectError::Tls(words::of(error)));
        }
        if let Some(error) = found.downcast_ref::<hyper::Error>()
            && error.is_parse()
            && error.to_string() == TOO_LARGE
        {
            let reason = format!(
                "the headers of its answer are more than {MAX_HEADERS}, or than {} KiB",
                MAX_HEAD >> 10
            );
            return Failure::Connection(Box::new(Trouble {
                advice: "; look for the server or the proxy that adds them".to_owned(),
                is_final: true,
                ..bare_trouble(request, url, reason)
            }));
        }
        if let Some(error) = found.downcast_ref::<hyper::Error>()
            && error.is_parse()
            && !NOT_HTTP
                .iter()
                .any(|text| error.to_string().starts_with(text))
        {
            let reason = format!("the head of its answer is malformed: {}", causes(error));
            return Failure::Connection(Box::new(Trouble {
                advice: "; look for the server or the proxy that writes it".to_owned(),
                is_final: true,
                is_unanswered: true,
                ..bare_trouble(request, url, reason)
            }));
        }
        if let Some(error) = found.downcast_ref::<hyper::Error>()
            && error.is_parse()
        {
            // The rest of an earlier answer, such as a body after one to HEAD. It is the end of that connection alone.
            if has_answered {
                let reason = "it sends bytes that belong to no answer".to_owned();
                return Failure::Connection(Box::new(Trouble {
                    advice: "; look for the server or the proxy that sends them".to_owned(),
                    is_unanswered: true,
                    ..bare_trouble(request, url, reason)
                }));
            }
            return Failure::Connection(Box::new(Trouble {
                advice: match needs_tls(url) {
                    Some(NeedsTls::OnLoopback) => {
                        "; if it speaks TLS, set Options::plain_http_on_loopback = false"
                    }
                    Some(NeedsTls::Named) => {
                        "; if it speaks TLS, do not name it with Options::plain_http"
                    }
                    None => "; check the address and the port",
                }
                .to_owned(),
                // The same bytes come again.
                is_final: needs_tls(url).is_some(),
                is_unanswered: true,
                ..bare_trouble(request, url, "it does not answer in HTTP".to_owned())
            }));
        }
        cause = found.source();
    }
    broken(request, url, causes(error))
}

/// A registry on loopback or named for plain http may speak TLS.
pub(super) fn needs_tls(url: &Url) -> Option<NeedsTls> {
    (url.scheme() == "http").then(|| match target::is_loopback(url) {
        true => NeedsTls::OnLoopback,
        false => NeedsTls::Named,
    })
}

fn bare_trouble(request: &Request<'_>, url: &Url, reason: String) -> Trouble {
    let is_redirected = *url != request.url;
    Trouble {
        url: target::shown(url),
        redirected_from: is_redirected.then(|| target::shown(&request.url)),
        reason,
        advice: String::new(),
        is_final: false,
        is_unanswered: false,
        proxy: None,
    }
}

/// A connection that broke before there was an answer.
pub(super) fn broken(request: &Request<'_>, url: &Url, reason: String) -> Failure {
    Failure::Connection(Box::new(Trouble {
        advice: "; check the network".to_owned(),
        is_unanswered: true,
        ..bare_trouble(request, url, reason)
    }))
}

/// Informational answers without an end. `is_final` if they came so fast that another attempt brings no other answer.
pub(super) fn unfinished(
    request: &Request<'_>,
    url: &Url,
    reason: String,
    is_final: bool,
) -> Failure {
    Failure::Connection(Box::new(Trouble {
        advice: "; look for the server or the proxy that sends them".to_owned(),
        is_final,
        is_unanswered: !is_final,
        ..bare_trouble(request, url, reason)
    }))
}

/// A connection that did not come about.
pub(super) fn of_connecting(
    request: &Request<'_>,
    url: &Url,
    way: &Way,
    error: ConnectError,
) -> Failure {
    let bare = bare_trouble(request, url, error.to_string());
    let network = match way.proxy {
        Some(_) => "; check the address, the network and the proxy",
        None => "; check the address and the network",
    };
    Failure::Connection(Box::new(match error {
        ConnectError::Tls(found) => Trouble {
            advice: found.advice,
            is_final: found.is_final,
            ..bare
        },
        ConnectError::Proxy(failure) => Trouble {
            reason: format!("the proxy {}: {}", failure.proxy, failure.reason),
            is_final: failure.is_final,
            proxy: Some(failure),
            ..bare
        },
        ConnectError::Unresolved(_)
        | ConnectError::Refused(_)
        | ConnectError::Tcp(_)
        | ConnectError::TooLate(_) => Trouble {
            advice: network.to_owned(),
            ..bare
        },
    }))
}

/// The failure of a request whose next step leads to a place where one does not go.
pub(super) fn forbidden(request: &Request<'_>, url: &Url, refused: RefusedAddress) -> Failure {
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

pub(super) fn no_progress(limit: Duration) -> String {
    format!("nothing came for {}", printable::exact(limit))
}

/// The chain of causes, from the innermost words of HTTP on. The outermost say "client error".
pub(super) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words = Vec::new();
    let mut cause = Some(error);
    while let Some(error) = cause {
        // Of the pool's own errors the kind alone is a word, and not one for people.
        if !error.is::<hyper_util::client::legacy::Error>() {
            words.push(error.to_string());
        }
        cause = error.source();
    }
    // Wrappers tend to repeat what they wrap.
    words.dedup();
    match words.is_empty() {
        true => "the request failed".to_owned(),
        false => words.join(": "),
    }
}
