//! A host that answers the registry API: the registry itself, or a mirror of it.

use std::time::Duration;

use http::header::HeaderMap;
use url::Url;

use crate::error::Error;
use crate::options::Options;
use crate::pool::{Pools, Way};
use crate::proxy::Proxies;
use crate::reach::Reach;
use crate::target;
use crate::tls;

/// The address of requests, and how they are sent.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// `https://host/v2/`
    pub(crate) base: Url,
    /// For connections to this host. Others are trusted by the system's authorities and those of
    /// the options, and never see a client certificate.
    pub(crate) tls: tls::Profile,
    /// Sent with every request to this host, and to no other.
    pub(crate) headers: HeaderMap,
    /// Hosts that may be internal although this one is not.
    allowed: Vec<String>,
    authorities: tls::Profile,
    /// For this host; others are reached by way of those of the options.
    pub(crate) proxies: Proxies,
    other_proxies: Proxies,
    /// For connections to this host, in place of the one of the options.
    pub(crate) connect_timeout: Option<Duration>,
}

impl Endpoint {
    /// The registry `host` itself.
    pub(crate) fn origin(host: &str, options: &Options) -> Result<Self, Error> {
        let base = |scheme: &str| {
            Url::parse(&format!("{scheme}://{host}/v2/"))
                .map_err(|error| Error::Usage(format!("{host:?} is not a host: {error}")))
        };
        let https = base("https")?;
        let plain = options.names_plain_http(host)
            || options.plain_http_on_loopback && target::is_loopback(&https);
        let base = if plain { base("http")? } else { https };
        let tls = tls::Profile {
            client: options.client_certificate.clone(),
            ..Self::others(options)
        };
        Ok(Self::new(base, tls, options))
    }

    /// Whatever answers at `base`, by rules of its own.
    pub(crate) fn new(base: Url, tls: tls::Profile, options: &Options) -> Self {
        Self {
            base,
            tls,
            headers: HeaderMap::new(),
            allowed: options.allow_private_realms.clone(),
            authorities: Self::others(options),
            proxies: options.proxies.clone(),
            other_proxies: options.proxies.clone(),
            connect_timeout: None,
        }
    }

