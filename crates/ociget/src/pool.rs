//! Connections, pooled by how they are made. A pool is built when the first request needs it.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Url;
use tokio::sync::OnceCell;

use crate::address;
use crate::error::Error;
use crate::target;
use crate::tls;

/// How connections of one pool are made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Way {
    /// `None` for plain http.
    pub(crate) tls: Option<tls::Profile>,
    /// Past the proxies of the environment.
    pub(crate) direct: bool,
    pub(crate) reach: Reach,
}

/// What a name may stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reach {
    /// Anything but a link-local address and a cloud's metadata service.
    Anywhere,
    /// No address that means something else to everybody: loopback, private, shared.
    Public,
}

/// How long a name that did not resolve is not looked up again for the sake of a proxy.
const UNKNOWN_LIFE: Duration = Duration::from_secs(60);
/// How many such names are remembered.
const MAX_UNKNOWN: usize = 1024;

/// All pools of a client.
#[derive(Debug)]
pub(crate) struct Pools {
    by_way: Mutex<HashMap<Way, Arc<OnceCell<reqwest::Client>>>>,
    connect_timeout: Duration,
    /// Hosts that the environment names as proxies.
    proxies: Arc<HashSet<String>>,
    names: Arc<Names>,
}

impl Pools {
    pub(crate) fn new(connect_timeout: Duration) -> Self {
        Self {
            by_way: Mutex::default(),
            connect_timeout,
            proxies: Arc::new(proxies(|name| std::env::var(name).ok())),
            names: Arc::default(),
        }
    }

    /// Whether the host of `url` has an internal address. Of a name that is known only from its
    /// direct connections: whoever owns a name can have it stand for something else in each answer,
    /// so that nothing but an address that was connected to counts, and a proxy does not tell which
    /// that was.
    pub(crate) fn is_internal(&self, url: &Url) -> bool {
        match (target::literal(url), target::name(url)) {
            (Some(address), _) => address::is_internal(address),
            (None, Some(name)) => self.names.is_internal(&name),
            (None, None) => false,
        }
    }

    /// Checks that a proxy may be asked for `url`, since it connects to whatever the name stands for.
    ///
    /// A name that does not resolve here is left to the proxy, which may be the only one that can,
    /// unless it is a name of the own network. No connection of ours is bound to the answer: what the
    /// proxy then finds is the proxy's to guard.
    ///
    /// # Errors
    /// Returns [`RefusedAddress`] if any address of the name is out of `reach`.
    pub(crate) async fn admit(&self, url: &Url, reach: Reach) -> Result<(), RefusedAddress> {
        if self.proxies.is_empty() {
            return Ok(());
        }
        let Some(name) = target::name(url) else {
            return Ok(());
        };
        match self.look_up(&name).await {
            Some(found) if found.iter().all(|address| reach.holds(*address)) => Ok(()),
            Some(_) => Err(reach.refusal()),
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
        let looking = tokio::net::lookup_host((name, 0));
        match tokio::time::timeout(self.connect_timeout, looking).await {
            Ok(Ok(found)) => Some(found.collect()),
            Ok(Err(_)) | Err(_) => {
                self.names.note_unknown(name, Instant::now());
                None
            }
        }
    }

    /// The pool for `way`. Clones of a client share its connections.
    pub(crate) async fn get(&self, way: &Way) -> Result<reqwest::Client, Error> {
        let cell = {
            let mut pools = self.by_way.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(pools.entry(way.clone()).or_default())
        };
        let pool = cell.get_or_try_init(|| self.build(way)).await?;
        Ok(pool.clone())
    }

    async fn build(&self, way: &Way) -> Result<reqwest::Client, Error> {
        // Without TLS nothing is read: some hundred certificates are disk work.
        let profile = way.tls.clone().unwrap_or(tls::Profile {
            skip_verify: true,
            ..tls::Profile::default()
        });
        let config = tokio::task::spawn_blocking(move || profile.load())
            .await
            .map_err(|error| Error::Usage(format!("TLS cannot be set up: {error}")))??;
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(Arc::new(Resolver {
                reach: way.reach,
                proxies: Arc::clone(&self.proxies),
                names: Arc::clone(&self.names),
            }))
            .connect_timeout(self.connect_timeout)
            .user_agent(concat!("ociget/", env!("CARGO_PKG_VERSION")));
        // A proxy that the environment names for everything cannot reach our own loopback.
        let builder = if way.direct {
            builder.no_proxy()
        } else {
            builder
        };
        builder.build().map_err(|error| {
            let proxy = "is HTTP_PROXY, HTTPS_PROXY or ALL_PROXY an URL?";
            Error::Usage(format!("connections cannot be set up ({proxy}): {error}"))
        })
    }
}

/// What is known of names.
#[derive(Debug, Default)]
struct Names {
    /// Names that were resolved for a connection, and whether all of their addresses have ever been
    /// internal.
    connected: Mutex<HashMap<String, bool>>,
    /// Names that did not resolve, and when.
    unknown: Mutex<HashMap<String, Instant>>,
}

impl Names {
    fn note_connected(&self, name: &str, addresses: &[SocketAddr]) {
        if addresses.is_empty() {
            return;
        }
        let are_internal = addresses
            .iter()
            .all(|address| address::is_internal(address.ip()));
        let mut connected = lock(&self.connected);
        *connected.entry(name.to_owned()).or_insert(true) &= are_internal;
    }

