//! Connections, pooled by how they are made. A pool is built when the first request needs it.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Url;
use tokio::sync::OnceCell;

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
    /// Anything but a link-local address.
    Anywhere,
    /// No address that means something else to everybody: loopback, private, shared.
    Public,
}

/// All pools of a client.
#[derive(Debug)]
pub(crate) struct Pools {
    by_way: Mutex<HashMap<Way, Arc<OnceCell<reqwest::Client>>>>,
    connect_timeout: Duration,
}

impl Pools {
    pub(crate) fn new(connect_timeout: Duration) -> Self {
        Self {
            by_way: Mutex::default(),
            connect_timeout,
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
                proxies: proxies(|name| std::env::var(name).ok()),
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

/// Name resolution that never yields a link-local address, behind which clouds keep the
/// credentials of the machine (169.254.169.254), and where it matters no internal one either.
/// The addresses that were checked are those that are connected to.
struct Resolver {
    reach: Reach,
    /// The environment's own word: they may be anywhere.
    proxies: HashSet<String>,
}

impl reqwest::dns::Resolve for Resolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let reach = match self.proxies.contains(name.as_str()) {
            true => Reach::Anywhere,
            false => self.reach,
        };
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let kept = reach.among(found)?;
            let addresses: reqwest::dns::Addrs = Box::new(kept.into_iter());
            Ok(addresses)
        })
    }
}

/// All addresses of a name are such as one does not go to.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.rule())]
pub(crate) struct RefusedAddress(Reach);

impl Reach {
    /// Those of a name's addresses that may be connected to; none is left only if there was none.
    fn among(
        self,
        found: impl Iterator<Item = SocketAddr>,
    ) -> Result<Vec<SocketAddr>, RefusedAddress> {
        let (refused, kept): (Vec<_>, Vec<_>) = found.partition(|address| match self {
            Self::Anywhere => target::is_link_local(address.ip()),
            Self::Public => target::is_internal_address(address.ip()),
        });
        if kept.is_empty() && !refused.is_empty() {
            return Err(RefusedAddress(self));
        }
        Ok(kept)
    }

    fn rule(self) -> &'static str {
        match self {
            Self::Anywhere => "the name stands for a link-local address",
            Self::Public => {
                "the name stands for an internal address, and the registry that sends us there \
                 does not; name the host as an allowed private realm if it is right"
            }
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
        let (public, private, link) = ("192.0.2.7:0", "10.0.0.1:0", "169.254.169.254:0");
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
        ] {
            let kept = reach.among(addresses(&found).into_iter()).ok();
            assert_eq!(kept, expected.map(|list| addresses(&list)), "{found:?}");
        }
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
