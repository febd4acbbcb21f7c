//! The files in which docker and podman keep logins.

use std::ffi::OsString;
use std::fmt;
use std::io::ErrorKind;
use std::path::PathBuf;

use crate::credentials::Credentials;
use crate::credentials::config_file::{ConfigFile, Settled};
use crate::credentials::helper;
use crate::credentials::login::{Login, Secret};
use crate::error::Error;
use crate::future::BoxFuture;
use crate::printable::{self, text};
use crate::regular_file;

/// Holds what a file would: CI systems set it.
const INLINE: &str = "DOCKER_AUTH_CONFIG";
/// Most bytes of a file with credentials.
const MAX_FILE: u64 = 4 << 20;

/// The configuration files of podman, skopeo and docker, in the order in which those look.
///
/// It reads files when a registry requires credentials, not before, and reads them again each time: a login
/// in another terminal counts at once. In each, a helper for the very registry (`credHelpers`)
/// counts before an entry of `auths`, and that before the helper for everything (`credsStore`).
/// A helper that is missing or fails is no error: the pull goes on anonymously, and the log and a
/// refusal say why.
/// A file of the usual places that may not be read is passed over with a warning. A file that was
/// named must be readable.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Keychain {
    files: Vec<PathBuf>,
    /// Whether the files were named, not looked for.
    are_named: bool,
    /// The content of [`INLINE`], which counts first.
    inline: Option<String>,
}

impl Keychain {
    /// Returns the keychain of the environment: the content of `DOCKER_AUTH_CONFIG`, then `REGISTRY_AUTH_FILE`
    /// alone if it is set, else podman's files (`$XDG_RUNTIME_DIR` or `/run/containers/UID`, then
    /// `$XDG_CONFIG_HOME` or `~/.config`), then docker's (`$DOCKER_CONFIG` or `~/.docker`).
    #[must_use]
    pub fn from_env() -> Self {
        let user = rustix::process::geteuid().as_raw();
        Self::from_lookup(user, |name| std::env::var_os(name))
    }

    /// Returns the keychain of one file, which must exist.
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Self {
            files: vec![path.into()],
            are_named: true,
            inline: None,
        }
    }

    fn from_lookup(user: u32, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let variable = |name| variable(name).filter(|value| !value.is_empty());
        let path = |name| variable(name).map(PathBuf::from);
        let inline = variable(INLINE).map(|value| value.to_string_lossy().into_owned());
        if let Some(file) = path("REGISTRY_AUTH_FILE") {
            return Self {
                inline,
                ..Self::from_file(file)
            };
        }
        let home = path("HOME");
        let below_home = |path: &str| home.as_ref().map(|home| home.join(path));
        let containers = "containers/auth.json";
        let runtime = path("XDG_RUNTIME_DIR").map(|dir| dir.join(containers));
        let files = [
            Some(runtime.unwrap_or_else(|| format!("/run/containers/{user}/auth.json").into())),
            path("XDG_CONFIG_HOME")
                .or_else(|| below_home(".config"))
                .map(|dir| dir.join(containers)),
            path("DOCKER_CONFIG")
                .or_else(|| below_home(".docker"))
                .map(|dir| dir.join("config.json")),
        ];
        Self {
            files: files.into_iter().flatten().collect(),
            are_named: false,
            inline,
        }
    }

    /// Returns the login that a configuration file with the content `text` has, without starting helpers:
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
        let mut search = Search {
            registry,
            repository,
            looked: Vec::new(),
            warnings: Vec::new(),
            notes: Vec::new(),
            failures: Vec::new(),
        };
        if let Some(content) = &self.inline
            && let Some(login) = search.within(content.as_bytes(), INLINE).await?
        {
            return Ok(search.end(login));
        }
        for path in &self.files {
            let content = match regular_file::read_in_background(path, MAX_FILE).await {
                Ok(content) => content,
                Err(error) if self.are_named => return Err(error),
                // Of several usual places most are empty.
                Err(Error::Io { source, .. }) if is_absent(&source) => continue,
                Err(Error::Io { source, .. }) => {
                    search.warnings.push(format!(
                        "no credentials from {}: {}; make it a file that this user can read, or name another one",
                        printable::path(path),
                        text(&source)
                    ));
                    search
                        .looked
                        .push(format!("{} cannot be read", path.display()));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let origin = path.display().to_string();
            let Some(login) = search.within(&content.bytes, &origin).await? else {
                continue;
            };
            if content.is_exposed && !login.is_from_helper {
                search.warnings.push(format!(
                    "{} holds credentials and can be read by other users; take their permission away (chmod 600)",
                    text(&origin)
                ));
            }
            return Ok(search.end(login));
        }
        if search.looked.is_empty() {
            search.looked.push("no credentials file".to_owned());
        }
        let anonymous = Login::anonymous(search.looked.join("; "));
        Ok(search.end(anonymous))
    }
}

/// The result of the search so far, from file to file.
struct Search<'a> {
    registry: &'a str,
    repository: &'a str,
    /// The files without a login, and the reasons.
    looked: Vec<String>,
    warnings: Vec<String>,
    notes: Vec<String>,
    failures: Vec<String>,
}

impl Search<'_> {
    /// Returns the login that one file's content has or leads to.
    async fn within(&mut self, content: &[u8], origin: &str) -> Result<Option<Login>, Error> {
        let config = ConfigFile::parse(content, origin)?;
        match config.settle(self.registry, self.repository, origin)? {
            Some(Settled::Login(login)) => return Ok(Some(login)),
            Some(Settled::Helper(name)) => {
                let found = helper::login(name, self.registry, origin, helper::PATIENCE).await;
                let mut login = found?;
                self.notes.append(&mut login.notes);
                self.failures.append(&mut login.failures);
                if !matches!(login.secret, Secret::None) {
                    return Ok(Some(login));
                }
                self.looked.push(login.origin);
            }
            None => {
                let registry = self.registry;
                self.looked
                    .push(format!("no entry for {registry} in {origin}"));
            }
        }
        Ok(None)
    }

    fn end(self, mut login: Login) -> Login {
        login.warnings = self.warnings;
        login.notes = self.notes;
        login.failures = self.failures;
        login
    }
}

/// Without the content of the environment's variable, which is a secret.
impl fmt::Debug for Keychain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keychain")
            .field("files", &self.files)
            .field("inline", &self.inline.as_ref().map(|_| INLINE))
            .finish_non_exhaustive()
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
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests;