    fn is_internal(&self, name: &str) -> bool {
        lock(&self.connected).get(name).copied().unwrap_or(false)
    }

    fn note_unknown(&self, name: &str, now: Instant) {
        let mut unknown = lock(&self.unknown);
        if unknown.len() >= MAX_UNKNOWN {
            unknown.clear();
        }
        unknown.insert(name.to_owned(), now);
    }

    fn is_unknown(&self, name: &str, now: Instant) -> bool {
        let noted = lock(&self.unknown).get(name).copied();
        noted.is_some_and(|noted| now.saturating_duration_since(noted) < UNKNOWN_LIFE)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Name resolution that never yields a link-local address, behind which clouds keep the
/// credentials of the machine (169.254.169.254), and where it matters no internal one either.
/// The addresses that were checked are those that are connected to.
struct Resolver {
    reach: Reach,
    /// The environment's own word: they may be anywhere.
    proxies: Arc<HashSet<String>>,
    names: Arc<Names>,
}

impl reqwest::dns::Resolve for Resolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let is_proxy = self.proxies.contains(name.as_str());
        let (reach, names) = (self.reach, Arc::clone(&self.names));
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.collect();
            let kept = if is_proxy {
                found
            } else {
                let kept = reach.among(found)?;
                names.note_connected(name.as_str(), &kept);
                kept
            };
            let addresses: reqwest::dns::Addrs = Box::new(kept.into_iter());
            Ok(addresses)
        })
    }
}

/// Why a name is not connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RefusedAddress {
    #[error("the name resolves to a link-local address or to a cloud's metadata service")]
    OffLimits,
    #[error(
        "the name resolves to an internal address, and this registry may not send us to one; if \
         that is right, allow the host as a private realm"
    )]
    Internal,
    #[error(
        "the name does not resolve here, a proxy would be asked for it, and it is one of an \
         internal network; if that is right, allow the host as a private realm"
    )]
    LocalName,
}

