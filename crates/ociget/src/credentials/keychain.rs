//! The files in which docker and podman keep logins.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;

use crate::credentials::Credentials;
use crate::credentials::helper;
use crate::credentials::login::{Login, Secret};
use crate::error::Error;
use crate::future::BoxFuture;
use crate::json::null_is_empty;
use crate::printable::text;
use crate::regular_file;

/// Most bytes of a file with credentials.
const MAX_FILE: u64 = 4 << 20;

/// The configuration files of podman, skopeo and docker, in the order in which those look.
///
/// Files are read when a registry asks for credentials, not before, and each time anew: a login
/// in another terminal counts at once. In each, a helper for the very registry (`credHelpers`)
/// counts before an entry of `auths`, and that before the helper for everything (`credsStore`).
/// A helper that is missing or fails is no error: the pull goes on anonymously, and the log and a
/// refusal say why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keychain {
    files: Vec<PathBuf>,
}

impl Keychain {
    /// The files that the environment points to: `REGISTRY_AUTH_FILE` alone if it is set, else
    /// podman's (`$XDG_RUNTIME_DIR`, then `$XDG_CONFIG_HOME` or `~/.config`, each with
    /// `containers/auth.json`), then docker's (`$DOCKER_CONFIG` or `~/.docker`, `config.json`).
    #[must_use]
    pub fn from_env() -> Self {
        Self::from_lookup(|name| std::env::var_os(name).map(PathBuf::from))
    }

    /// One file and no other; it has to exist.
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Self {
            files: vec![path.into()],
        }
    }

    fn from_lookup(variable: impl Fn(&str) -> Option<PathBuf>) -> Self {
        let variable = |name| variable(name).filter(|value| !value.as_os_str().is_empty());
        if let Some(file) = variable("REGISTRY_AUTH_FILE") {
            return Self::from_file(file);
        }
        let home = variable("HOME");
        let below_home = |path: &str| home.as_ref().map(|home| home.join(path));
        let containers = "containers/auth.json";
        let files = [
            variable("XDG_RUNTIME_DIR").map(|dir| dir.join(containers)),
            variable("XDG_CONFIG_HOME")
                .or_else(|| below_home(".config"))
                .map(|dir| dir.join(containers)),
            variable("DOCKER_CONFIG")
                .or_else(|| below_home(".docker"))
                .map(|dir| dir.join("config.json")),
        ];
        Self {
            files: files.into_iter().flatten().collect(),
        }
    }

    /// The login that a configuration file with the content `text` has, without starting helpers:
    /// `None` if it has none, or leaves it to a helper.
    ///
    /// # Errors
    /// [`Error::Credentials`] if it is damaged. `origin` names the file, for people.
    pub fn login_in(
        text: &[u8],
        registry: &str,
        repository: &str,
        origin: &str,
    ) -> Result<Option<Login>, Error> {
        let config = ConfigFile::parse(text, origin)?;
        Ok(match config.settle(registry, repository, origin)? {
            Some(Settled::Login(login)) => Some(login),
            Some(Settled::Helper(_)) | None => None,
        })
    }

    async fn find(&self, registry: &str, repository: &str) -> Result<Login, Error> {
        let mut looked = Vec::new();
        for path in &self.files {
            let content = match regular_file::read_in_background(path, MAX_FILE).await {
                Ok(content) => content,
                // Of several usual places most are empty; a place that was named is not.
                Err(Error::Io { source, .. }) if self.files.len() > 1 && is_absent(&source) => {
                    continue;
                }
                Err(error) => return Err(error),
            };
            let origin = path.display().to_string();
            let config = ConfigFile::parse(&content.bytes, &origin)?;
            match config.settle(registry, repository, &origin)? {
                Some(Settled::Login(mut login)) => {
                    login.warning = content.is_exposed.then(|| {
                        format!(
                            "{} holds credentials and can be read by other users; take their \
                             permission away (chmod 600)",
                            text(&origin)
                        )
                    });
                    return Ok(login);
                }
                Some(Settled::Helper(name)) => {
                    let login = helper::login(name, registry, &origin, helper::PATIENCE).await?;
                    if !matches!(login.secret, Secret::None) {
                        return Ok(login);
                    }
                    looked.push(login.origin);
                }
                None => looked.push(format!("no entry for {registry} in {origin}")),
            }
        }
        if looked.is_empty() {
            looked.push("no credentials file".to_owned());
        }
        Ok(Login::anonymous(looked.join("; ")))
    }
}

impl Credentials for Keychain {
    fn login<'a>(
        &'a self,
        registry: &'a str,
        repository: &'a str,
    ) -> BoxFuture<'a, Result<Login, Error>> {
        Box::pin(self.find(registry, repository))
    }
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
    )
}

