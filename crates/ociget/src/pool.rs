//! Connections, pooled by how they are made. A pool is built when the first request needs it.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use tokio::runtime;
use url::{Origin, Url};

use crate::address;
use crate::background;
use crate::connect::resolver::{self, Resolver};
use crate::connect::{self, Connector, Experience};
use crate::error::Error;
use crate::joint::{Drivers, Once};
use crate::proxy::{Protocol, Proxy};
use crate::reach::{Names, Reach, RefusedAddress};
use crate::target;
use crate::tls;

/// How long an unused connection is kept.
const IDLE_LIFE: Duration = Duration::from_secs(90);
/// Most origins of one pool, each of which may keep an unused connection. A registry that redirects each request to
/// another port would use up all file descriptors.
const MAX_ORIGINS: usize = 64;

/// How the connections of one pool are made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Way {
    /// `None` for plain http.
    pub(crate) tls: Option<tls::Profile>,
    pub(crate) proxy: Option<Arc<Proxy>>,
    /// For a proxy that speaks TLS: it never sees a client certificate, and is always verified.
    pub(crate) proxy_tls: tls::Profile,
    pub(crate) reach: Reach,
    /// In place of the one of the options.
    pub(crate) connect_timeout: Option<Duration>,
}

/// Connections that are made in one way.
pub(crate) type Pool = legacy::Client<Connector, Full<Bytes>>;

/// Most headers of an answer.
pub(crate) const MAX_HEADERS: usize = 2048;
/// Most bytes of the head of an answer. Go's client takes 10 MiB, others less.
pub(crate) const MAX_HEAD: usize = 512 << 10;

/// A pool, which may still have to be built.
type Cell = Arc<Once<Pool>>;

/// A pool and the origins that it was used for.
#[derive(Debug)]
struct Used {
    cell: Cell,
    origins: HashSet<Origin>,
}

impl Default for Used {
    fn default() -> Self {
        Self {
            cell: Arc::new(Once::new(Drivers::All)),
            origins: HashSet::new(),
        }
    }
}

impl Used {
    /// Returns the pool for `origin`, and the one whose place it took because that had too many origins. A pool that is
    /// dropped closes its unused connections.
    fn cell(&mut self, origin: Origin) -> (Cell, Option<Cell>) {
        let is_full = self.origins.len() >= MAX_ORIGINS && !self.origins.contains(&origin);
        let old = is_full.then(|| std::mem::take(self).cell);
        self.origins.insert(origin);
        (Arc::clone(&self.cell), old)
    }
}

type ByWay = HashMap<Way, Used>;

/// The pools of one runtime, and when a request last needed one.
#[derive(Debug)]
struct OfRuntime {
    id: runtime::Id,
    used: Instant,
    by_way: ByWay,
}

/// Number of runtimes whose pools are kept in any case: those that used the client last.
const KEPT_RUNTIMES: usize = 16;
/// Largest number of runtimes whose pools are kept because they have connections that may be used again.
const MAX_RUNTIMES: usize = 1024;

/// All pools of a client. Each runtime has its own, because only it drives the connections that were made on it: on one
/// that is idle they would make no progress.
#[derive(Debug)]
pub(crate) struct Pools {
    /// The one that used the client last is the last one.
    by_runtime: Mutex<Vec<OfRuntime>>,
    /// What the files of each profile say, for the pools of all runtimes.
    configs: Mutex<HashMap<tls::Profile, Weak<ClientConfig>>>,
    connect_timeout: Duration,
    /// Bounds that of a way as well.
    longest: Duration,
    names: Arc<Names>,
    pub(crate) experience: Arc<Experience>,
}

impl Pools {
    /// A request that makes no progress for `stall_timeout` is given up. A connection is given up before, because only
    /// the connector knows whether the proxy or the host is silent.
    pub(crate) fn new(connect_timeout: Duration, stall_timeout: Duration) -> Self {
        let longest = connect::before(stall_timeout);
        Self {
            by_runtime: Mutex::default(),
            configs: Mutex::default(),
            connect_timeout: connect_timeout.min(longest),
            longest,
            names: Arc::default(),
            experience: Arc::default(),
        }
    }

    /// Whether the host of `url` has an internal address. Of a name that is known only from its
    /// direct connections: the owner of a name can have it resolve to another address in each answer,
    /// so that nothing but an address that was connected to counts, and a proxy does not tell which
    /// that was.
    pub(crate) fn is_internal(&self, url: &Url) -> bool {
        match (target::literal(url), target::name(url)) {
            (Some(address), _) => address::is_internal(address),
            (None, Some(name)) => self.names.is_internal(&name),
            (None, None) => false,
        }
    }

    /// Whether the host of `url` is this machine and no other, by its name or address, or by its direct connections.
    pub(crate) fn is_loopback(&self, url: &Url) -> bool {
        match (target::literal(url), target::name(url)) {
            (Some(address), _) => address::is_loopback(address),
            (None, Some(name)) => target::is_loopback(url) || self.names.is_loopback(&name),
            (None, None) => false,
        }
    }

