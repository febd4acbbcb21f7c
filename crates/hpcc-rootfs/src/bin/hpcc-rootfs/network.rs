//! The options of registries: how to reach them, which to trust, credentials, and timeouts.

use std::io::{IsTerminal as _, Read as _};
use std::net::Ipv6Addr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use hpcc_rootfs::Options;
use ociget::{ClientCertificate, Keychain, Login, OneLogin, Proxies, Request, SourceSpec};

use crate::failure::UsageError;
use crate::quantity::{duration, size, time_limit, whole};

/// Most bytes of a login on stdin.
const MAX_LOGIN: u64 = 64 << 10;

/// The options of registries and of the way to them.
#[derive(Debug, Args)]
#[command(next_help_heading = "Network options")]
pub(crate) struct NetworkArgs {
    /// Registry to connect to without TLS; registries on loopback need no option; may be repeated
    #[arg(long, value_name = "HOST[:PORT]", value_parser = host)]
    plain_http: Vec<String>,
    /// Use TLS for registries on loopback as well
    #[arg(long)]
    tls_on_loopback: bool,
    /// PEM file with certificate authorities to trust in addition to the system's; may be repeated
    #[arg(long, value_name = "FILE")]
    ca_file: Vec<PathBuf>,
    /// PEM file with the client certificate for the registry
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// PEM file with the key of the client certificate [default: the file of --cert]
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Directory with a HOST/hosts.toml for each registry that has mirrors, in containerd's format
    #[arg(long, value_name = "DIR")]
    hosts_dir: Option<PathBuf>,
    /// Proxy for all connections, loopback included, instead of the proxies that the environment names:
    /// [http|https|socks5|socks5h]://[USER:PASSWORD@]HOST:PORT, or "none"
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
    /// Hosts to connect to without --proxy, in the format of NO_PROXY
    #[arg(long, value_name = "LIST", requires = "proxy")]
    no_proxy: Option<String>,
    /// Internal token server or storage to which a public registry may redirect; may be repeated
    #[arg(long, value_name = "HOST[:PORT]", value_parser = host)]
    allow_private_realm: Vec<String>,
    /// File with credentials, in the format of docker and podman
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
    /// Read USER:PASSWORD for the image's registry from stdin
    #[arg(long, conflicts_with = "authfile")]
    creds_stdin: bool,
    /// Number of layers to fetch and decompress concurrently [default: 3]
    #[arg(long, value_name = "N", value_parser = whole::<usize>("a number of layers", 1..=65_536, 3))]
    parallel_layers: Option<usize>,
    /// Number of concurrent requests per layer over 64M, for storage with slow connections [default: 1]
    #[arg(long, value_name = "N", value_parser = whole::<u32>("a number of ranges", 1..=u32::MAX.into(), 4))]
    ranges: Option<u32>,
    /// Number of times to retry a failed request [default: 10, or no limit with --retry-for]
    #[arg(long, value_name = "N", value_parser = whole::<u32>("a number of retries", 0..=u32::MAX.into(), 10))]
    retries: Option<u32>,
    /// Longest time to retry a failed request, with w, d, h, m or s, such as 1m30s [default: 35s, or no limit
    /// with --retries]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    retry_for: Option<Duration>,
    /// Longest time without a byte before a request fails, with w, d, h, m or s, such as 30s [default: 1m]
    #[arg(long, value_name = "TIME", value_parser = time_limit)]
    stall_timeout: Option<Duration>,
    /// Bytes per second below which a download counts as stalled; 0 for no minimum [default: 1K]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    min_rate: Option<u64>,
    /// Time over which --min-rate is averaged, with w, d, h, m or s [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = time_limit)]
    min_rate_window: Option<Duration>,
}

impl NetworkArgs {
    /// Returns whether an option decides about proxies, and not the environment.
    pub(crate) fn names_proxy(&self) -> bool {
        self.proxy.is_some()
    }

