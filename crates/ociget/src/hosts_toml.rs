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
//!
//! Fields at the root are those of `server`, or of the registry itself where there is none. A
//! directory without the file may hold certificates, as docker keeps them.

mod fields;
mod files;
mod go_duration;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use url::Url;

use crate::background;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::hosts_toml::fields::Fields;
use crate::hosts_toml::files::Files;
use crate::options::Options;
use crate::printable::{self, redacted};
use crate::reference;
use crate::regular_file;
use crate::target;

/// Most bytes of such a file.
const MAX_FILE: u64 = 1 << 20;

/// A host of the file.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) endpoint: Endpoint,
    /// Whether the host may resolve tags, and not only serve digests.
    pub(crate) resolves: bool,
}

/// Content of a file.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    /// In the order of the file.
    pub(crate) mirrors: Vec<Host>,
    /// The host to which requests go last, in the registry's place.
    pub(crate) server: Option<Host>,
    /// Whether neither the server nor the registry may be pulled from.
    pub(crate) without_server: bool,
    /// Oddities of it, for people.
    pub(crate) warnings: Vec<String>,
}

impl Hosts {
    /// The file for `registry` in `dir`, or that for all registries. The first directory that exists
    /// decides, as with containerd.
    pub(crate) async fn find(dir: &Path, registry: &str, options: &Options) -> Result<Self, Error> {
        // A colon cannot be in a directory's name everywhere, so containerd has a second spelling.
        let underscored = registry
            .rsplit_once(':')
            .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
            .map(|(host, port)| format!("{host}_{port}_"));
        let names: Vec<String> = underscored
            .into_iter()
            .chain([registry.to_owned()])
            .collect();
        for name in &names {
            if let Some(found) = Self::within(dir.join(name), registry, options).await? {
                return Ok(found);
            }
        }
        // A reference has its host in lower case, and a directory keeps the letters that the user wrote.
        let others = files::in_other_case(dir, names).await;
        for name in others.into_iter().chain(["_default".to_owned()]) {
            if let Some(found) = Self::within(dir.join(name), registry, options).await? {
                return Ok(found);
            }
        }
        Ok(Self::default())
    }

    /// Returns the settings that a directory has; `None` if it does not exist.
    async fn within(
        dir: PathBuf,
        registry: &str,
        options: &Options,
    ) -> Result<Option<Self>, Error> {
        let path = dir.join("hosts.toml");
        let bytes = match regular_file::read_in_background(&path, MAX_FILE).await {
            Ok(content) => content.bytes,
            // A file with the name of a host is no settings of it.
            Err(Error::Io { source, .. })
                if source.kind() == ErrorKind::NotFound
                    || source.kind() == ErrorKind::NotADirectory && is_there(&dir).await =>
            {
                let found = files::find(&dir).await?;
                return found
                    .map(|found| Self::of_files(found, registry, options))
                    .transpose();
            }
            Err(error) => return Err(error),
        };
        let text =
            String::from_utf8(bytes).map_err(|_| wrong(&path, "it is not UTF-8".to_owned()))?;
        Self::parse(&text, &path, registry, options).map(Some)
    }

    /// Returns the settings of the registry itself that the certificates of a directory mean.
    fn of_files(found: Files, registry: &str, options: &Options) -> Result<Self, Error> {
        let mut endpoint = Endpoint::origin(reference::api_host_of(registry), options)?;
        let mut fields = Fields::of_files(found.authorities, found.clients.into_iter().next());
        fields.client_of_options(options);
        endpoint.tls = fields.tls(&found.dir, options);
        Ok(Self {
            server: Some(Host {
                endpoint,
                resolves: true,
            }),
            warnings: found.warnings,
            ..Self::default()
        })
    }

