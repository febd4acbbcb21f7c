//! The entries of docker's `config.json` and podman's `auth.json` for a registry.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD, PAD};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::credentials::login::{Login, Secret};
use crate::error::Error;
use crate::go_document;
use crate::go_json::Keys;
use crate::json::null_is_empty;
use crate::reference::registry_of;

/// The decision of a file.
pub(crate) enum Settled<'a> {
    Login(Login),
    Helper(&'a str),
}

/// What docker's `config.json` and podman's `auth.json` have in common.
#[derive(Default)]
pub(crate) struct ConfigFile {
    auths: BTreeMap<String, Option<Entry>>,
    cred_helpers: BTreeMap<String, Option<String>>,
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

/// The fields that are read. The keys of `auths` and `credHelpers` are names of registries.
const KEYS: Keys = Keys {
    known: &[
        "auths",
        "credHelpers",
        "credsStore",
        "auth",
        "username",
        "password",
        "identitytoken",
        "registrytoken",
    ],
    maps: &["credHelpers"],
    records: &["auths"],
};

impl ConfigFile {
    pub(crate) fn parse(text: &[u8], origin: &str) -> Result<Self, Error> {
        if text.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        // serde's own words can quote the value it tripped over, which may be a password.
        let value = go_document::whole(text, KEYS).map_err(|error| {
            format!(
                "not valid at line {}, column {}",
                error.line(),
                error.column()
            )
        });
        value
            .and_then(Self::from_value)
            .map_err(|reason| Error::Credentials {
                origin: origin.to_owned(),
                reason,
            })
    }

    fn from_value(value: Value) -> Result<Self, String> {
        let mut object = match value {
            Value::Object(object) => object,
            Value::Null => return Ok(Self::default()),
            _ => return Err("not valid: expected a JSON object".to_owned()),
        };
        let auths: BTreeMap<String, Value> = field(&mut object, "auths")?;
        let entry = |(key, entry): (String, Value)| match crate::json::from_value(entry) {
            Ok(entry) => Ok((key, entry)),
            _ => Err(format!(
                "not valid: auths for {key} is not an object, or a field of it is not text"
            )),
        };
        Ok(Self {
            auths: auths.into_iter().map(entry).collect::<Result<_, _>>()?,
            cred_helpers: field(&mut object, "credHelpers")?,
            creds_store: field(&mut object, "credsStore")?,
        })
    }

    pub(crate) fn settle(
        &self,
        registry: &str,
        repository: &str,
        origin: &str,
    ) -> Result<Option<Settled<'_>>, Error> {
        let helpers = matching(&self.cred_helpers, registry);
        // As docker has it: a helper without a name is a word against the one for everything.
        let own = helpers.first().map(|(_, _, helper)| helper.as_str());
        // No other tool finds the helper of a host in other case, so every key that they find counts before it.
        let is_found = helpers
            .first()
            .is_some_and(|(likeness, ..)| *likeness != Likeness::OtherCase);
        if let Some(helper) = own.filter(|helper| is_found && !helper.is_empty()) {
            return Ok(Some(Settled::Helper(helper)));
        }
        if let Some(login) = self.login(registry, repository, origin)? {
            return Ok(Some(Settled::Login(login)));
        }
        let helper = own.unwrap_or(&self.creds_store);
        Ok((!helper.is_empty()).then_some(Settled::Helper(helper)))
    }