    /// Notes the addresses of a connection.
    #[cfg(test)]
    pub(crate) fn note_connected(&self, name: &str, addresses: &[SocketAddr]) {
        self.names.note_connected(name, addresses);
    }

    /// Whether the host of `url` is known to be public.
    pub(crate) fn is_public(&self, url: &Url) -> bool {
        match (target::literal(url), target::name(url)) {
            (Some(address), _) => !address::is_internal(address),
            (None, Some(name)) => self.names.is_public(&name),
            (None, None) => false,
        }
    }

    /// Checks that a proxy may be used for `url`, since it connects to whatever the name resolves to.
    ///
    /// A name that does not resolve here is left to the proxy, which may be the only one that can,
    /// unless it is a name of the own network. No connection of this client is bound to the answer: what the
    /// proxy then finds is the proxy's to guard.
    ///
    /// # Errors
    /// Returns [`RefusedAddress`] if any address of the name is out of `reach`.
    pub(crate) async fn admit(&self, url: &Url, reach: Reach) -> Result<(), RefusedAddress> {
        let Some(name) = target::name(url) else {
            return Ok(());
        };
        let reach = reach.of(&name, &self.names);
        match self.look_up(&name).await {
            Some(found) if found.iter().all(|address| reach.holds(*address)) => Ok(()),
            Some(found) => Err(reach.refusal(&found)),
            None if reach == Reach::Public && target::is_local_name(&name) => {
                Err(RefusedAddress::LocalName)
            }
            None => Ok(()),
        }
    }

    /// The addresses of `name`, if it resolves here, and soon.
    async fn look_up(&self, name: &str) -> Option<Vec<SocketAddr>> {
        if self.names.is_unknown(name, Instant::now()) {
            return None;
        }
        let looking = resolver::look_up(name);
        match tokio::time::timeout(self.connect_timeout, looking).await {
            Ok(Ok(found)) => {
                // A proxy connects, so no connection of this client shows what the name resolves to.
                self.names.note_looked_up(name, &found);
                Some(found)
            }
            Ok(Err(_)) | Err(_) => {
                self.names.note_unknown(name, Instant::now());
                None
            }
        }
    }

    /// The pool for a request to `url` by `way`. Clones of a client share its connections.
    pub(crate) async fn get(self: &Arc<Self>, way: &Way, url: &Url) -> Result<Pool, Error> {
        let id = runtime::Handle::current().id();
        // As long as the old one is there, the new one needs not read its files again.
        let (cell, _old) = self.cell(way, url.origin(), id, Instant::now());
        let build = || {
            let (pools, way) = (Arc::clone(self), way.clone());
            async move { pools.build(&way).await }
        };
        cell.get_or_make(build).await.cloned()
    }

    fn cell(
        &self,
        way: &Way,
        origin: Origin,
        id: runtime::Id,
        now: Instant,
    ) -> (Cell, Option<Cell>) {
        let mut pools = self.by_runtime();
        let mut own = match pools.iter().position(|pools| pools.id == id) {
            Some(at) => pools.remove(at),
            None => OfRuntime {
                id,
                used: now,
                by_way: ByWay::new(),
            },
        };
        own.used = now;
        let cells = own.by_way.entry(way.clone()).or_default().cell(origin);
        pools.push(own);
        // A runtime that has ended is never seen again. After that time no pool of it would have a connection.
        let spare = pools.len().saturating_sub(KEPT_RUNTIMES);
        let is_over = |pools: &&OfRuntime| now.duration_since(pools.used) > IDLE_LIFE;
        let over = pools.iter().take(spare).take_while(is_over).count();
        let over = over.max(pools.len().saturating_sub(MAX_RUNTIMES));
        pools.drain(..over);
        cells
    }