    fn parse(text: &str, path: &Path, registry: &str, options: &Options) -> Result<Self, Error> {
        // The parser's own words quote the file, in which headers may be secrets.
        let damaged =
            |what: &str| wrong(path, format!("{} is not as it should be", redacted(what)));
        let base_of = |what: &str, text: &str, override_path: bool| match base(text, override_path)
        {
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
        let dir = path.parent().unwrap_or(path);
        let mut table: toml::Table = text.parse().map_err(|_| damaged("its TOML"))?;
        let server = table.remove("server");
        let entries = table.remove("host");
        let mut hosts = Self::default();

        if let Some(entries) = entries {
            let toml::Value::Table(entries) = entries else {
                return Err(damaged("host"));
            };
            for (name, entry) in entries {
                let toml::Value::Table(entry) = entry else {
                    return Err(damaged(&name));
                };
                let fields = Fields::parse(entry, &name).map_err(|found| wrong(path, found))?;
                hosts.warn(path, &fields, &name);
                if !fields.may("pull") {
                    continue;
                }
                let base = base_of(&name, &name, fields.override_path)?;
                hosts.warn_of_plain_http(path, &fields, &base);
                let mut endpoint = Endpoint::new(base, fields.tls(dir, options), options);
                let applied = fields.apply(&mut endpoint);
                applied.map_err(|found| wrong(path, format!("{}: {found}", redacted(&name))))?;
                hosts.mirrors.push(Host {
                    endpoint,
                    resolves: fields.may("resolve"),
                });
            }
        }

        let is_plain = table.is_empty();
        let mut fields = Fields::parse(table, "its root").map_err(|found| wrong(path, found))?;
        hosts.warn(path, &fields, "");
        hosts.without_server = !fields.may("pull");
        let mut endpoint = match server {
            None if is_plain => return Ok(hosts),
            None => Endpoint::origin(reference::api_host_of(registry), options)?,
            Some(toml::Value::String(server)) => {
                let base = base_of("server", &server, fields.override_path)?;
                hosts.warn_of_plain_http(path, &fields, &base);
                Endpoint::new(base, fields.tls(dir, options), options)
            }
            Some(_) => return Err(damaged("server")),
        };
        // A client certificate of the options is for the registry, which this host is or replaces.
        fields.client_of_options(options);
        endpoint.tls = fields.tls(dir, options);
        let applied = fields.apply(&mut endpoint);
        applied.map_err(|found| wrong(path, found))?;
        if !hosts.without_server {
            hosts.server = Some(Host {
                endpoint,
                resolves: fields.may("resolve"),
            });
        }
        Ok(hosts)
    }

    /// containerd tries HTTPS at such a host first, if its port is not 80.
    fn warn_of_plain_http(&mut self, path: &Path, fields: &Fields, base: &Url) {
        if base.scheme() != "http" {
            return;
        }
        self.warnings.extend(fields.of_tls().map(|key| {
            printable::text(format!(
                "{}: the key {key} of {} has no effect without TLS; write https:// for it",
                path.display(),
                target::shown(base)
            ))
        }));
    }

    fn warn(&mut self, path: &Path, fields: &Fields, host: &str) {
        let of = match host {
            "" => String::new(),
            host => format!(" of the host {}", redacted(host)),
        };
        let keys = fields.unknown.iter().map(|key| ("key", key));
        let capabilities = fields.unknown_capabilities.iter();
        let all = keys.chain(capabilities.map(|word| ("capability", word)));
        self.warnings.extend(all.map(|(what, word)| {
            printable::text(format!(
                "{}: the {what} \"{}\"{of} is unknown and has no effect",
                path.display(),
                redacted(word)
            ))
        }));
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
        let hosts = Hosts::parse(text, path, "registry.invalid", self)?;
        let mirrors = hosts.mirrors.into_iter().chain(hosts.server);
        let all = mirrors.map(|host| host.endpoint.base.to_string());
        Ok(all.collect())
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
    // What people write for Docker Hub is not where its API is.
    if let Some(host) = url.host_str() {
        let api = reference::api_host_of(host).to_owned();
        if api != host {
            url.set_host(Some(&api)).ok()?;
        }
    }
    // The parser takes `https:/~/user:password@host` for a path below the host `https`.
    // A wildcard is no host: the file for all registries is that of `_default`.
    let is_usable = matches!(url.scheme(), "http" | "https")
        && !url.host_str().unwrap_or_default().contains('*')
        // A second scheme, as in `https://a://b`, is read as a path.
        && !url.path().contains("//")
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

/// Whether there is something at a path.
async fn is_there(path: &Path) -> bool {
    let path = path.to_owned();
    background::run(move || path.exists())
        .await
        .unwrap_or(false)
}

fn wrong(path: &Path, reason: String) -> Error {
    Error::Usage(format!("cannot use {}: {reason}", printable::path(path)))
}

#[cfg(test)]
mod tests;
