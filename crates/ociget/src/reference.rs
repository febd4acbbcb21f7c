//! Docker-style image references: `registry.example:5000/team/app:1.2@sha256:…`.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use crate::digest::{Digest, DigestError};
use crate::printable;

/// Longest name (host and repository together) that the reference grammar allows, in bytes.
const MAX_NAME: usize = 255;
/// Longest tag, in bytes.
const MAX_TAG: usize = 128;
/// The names that all mean Docker Hub.
const HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// Returns the name that people use for the registry at `host`: Docker Hub has three.
pub(crate) fn registry_of(host: &str) -> &str {
    if HUB.contains(&host) { HUB[0] } else { host }
}

/// Returns the host that answers the API of the registry `host`.
pub(crate) fn api_host_of(host: &str) -> &str {
    if HUB.contains(&host) { HUB[2] } else { host }
}

/// The address of an image: a registry, a repository there, and a tag or a digest.
///
/// Parsing fills in what people leave out, by Docker's rules: no registry means `docker.io`, a
/// name of one component *there* gets the prefix `library/`, neither tag nor digest means `latest`.
/// Printing gives the long form, which parses to the same reference again.
///
/// ```
/// use ociget::Reference;
///
/// let short: Reference = "alpine".parse()?;
/// assert_eq!(short.to_string(), "docker.io/library/alpine:latest");
/// assert_eq!(short.api_host(), "registry-1.docker.io");
///
/// let local: Reference = "[::1]:5000/app:v1".parse()?;
/// assert_eq!(local.registry(), "[::1]:5000");
/// assert_eq!(local.tag(), Some("v1"));
/// # Ok::<(), ociget::ReferenceError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Returns host and, if given, port: `docker.io`, `registry.example:5000`, `[::1]:5000`.
    /// Docker Hub is `docker.io` however it was spelled.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Returns the host, and port if given, that answers the registry API. It differs from
    /// [`registry`](Self::registry) for Docker Hub alone.
    #[must_use]
    pub fn api_host(&self) -> &str {
        if self.registry == HUB[0] {
            HUB[2]
        } else {
            &self.registry
        }
    }

    /// Returns the name within the registry: `library/alpine`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Returns the tag, `latest` if the text had neither tag nor digest.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the digest. If there is one, it decides, and a tag beside it is for people only.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Returns the reference with this digest. The tag stays, for people.
    #[must_use]
    pub fn with_digest(mut self, digest: Digest) -> Self {
        self.digest = Some(digest);
        self
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if printable::has_credentials(text) {
            return Err(ReferenceError::Credentials);
        }
        if text.contains("://") {
            return Err(ReferenceError::Url);
        }
        // It may hold a signature, so no part of the text is repeated.
        if text.contains('?') {
            return Err(ReferenceError::Query);
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse()?)),
            None => (text, None),
        };
        // A colon after the last slash starts a tag; one before it is a port.
        let last = name.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match name[last..].rfind(':') {
            // `host:5000` alone has no slash, yet `[::1]` must not be cut either.
            Some(_) if name[last..].ends_with(']') => (name, None),
            Some(colon) => (&name[..last + colon], Some(&name[last + colon + 1..])),
            None => (name, None),
        };
        if name.is_empty() {
            return Err(ReferenceError::NoName);
        }
        let (registry, repository) = match name.split_once('/') {
            Some((first, rest)) if is_host(first) => (check_host(first)?, rest),
            _ => (HUB[0].to_owned(), name),
        };
        check_repository(repository)?;
        if let Some(tag) = tag {
            check_tag(tag)?;
        }
        let repository = if registry == HUB[0] && !repository.contains('/') {
            format!("library/{repository}")
        } else {
            repository.to_owned()
        };
        // Of the long form: what is filled in counts, or that form would not parse again.
        let length = registry.len() + 1 + repository.len();
        if length > MAX_NAME {
            return Err(ReferenceError::NameTooLong(length));
        }
        let tag = match (tag, &digest) {
            (None, None) => Some("latest".to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        Ok(Self {
            registry,
            repository,
            tag,
            digest,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// Reason why a text is not an image reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// A URL where a reference is expected.
    #[error("an image reference is HOST/NAME:TAG, without a scheme such as https://")]
    Url,
    /// The query of a URL, which may hold a signature.
    #[error("an image reference has no query: remove the ? and what follows it")]
    Query,
    /// A user name and a password before the host, or something that may be one.
    #[error(
        "an @ is followed by a digest, and credentials are not part of a reference; \
         log in to the registry (docker login, skopeo login) or name a file with Options::credentials"
    )]
    Credentials,
    /// Nothing before the tag or digest.
    #[error("the name is missing")]
    NoName,
    /// More bytes than a registry takes.
    #[error("the name has {0} bytes; {MAX_NAME} are allowed")]
    NameTooLong(usize),
    /// The first component looks like a host, and is not one.
    #[error("{0:?} is not a host with an optional port")]
    Host(String),
    /// One component breaks the grammar.
    #[error(
        "{0:?} cannot be part of a name: lower-case letters and digits, joined by one of . _ __ or dashes"
    )]
    Component(String),
    /// A name of 64 hex digits could be taken for an image id, so registries refuse it.
    #[error("64 hex digits alone are an image id, not a name; write NAME@sha256:<digits>")]
    LooksLikeId,
    /// Empty, too long, or with a byte that tags may not have.
    #[error("{0:?} is not a tag: 1 to {MAX_TAG} letters, digits, dots, dashes and underscores")]
    Tag(String),
    /// What follows the `@`.
    #[error(transparent)]
    Digest(#[from] DigestError),
}

