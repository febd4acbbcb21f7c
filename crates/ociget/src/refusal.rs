//! Answers that refuse a request: from which host, in which words, and with which advice.

use std::fmt;
use std::time::Duration;

use crate::printable::{self, text};

/// Answer of a registry, its storage or its token server that refuses a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// URL of the host that gave the answer, without query.
    pub url: String,
    /// URL that was requested and redirected to `url`, without query; `None` if there was no redirect.
    pub redirected_from: Option<String>,
    /// The HTTP status.
    pub status: u16,
    /// The other side's own code, such as `MANIFEST_UNKNOWN`.
    pub code: Option<String>,
    /// The other side's own words: the message of JSON or XML, the first line of plain text, or the
    /// title of a page. Longer ones are cut after 1000 characters and marked. Control characters are
    /// removed.
    pub message: Option<String>,
    /// Whose credentials were sent, or why none were; empty if that played no part.
    pub credentials: String,
    /// Whether the host that gave the answer was sent credentials.
    pub is_authenticated: bool,
    /// Length of the pause that `Retry-After` requests, if it requests one.
    pub retry_after: Option<Duration>,
    /// Proxy, as `host:port`, that the request was sent to in clear. The answer may be the proxy's.
    pub proxy: Option<String>,
    /// Number of answers with this status to this request and its retries.
    pub attempts: u32,
    /// Whether this is a server that expects TLS, and which option changes that.
    pub(crate) needs_tls: Option<NeedsTls>,
    /// What was requested.
    pub(crate) part: Part,
}

/// What a request is for, as far as advice depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Anything that the caller names: a manifest, a list, a blob by its digest.
    Manifest,
    /// A blob that a manifest names.
    Blob,
    /// A token.
    Token,
}

/// Sender of a request and its credentials, for a refusal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sender {
    /// Whose credentials were sent, or why none were; empty if that played no part.
    pub(crate) credentials: String,
    pub(crate) is_authenticated: bool,
}

/// Returns whether the same request may have another answer soon. 501 and 505 are about what a server can do at all
/// (RFC 9110, 15.6.2 and 15.6.6).
pub(crate) fn may_pass(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..=599) && !matches!(status, 501 | 505)
}

/// Why TLS was not spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NeedsTls {
    /// The host is on loopback.
    OnLoopback,
    /// The host was named for plain http.
    Named,
}

impl Refusal {
    /// Returns the advice, after a semicolon; empty if there is none.
    pub(crate) fn advice(&self) -> String {
        let mut advice = self.cause().to_owned();
        if let Some(pause) = self.retry_after {
            advice.push_str(&format!("; it asks to wait {}", printable::Span(pause)));
        }
        advice
    }

    fn cause(&self) -> &'static str {
        match self.needs_tls {
            Some(NeedsTls::OnLoopback) => {
                return "; the server expects TLS: set Options::plain_http_on_loopback = false";
            }
            Some(NeedsTls::Named) => {
                return "; the server expects TLS: do not name it with Options::plain_http";
            }
            None => {}
        }
        // The target of a redirect got no credentials, so they are not the cause.
        if self.redirected_from.is_some() && !self.is_authenticated {
            return match self.status {
                401 | 403 => {
                    "; check that this network may reach the host of the redirect and that this machine's clock is \
                     right, or ask the registry's operator"
                }
                404 => "; the host of the redirect does not have it: ask the registry's operator",
                _ => "",
            };
        }
        match (self.status, self.is_authenticated) {
            (404, _) if self.part == Part::Token => {
                "; the registry names a token server that does not answer there: ask the registry's operator"
            }
            (404, _) if self.part == Part::Blob => {
                "; the registry has the manifest and not this part of the image: push the image again, or ask the \
                 registry's operator"
            }
            (401, _) => {
                "; log in to this registry (docker login, skopeo login) or check the credentials"
            }
            (403, true) => "; these credentials may not pull it",
            (403, false) => {
                "; if the image is private, log in to this registry (docker login, skopeo login)"
            }
            (404, _) => "; check the name and the tag or digest",
            (429, true) => "; try again later",
            (429, false) => "; log in for a higher limit or try again later",
            _ => "",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", text(&self.url))?;
        if let Some(from) = &self.redirected_from {
            write!(f, ", to which {} redirects,", text(from))?;
        }
        write!(f, " answered {}", self.status)?;
        match (&self.code, &self.message) {
            (Some(code), Some(message)) => write!(f, " ({}: {})", text(code), text(message))?,
            (Some(word), None) | (None, Some(word)) => write!(f, " ({})", text(word))?,
            (None, None) => {}
        }
        if self.attempts > 1 {
            write!(f, " {} times", self.attempts)?;
        }
        if let Some(proxy) = &self.proxy {
            write!(f, " through the proxy {}", text(proxy))?;
        }
        if !self.credentials.is_empty() {
            write!(f, " to {}", text(&self.credentials))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16) -> Refusal {
        Refusal {
            url: "https://h/x".to_owned(),
            redirected_from: None,
            status,
            code: None,
            message: None,
            credentials: String::new(),
            is_authenticated: false,
            retry_after: None,
            proxy: None,
            attempts: 1,
            needs_tls: None,
            part: Part::Manifest,
        }
    }

    // docker/hub-feedback#2376, distribution/distribution#925
    #[test]
    fn advice_behind_a_redirect_does_not_speak_of_credentials() {
        for status in [401, 403, 404, 429, 500, 503] {
            let refusal = Refusal {
                redirected_from: Some("https://reg/y".to_owned()),
                ..refusal(status)
            };
            let text = format!("{refusal}{}", refusal.advice());
            assert!(
                text.contains("https://h/x, to which https://reg/y redirects"),
                "{text}"
            );
            for word in ["credential", "log in", "tag"] {
                assert!(!text.contains(word), "{status}: {text}");
            }
        }
    }

    #[test]
    fn advice_to_check_the_tag_needs_a_named_tag() {
        for (part, speaks_of_tag) in [
            (Part::Manifest, true),
            (Part::Blob, false),
            (Part::Token, false),
        ] {
            let refusal = Refusal {
                part,
                ..refusal(404)
            };
            let advice = refusal.advice();
            assert_eq!(advice.contains("tag"), speaks_of_tag, "{advice}");
            assert!(!advice.is_empty());
        }
    }

    #[test]
    fn advice_says_how_long_to_wait() {
        for (seconds, words) in [
            (7, "asks to wait 7s"),
            (3600, "asks to wait 1h"),
            (21_600, "asks to wait 6h"),
        ] {
            let refusal = Refusal {
                retry_after: Some(Duration::from_secs(seconds)),
                ..refusal(429)
            };
            assert!(refusal.advice().contains(words), "{}", refusal.advice());
        }
    }

    #[test]
    fn refused_credentials_are_spoken_of_only_if_they_were_sent() {
        let mut refusal = refusal(403);
        assert!(!refusal.advice().contains("these credentials"));
        refusal.is_authenticated = true;
        assert!(refusal.advice().contains("these credentials"));
    }
}
