//! `CONNECT` (RFC 9110, 9.3.6): a tunnel through an HTTP proxy.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use url::Url;

use crate::agent::AGENT;
use crate::connect::failure::ProxyFailure;
use crate::connect::stream::Io;
use crate::printable;
use crate::proxy::Proxy;
use crate::secrets::Secrets;
use crate::words;

/// Most bytes of the head of a proxy's answer.
const MAX_HEAD: usize = 64 << 10;
/// Most bytes of a refusal that are read for its words.
const MAX_WORDS: usize = 64 << 10;
/// How long the words of a refusal are waited for at most.
const WORDS_TIME: Duration = Duration::from_secs(2);

/// Asks `proxy`, to which `io` leads, for a connection to `authority` (host and port). `refused` gets a refusal as soon
/// as its head is there, and returns the time that is left for its words.
///
/// # Errors
/// Returns the proxy's own status and words if it refuses.
pub(crate) async fn open(
    io: &mut dyn Io,
    proxy: &Proxy,
    authority: &str,
    refused: impl FnOnce(&ProxyFailure) -> Duration,
) -> Result<(), ProxyFailure> {
    let broken = |reason: String| ProxyFailure {
        proxy: proxy.shown(),
        status: None,
        reason,
        is_final: false,
        is_of_login: false,
    };
    let mut request =
        format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: {AGENT}\r\n");
    let authorization = proxy.authorization();
    if let Some(text) = authorization.as_ref().and_then(|value| value.to_str().ok()) {
        request.push_str(&format!("Proxy-Authorization: {text}\r\n"));
    }
    request.push_str("\r\n");
    let sent = async {
        io.write_all(request.as_bytes()).await?;
        io.flush().await
    };
    sent.await
        .map_err(|error| broken(format!("it closed the connection: {error}")))?;

    let mut body = Vec::new();
    // Bytes of informational answers (RFC 9110, 15.2), which end with their heads.
    let mut passed = 0;
    let (text, status) = loop {
        let end = loop {
            if let Some(end) = head_end(&body) {
                break end;
            }
            if passed + body.len() > MAX_HEAD {
                return Err(broken(
                    "the head of its answer has more than 64 KiB".to_owned(),
                ));
            }
            let read = io.read_buf(&mut body).await;
            let read =
                read.map_err(|error| broken(format!("it closed the connection: {error}")))?;
            if read == 0 {
                return Err(broken(
                    "it closed the connection without an answer".to_owned(),
                ));
            }
        };
        let rest = body.split_off(end);
        let text = String::from_utf8_lossy(&body).into_owned();
        body = rest;
        let Some(status) = text.lines().next().and_then(status) else {
            return Err(ProxyFailure {
                is_final: true,
                ..broken("it does not answer as an HTTP proxy does".to_owned())
            });
        };
        // With 101 the proxy would speak another protocol from here on.
        if !(100..200).contains(&status) || status == 101 {
            break (text, status);
        }
        passed += end;
    };
    if (200..300).contains(&status) {
        // The side that connects speaks first in TLS, so nothing can be there yet.
        return match body.is_empty() {
            true => Ok(()),
            false => Err(broken(
                "it sends bytes of its own through the tunnel".to_owned(),
            )),
        };
    }
    let header = |name: &str| {
        let mut fields = text.lines().filter_map(|line| line.split_once(':'));
        let found = fields.find(|(field, _)| field.trim().eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim().to_owned())
    };
    let secrets = Secrets::default();
    if let Some(value) = &authorization {
        secrets.note_authorization(value);
    }
    let because = match (status, proxy.login.is_some()) {
        (300..400, _) => match header("location").and_then(|text| host(&text)) {
            Some(host) => format!(
                "; the proxy redirects to {}, and no tunnel leads there; ask the proxy's operator, \
                 or list the registry in NO_PROXY",
                secrets.hide(&host)
            ),
            None => "; the proxy redirects, and no tunnel leads there; ask the proxy's operator, \
                 or list the registry in NO_PROXY"
                .to_owned(),
        },
        (407, true) => "; check the user and the password in the proxy's URL".to_owned(),
        (407, false) => "; put USER:PASSWORD@ into the proxy's URL".to_owned(),
        (400..500, _) => {
            "; ask the proxy's operator to allow this host, or list it in NO_PROXY".to_owned()
        }
        _ => "; the proxy cannot reach this host now".to_owned(),
    };
    let failure = |said: &str| ProxyFailure {
        proxy: proxy.shown(),
        status: Some(status),
        reason: printable::text(format!(
            "it answered {status} to CONNECT {authority}{said}{because}"
        )),
        // What a proxy decides by its rules it decides again; an upstream that is down comes back.
        is_final: !(500..600).contains(&status) && status != 408 && status != 429,
        // tinyproxy answers 401.
        is_of_login: matches!(status, 401 | 407),
    };
    // The words may never come, and the caller may leave before they do.
    let left = refused(&failure(""));
    let length = header("content-length").and_then(|text| text.parse().ok());
    let wanted = length.unwrap_or(MAX_WORDS).min(MAX_WORDS);
    let reading = async {
        while body.len() < wanted && io.read_buf(&mut body).await.is_ok_and(|read| read > 0) {}
    };
    // The words are a courtesy; the status alone has to do if they do not come.
    let _ = tokio::time::timeout(WORDS_TIME.min(left), reading).await;
    let (code, message) = words::of(header("content-type").as_deref(), &body, &secrets);
    let of_squid = || header("x-squid-error").map(|text| secrets.hide(&text));
    let said = message.or(code).or_else(of_squid);
    let said = said.map(|said| format!(" ({said})")).unwrap_or_default();
    Err(failure(&said))
}

/// The host, with the port if there is one, of a URL that a proxy redirects to.
fn host(location: &str) -> Option<String> {
    let url = Url::parse(location).ok()?;
    let host = url.host_str()?;
    Some(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

/// Returns the position of the empty line after the head.
fn head_end(head: &[u8]) -> Option<usize> {
    let crlf = head
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .map(|at| at + 4);
    let lf = head.windows(2).position(|w| w == b"\n\n").map(|at| at + 2);
    match (crlf, lf) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// The status of `HTTP/1.0 407 Words`.
fn status(line: &str) -> Option<u16> {
    let rest = line.strip_prefix("HTTP/1.")?;
    let (_, rest) = rest.split_once(' ')?;
    let digits = rest.trim_start().get(..3)?;
    digits
        .parse()
        .ok()
        .filter(|status| (100..600).contains(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lines_of_proxies_are_read_or_refused() {
        for (line, expected) in [
            ("HTTP/1.1 200 Connection established", Some(200)),
            ("HTTP/1.0 407 Proxy Authentication Required", Some(407)),
            ("HTTP/1.1 503", Some(503)),
            ("HTTP/2 200", None),
            ("HTTP/1.1 20", None),
            ("HTTP/1.1 999 no", None),
            ("SSH-2.0-OpenSSH_9.2", None),
            ("", None),
        ] {
            assert_eq!(status(line), expected, "{line}");
        }
        assert_eq!(head_end(b"a\r\nb\r\n\r\nrest"), Some(8));
        assert_eq!(head_end(b"a\nb\n\nrest"), Some(5));
        assert_eq!(head_end(b"a\r\nb"), None);
    }
}