    /// The most specific entry: `host/team/app` before `host/team` before `host`.
    pub(crate) fn login(
        &self,
        registry: &str,
        repository: &str,
        origin: &str,
    ) -> Result<Option<Login>, Error> {
        let full = format!("{registry}/{repository}");
        let mut wanted = full.as_str();
        loop {
            for (_, key, entry) in matching(&self.auths, wanted) {
                if let Some(secret) = entry.secret(key, origin)? {
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

/// Takes a field, which may be missing or `null`.
fn field<T: DeserializeOwned + Default>(
    object: &mut Map<String, Value>,
    name: &str,
) -> Result<T, String> {
    let value = object.remove(name).unwrap_or_default();
    let value: Option<T> = crate::json::from_value(value)
        .map_err(|_| format!("not valid: {name} has a value of the wrong type"))?;
    Ok(value.unwrap_or_default())
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
        if !self.auth.trim().is_empty() {
            let (user, password) = decode(&self.auth).map_err(|fault| Error::Credentials {
                origin: origin.to_owned(),
                reason: format!("the auth of {key} {fault}"),
            })?;
            return Ok(Some(Secret::Password { user, password }));
        }
        Ok((!self.username.is_empty()).then(|| Secret::Password {
            user: self.username.clone(),
            password: self.password.clone(),
        }))
    }
}

/// The user and the password, or what is wrong with their text.
fn decode(auth: &str) -> Result<(String, String), &'static str> {
    const NO_LOGIN: &str = "is not base64 of user:password";
    // Go ignores the last bits, of which no byte is made. Some tools leave them set.
    const PADDED: GeneralPurpose =
        GeneralPurpose::new(&STANDARD, PAD.with_decode_allow_trailing_bits(true));
    const UNPADDED: GeneralPurpose =
        GeneralPurpose::new(&STANDARD, NO_PAD.with_decode_allow_trailing_bits(true));
    // Tools that encode break lines after 76 characters, and templates add white space.
    let auth: String = auth.chars().filter(|c| !c.is_whitespace()).collect();
    let bytes = PADDED
        .decode(&auth)
        .or_else(|_| UNPADDED.decode(&auth))
        .map_err(|_| NO_LOGIN)?;
    // docker hands such a login to its engine in JSON, which replaces the bytes that are not UTF-8.
    let text = String::from_utf8(bytes)
        .map_err(|_| "holds a user or password that is not UTF-8; log in again with one that is")?;
    let (user, password) = text.split_once(':').ok_or(NO_LOGIN)?;
    // Old versions of docker padded the password with NUL bytes.
    Ok((user.to_owned(), password.trim_end_matches('\0').to_owned()))
}

/// How a key names a registry or a repository. The closest key counts, because a file may have several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Likeness {
    Equal,
    /// As a URL, or by another name of Docker Hub.
    Normalized,
    /// With a host in other case.
    OtherCase,
}

impl Likeness {
    fn of(key: &str, wanted: &str) -> Option<Self> {
        if key == wanted {
            return Some(Self::Equal);
        }
        let (host, path) = normalized(key);
        let (wanted_host, wanted_path) = split(wanted);
        if path != wanted_path {
            return None;
        }
        if registry_of(host) == wanted_host {
            return Some(Self::Normalized);
        }
        // A reference has its host in lower case, and tools keep the key as the user wrote it.
        let lower = host.to_ascii_lowercase();
        let is_same = registry_of(&lower).eq_ignore_ascii_case(wanted_host);
        is_same.then_some(Self::OtherCase)
    }
}

/// Returns the entries for `wanted`, the closest first, and those that are equally close in the order of their keys.
fn matching<'a, T>(
    entries: &'a BTreeMap<String, Option<T>>,
    wanted: &str,
) -> Vec<(Likeness, &'a str, &'a T)> {
    let mut found: Vec<_> = entries
        .iter()
        .filter_map(|(key, entry)| {
            Some((Likeness::of(key, wanted)?, key.as_str(), entry.as_ref()?))
        })
        .collect();
    found.sort_by_key(|(likeness, ..)| *likeness);
    found
}

/// The host and the path of a key. Docker wrote URLs, of which the host alone counts.
fn normalized(key: &str) -> (&str, &str) {
    let key = key.trim_end_matches('/');
    let bare = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"));
    match bare {
        Some(url) => (split(url).0, ""),
        None => split(
            key.strip_suffix("/v1")
                .or_else(|| key.strip_suffix("/v2"))
                .unwrap_or(key),
        ),
    }
}

/// Splits `host/path` before the slash.
fn split(name: &str) -> (&str, &str) {
    name.split_at(name.find('/').unwrap_or(name.len()))
}
