//! Selection of the proxy of a request, if any.

mod bypass;

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::HeaderValue;
use url::Url;

use crate::error::Error;
use crate::proxy::bypass::Bypass;
use crate::target;

/// Variables that name a proxy. Upper case counts before lower case, as in Go.
const HTTP: [&str; 2] = ["HTTP_PROXY", "http_proxy"];
const HTTPS: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
const ALL: [&str; 2] = ["ALL_PROXY", "all_proxy"];
const NONE: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// The proxies that requests go through: those of the environment, one for everything, or none.
///
/// A password in a proxy's URL shows in no output.
#[derive(Clone, Debug)]
pub struct Proxies {
    /// The words of the error are kept until the first request needs a proxy.
    routes: Result<Routes, String>,
}

#[derive(Clone, Debug, Default)]
struct Routes {
    http: Option<Arc<Proxy>>,
    https: Option<Arc<Proxy>>,
    bypass: Bypass,
    /// Whether loopback is reached directly, regardless of the list. The environment's proxies are
    /// usually on another machine, which has a loopback of its own.
    spares_loopback: bool,
}

impl Default for Proxies {
    fn default() -> Self {
        Self::from_env()
    }
}

impl Proxies {
    /// Reads `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in upper or lower case.
    ///
    /// `NO_PROXY` is read as Go's `httpproxy` reads it. Loopback is always reached directly. A
    /// variable that does not hold a proxy URL is an error of the first request, before any
    /// connection is made.
    #[must_use]
    pub fn from_env() -> Self {
        Self::from_lookup(|name| std::env::var_os(name).map(|v| v.to_string_lossy().into_owned()))
    }

    /// Connects to every host directly.
    #[must_use]
    pub fn none() -> Self {
        Self {
            routes: Ok(Routes::default()),
        }
    }

    /// Sends everything through the proxy at `url`, loopback included, except what `no_proxy` lists
    /// in the form of `NO_PROXY`.
    ///
    /// The scheme of `url` is `http` (the default), `https`, `socks5` or `socks5h`.
    ///
    /// # Errors
    /// Returns [`Error::Usage`] if `url` is not the URL of such a proxy.
    pub fn all(url: &str, no_proxy: &str) -> Result<Self, Error> {
        let proxy = Arc::new(Proxy::parse(url, "the proxy").map_err(Error::Usage)?);
        Ok(Self {
            routes: Ok(Routes {
                http: Some(Arc::clone(&proxy)),
                https: Some(proxy),
                bypass: Bypass::parse(no_proxy),
                spares_loopback: false,
            }),
        })
    }

    fn from_lookup(variable: impl Fn(&str) -> Option<String>) -> Self {
        Self {
            routes: Routes::from_lookup(variable),
        }
    }

    /// Checks the variables that name proxies.
    ///
    /// # Errors
    /// Returns [`Error::Environment`] if a variable does not hold the URL of a proxy.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let routes = self.routes.as_ref();
        routes
            .map(drop)
            .map_err(|words| Error::Environment(words.clone()))
    }

    /// Returns the proxy that requests for `url` go through.
    ///
    /// # Errors
    /// Returns [`Error::Environment`] if a variable does not hold the URL of a proxy.
    pub(crate) fn of(&self, url: &Url) -> Result<Option<Arc<Proxy>>, Error> {
        let routes = self.routes.as_ref();
        let routes = routes.map_err(|words| Error::Environment(words.clone()))?;
        let proxy = match url.scheme() {
            "https" => &routes.https,
            _ => &routes.http,
        };
        if routes.spares_loopback && target::is_loopback(url) || routes.bypass.holds(url) {
            return Ok(None);
        }
        Ok(proxy.clone())
    }
}

