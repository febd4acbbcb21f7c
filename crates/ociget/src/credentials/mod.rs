//! Credentials. Nothing here knows the network.

mod config_file;
pub(crate) mod helper;
pub(crate) mod keychain;
pub(crate) mod login;
pub(crate) mod one;

use std::fmt;

use crate::credentials::login::Login;
use crate::error::Error;
use crate::future::BoxFuture;

/// Source of credentials. The client calls it when a registry requires some, once for each repository.
pub trait Credentials: Send + Sync + fmt::Debug {
    /// Returns the credentials for `repository` at `registry` (as in
    /// [`Reference::registry`](crate::Reference::registry), so Docker Hub is `docker.io`).
    ///
    /// A mirror has the name and the repositories that its URL says: of `https://mirror.example/v2/proj`,
    /// `repository` begins with `proj/`.
    ///
    /// Without credentials it returns a [`Login::anonymous`] that names the places where it looked, and no error.
    fn login<'a>(
        &'a self,
        registry: &'a str,
        repository: &'a str,
    ) -> BoxFuture<'a, Result<Login, Error>>;
}

/// Never any credentials.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Anonymous;

impl Credentials for Anonymous {
    fn login<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Login, Error>> {
        Box::pin(async { Ok(Login::anonymous("credentials are switched off")) })
    }
}