/// What a file decides.
enum Settled<'a> {
    Login(Login),
    Helper(&'a str),
}

/// What docker's `config.json` and podman's `auth.json` have in common.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct ConfigFile {
    #[serde(deserialize_with = "null_is_empty")]
    auths: std::collections::BTreeMap<String, Entry>,
    #[serde(deserialize_with = "null_is_empty")]
    cred_helpers: std::collections::BTreeMap<String, String>,
    #[serde(deserialize_with = "null_is_empty")]
    creds_store: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    #[serde(deserialize_with = "null_is_empty")]
    auth: String,
    #[serde(deserialize_with = "null_is_empty")]
    username: String,
    #[serde(deserialize_with = "null_is_empty")]
    password: String,
    #[serde(deserialize_with = "null_is_empty")]
    identitytoken: String,
    #[serde(deserialize_with = "null_is_empty")]
    registrytoken: String,
}

impl ConfigFile {
    fn parse(text: &[u8], origin: &str) -> Result<Self, Error> {
        if text.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        serde_json::from_slice(text).map_err(|error| Error::Credentials {
            origin: origin.to_owned(),
            // serde's own words can quote the value it tripped over, which may be a password.
            reason: format!(
                "not valid at line {}, column {}",
                error.line(),
                error.column()
            ),
        })
    }

    fn settle(
        &self,
        registry: &str,
        repository: &str,
        origin: &str,
    ) -> Result<Option<Settled<'_>>, Error> {
        let own = self
            .cred_helpers
            .iter()
            .find(|(key, _)| normalized(key) == registry);
        // As docker has it: a helper without a name is a word against the one for everything.
        let own = own.map(|(_, helper)| helper.as_str());
        if let Some(helper) = own.filter(|helper| !helper.is_empty()) {
            return Ok(Some(Settled::Helper(helper)));
        }
        if let Some(login) = self.login(registry, repository, origin)? {
            return Ok(Some(Settled::Login(login)));
        }
        let helper = own.unwrap_or(&self.creds_store);
        Ok((!helper.is_empty()).then_some(Settled::Helper(helper)))
    }

    /// The most specific entry: `host/team/app` before `host/team` before `host`.
    fn login(
        &self,
        registry: &str,
        repository: &str,
        origin: &str,
    ) -> Result<Option<Login>, Error> {
        let full = format!("{registry}/{repository}");
        let mut wanted = full.as_str();
        loop {
            for (key, entry) in &self.auths {
                if normalized(key) == wanted
                    && let Some(secret) = entry.secret(key, origin)?
                {
                    return Ok(Some(Login::new(secret, format!("{origin} for {key}"))));
                }
            }
            match wanted.rsplit_once('/') {
                Some((shorter, _)) => wanted = shorter,
                None => return Ok(None),
            }
        }
    }
}

impl Entry {
    /// `None` for an empty entry, which marks a login kept by a helper.
    fn secret(&self, key: &str, origin: &str) -> Result<Option<Secret>, Error> {
        if !self.registrytoken.is_empty() {
            return Ok(Some(Secret::Registry(self.registrytoken.clone())));
        }
        if !self.identitytoken.is_empty() {
            return Ok(Some(Secret::Identity(self.identitytoken.clone())));
        }
        if !self.auth.is_empty() {
            let (user, password) = decode(&self.auth).ok_or_else(|| Error::Credentials {
                origin: origin.to_owned(),
                reason: format!("the auth of {key} is not base64 of user:password"),
            })?;
            return Ok(Some(Secret::Password { user, password }));
        }
        Ok((!self.username.is_empty()).then(|| Secret::Password {
            user: self.username.clone(),
            password: self.password.clone(),
        }))
    }
}

fn decode(auth: &str) -> Option<(String, String)> {
    let auth = auth.trim();
    let bytes = STANDARD
        .decode(auth)
        .or_else(|_| STANDARD_NO_PAD.decode(auth))
        .ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    // Old versions of docker padded the password with NUL bytes.
    Some((user.to_owned(), password.trim_end_matches('\0').to_owned()))
}

/// A key as `host` or `host/path`. Docker wrote URLs, of which the host alone counts.
fn normalized(key: &str) -> String {
    let key = key.trim_end_matches('/');
    let bare = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"));
    let key = match bare {
        Some(url) => url.split('/').next().unwrap_or_default(),
        None => key
            .strip_suffix("/v1")
            .or_else(|| key.strip_suffix("/v2"))
            .unwrap_or(key),
    };
    let (host, path) = key.split_at(key.find('/').unwrap_or(key.len()));
    match host {
        "index.docker.io" | "registry-1.docker.io" => format!("docker.io{path}"),
        _ => key.to_owned(),
    }
}

#[cfg(test)]
mod tests;
