//! Makes connections: directly, or through a proxy; with TLS, or without.
//!
//! ```text
//!   name ─► addresses that may be connected to ─► TCP ───────────────────────────► [TLS] ─► requests
//!   name of the proxy ─► any address ─► TCP ─► [TLS] ─► CONNECT or SOCKS ─► [TLS] ─► requests
//! ```
//!
//! Every failure names its step, and whether a retry may succeed.

pub(crate) mod failure;
pub(crate) mod resolver;
mod socks;
mod stream;
mod tunnel;

use std::collections::{HashMap, HashSet};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use crate::connect::failure::{ConnectError, ProxyFailure, Unresolved};
use crate::connect::resolver::Resolver;
use crate::connect::socks::Wanted;
use crate::connect::stream::{Io, Stream};
use crate::printable;
use crate::proxy::{Protocol, Proxy};
use crate::reach::RefusedAddress;
use crate::tls::words::{self, Trouble};

/// How long a proxy that refused our login is not shown it again.
const REFUSAL_LIFE: Duration = Duration::from_secs(60);

/// The experience of a client with its proxies.
#[derive(Debug, Default)]
pub(crate) struct Experience {
    /// Proxies that have led somewhere.
    worked: Mutex<HashSet<Arc<Proxy>>>,
    /// Proxies that refused our login, what they said, and when.
    refused: Mutex<HashMap<Arc<Proxy>, (ProxyFailure, Instant)>>,
}

impl Experience {
    fn note(&self, proxy: &Arc<Proxy>, outcome: &Result<(), ProxyFailure>) {
        match outcome {
            Ok(()) => {
                let mut worked = self.worked.lock().unwrap_or_else(PoisonError::into_inner);
                worked.insert(Arc::clone(proxy));
            }
            // A login that is refused again and again locks accounts.
            Err(failure) if failure.is_of_login && proxy.login.is_some() => {
                self.note_refused(proxy, failure.clone());
            }
            Err(_) => {}
        }
    }

    /// Takes note that `proxy` refused our login.
    pub(crate) fn note_refused(&self, proxy: &Arc<Proxy>, failure: ProxyFailure) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.insert(Arc::clone(proxy), (failure, Instant::now()));
    }

    /// The refusal of our login that `proxy` gave not long ago.
    pub(crate) fn refusal(&self, proxy: &Arc<Proxy>) -> Option<ProxyFailure> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let (failure, when) = refused.get(proxy)?;
        (when.elapsed() < REFUSAL_LIFE).then(|| failure.clone())
    }

    fn has_worked(&self, proxy: &Arc<Proxy>) -> bool {
        let worked = self.worked.lock().unwrap_or_else(PoisonError::into_inner);
        worked.contains(proxy)
    }
}

/// The time for a step that must end before `limit`, so that its reason is the one that is reported.
pub(crate) fn before(limit: Duration) -> Duration {
    limit.mul_f64(0.9)
}

/// Makes the connections of one pool.
#[derive(Clone)]
pub(crate) struct Connector {
    /// To hosts that others name, whose addresses are checked.
    hosts: HttpConnector<Resolver>,
    resolver: Resolver,
    proxy: Option<Arc<Proxy>>,
    /// To proxies that speak TLS.
    proxy_tls: Option<Arc<ClientConfig>>,
    /// `None` for plain http.
    tls: Option<Arc<ClientConfig>>,
    timeout: Duration,
    experience: Arc<Experience>,
}

impl Connector {
    pub(crate) fn new(
        resolver: Resolver,
        tls: Option<Arc<ClientConfig>>,
        proxy: Option<(Arc<Proxy>, Option<Arc<ClientConfig>>)>,
        timeout: Duration,
        experience: Arc<Experience>,
    ) -> Self {
        let (proxy, proxy_tls) = match proxy {
            Some((proxy, tls)) => (Some(proxy), tls),
            None => (None, None),
        };
        let resolver = resolver.within(before(timeout));
        Self {
            hosts: tcp(resolver.clone(), timeout),
            resolver,
            proxy,
            proxy_tls,
            tls,
            timeout,
            experience,
        }
    }