    /// Its host, with a port where it is not the usual one: what credentials are kept under.
    pub(crate) fn host(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        match self.base.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// Returns the name that the repository `name` of a registry has at this host: after the path below `/v2/`, as a
    /// mirror of several registries has it. In a path without `/v2/` no part is known to belong to the name, and in one
    /// that ends with `/v2/` all of it is above the names.
    pub(crate) fn repository(&self, name: &str) -> String {
        let path = self.base.path();
        let below = match path.ends_with("/v2/") {
            true => None,
            false => path.split_once("/v2/").map(|(_, below)| below),
        };
        format!("{}{name}", below.unwrap_or_default())
    }

    /// How to connect to `url`, which this host may have sent us to.
    ///
    /// # Errors
    /// Returns [`Error::Environment`] if the environment does not name its proxies as it should.
    pub(crate) fn way(&self, url: &Url, pools: &Pools) -> Result<Way, Error> {
        let (tls, proxies) = match self.is_base_of(url) {
            true => (&self.tls, &self.proxies),
            false => (&self.authorities, &self.other_proxies),
        };
        Ok(Way {
            tls: (url.scheme() == "https").then(|| tls.clone()),
            proxy: proxies.of(url)?,
            proxy_tls: self.authorities.clone(),
            reach: self.reach(url, pools),
            connect_timeout: self.connect_timeout.filter(|_| self.is_base_of(url)),
        })
    }

    /// Whether `url` is at this host and its port.
    pub(crate) fn is_base_of(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    /// Whether `url` is at this very host, on whatever port.
    pub(crate) fn is_own_host(&self, url: &Url) -> bool {
        url.host() == self.base.host()
    }

    /// Whether `asker` may send us to `target` in the name of this host.
    pub(crate) fn check(&self, target: &Url, asker: &Url) -> Result<(), Error> {
        target::check(target, asker, &self.base, &self.allowed)
    }

    fn reach(&self, url: &Url, pools: &Pools) -> Reach {
        // Behind a company's wall registry, token server and storage all have private addresses.
        let is_behind_our_wall =
            || target::has_usual_port(url, &self.base) && pools.is_internal(&self.base);
        // Another port of a public host is refused if its name resolves to an internal address by then.
        let is_own = || self.is_own_host(url) && !pools.is_public(&self.base);
        if target::is_named(url, &self.allowed) {
            Reach::Anywhere
        } else if self.is_base_of(url) {
            Reach::Home
        } else if !is_own() && !is_behind_our_wall() {
            Reach::Public
        } else if pools.is_loopback(&self.base) {
            // It can connect to the services of this machine itself.
            Reach::Anywhere
        } else {
            Reach::Network
        }
    }

    fn others(options: &Options) -> tls::Profile {
        tls::Profile {
            authorities: options.ca_files.clone(),
            ..tls::Profile::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // containerd/containerd#9648, #8415, #4358, #1465
    #[test]
    fn repository_of_a_mirror_begins_with_its_path_below_v2() {
        for (base, expected) in [
            ("https://m.io/v2/", "team/app"),
            ("https://m.io/v2/proj/hub/", "proj/hub/team/app"),
            ("https://m.io/x/v2/", "team/app"),
            ("https://m.io/x/v2/proj/", "proj/team/app"),
            // Without `override_path`, `https://m.io/api/v2/docker` becomes this one.
            ("https://m.io/api/v2/docker/v2/", "team/app"),
            ("https://m.io/proj/", "team/app"),
            ("https://m.io/", "team/app"),
        ] {
            let options = Options::default();
            let base = Url::parse(base).unwrap();
            let endpoint = Endpoint::new(base, tls::Profile::default(), &options);
            assert_eq!(endpoint.repository("team/app"), expected);
        }
    }

    #[test]
    fn registry_on_the_network_leads_to_no_loopback() {
        const HERE: &[&str] = &["127.0.0.1:0"];
        const MIXED: &[&str] = &["127.0.0.1:0", "10.0.0.1:0"];
        const NEAR: &[&str] = &["10.0.0.1:0"];
        const FAR: &[&str] = &["93.184.216.34:0"];
        let options = Options {
            allow_private_realms: vec!["named.example".to_owned()],
            ..Options::default()
        };
        for (home, addresses, target, reach) in [
            (
                "reg.example:5000",
                NEAR,
                "http://other.example/",
                Reach::Network,
            ),
            (
                "reg.example:5000",
                NEAR,
                "http://reg.example:8080/",
                Reach::Network,
            ),
            (
                "reg.example:5000",
                NEAR,
                "http://reg.example:5000/",
                Reach::Home,
            ),
            (
                "reg.example:5000",
                NEAR,
                "http://other.example:22/",
                Reach::Public,
            ),
            (
                "reg.example:5000",
                NEAR,
                "http://named.example:22/",
                Reach::Anywhere,
            ),
            (
                "10.0.0.1:5000",
                &[],
                "http://other.example/",
                Reach::Network,
            ),
            (
                "reg.example:5000",
                HERE,
                "http://other.example/",
                Reach::Anywhere,
            ),
            (
                "reg.example:5000",
                HERE,
                "http://reg.example:8080/",
                Reach::Anywhere,
            ),
            (
                "127.0.0.1:5000",
                &[],
                "http://other.example/",
                Reach::Anywhere,
            ),
            (
                "localhost:5000",
                HERE,
                "http://other.example/",
                Reach::Anywhere,
            ),
            (
                "reg.example:5000",
                FAR,
                "http://other.example/",
                Reach::Public,
            ),
            (
                "reg.example:5000",
                FAR,
                "http://reg.example:8080/",
                Reach::Public,
            ),
            (
                "reg.example:5000",
                FAR,
                "http://reg.example:5000/",
                Reach::Home,
            ),
            // Another machine may have answered.
            (
                "reg.example:5000",
                MIXED,
                "http://other.example/",
                Reach::Network,
            ),
            (
                "reg.example:5000",
                MIXED,
                "http://reg.example:2375/",
                Reach::Network,
            ),
            (
                "reg.example:5000",
                MIXED,
                "http://reg.example:5000/",
                Reach::Home,
            ),
            // Only a proxy has connected.
            (
                "reg.example:5000",
                &[],
                "http://reg.example:8080/",
                Reach::Network,
            ),
            (
                "reg.example:5000",
                &[],
                "http://other.example/",
                Reach::Public,
            ),
        ] {
            let pools = Pools::new(Duration::from_secs(1), Duration::from_secs(60));
            let base = Url::parse(&format!("http://{home}/v2/")).unwrap();
            let addresses: Vec<_> = addresses.iter().map(|text| text.parse().unwrap()).collect();
            pools.note_connected(base.host_str().unwrap(), &addresses);
            let endpoint = Endpoint::new(base, tls::Profile::default(), &options);
            let target = Url::parse(target).unwrap();
            assert_eq!(
                endpoint.reach(&target, &pools),
                reach,
                "{target} from {home}"
            );
        }
    }
}
