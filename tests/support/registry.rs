//! A registry inside the process: serves a [`Store`] on loopback, and fails when told to.
//!
//! It speaks the pull half of the distribution API: `/v2/`, manifests by tag and digest, blobs with
//! ranges, Basic and Bearer authentication with a token server of its own at `/token`. Every
//! repository name leads to the same store; tests see in the log which name was asked for.
//!
//! On every request it looks for secrets that are not meant for it. If one came, the test fails when
//! the registry is dropped, whatever else the test looked at.
//!
//! ```
//! use test_support::image::Store;
//! use test_support::registry::{Action, Fault, Registry};
//!
//! let registry = Registry::serve(Store::new())?;
//! registry.inject(Fault::on("/blobs/", Action::Truncate(1000)).times(1));
//! // … a client pulls from registry.addr() …
//! assert!(registry.requests().is_empty());
//! # Ok::<(), std::io::Error>(())
//! ```

mod auth;
mod custody;
mod fault;
mod payload;
mod route;
mod tls;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::image::{Descriptor, Store};

pub use auth::Auth;
pub use fault::{Action, Fault};
pub use tls::Tls;

/// A registry that serves until it is dropped.
///
/// It has a thread and a runtime of its own, so that it works below any test and any client.
#[derive(Debug)]
pub struct Registry {
    addr: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A request as it arrived, and what it was answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `HEAD`, …
    pub method: String,
    /// Path with query.
    pub path: String,
    /// Names in lower case, values as text, in the order of arrival.
    pub headers: Vec<(String, String)>,
    /// Status of the answer; 0 while there is none yet.
    pub status: u16,
    /// Whether the client showed a certificate.
    pub client_certificate: bool,
}

impl Request {
    /// Returns the first value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter();
        all.find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

impl Registry {
    /// Serves to everyone on a free port of 127.0.0.1.
    pub fn serve(store: Store) -> io::Result<Self> {
        Self::serve_with(store, Auth::Anonymous)
    }

    /// Serves to those who can authenticate.
    pub fn serve_with(store: Store, auth: Auth) -> io::Result<Self> {
        Self::launch(store, auth, None)
    }

    /// Serves over TLS.
    pub fn serve_tls(store: Store, auth: Auth, tls: &Tls) -> io::Result<Self> {
        Self::launch(store, auth, Some(tls.acceptor()?))
    }

    fn launch(
        store: Store,
        auth: Auth,
        acceptor: Option<tokio_rustls::TlsAcceptor>,
    ) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let shared = Arc::new(Shared {
            addr,
            scheme: if acceptor.is_some() { "https" } else { "http" },
            store,
            auth,
            state: Mutex::default(),
        });
        let (stop, stopped) = oneshot::channel();
        let serving = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("registry".into())
            .spawn(move || {
                runtime.spawn(accept(listener, acceptor, serving));
                // Ends when the sender is dropped.
                drop(runtime.block_on(stopped));
                // Dropping the runtime closes every connection, stalled ones too.
            })?;
        Ok(Self {
            addr,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Returns where it listens; prints as the host part of a reference.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Arms a fault. The first armed one that fits a request and has uses left is taken.
    pub fn inject(&self, fault: Fault) {
        self.shared.state().faults.push(fault);
    }

    /// Disarms all faults.
    pub fn clear_faults(&self) {
        self.shared.state().faults.clear();
    }

    /// Returns every request so far, in the order of arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.state().requests.clone()
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        self.shared.state().requests.clear();
    }

    /// Lets a tag stand for something else of the store.
    pub fn retag(&self, tag: &str, target: &Descriptor) {
        let moved = (tag.to_owned(), target.digest.clone());
        self.shared.state().moved.extend([moved]);
    }

    /// Returns and forgets the requests that do not belong here. If a test does not call this, it fails when the
    /// registry is dropped.
    #[must_use]
    pub fn take_strays(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.state().strays)
    }

    /// Makes every token that was handed out worthless: the next request with one gets 401.
    pub fn revoke_tokens(&self) {
        self.shared.state().tokens.clear();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the server thread has been printed by its own hook.
            drop(thread.join());
        }
        let strays = self.take_strays();
        assert!(
            strays.is_empty() || std::thread::panicking(),
            "secrets came to {} that do not belong there: {strays:#?}",
            self.addr
        );
    }
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    addr: SocketAddr,
    scheme: &'static str,
    store: Store,
    auth: Auth,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    requests: Vec<Request>,
    faults: Vec<Fault>,
    /// Tokens that are good, each with the scopes that it was asked for.
    tokens: BTreeSet<(String, String)>,
    tokens_issued: u64,
    /// Those that are good no longer as well.
    all_tokens: BTreeSet<String>,
    /// Digests of tags that are no longer what the store says.
    moved: BTreeMap<String, String>,
    /// Requests with secrets that are not for here.
    strays: Vec<String>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(
    listener: std::net::TcpListener,
    acceptor: Option<tokio_rustls::TlsAcceptor>,
    shared: Arc<Shared>,
) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    // An error of accept is one connection's trouble, or there is no descriptor left: that passes.
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let (shared, acceptor) = (Arc::clone(&shared), acceptor.clone());
        tokio::spawn(async move {
            let Some(acceptor) = acceptor else {
                return serve(stream, false, shared).await;
            };
            // A client that does not trust us hangs up.
            if let Ok(stream) = acceptor.accept(stream).await {
                let shown = stream.get_ref().1.peer_certificates().is_some();
                serve(stream, shown, shared).await;
            }
        });
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    client_certificate: bool,
    shared: Arc<Shared>,
) {
    let service =
        service_fn(|request| route::answer(request, client_certificate, Arc::clone(&shared)));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    // A client that hangs up, and a body cut on purpose, both end here.
    drop(connection.await);
}