    /// Sets `stage` to what is waited for, as a connection comes about.
    async fn connect(self, uri: Uri, stage: Arc<Mutex<Stage>>) -> Result<Stream, ConnectError> {
        let start = Instant::now();
        let at = |new: Stage| *stage.lock().unwrap_or_else(PoisonError::into_inner) = new;
        let (mut io, is_forwarded) = match self.proxy.clone() {
            None => (self.direct(&uri).await?, false),
            Some(proxy) => {
                if let Some(failure) = self.experience.refusal(&proxy) {
                    return Err(ConnectError::Proxy(failure));
                }
                let io = self.to_proxy(&proxy).await?;
                at(Stage::OpenToProxy);
                self.through(io, &proxy, &uri, start).await?
            }
        };
        at(Stage::ToHost);
        if let Some(config) = &self.tls {
            io = encrypted(io, config, uri.host().unwrap_or_default())
                .await
                .map_err(tls_failure)?;
        }
        Ok(Stream::new(io, is_forwarded))
    }

    async fn direct(&self, uri: &Uri) -> Result<Box<dyn Io>, ConnectError> {
        let mut hosts = self.hosts.clone();
        let io = hosts.call(uri.clone()).await.map_err(|error| {
            let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
            while let Some(found) = cause {
                if let Some(refused) = found.downcast_ref::<RefusedAddress>() {
                    return ConnectError::Refused(*refused);
                }
                if let Some(unresolved) = found.downcast_ref::<Unresolved>() {
                    return ConnectError::Unresolved(unresolved.clone());
                }
                if let Some(error) = found.downcast_ref::<io::Error>() {
                    return ConnectError::Tcp(error.to_string());
                }
                cause = found.source();
            }
            ConnectError::Tcp(error.to_string())
        })?;
        Ok(Box::new(io.into_inner()))
    }

    /// A connection to the host of `uri`, or to the proxy itself if that sends requests on. All of it began at `start`.
    async fn through(
        &self,
        mut io: Box<dyn Io>,
        proxy: &Arc<Proxy>,
        uri: &Uri,
        start: Instant,
    ) -> Result<(Box<dyn Io>, bool), ConnectError> {
        let host = uri.host().unwrap_or_default();
        let is_https = self.tls.is_some();
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let outcome = match proxy.protocol {
            Protocol::Http | Protocol::Https if !is_https => {
                // What it thinks of the login is seen with the request.
                self.experience.note(proxy, &Ok(()));
                return Ok((io, true));
            }
            Protocol::Http | Protocol::Https => {
                let refused = |failure: &ProxyFailure| {
                    self.experience.note(proxy, &Err(failure.clone()));
                    before(self.timeout.saturating_sub(start.elapsed()))
                };
                tunnel::open(io.as_mut(), proxy, &format!("{host}:{port}"), refused).await
            }
            Protocol::Socks5 | Protocol::Socks5h => {
                let wanted = self.wanted(proxy, host).await?;
                socks::open(io.as_mut(), proxy, &wanted, port).await
            }
        };
        self.experience.note(proxy, &outcome);
        outcome.map_err(ConnectError::Proxy)?;
        Ok((io, false))
    }

    async fn wanted(&self, proxy: &Proxy, host: &str) -> Result<Wanted, ConnectError> {
        let bare = unbracketed(host);
        if let Ok(address) = bare.parse() {
            return Ok(Wanted::Address(address));
        }
        if proxy.protocol == Protocol::Socks5h {
            return Ok(Wanted::Name(bare.to_owned()));
        }
        let found = self.resolver.resolve(bare).await?;
        match found.first() {
            Some(address) => Ok(Wanted::Address(address.ip())),
            None => Err(Unresolved::new(bare, "it has no address").into()),
        }
    }

