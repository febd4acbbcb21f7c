//! What a caller may choose about the way to registries.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::credentials::Credentials;
use crate::credentials::keychain::Keychain;
use crate::floor::MinRate;
use crate::open_archive::{OpenArchive, PlainFiles};
use crate::progress::Progress;
use crate::proxy::Proxies;
use crate::tls::ClientCertificate;

/// How to talk to registries.
///
/// ```
/// let mut options = ociget::Options::default();
/// options.plain_http.push("registry.lan:5000".to_owned());
/// let client = ociget::Client::new(options)?;
/// # Ok::<(), ociget::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Asked when a registry wants credentials. The files of podman and docker by default.
    pub credentials: Arc<dyn Credentials>,
    /// Registries that are spoken to in clear, as `host` (any port) or `host:port`. None by default.
    pub plain_http: Vec<String>,
    /// Whether registries on loopback are spoken to in clear as well. They are by default.
    pub plain_http_on_loopback: bool,
    /// PEM files with certificate authorities that are trusted besides the system's. None by
    /// default. They are read when the first https request needs them.
    pub ca_files: Vec<PathBuf>,
    /// Shown to the registry itself, if it asks for a certificate; to no other host. None by
    /// default.
    pub client_certificate: Option<ClientCertificate>,
    /// Directory in containerd's layout, with `HOST/hosts.toml` for registries that have mirrors.
    /// None by default.
    pub hosts_dir: Option<PathBuf>,
    /// Token servers and other places that a registry may send us to although they are internal
    /// (loopback, private) and it is not, as `host` or `host:port`. None by default.
    pub allow_private_realms: Vec<String>,
    /// Proxies that requests go through. Those of the environment by default.
    pub proxies: Proxies,
    /// Number of times that one request is tried again after a failure that may pass. Default: 10.
    /// The pauses between are 250 ms, doubling up to 15 s, and longer where a server asks for it.
    pub retries: u32,
    /// Longest time from the first of several failures of one request to its last attempt, without the
    /// pauses that a server asks for. Default: 35 s. Retrying ends with this or with
    /// [`retries`](field@Self::retries), whichever comes first. With the defaults a registry that is
    /// away for 30 s costs no pull.
    pub retry_for: Duration,
    /// Longest time for a connection to be made. 10 s by default.
    pub connect_timeout: Duration,
    /// Longest time without a byte while one is waited for. 60 s by default. There is no limit
    /// on the whole of a blob: a layer takes as long as it takes. A document (manifest, config,
    /// token) has to be whole within five times this.
    pub stall_timeout: Duration,
    /// Least average rate at which a body has to come, in bytes per second; 0 for none. 1024 by
    /// default. A body that comes more slowly counts as stalled. Only the time in which bytes are
    /// waited for counts, pauses and new connections included.
    pub min_rate: u64,
    /// Time over which [`min_rate`](field@Self::min_rate) is an average; not 0. 5 minutes by default.
    pub min_rate_window: Duration,
    /// Whether big blobs are fetched in several ranges at once. They are not by default.
    pub ranges: Ranges,
    /// Told what arrives and what is tried again. Nobody by default.
    pub progress: Progress,
    /// Opens the files of archives. By default they have to be regular files that are not compressed.
    pub archives: Arc<dyn OpenArchive>,
}

/// When several ranges of one blob are fetched at once, and how.
///
/// That helps where one connection is slower than the line, as with stores that hold each one back.
/// Where one is fast it costs requests and gains nothing, and it takes memory: up to `parallel`
/// times `bytes` of each open blob wait for their reader. So it is for who knows the store.
///
/// It is done only with a registry that has said that it serves ranges; one that then does not is
/// read as usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ranges {
    /// How many at once; 0 and 1 switch it off, as it is by default.
    pub parallel: u32,
    /// Length of each, in bytes; not 0. 4 MiB by default.
    pub bytes: u64,
    /// Blobs of which fewer bytes are missing are fetched in one go. 64 MiB by default.
    pub above: u64,
}

/// How often, and for how long, one thing that is wanted is tried again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) retries: u32,
    /// Time from the first failure to the last attempt.
    pub(crate) time: Duration,
}

impl Default for Ranges {
    fn default() -> Self {
        Self {
            parallel: 1,
            bytes: 4 << 20,
            above: 64 << 20,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            credentials: Arc::new(Keychain::from_env()),
            plain_http: Vec::new(),
            plain_http_on_loopback: true,
            ca_files: Vec::new(),
            client_certificate: None,
            hosts_dir: None,
            allow_private_realms: Vec::new(),
            proxies: Proxies::default(),
            retries: 10,
            retry_for: Duration::from_secs(35),
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(60),
            min_rate: 1024,
            min_rate_window: Duration::from_secs(300),
            ranges: Ranges::default(),
            progress: Progress::default(),
            archives: Arc::new(PlainFiles),
        }
    }
}

impl Options {
    /// Patience for one request.
    pub(crate) fn budget(&self) -> Budget {
        Budget {
            retries: self.retries,
            time: self.retry_for,
        }
    }

    pub(crate) fn min_rate(&self) -> MinRate {
        MinRate {
            bytes: self.min_rate,
            window: self.min_rate_window,
        }
    }

    /// Whether `host` (with its port, where it has one) is named for plain http.
    pub(crate) fn names_plain_http(&self, host: &str) -> bool {
        let without_port = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        };
        self.plain_http.iter().any(|named| {
            named.eq_ignore_ascii_case(host) || named.eq_ignore_ascii_case(without_port)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_hosts_that_are_named() {
        let options = Options {
            plain_http: vec![
                "reg.lan".to_owned(),
                "other.lan:5000".to_owned(),
                "[fd00::1]".to_owned(),
            ],
            ..Options::default()
        };
        for (host, expected) in [
            ("reg.lan", true),
            ("reg.lan:5000", true),
            ("REG.lan", true),
            ("other.lan:5000", true),
            ("other.lan", false),
            ("other.lan:5001", false),
            ("xreg.lan", false),
            ("[fd00::1]", true),
            ("[fd00::1]:5000", true),
        ] {
            assert_eq!(options.names_plain_http(host), expected, "{host}");
        }
    }
}