    /// Returns the files that are named.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        let files = [&self.cert, &self.key, &self.authfile];
        let files = self.ca_file.iter().chain(files.into_iter().flatten());
        files.map(PathBuf::as_path)
    }

    /// Returns the directory of the mirrors.
    pub(crate) fn hosts_dir(&self) -> Option<&Path> {
        self.hosts_dir.as_deref()
    }

    /// Sets the given options. `sources` are the images, whose registry a login from stdin is for.
    pub(crate) fn apply(&self, options: &mut Options, sources: &[String]) -> anyhow::Result<()> {
        self.apply_without_login(options)?;
        if let Some(login) = self.login(sources)? {
            options.network.credentials = login;
        }
        Ok(())
    }

    /// Reads the login from stdin, if it is there. That can be done once.
    pub(crate) fn login(&self, sources: &[String]) -> anyhow::Result<Option<Arc<OneLogin>>> {
        match self.creds_stdin {
            true => Ok(Some(Arc::new(login(sources)?))),
            false => Ok(None),
        }
    }

    /// Sets the given options but the login from stdin.
    pub(crate) fn apply_without_login(&self, options: &mut Options) -> anyhow::Result<()> {
        if let Some(layers) = self.parallel_layers.and_then(NonZeroUsize::new) {
            options.parallel_layers = layers;
        }
        let options = &mut options.network;
        (options.retries, options.retry_for) = match (self.retries, self.retry_for) {
            (Some(retries), Some(time)) => (retries, time),
            (Some(retries), None) => (retries, Duration::MAX),
            (None, Some(time)) => (u32::MAX, time),
            (None, None) => (options.retries, options.retry_for),
        };
        if let Some(parallel) = self.ranges {
            options.ranges.parallel = parallel;
        }
        options.plain_http.extend(self.plain_http.iter().cloned());
        options.plain_http_on_loopback = !self.tls_on_loopback;
        options.ca_files.clone_from(&self.ca_file);
        options.client_certificate = self
            .cert
            .as_ref()
            .map(|cert| ClientCertificate::new(cert, self.key.as_ref().unwrap_or(cert)));
        options.hosts_dir.clone_from(&self.hosts_dir);
        options
            .allow_private_realms
            .clone_from(&self.allow_private_realm);
        if let Some(file) = &self.authfile {
            options.credentials = Arc::new(Keychain::from_file(file));
        }
        if let Some(time) = self.stall_timeout {
            options.stall_timeout = time;
        }
        if let Some(bytes) = self.min_rate {
            options.min_rate = bytes;
        }
        if let Some(window) = self.min_rate_window {
            options.min_rate_window = window;
        }
        // Fallible options come last, so that doctor can go on with the rest. No parser refuses the proxy: doctor would
        // leave it out and connect without it.
        options.proxies = match self.proxy.as_deref() {
            Some("none") => Proxies::none(),
            Some(url) => Proxies::all(url, self.no_proxy.as_deref().unwrap_or_default())
                .map_err(|error| UsageError(format!("--proxy: {error}")))?,
            None => Proxies::from_env(),
        };
        Ok(())
    }
}

/// Parses a host, with or without a port. Anything else would match no host, in silence.
fn host(text: &str) -> Result<String, String> {
    let (name, port) = match text.rsplit_once(':') {
        // A colon in brackets is one of the address.
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (text, None),
    };
    let is_port = |port: &str| {
        let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
        is_number && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    let address = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    let is_host = match address {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            !name.is_empty() && name.bytes().all(is_of_name)
        }
    };
    match is_host && port.is_none_or(is_port) {
        true => Ok(text.to_owned()),
        false => Err(
            "expected one host, with or without a port, such as registry.example, \
                      registry.example:5000 or [::1]:5000; no path, wildcard or range"
                .to_owned(),
        ),
    }
}