    async fn to_proxy(&self, proxy: &Arc<Proxy>) -> Result<Box<dyn Io>, ConnectError> {
        let failure = |reason: String, is_final: bool| {
            ConnectError::Proxy(ProxyFailure {
                proxy: proxy.shown(),
                status: None,
                reason,
                is_final,
                is_of_login: false,
            })
        };
        let uri = Uri::builder()
            .scheme("http")
            .authority(proxy.shown())
            .path_and_query("/")
            .build()
            .map_err(|error| failure(format!("its name is not a host: {error}"), true))?;
        // Where a proxy is, the user has said: it may be anywhere.
        let io = tcp(
            Resolver::anywhere().within(before(self.timeout)),
            self.timeout,
        )
        .call(uri)
        .await
        .map_err(|error| {
            let mut innermost: &(dyn std::error::Error + 'static) = &error;
            let mut refused = false;
            while let Some(cause) = innermost.source() {
                innermost = cause;
                refused |= cause
                    .downcast_ref::<io::Error>()
                    .is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
            }
            let kind = match proxy.protocol {
                Protocol::Http | Protocol::Https => "no connection to it",
                Protocol::Socks5 | Protocol::Socks5h => "no connection to this SOCKS proxy",
            };
            // One that has worked is being restarted; one that never did is not there.
            let is_final = refused && !self.experience.has_worked(proxy);
            failure(format!("{kind}: {innermost}"), is_final)
        })?;
        let io: Box<dyn Io> = Box::new(io.into_inner());
        let Some(config) = &self.proxy_tls else {
            return Ok(io);
        };
        let encrypted = encrypted(io, config, &proxy.host).await;
        encrypted.map_err(|error| {
            let trouble = tls_trouble(&error, words::of_proxy);
            failure(
                format!("no TLS with it: {}{}", trouble.reason, trouble.advice),
                trouble.is_final,
            )
        })
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        let (timeout, proxy) = (self.timeout, self.proxy.clone());
        let stage = Arc::new(Mutex::new(match proxy {
            Some(_) => Stage::ToProxy,
            None => Stage::ToHost,
        }));
        let reached = Arc::clone(&stage);
        let host = uri.host().unwrap_or_default().to_owned();
        Box::pin(async move {
            let connecting = connector.connect(uri, stage);
            if let Ok(outcome) = tokio::time::timeout(timeout, connecting).await {
                return outcome;
            }
            let limit = printable::exact(timeout);
            let reached = *reached.lock().unwrap_or_else(PoisonError::into_inner);
            let reason = match reached {
                Stage::ToHost => return Err(ConnectError::TooLate(limit)),
                Stage::ToProxy => format!("no connection to it within {limit}"),
                Stage::OpenToProxy => format!(
                    "it accepted the connection and did not lead to {host} within {limit}; it, or \
                     {host} behind it, is silent"
                ),
            };
            Err(match proxy {
                Some(proxy) => ConnectError::Proxy(ProxyFailure::passing(&proxy, reason)),
                None => ConnectError::TooLate(limit),
            })
        })
    }
}

/// The stage of a connection that is being made.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// A connection to the proxy, and TLS with it.
    ToProxy,
    /// The proxy's answer.
    OpenToProxy,
    /// A connection to the host, or TLS with it.
    ToHost,
}

fn tcp<R: Clone + Service<Name>>(resolver: R, timeout: Duration) -> HttpConnector<R> {
    let mut connector = HttpConnector::new_with_resolver(resolver);
    connector.enforce_http(false);
    connector.set_nodelay(true);
    // Shared out among the addresses of a name, so that one that does not answer leaves time for others.
    connector.set_connect_timeout(Some(timeout));
    connector.set_keepalive(Some(Duration::from_secs(15)));
    connector.set_keepalive_interval(Some(Duration::from_secs(15)));
    connector.set_keepalive_retries(Some(3));
    connector
}

async fn encrypted(
    io: Box<dyn Io>,
    config: &Arc<ClientConfig>,
    host: &str,
) -> io::Result<Box<dyn Io>> {
    let name = ServerName::try_from(unbracketed(host).trim_end_matches('.').to_owned());
    let name = name.map_err(|_| io::Error::other("the host's name cannot be in a certificate"))?;
    let stream = TlsConnector::from(Arc::clone(config))
        .connect(name, io)
        .await?;
    Ok(Box::new(stream))
}

fn tls_failure(error: io::Error) -> ConnectError {
    ConnectError::Tls(tls_trouble(&error, words::of))
}

/// What `error` of a handshake means, with `of` for the errors of TLS itself.
fn tls_trouble(error: &io::Error, of: fn(&rustls::Error) -> Trouble) -> Trouble {
    match words::tls_error(error) {
        Some(found) => of(found),
        None => Trouble {
            reason: format!("the TLS handshake broke off: {error}"),
            advice: String::new(),
            is_final: false,
        },
    }
}

fn unbracketed(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}
