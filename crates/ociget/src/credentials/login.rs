//! Logins: credentials with their origin.

use std::fmt;

use crate::printable::text;
use crate::refusal::Sender;

/// Credentials for a registry, with their origin. No output shows the secret.
#[derive(Clone)]
pub struct Login {
    pub(crate) secret: Secret,
    pub(crate) origin: String,
    /// Whether a helper gave it, so that the permissions of the file do not matter.
    pub(crate) is_from_helper: bool,
    /// Warnings about its origin, for people.
    pub(crate) warnings: Vec<String>,
    /// Notes that may help to find out why it is not the expected one.
    pub(crate) notes: Vec<String>,
    /// Credential helpers that failed, and how.
    pub(crate) failures: Vec<String>,
}

/// The kinds of secret that the configuration files know.
#[derive(Clone)]
pub(crate) enum Secret {
    None,
    Password {
        user: String,
        password: String,
    },
    /// An OAuth refresh token: what `docker login` keeps after a login in the browser.
    Identity(String),
    /// A finished bearer token.
    Registry(String),
}

impl Secret {
    /// Returns what a login with a password lacks. Only a server that demands `Basic` gets such a login, as with
    /// containers/image, because a token server gives an anonymous token and refuses half a login.
    pub(crate) fn lacks(&self) -> Option<&'static str> {
        match self {
            Self::Password { user, .. } if user.is_empty() => Some("a user name"),
            Self::Password { password, .. } if password.is_empty() => Some("a password"),
            _ => None,
        }
    }
}

impl Login {
    pub(crate) fn new(secret: Secret, origin: String) -> Self {
        Self {
            secret,
            origin,
            is_from_helper: false,
            warnings: Vec::new(),
            notes: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// Returns a login with user and password. `origin` tells people where they come from.
    pub fn password(
        user: impl Into<String>,
        password: impl Into<String>,
        origin: impl Into<String>,
    ) -> Self {
        let (user, password) = (user.into(), password.into());
        Self::new(Secret::Password { user, password }, origin.into())
    }

    /// Returns how a refusal describes the sender of the request.
    pub(crate) fn sender(&self) -> Sender {
        Sender {
            credentials: self.to_string(),
            is_authenticated: !matches!(self.secret, Secret::None),
        }
    }

    /// Returns a login with a bearer token, which the client sends to the registry without a request to a token server.
    ///
    /// It is sent to the registry that asks for a login, when that registry offers `Bearer`. `origin` names
    /// where the token comes from, for error messages.
    pub fn bearer(token: impl Into<String>, origin: impl Into<String>) -> Self {
        Self::new(Secret::Registry(token.into()), origin.into())
    }

    /// Returns a login with an identity token (an OAuth2 refresh token), which the registry's token server exchanges for
    /// bearer tokens. `origin` names where the token comes from, for error messages.
    pub fn identity_token(token: impl Into<String>, origin: impl Into<String>) -> Self {
        Self::new(Secret::Identity(token.into()), origin.into())
    }

    /// Returns what should be corrected although a pull goes on: files that cannot be read or that other users can read,
    /// and credential helpers that failed. No line holds a secret.
    pub fn faults(&self) -> impl Iterator<Item = &str> {
        let all = self.warnings.iter().chain(&self.failures);
        all.map(String::as_str)
    }

    /// Returns a login without credentials. `reason` explains to people why there are none.
    pub fn anonymous(reason: impl Into<String>) -> Self {
        Self::new(Secret::None, reason.into())
    }
}

/// For error messages: whose credentials they are, never what they are.
impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.secret {
            Secret::None => write!(f, "an anonymous client ({})", text(&self.origin)),
            Secret::Password { .. } | Secret::Identity(_) | Secret::Registry(_) => {
                write!(f, "the credentials from {}", text(&self.origin))?;
                match self.secret.lacks() {
                    Some(part) => write!(f, ", which lack {part}"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_login_but_the_anonymous_authenticates_its_sender() {
        for (login, is_authenticated) in [
            (Login::anonymous("nowhere"), false),
            (Login::password("bob", "pw", "a file"), true),
            (Login::bearer("token", "a file"), true),
            (Login::identity_token("token", "a file"), true),
        ] {
            let sender = login.sender();
            let shown = &sender.credentials;
            assert_eq!(sender.is_authenticated, is_authenticated, "{shown}");
        }
    }
}