/// Reads the login for the one registry of `sources` from stdin. No error repeats the input.
fn login(sources: &[String]) -> anyhow::Result<OneLogin> {
    let mut registries = Vec::new();
    for source in sources {
        let request = Request::parse(source, None).map_err(hpcc_rootfs::Error::from)?;
        let SourceSpec::Registry(reference) = request.spec() else {
            return Err(usage(
                "the image comes from a file, and a login is for a registry",
            ));
        };
        registries.push(reference.registry().to_owned());
    }
    registries.sort_unstable();
    registries.dedup();
    if registries.is_empty() {
        return Err(usage(
            "no image is named, and a login is for the registry of one",
        ));
    }
    let [registry] = registries.as_slice() else {
        return Err(usage(
            "the images come from several registries, and a login is for one",
        ));
    };
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Err(usage(
            "stdin is a terminal, which would show the password; use a pipe",
        ));
    }
    let mut text = Vec::new();
    let read = stdin.lock().take(MAX_LOGIN + 1).read_to_end(&mut text);
    read.context("cannot read the login from stdin")?;
    let (user, password) = parse(&text).map_err(usage)?;
    let login = Login::password(user, password, "stdin (--creds-stdin)");
    Ok(OneLogin::new(registry.as_str(), login))
}

fn usage(what: &str) -> anyhow::Error {
    UsageError(format!("--creds-stdin: {what}")).into()
}

/// Splits `USER:PASSWORD`, of which the end of the line is not a part.
fn parse(text: &[u8]) -> Result<(&str, &str), &'static str> {
    if u64::try_from(text.len()).is_ok_and(|length| length > MAX_LOGIN) {
        return Err("found more than 64 KiB on stdin, expected one line USER:PASSWORD");
    }
    let text = std::str::from_utf8(text).map_err(|_| "stdin does not hold UTF-8")?;
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err("found nothing on stdin, expected one line USER:PASSWORD");
    }
    if line.contains(['\n', '\r']) {
        return Err("found several lines on stdin, expected one line USER:PASSWORD");
    }
    match line.split_once(':') {
        Some((user, password)) if !user.is_empty() => Ok((user, password)),
        _ => Err("found no USER: on stdin, expected one line USER:PASSWORD"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses_with_a_port_or_without() {
        for text in [
            "registry",
            "Registry.example",
            "my_registry:5000",
            "10.0.0.1:80",
            "[::1]",
            "[fd00::1]:65535",
        ] {
            assert_eq!(host(text).as_deref(), Ok(text));
        }
        for text in [
            "",
            ":5000",
            "reg:",
            "reg:0",
            "reg:99999",
            "reg:+1",
            "reg:http",
            "reg/path",
            "http://reg",
            "bob@reg",
            "*.corp",
            "10.0.0.0/8",
            "a,b",
            "a b",
            "::1",
            "[::1",
            "[x]:80",
        ] {
            assert!(host(text).is_err(), "{text}");
        }
    }

    #[test]
    fn login_on_stdin_is_one_line_that_no_error_repeats() {
        for (text, expected) in [
            ("bob:s3cret", Some(("bob", "s3cret"))),
            ("bob:s3cret\n", Some(("bob", "s3cret"))),
            ("bob:s3cret\r\n", Some(("bob", "s3cret"))),
            ("bob:s3:cret ", Some(("bob", "s3:cret "))),
            ("bob:", Some(("bob", ""))),
            ("s3cret", None),
            (":s3cret", None),
            ("bob:s3cret\nmore", None),
            ("\n", None),
            ("", None),
        ] {
            let found = parse(text.as_bytes());
            assert_eq!(found.ok(), expected, "{text:?}");
            if let Err(error) = found {
                assert!(!error.contains("s3cret"), "{error}");
            }
        }
        assert!(parse(b"bob:\xff").is_err());
        assert!(parse(&vec![b'a'; (64 << 10) + 1]).is_err());
    }
}