impl Routes {
    fn from_lookup(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let first = |names: [&'static str; 2]| {
            names.into_iter().find_map(|name| {
                let value = variable(name)?;
                let value = value.trim();
                (!value.is_empty()).then(|| (name, value.to_owned()))
            })
        };
        let parsed = |names| match first(names) {
            Some((name, value)) => Proxy::parse(&value, name).map(|proxy| Some(Arc::new(proxy))),
            None => Ok(None),
        };
        let all = parsed(ALL)?;
        // A web server hands a request's `Proxy` header to its programs under this name.
        let is_cgi = variable("REQUEST_METHOD").is_some_and(|method| !method.is_empty());
        let http = match is_cgi {
            true => parsed(["http_proxy", "http_proxy"])?,
            false => parsed(HTTP)?,
        };
        Ok(Self {
            http: http.or_else(|| all.clone()),
            https: parsed(HTTPS)?.or(all),
            bypass: Bypass::parse(&first(NONE).map(|(_, list)| list).unwrap_or_default()),
            spares_loopback: true,
        })
    }
}

/// The protocol of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Protocol {
    Http,
    /// HTTP over TLS.
    Https,
    /// The name is resolved here.
    Socks5,
    /// The proxy resolves the name.
    Socks5h,
}

/// One proxy.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Proxy {
    pub(crate) protocol: Protocol,
    /// A name or an address, an IPv6 one in brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// User and password.
    pub(crate) login: Option<(String, String)>,
}

impl Proxy {
    /// `from` names where the text is from, for an error.
    fn parse(text: &str, from: &str) -> Result<Self, String> {
        // A text that is no URL shows no place of a password, so it is not quoted.
        let wrong = |what: &str| {
            format!(
                "{from} does not hold the URL of a proxy ({what}): expected http, https, socks5 or socks5h as the \
                 scheme of HOST:PORT; correct or unset it"
            )
        };
        let url = match text.contains("://") {
            true => Url::parse(text),
            false => Url::parse(&format!("http://{text}")),
        };
        let url = url.map_err(|error| wrong(&error.to_string()))?;
        let (protocol, port) = match url.scheme() {
            "http" => (Protocol::Http, 80),
            "https" => (Protocol::Https, 443),
            "socks5" => (Protocol::Socks5, 1080),
            "socks5h" => (Protocol::Socks5h, 1080),
            "socks4" | "socks4a" | "socks" => {
                return Err(wrong("only version 5 of SOCKS is supported"));
            }
            _ => return Err(wrong("unknown scheme")),
        };
        // Of other schemes than those of browsers the parser leaves the host as it is.
        let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
        if host.is_empty() {
            return Err(wrong("no host"));
        }
        if url.port() == Some(0) {
            return Err(wrong("port 0"));
        }
        let login = match (url.username(), url.password()) {
            ("", None) => None,
            (user, password) => Some((decoded(user), decoded(password.unwrap_or_default()))),
        };
        if let Some((user, password)) = &login
            && matches!(protocol, Protocol::Socks5 | Protocol::Socks5h)
            && (user.is_empty() || user.len() > 255 || password.len() > 255)
        {
            return Err(wrong(
                "SOCKS takes 1 to 255 bytes of user and at most 255 of password",
            ));
        }
        Ok(Self {
            protocol,
            host,
            port: url.port().unwrap_or(port),
            login,
        })
    }