/// Docker's rule for telling a host from the first component of a Hub name.
fn is_host(first: &str) -> bool {
    first == "localhost"
        || first
            .bytes()
            .any(|b| matches!(b, b'.' | b':' | b'[') || b.is_ascii_uppercase())
}

fn check_host(text: &str) -> Result<String, ReferenceError> {
    let wrong = || ReferenceError::Host(text.to_owned());
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or_else(wrong)?;
        let address: Ipv6Addr = address.parse().map_err(|_| wrong())?;
        let port = match rest.strip_prefix(':') {
            Some(port) => Some(port),
            None if rest.is_empty() => None,
            None => return Err(wrong()),
        };
        (format!("[{address}]"), port)
    } else {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        let label = |label: &str| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        if !host.split('.').all(label) {
            return Err(wrong());
        }
        // Case means nothing in a host, except where it is all that makes it one.
        let lower = host.to_ascii_lowercase();
        let is_still_host = is_host(&lower) || port.is_some();
        (
            if is_still_host {
                lower
            } else {
                host.to_owned()
            },
            port,
        )
    };
    if HUB.contains(&host.as_str()) && port.is_none_or(|port| port == "443") {
        return Ok(HUB[0].to_owned());
    }
    let Some(port) = port else { return Ok(host) };
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(number) if digits && number > 0 => Ok(format!("{host}:{number}")),
        _ => Err(wrong()),
    }
}

fn check_repository(name: &str) -> Result<(), ReferenceError> {
    if name.is_empty() {
        return Err(ReferenceError::NoName);
    }
    if name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(ReferenceError::LooksLikeId);
    }
    match name.split('/').find(|part| !is_component(part)) {
        Some(part) => Err(ReferenceError::Component(part.to_owned())),
        None => Ok(()),
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, as the distribution specification has it.
fn is_component(part: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let separators_hold = part
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|gap| matches!(gap, "" | "." | "_" | "__") || gap.bytes().all(|b| b == b'-'));
    part.bytes().next().is_some_and(alphanumeric)
        && part.bytes().next_back().is_some_and(alphanumeric)
        && separators_hold
}

/// Whether `text` is a tag by the specification's grammar.
pub(crate) fn is_tag(text: &str) -> bool {
    check_tag(text).is_ok()
}

fn check_tag(tag: &str) -> Result<(), ReferenceError> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let holds = tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'));
    if holds {
        Ok(())
    } else {
        Err(ReferenceError::Tag(tag.to_owned()))
    }
}

#[cfg(test)]
mod tests;