    fn by_runtime(&self) -> MutexGuard<'_, Vec<OfRuntime>> {
        self.by_runtime
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn build(&self, way: &Way) -> Result<Pool, Error> {
        let tls = match &way.tls {
            Some(profile) => Some(self.load(profile).await?),
            // Without TLS nothing is read: some hundred certificates are disk work.
            None => None,
        };
        let proxy = match &way.proxy {
            Some(proxy) if proxy.protocol == Protocol::Https => {
                Some((Arc::clone(proxy), Some(self.load(&way.proxy_tls).await?)))
            }
            Some(proxy) => Some((Arc::clone(proxy), None)),
            None => None,
        };
        let connector = Connector::new(
            Resolver::new(way.reach, Arc::clone(&self.names)),
            tls,
            proxy,
            way.connect_timeout
                .map_or(self.connect_timeout, |own| own.min(self.longest)),
            Arc::clone(&self.experience),
        );
        Ok(legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_LIFE)
            .pool_timer(TokioTimer::new())
            .http1_max_headers(MAX_HEADERS)
            .http1_max_buf_size(MAX_HEAD)
            // As curl reads heads: a folded line goes on after a space, and a line that is no header is none.
            .http1_allow_obsolete_multiline_headers_in_responses(true)
            .http1_allow_spaces_after_header_name_in_responses(true)
            .http1_ignore_invalid_headers_in_responses(true)
            .build(connector))
    }

    /// Reads the files of a profile, unless the pools of another runtime have done so.
    async fn load(&self, profile: &tls::Profile) -> Result<Arc<ClientConfig>, Error> {
        if let Some(config) = self.configs().get(profile).and_then(Weak::upgrade) {
            return Ok(config);
        }
        let reading = profile.clone();
        let config = background::run(move || reading.load())
            .await
            .map_err(|source| Error::Thread {
                work: "set up TLS",
                source,
            })??;
        let config = Arc::new(config);
        let mut configs = self.configs();
        configs.retain(|_, config| config.strong_count() > 0);
        configs.insert(profile.clone(), Arc::downgrade(&config));
        Ok(config)
    }

    fn configs(&self) -> MutexGuard<'_, HashMap<tls::Profile, Weak<ClientConfig>>> {
        self.configs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_internal_only_while_no_connection_found_it_public() {
        let addresses = |list: &[&str]| -> Vec<SocketAddr> {
            list.iter().map(|text| text.parse().unwrap()).collect()
        };
        let pools = Pools::new(Duration::from_secs(1), Duration::from_secs(60));
        let is_internal = |host: &str| {
            let url = Url::parse(&format!("https://{host}:5000/")).unwrap();
            pools.is_internal(&url)
        };
        // Nothing was connected to, so nothing is known, whatever a look-up would say.
        assert!(!is_internal("localhost"));
        let (private, public) = ("10.0.0.1:0", "93.184.216.34:0");
        for (name, answers, internal) in [
            ("wall.example", vec![vec![private], vec![private]], true),
            ("mixed.example", vec![vec![private, public]], false),
            // The answers of a name that rebinds, in both orders.
            ("first.example", vec![vec![private], vec![public]], false),
            ("last.example", vec![vec![public], vec![private]], false),
            ("empty.example", vec![vec![]], false),
        ] {
            for answer in answers {
                pools.names.note_connected(name, &addresses(&answer));
            }
            assert_eq!(is_internal(name), internal, "{name}");
        }
        assert!(is_internal("10.0.0.1") && is_internal("[fd00::1]"));
        assert!(!is_internal("93.184.216.34"));
    }

    #[test]
    fn pools_of_runtimes_that_work_are_not_evicted() {
        let pools = Pools::new(Duration::from_secs(1), Duration::from_secs(60));
        let way = Way {
            tls: None,
            proxy: None,
            proxy_tls: tls::Profile::default(),
            reach: Reach::Anywhere,
            connect_timeout: None,
        };
        let id = || {
            let runtime = runtime::Builder::new_current_thread().build().unwrap();
            runtime.handle().id()
        };
        let origin = || Url::parse("http://registry.example").unwrap().origin();
        let cell = |id: runtime::Id, now: Instant| pools.cell(&way, origin(), id, now).0;
        let start = Instant::now();
        let ids: Vec<_> = (0..100).map(|_| id()).collect();
        let cells = |now: Instant| -> Vec<_> { ids.iter().map(|id| cell(*id, now)).collect() };
        let first = cells(start);
        let again = cells(start + IDLE_LIFE);
        assert!(first.iter().zip(&again).all(|(a, b)| Arc::ptr_eq(a, b)));
        // Those that have ended go, with the first request after a while.
        let later = start + IDLE_LIFE * 3;
        cell(id(), later);
        assert_eq!(pools.by_runtime().len(), KEPT_RUNTIMES);
        // However many there are at one time, their number has a bound.
        for _ in 0..MAX_RUNTIMES + 9 {
            cell(id(), later);
        }
        assert_eq!(pools.by_runtime().len(), MAX_RUNTIMES);
    }

    #[tokio::test]
    async fn proxy_receives_no_internal_name() {
        let pools = Pools::new(Duration::from_secs(10), Duration::from_secs(60));
        // Names that do not resolve, without asking the network's own resolver.
        for name in ["cdn.example.com", "storage", "metadata.google.internal"] {
            pools.names.note_unknown(name, Instant::now());
        }
        for (host, reach, expected) in [
            ("localhost", Reach::Public, Err(RefusedAddress::Internal)),
            ("localhost", Reach::Anywhere, Ok(())),
            ("cdn.example.com", Reach::Public, Ok(())),
            ("storage", Reach::Public, Err(RefusedAddress::LocalName)),
            ("storage", Reach::Anywhere, Ok(())),
            (
                "metadata.google.internal",
                Reach::Public,
                Err(RefusedAddress::LocalName),
            ),
        ] {
            let url = Url::parse(&format!("http://{host}:9/x")).unwrap();
            assert_eq!(pools.admit(&url, reach).await, expected, "{host} {reach:?}");
        }
    }
}