    /// Host and port, for people.
    pub(crate) fn shown(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The header with the credentials, if there are any.
    pub(crate) fn authorization(&self) -> Option<HeaderValue> {
        let (user, password) = self.login.as_ref()?;
        let text = STANDARD.encode(format!("{user}:{password}"));
        let mut value = HeaderValue::try_from(format!("Basic {text}")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Whether requests over plain http are sent to the proxy itself, for it to send on.
    pub(crate) fn forwards(&self, url: &Url) -> bool {
        matches!(self.protocol, Protocol::Http | Protocol::Https) && url.scheme() == "http"
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({:?} {})", self.protocol, self.shown())
    }
}

/// Percent-decoded; an escape that is none stays.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escape = after.get(..2).filter(|_| byte == b'%');
        let escape = escape.and_then(|digits| std::str::from_utf8(digits).ok());
        match escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)], url: &str) -> Result<Option<String>, Error> {
        let proxies = Proxies::from_lookup(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        });
        let proxy = proxies.of(&Url::parse(url).unwrap())?;
        Ok(proxy.map(|proxy| proxy.shown()))
    }

    #[test]
    fn variables_choose_the_proxy_of_a_scheme() {
        let (http, https) = ("http://a.example/", "https://a.example/");
        for (variables, url, expected) in [
            (&[("HTTP_PROXY", "p:1")][..], http, Some("p:1")),
            (&[("HTTP_PROXY", "p:1")], https, None),
            (&[("https_proxy", "p:1")], https, Some("p:1")),
            (
                &[("HTTPS_PROXY", "q:2"), ("https_proxy", "p:1")],
                https,
                Some("q:2"),
            ),
            (
                &[("HTTPS_PROXY", ""), ("https_proxy", "p:1")],
                https,
                Some("p:1"),
            ),
            (&[("ALL_PROXY", "socks5://p")], https, Some("p:1080")),
            (&[("all_proxy", "P.Corp:8")], http, Some("p.corp:8")),
            (&[("HTTPS_PROXY", "https://p")], https, Some("p:443")),
            (&[("HTTPS_PROXY", "http://p")], https, Some("p:80")),
            (
                &[("HTTPS_PROXY", "ada:w%40rd@p:3128")],
                https,
                Some("p:3128"),
            ),
            (
                &[("HTTPS_PROXY", "http://[::1]:3128")],
                https,
                Some("[::1]:3128"),
            ),
            (&[("HTTPS_PROXY", " p:1 ")], "https://localhost/", None),
            (&[("HTTPS_PROXY", "p:1")], "https://127.0.0.1:5000/", None),
            (&[("HTTPS_PROXY", "p:1")], "https://[::1]/", None),
            (&[("HTTPS_PROXY", "p:1"), ("NO_PROXY", "*")], https, None),
            (
                &[("HTTP_PROXY", "p:1"), ("REQUEST_METHOD", "GET")],
                http,
                None,
            ),
            (&[], https, None),
        ] {
            let found = of(variables, url).unwrap();
            assert_eq!(found.as_deref(), expected, "{variables:?} {url}");
        }
    }

    // seanmonstar/reqwest#2579
    #[test]
    fn variable_without_proxy_url_is_an_error_naming_it() {
        for value in [
            "htp://127.0.0.1:3128",
            "http://[bad",
            "http://",
            "http://p:99999",
            "http://p:0",
            "socks4://p:1080",
            "ftp://ada:s3cret@p:21",
            "ada:s3cret@[::",
            "://p",
            // A password in the place of the port.
            "http://p:s3cret",
        ] {
            for name in ["HTTP_PROXY", "https_proxy", "ALL_PROXY"] {
                let error = of(&[(name, value)], "https://a.example/").unwrap_err();
                let text = error.to_string();
                assert!(text.contains(name), "{value}: {text}");
                assert!(!text.contains("s3cret"), "{text}");
            }
        }
    }

    #[test]
    fn proxy_login_is_decoded_and_hidden() {
        let proxy = Proxy::parse("http://ad%61:w%40r%3Ad%zz@p:1", "x").unwrap();
        assert_eq!(proxy.login, Some(("ada".into(), "w@r:d%zz".into())));
        assert_eq!(format!("{proxy:?}"), "Proxy(Http p:1)");
        let debug = format!("{:?}", Proxies::all("http://ada:s3cret@p:1", "").unwrap());
        assert!(!debug.contains("s3cret"), "{debug}");
        assert!(Proxies::all("htp://p", "").is_err());
    }

    #[test]
    fn explicit_proxy_is_for_loopback_too() {
        let url = Url::parse("http://127.0.0.1:5000/").unwrap();
        let proxies = Proxies::all("p:1", "").unwrap();
        assert!(proxies.of(&url).unwrap().is_some());
        let proxies = Proxies::all("p:1", "127.0.0.0/8").unwrap();
        assert!(proxies.of(&url).unwrap().is_none());
        assert!(Proxies::none().of(&url).unwrap().is_none());
    }
}
