//! containerd's `certs.d/HOST/hosts.toml`: where a registry's images may be had as well.
//!
//! ```toml
//! server = "https://registry.example"
//!
//! [host."https://mirror.example"]
//!   capabilities = ["pull", "resolve"]
//!   ca = "mirror.pem"
//!   client = [["client.pem", "client.key"]]
//!   [host."https://mirror.example".header]
//!     x-fleet = "blue"
//! ```

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::options::Options;
use crate::printable::{self, redacted};
use crate::regular_file;
use crate::target;
use crate::tls::{self, ClientCertificate};

/// Most bytes of such a file.
const MAX_FILE: u64 = 1 << 20;

/// A host of the file.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) endpoint: Endpoint,
    /// Whether it is asked what a tag stands for, and not for digests alone.
    pub(crate) resolves: bool,
}

/// What a file says.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    /// In the order of the file.
    pub(crate) mirrors: Vec<Host>,
    /// What to ask in the registry's place, at last.
    pub(crate) server: Option<Endpoint>,
}

impl Hosts {
    /// The file for `registry` in `dir`, or that for all registries.
    pub(crate) async fn find(dir: &Path, registry: &str, options: &Options) -> Result<Self, Error> {
        // A colon cannot be in a directory's name everywhere, so containerd has a second spelling.
        let underscored = registry
            .rsplit_once(':')
            .map(|(host, port)| format!("{host}_{port}_"));
        let names = [
            Some(registry.to_owned()),
            underscored,
            Some("_default".to_owned()),
        ];
        for name in names.into_iter().flatten() {
            let path = dir.join(name).join("hosts.toml");
            let bytes = match regular_file::read_in_background(&path, MAX_FILE).await {
                Ok(content) => content.bytes,
                Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let text =
                String::from_utf8(bytes).map_err(|_| wrong(&path, "it is not UTF-8".to_owned()))?;
            return Self::parse(&text, &path, options);
        }
        Ok(Self::default())
    }

    fn parse(text: &str, path: &Path, options: &Options) -> Result<Self, Error> {
        // The parser's own words quote the file, in which headers may be secrets.
        let damaged =
            |what: &str| wrong(path, format!("{} is not as it should be", redacted(what)));
        let host = |what: &str, text: &str, override_path: bool| match base(text, override_path) {
            Some(base) => Ok(base),
            None if text.contains('@') || printable::has_credentials(text) => Err(wrong(
                path,
                format!(
                    "{} holds credentials; put them into the authfile",
                    redacted(what)
                ),
            )),
            None => Err(damaged(what)),
        };
        let table: toml::Table = text.parse().map_err(|_| damaged("its TOML"))?;
        let mut hosts = Self::default();
        if let Some(server) = table.get("server") {
            let server = server.as_str().ok_or_else(|| damaged("server"))?;
            let base = host("server", server, false)?;
            let tls = tls::Profile {
                authorities: options.ca_files.clone(),
                client: options.client_certificate.clone(),
                skip_verify: false,
            };
            hosts.server = Some(Endpoint::new(base, tls, options));
        }
        let Some(entries) = table.get("host") else {
            return Ok(hosts);
        };
        for (name, entry) in entries.as_table().ok_or_else(|| damaged("host"))? {
            let raw: RawHost = entry.clone().try_into().map_err(|_| damaged(name))?;
            let capable = |what: &str| match &raw.capabilities {
                Some(list) => list.iter().any(|named| named == what),
                None => true,
            };
            if !capable("pull") {
                continue;
            }
            let base = host(name, name, raw.override_path)?;
            let resolves = capable("resolve");
            let headers = raw.headers().ok_or_else(|| damaged(name))?;
            let tls = raw.tls(path.parent().unwrap_or(path), options);
            let mut endpoint = Endpoint::new(base, tls, options);
            endpoint.headers = headers;
            hosts.mirrors.push(Host { endpoint, resolves });
        }
        Ok(hosts)
    }
}

impl Options {
    /// Returns the base URLs that a `hosts.toml` with the content `text` names, in the order in which they are tried: the
    /// mirrors, then the server. No file is opened and no request is sent.
    ///
    /// # Errors
    /// Returns [`Error::Usage`] if the content is damaged. `path` names the file, for people, and files that the content
    /// names are relative to its directory.
    pub fn hosts_in(&self, text: &str, path: &Path) -> Result<Vec<String>, Error> {
        let hosts = Hosts::parse(text, path, self)?;
        let mirrors = hosts.mirrors.into_iter().map(|host| host.endpoint);
        let all = mirrors.chain(hosts.server);
        Ok(all.map(|endpoint| endpoint.base.into()).collect())
    }
}

#[derive(Deserialize)]
struct RawHost {
    capabilities: Option<Vec<String>>,
    ca: Option<OneOrMany>,
    client: Option<Client>,
    #[serde(default)]
    skip_verify: bool,
    #[serde(default)]
    override_path: bool,
    #[serde(default)]
    header: std::collections::BTreeMap<String, OneOrMany>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn list(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// A file with both, files with both, or pairs of files.
#[derive(Deserialize)]
#[serde(untagged)]
enum Client {
    Files(OneOrMany),
    Pairs(Vec<Vec<String>>),
}

impl RawHost {
    fn tls(&self, dir: &Path, options: &Options) -> tls::Profile {
        let at = |name: &String| dir.join(name);
        let mut authorities: Vec<PathBuf> = options.ca_files.clone();
        authorities.extend(self.ca.iter().flat_map(|ca| ca.list().iter().map(at)));
        let client = match &self.client {
            Some(Client::Files(files)) => files
                .list()
                .first()
                .map(|file| ClientCertificate::new(at(file), at(file))),
            Some(Client::Pairs(pairs)) => match pairs.first().map(Vec::as_slice) {
                Some([cert, key]) if !key.is_empty() => {
                    Some(ClientCertificate::new(at(cert), at(key)))
                }
                Some([cert, ..]) => Some(ClientCertificate::new(at(cert), at(cert))),
                Some([]) | None => None,
            },
            None => None,
        };
        tls::Profile {
            authorities,
            client,
            skip_verify: self.skip_verify,
        }
    }

    fn headers(&self) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (name, values) in &self.header {
            let name = HeaderName::try_from(name).ok()?;
            for value in values.list() {
                let mut value = HeaderValue::try_from(value).ok()?;
                value.set_sensitive(true);
                headers.append(name.clone(), value);
            }
        }
        Some(headers)
    }
}

/// The root of the API at a host: its URL and `v2/`, or the URL as it is.
fn base(text: &str, override_path: bool) -> Option<Url> {
    let mut url = if text.contains("://") {
        Url::parse(text).ok()?
    } else {
        let url = Url::parse(&format!("https://{text}")).ok()?;
        match target::is_loopback(&url) {
            true => Url::parse(&format!("http://{text}")).ok()?,
            false => url,
        }
    };
    // The parser takes `https:/~/user:password@host` for a path below the host `https`.
    let is_usable = matches!(url.scheme(), "http" | "https")
        && !text.contains('@')
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none();
    if !is_usable {
        return None;
    }
    let path = url.path().trim_end_matches('/');
    let path = match override_path || path.ends_with("/v2") {
        true => format!("{path}/"),
        false => format!("{path}/v2/"),
    };
    url.set_path(&path);
    url.set_query(None);
    url.set_fragment(None);
    Some(url)
}

fn wrong(path: &Path, reason: String) -> Error {
    Error::Usage(format!("cannot use {}: {reason}", printable::path(path)))
}

#[cfg(test)]
mod tests;
