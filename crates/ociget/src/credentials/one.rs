//! A login for one registry.

use crate::credentials::Credentials;
use crate::credentials::login::Login;
use crate::error::Error;
use crate::future::BoxFuture;
use crate::reference::registry_of;

/// One login for one registry. Requests to other registries, mirrors included, are anonymous.
///
/// ```
/// use std::sync::Arc;
/// use ociget::{Login, OneLogin, Options};
///
/// let mut options = Options::default();
/// let login = Login::password("bob", "secret", "the prompt");
/// options.credentials = Arc::new(OneLogin::new("registry.example:5000", login));
/// ```
#[derive(Clone, Debug)]
pub struct OneLogin {
    registry: String,
    login: Login,
}

impl OneLogin {
    /// Returns a login for `registry`, in the form of [`Reference::registry`](crate::Reference::registry).
    pub fn new(registry: impl Into<String>, login: Login) -> Self {
        Self {
            registry: registry.into(),
            login,
        }
    }
}

impl Credentials for OneLogin {
    fn login<'a>(&'a self, registry: &'a str, _: &'a str) -> BoxFuture<'a, Result<Login, Error>> {
        let is_ours = registry_of(registry) == registry_of(&self.registry);
        let login = match is_ours {
            true => self.login.clone(),
            false => Login::anonymous(format!("{} is for another registry", self.login.origin)),
        };
        Box::pin(async { Ok(login) })
    }
}
