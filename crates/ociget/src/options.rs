//! Options of the client.

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

/// Longest `Retry-After` that is honored. A longer one fails immediately, so that a
/// pull never seems to hang.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Options of the client.
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
    /// Source of credentials, used when a registry requires some. Default: the files of podman and docker.
    pub credentials: Arc<dyn Credentials>,
    /// Registries to reach over plain HTTP, as `host` (any port) or `host:port`. Default: none.
    pub plain_http: Vec<String>,
    /// Whether to reach registries on loopback over plain HTTP too. Default: true.
    pub plain_http_on_loopback: bool,
    /// PEM files with certificate authorities to trust besides the system's. Default: none. The client
    /// reads them for its first https request.
    pub ca_files: Vec<PathBuf>,
    /// Client certificate for the registry itself, if it requests one, and for no other host.
    /// Default: none.
    pub client_certificate: Option<ClientCertificate>,
    /// Directory in containerd's layout, with `HOST/hosts.toml` for registries that have mirrors.
    /// Default: none.
    pub hosts_dir: Option<PathBuf>,
    /// Internal token servers and storage hosts (loopback, private) that an external registry may
    /// refer the client to, as `host` or `host:port`. Default: none.
    pub allow_private_realms: Vec<String>,
    /// Proxies for requests. Default: those of the environment.
    pub proxies: Proxies,
    /// Number of retries of one request after transient failures. Default: 10.
    /// The pauses are 250 ms, doubling up to 15 s, and longer if a server requests it.
    pub retries: u32,
    /// Longest time from the first of several failures of one request to the start of the last pause. That pause
    /// may be as long as a server requests, up to 60 s. Default: 35 s. Retrying ends with this or with
    /// [`retries`](field@Self::retries), whichever comes first. With the defaults a pull survives a registry
    /// that does not respond for 30 s.
    pub retry_for: Duration,
    /// Longest time to establish a connection. Default: 10 s.
    pub connect_timeout: Duration,
    /// Longest time to wait for the next byte. Default: 60 s. There is no limit on the total time of a
    /// blob. A document (manifest, config, token) must be complete within five times this.
    pub stall_timeout: Duration,
    /// Lowest average rate of a body in bytes per second; 0 for none. Default: 1024. A slower body counts
    /// as stalled. Only the time spent waiting for bytes counts, pauses and new connections included.
    pub min_rate: u64,
    /// Time over which [`min_rate`](field@Self::min_rate) is an average; not 0. Default: 5 minutes.
    pub min_rate_window: Duration,
    /// Whether to fetch large blobs in several ranges concurrently. Default: off.
    pub ranges: Ranges,
    /// Callback for events, such as bytes that arrive and retries. Default: none.
    pub progress: Progress,
    /// Opener of archive files. Default: one that accepts uncompressed regular files.
    pub archives: Arc<dyn OpenArchive>,
    /// Most bytes of a file that `tar:` names, uncompressed: all of it is read before its image has a name. Default: 1
    /// TiB. `hpcc-rootfs` sets it to its limits on layers.
    pub max_tar: u64,
}

/// Options for fetching one blob in several ranges concurrently.
///
/// It helps if one connection is slower than the line, because the storage limits each connection. Otherwise
/// it costs requests and gains nothing. It takes memory: up to `parallel` times `bytes` of each open blob wait
/// for their reader. Enable it only if you know the storage.
///
/// The client uses ranges only with a registry that announces them. If the registry does not serve them after
/// all, the client reads the blob as usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ranges {
    /// Number of concurrent ranges; 0 and 1 switch it off. Default: off.
    pub parallel: u32,
    /// Length of each range in bytes; not 0. Default: 4 MiB.
    pub bytes: u64,
    /// Missing bytes below which a blob is fetched in one request. Default: 64 MiB.
    pub above: u64,
}

/// Number and duration of retries of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) retries: u32,
    /// Time from the first failure to the last attempt.
    pub(crate) time: Duration,
    /// Longest `Retry-After` that is waited for.
    pub(crate) longest_asked: Duration,
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
            max_tar: 1 << 40,
        }
    }
}

impl Options {
    /// Returns the retry budget of one request.
    pub(crate) fn budget(&self) -> Budget {
        Budget {
            retries: self.retries,
            time: self.retry_for,
            longest_asked: LONGEST_RETRY_AFTER,
        }
    }

    pub(crate) fn min_rate(&self) -> MinRate {
        MinRate {
            bytes: self.min_rate,
            window: self.min_rate_window,
        }
    }

    /// Returns whether `host`, with its port if it has one, is configured for plain HTTP.
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