impl Reach {
    /// Those of a name's addresses that may be connected to; none is left only if there was none.
    fn among(self, mut found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, RefusedAddress> {
        let were_any = !found.is_empty();
        found.retain(|address| self.holds(*address));
        if were_any && found.is_empty() {
            return Err(self.refusal());
        }
        Ok(found)
    }

    fn holds(self, address: SocketAddr) -> bool {
        match self {
            Self::Anywhere => !address::is_off_limits(address.ip()),
            Self::Public => !address::is_internal(address.ip()),
        }
    }

    fn refusal(self) -> RefusedAddress {
        match self {
            Self::Anywhere => RefusedAddress::OffLimits,
            Self::Public => RefusedAddress::Internal,
        }
    }
}

/// Names of the hosts that the environment names as proxies.
fn proxies(variable: impl Fn(&str) -> Option<String>) -> HashSet<String> {
    ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"]
        .iter()
        .flat_map(|name| [(*name).to_owned(), name.to_ascii_lowercase()])
        .filter_map(|name| variable(&name))
        .filter_map(|text| {
            let url = Url::parse(&text).ok().filter(Url::has_host);
            let url = url.or_else(|| Url::parse(&format!("http://{text}")).ok())?;
            Some(url.host_str()?.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_addresses_of_a_name_only_those_in_reach_are_kept() {
        let addresses = |list: &[&str]| -> Vec<SocketAddr> {
            list.iter().map(|text| text.parse().unwrap()).collect()
        };
        let (public, private, link) = ("93.184.216.34:0", "10.0.0.1:0", "169.254.169.254:0");
        for (reach, found, expected) in [
            (
                Reach::Anywhere,
                vec![public, private, link],
                Some(vec![public, private]),
            ),
            (
                Reach::Public,
                vec![public, private, link],
                Some(vec![public]),
            ),
            (Reach::Anywhere, vec![link], None),
            (Reach::Anywhere, vec!["[fe80::1]:0"], None),
            (Reach::Public, vec![private, "[::1]:0", "[fd00::1]:0"], None),
            (Reach::Public, vec![], Some(vec![])),
            (Reach::Anywhere, vec!["168.63.129.16:0"], None),
            (Reach::Anywhere, vec!["[2002:a9fe:a9fe::]:0"], None),
            (
                Reach::Public,
                vec!["[2002:7f00:1::]:0", "198.18.0.1:0"],
                None,
            ),
        ] {
            let kept = reach.among(addresses(&found)).ok();
            assert_eq!(kept, expected.map(|list| addresses(&list)), "{found:?}");
        }
    }

    #[test]
    fn a_name_is_internal_only_while_no_connection_found_it_public() {
        let addresses = |list: &[&str]| -> Vec<SocketAddr> {
            list.iter().map(|text| text.parse().unwrap()).collect()
        };
        let pools = Pools::new(Duration::from_secs(1));
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

    #[tokio::test]
    async fn a_proxy_is_asked_for_no_internal_name() {
        let mut pools = Pools::new(Duration::from_secs(10));
        pools.proxies = Arc::new(["proxy.example".to_owned()].into());
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
        pools.proxies = Arc::default();
        let url = Url::parse("http://storage/x").unwrap();
        assert_eq!(pools.admit(&url, Reach::Public).await, Ok(()));
    }

    #[test]
    fn a_name_that_did_not_resolve_is_looked_up_again_later() {
        let names = Names::default();
        let start = Instant::now();
        names.note_unknown("a.example", start);
        assert!(names.is_unknown("a.example", start));
        assert!(!names.is_unknown("b.example", start));
        assert!(!names.is_unknown("a.example", start + UNKNOWN_LIFE));
        for number in 0..2 * MAX_UNKNOWN {
            names.note_unknown(&format!("{number}.example"), start);
        }
        assert!(lock(&names.unknown).len() <= MAX_UNKNOWN);
    }

    #[test]
    fn proxies_are_known_by_name_however_they_are_written() {
        let found = proxies(|name| {
            let value = match name {
                "HTTP_PROXY" => "http://user:secret@Proxy.corp:3128",
                "https_proxy" => "other.corp:8080",
                "ALL_PROXY" => "",
                _ => return None,
            };
            Some(value.to_owned())
        });
        let mut found: Vec<_> = found.into_iter().collect();
        found.sort();
        assert_eq!(found, ["other.corp", "proxy.corp"]);
    }
}
