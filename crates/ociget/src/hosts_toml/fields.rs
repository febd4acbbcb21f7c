//! The fields of one host of a `hosts.toml`, or of its root.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use crate::endpoint::Endpoint;
use crate::hosts_toml::go_duration;
use crate::options::Options;
use crate::printable::redacted;
use crate::proxy::Proxies;
use crate::tls::{self, ClientCertificate};

/// The keys that containerd knows, and `proxy`.
const KNOWN: [&str; 8] = [
    "capabilities",
    "ca",
    "client",
    "skip_verify",
    "override_path",
    "header",
    "dial_timeout",
    "proxy",
];

/// The capabilities that containerd knows.
const CAPABILITIES: [&str; 4] = ["pull", "resolve", "push", "referrers"];

/// What is said of a host.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    /// In lower case; empty for all.
    capabilities: Vec<String>,
    authorities: Vec<PathBuf>,
    client: Option<(PathBuf, PathBuf)>,
    /// Where there is no `client`.
    other_client: Option<ClientCertificate>,
    skip_verify: bool,
    pub(crate) override_path: bool,
    headers: HeaderMap,
    /// A URL, which may hold a password.
    proxy: Option<String>,
    /// Within which a connection has to come about.
    dial_timeout: Option<Duration>,
    /// Keys that mean nothing here.
    pub(crate) unknown: Vec<String>,
    /// Capabilities that mean nothing here.
    pub(crate) unknown_capabilities: Vec<String>,
}

impl Fields {
    /// Returns the keys of the table that mean nothing without TLS.
    pub(crate) fn of_tls(&self) -> impl Iterator<Item = &'static str> {
        let all = [
            ("ca", !self.authorities.is_empty()),
            ("client", self.client.is_some()),
            ("skip_verify", self.skip_verify),
        ];
        all.into_iter()
            .filter_map(|(key, is_set)| is_set.then_some(key))
    }

    /// Reads the fields of `table`. `of` names the host for an error, which never quotes a value:
    /// headers may be secrets.
    pub(crate) fn parse(table: toml::Table, of: &str) -> Result<Self, String> {
        let unknown = table.keys().filter(|key| !KNOWN.contains(&key.as_str()));
        let unknown = unknown.cloned().collect();
        let mut damaged = None;
        let mut field = |name: &'static str| {
            let value = table.get(name).cloned();
            if value.is_some() {
                damaged = Some(name);
            }
            value
        };
        let read = || -> Result<Self, toml::de::Error> {
            let mut fields = Self {
                unknown,
                ..Self::default()
            };
            if let Some(list) = field("capabilities") {
                let list: Vec<String> = list.try_into()?;
                let lower = list.iter().map(|word| word.trim().to_ascii_lowercase());
                fields.capabilities = lower.collect();
                let mut unknown = list;
                unknown.retain(|word| {
                    let word = word.trim();
                    let mut known = CAPABILITIES.iter();
                    !known.any(|known| known.eq_ignore_ascii_case(word))
                });
                fields.unknown_capabilities = unknown;
            }
            if let Some(files) = field("ca") {
                let files: OneOrMany = files.try_into()?;
                fields.authorities = files.list().iter().map(PathBuf::from).collect();
            }
            if let Some(client) = field("client") {
                fields.client = client.try_into::<Client>()?.first();
            }
            if let Some(value) = field("skip_verify") {
                fields.skip_verify = value.try_into()?;
            }
            if let Some(value) = field("override_path") {
                fields.override_path = value.try_into()?;
            }
            if let Some(value) = field("proxy") {
                fields.proxy = Some(value.try_into()?);
            }
            if let Some(value) = field("dial_timeout") {
                let text: String = value.try_into()?;
                let time = go_duration::parse(&text)
                    .ok_or_else(|| serde::de::Error::custom("not a duration"))?;
                // Go takes 0 for no limit of its own.
                fields.dial_timeout = Some(time).filter(|time| !time.is_zero());
            }
            if let Some(value) = field("header") {
                let all: std::collections::BTreeMap<String, OneOrMany> = value.try_into()?;
                for (name, values) in &all {
                    for value in values.list() {
                        let header = HeaderName::try_from(name).ok();
                        let value = HeaderValue::try_from(value).ok();
                        let Some((name, mut value)) = header.zip(value) else {
                            return Err(serde::de::Error::custom("not a header"));
                        };
                        value.set_sensitive(true);
                        fields.headers.append(name, value);
                    }
                }
            }
            Ok(fields)
        };
        match read() {
            Ok(fields) => Ok(fields),
            Err(_) => Err(format!(
                "{} of {} is not as it should be",
                damaged.unwrap_or_default(),
                redacted(of)
            )),
        }
    }

    /// Returns whether the host has a capability; without a list, or with an empty one, it has all.
    pub(crate) fn may(&self, what: &str) -> bool {
        self.capabilities.is_empty() || self.capabilities.iter().any(|word| word == what)
    }

    /// Takes the client certificate of `options` where the file names none.
    pub(crate) fn client_of_options(&mut self, options: &Options) {
        self.other_client.clone_from(&options.client_certificate);
    }

    /// Returns how connections to the host are secured; files are relative to `dir`.
    pub(crate) fn tls(&self, dir: &Path, options: &Options) -> tls::Profile {
        let mut authorities = options.ca_files.clone();
        authorities.extend(self.authorities.iter().map(|file| dir.join(file)));
        let own = self.client.as_ref();
        let own = own.map(|(cert, key)| ClientCertificate::new(dir.join(cert), dir.join(key)));
        tls::Profile {
            authorities,
            client: own.or_else(|| self.other_client.clone()),
            skip_verify: self.skip_verify,
        }
    }

    /// Sets what is not TLS.
    ///
    /// # Errors
    /// Returns why `proxy` is not the URL of one.
    pub(crate) fn apply(&self, endpoint: &mut Endpoint) -> Result<(), String> {
        endpoint.headers.clone_from(&self.headers);
        endpoint.connect_timeout = self.dial_timeout;
        if let Some(url) = &self.proxy {
            let proxies = Proxies::all(url, "").map_err(|error| error.to_string())?;
            endpoint.proxies = proxies;
        }
        Ok(())
    }

    /// The fields that certificate files alone make.
    pub(crate) fn of_files(authorities: Vec<PathBuf>, client: Option<(PathBuf, PathBuf)>) -> Self {
        Self {
            authorities,
            client,
            ..Self::default()
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
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

impl Client {
    /// Certificate and key of the first pair; one file may hold both.
    fn first(&self) -> Option<(PathBuf, PathBuf)> {
        let (cert, key) = match self {
            Self::Files(files) => (files.list().first()?, None),
            Self::Pairs(pairs) => match pairs.first()?.as_slice() {
                [] => return None,
                [cert] => (cert, None),
                [cert, key, ..] => (cert, Some(key).filter(|key| !key.is_empty())),
            },
        };
        Some((cert.into(), key.unwrap_or(cert).into()))
    }
}
