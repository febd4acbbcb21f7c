//! The credentials for one registry and one repository.
//!
//! The first request to a registry has no credentials: some answer a proactive Basic with 400, and
//! only the challenge tells which way it goes. Once that is known, every request carries the
//! answer, and a 401 gets one new one.

pub(crate) mod basic;
pub(crate) mod bearer;
pub(crate) mod challenge;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::header::{self, HeaderMap, HeaderValue};
use tracing::Instrument as _;

use crate::auth::bearer::TokenServer;
use crate::auth::challenge::Challenge;
use crate::credentials::Credentials;
use crate::credentials::login::{Login, Secret};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::joint::{Drivers, Joint};
use crate::options::Budget;
use crate::progress::{Event, LookUp, Progress};
use crate::refusal::Sender;
use crate::retry::Retry;
use crate::transport::Transport;

/// How long a request waits for another one that looks for credentials. That one may be a future that rests.
const PATIENCE: Duration = Duration::from_secs(5);

tokio::task_local! {
    /// The registry and repository for which this task asks the caller's credentials.
    static ASKED: (String, String);
}

/// The state of affairs between us and one repository. Requests in parallel share it: one of
/// them fetches a token, the others wait for it, for a while.
#[derive(Debug)]
pub(crate) struct Authorizer {
    registry: String,
    repository: String,
    home: Arc<Endpoint>,
    credentials: Arc<dyn Credentials>,
    budget: Budget,
    progress: Progress,
    state: Mutex<State>,
    /// Held by the request that looks for credentials.
    turn: tokio::sync::Mutex<()>,
    /// The question to the caller for the login. A request that has waited long enough for its turn joins it.
    look_up: Joint<Login>,
}

#[derive(Debug, Default)]
struct State {
    /// Counts the answers that were found, so that a request can tell whether there is a newer
    /// one than the one it failed with.
    generation: u64,
    header: Option<HeaderValue>,
    /// With whom to renew a token, and when that is due.
    renewal: Option<(TokenServer, Instant)>,
    login: Option<Login>,
    /// Whether the token server refuses more than the scope that the challenge names.
    keeps_scope: bool,
}

/// The credentials to send with a request.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    pub(crate) header: Option<HeaderValue>,
    generation: u64,
}

impl Authorizer {
    pub(crate) fn new(
        registry: &str,
        repository: &str,
        home: Arc<Endpoint>,
        credentials: Arc<dyn Credentials>,
        budget: Budget,
        progress: Progress,
    ) -> Self {
        Self {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            home,
            credentials,
            budget,
            progress,
            state: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            look_up: Joint::new(Drivers::OfRuntime),
        }
    }

    /// What to send now. An expired token is renewed before anybody has to refuse it.
    pub(crate) async fn ticket(&self, transport: &Transport) -> Result<Ticket, Error> {
        if self.due().is_some() {
            let _turn = self.turn().await?;
            // The one before may have renewed it.
            if let Some(server) = self.due() {
                self.renew(transport, server).await?;
            }
        }
        let state = self.state();
        Ok(Ticket {
            header: state.header.clone(),
            generation: state.generation,
        })
    }

    /// Answers the challenges of a 401. `false` if there is nothing better to send than `used`.
    pub(crate) async fn answer(
        &self,
        used: &Ticket,
        headers: &HeaderMap,
        transport: &Transport,
    ) -> Result<bool, Error> {
        let _turn = self.turn().await?;
        if self.state().generation != used.generation {
            return Ok(true);
        }
        let challenges = challenges(headers);
        let named = |scheme: &str| challenges.iter().find(|c| c.scheme == scheme);
        if named("bearer").is_none() && named("basic").is_none() {
            return Ok(false);
        }
        let known = self.state().login.clone();
        let login = match known {
            Some(login) => login,
            None => self.look_up().await?,
        };
        if let (Some(_), Secret::Registry(token)) = (named("bearer"), &login.secret) {
            transport.secrets.note_own(token);
            return Ok(self.state().replace(used, bearer::header(token)));
        }
        // If the scope did not suffice, request the old one together with the new.
        let before = self
            .state()
            .renewal
            .as_ref()
            .map(|(server, _)| server.clone());
        let scope = self.scope();
        let mut unusable = None;
        for challenge in challenges.iter().filter(|c| c.scheme == "bearer") {
            match TokenServer::from_challenge(challenge, &self.home, &scope, before.as_ref()) {
                Ok(server) => {
                    self.widen(transport, server, before.as_ref(), &scope)
                        .await?;
                    return Ok(true);
                }
                Err(error) => unusable = unusable.or(Some(error)),
            }
        }
        // A challenge that cannot be used is passed over for one that can be (RFC 9110, 11.6.1), and is the error if there
        // is none.
        match (&login.secret, named("basic"), unusable) {
            (Secret::Password { user, password }, Some(_), _) => {
                Ok(self.state().replace(used, basic::header(user, password)))
            }
            (_, _, Some(error)) => Err(transport.hide_in(error)),
            (_, _, None) => Ok(false),
        }
    }

    /// The scope that requests to the repository need.
    fn scope(&self) -> String {
        format!("repository:{}:pull", self.repository)
    }

    /// Whether the token has a scope that a challenge named, and not the one that the repository needs.
    pub(crate) fn is_narrow(&self) -> bool {
        let state = self.state();
        let server = state.renewal.as_ref().map(|(server, _)| server);
        !state.keeps_scope && server.is_some_and(|server| !server.includes(&self.scope()))
    }

    /// Whose credentials the last answer was made of, for a refusal.
    pub(crate) async fn who(&self) -> Sender {
        match &self.state().login {
            Some(login) => login.sender(),
            None => Sender::default(),
        }
    }

    /// Takes the state for a moment, and never across an await.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the server of a token that has expired.
    fn due(&self) -> Option<TokenServer> {
        let state = self.state();
        let (server, expires) = state.renewal.as_ref()?;
        (*expires <= Instant::now()).then(|| server.clone())
    }

    /// Waits until no other request looks for credentials, or for as long as it can be expected to.
    ///
    /// # Errors
    /// Returns [`Error::Usage`] if the caller's credentials ask for what they are to open.
    async fn turn(&self) -> Result<Option<tokio::sync::MutexGuard<'_, ()>>, Error> {
        let is_own =
            |asked: &(String, String)| (&asked.0, &asked.1) == (&self.registry, &self.repository);
        if ASKED.try_with(is_own).unwrap_or(false) {
            return Err(Error::Usage(format!(
                "the credentials for {}/{} are looked up by a request that needs them",
                self.registry, self.repository
            )));
        }
        Ok(tokio::time::timeout(PATIENCE, self.turn.lock()).await.ok())
    }

    /// Asks the caller for the login: at most once at a time on each runtime, however long the answer takes.
    async fn look_up(&self) -> Result<Login, Error> {
        let ask = || {
            let (registry, repository) = (self.registry.clone(), self.repository.clone());
            let (credentials, progress) = (Arc::clone(&self.credentials), self.progress.clone());
            async move {
                let look_up = LookUp::begin(&progress, &registry);
                let asked = (registry.clone(), repository.clone());
                let login = credentials.login(&registry, &repository);
                let login = ASKED.scope(asked, login).await?;
                drop(look_up);
                tracing::debug!(registry, %login, "credentials");
                for text in &login.warnings {
                    tracing::warn!(registry, text, "credentials");
                    progress.tell(&Event::Warning { text });
                }
                for text in &login.notes {
                    tracing::debug!(registry, text, "credentials");
                    progress.tell(&Event::Note { text });
                }
                Ok(login)
            }
            .in_current_span()
        };
        let login = self.look_up.join(ask).await?;
        self.state().login = Some(login.clone());
        Ok(login)
    }

    /// Patience for one thing that is wanted from a token server.
    fn patience(&self) -> Retry {
        Retry::new(self.budget, self.progress.clone())
    }

    /// Renews a token. `server` may have added the scope that the repository needs to the scope of `before`, which the
    /// challenge named. If the token server refuses that, the token has the scope of `before` from then on.
    async fn widen(
        &self,
        transport: &Transport,
        server: TokenServer,
        before: Option<&TokenServer>,
        needed: &str,
    ) -> Result<(), Error> {
        let before = before.filter(|before| !before.includes(needed) && server.includes(needed));
        let Some(before) = before else {
            return self.renew(transport, server).await;
        };
        if !self.state().keeps_scope {
            match self.renew(transport, server).await {
                Err(error) if error.refusal().is_some() => self.state().keeps_scope = true,
                outcome => return outcome,
            }
        }
        self.renew(transport, before.clone()).await
    }

    async fn renew(&self, transport: &Transport, server: TokenServer) -> Result<(), Error> {
        let login = self.state().login.clone();
        let login = login.unwrap_or_else(|| Login::anonymous("no login was looked up before"));
        let span = tracing::debug_span!(
            "token",
            host = self.registry,
            repository = self.repository,
            realm = server.shown(),
        );
        let token = server
            .fetch(transport, &self.home, &login, self.patience())
            .instrument(span)
            .await?;
        let mut state = self.state();
        state.change(Some(token.header));
        state.renewal = Some((server, token.expires));
        Ok(())
    }
}

impl State {
    /// Takes a new header in place of the one that was used. `false` if it is the same, and no other request has found one
    /// meanwhile.
    fn replace(&mut self, used: &Ticket, header: Option<HeaderValue>) -> bool {
        self.generation != used.generation || self.change(header)
    }

    /// Takes a new header. `false` if it is the one that has been refused.
    fn change(&mut self, header: Option<HeaderValue>) -> bool {
        if header.is_none() || header == self.header {
            return false;
        }
        self.header = header;
        self.generation += 1;
        true
    }
}

/// Returns whether a 401 or 403 means that a token is valid, but not for this request (RFC 6750, 3.1).
pub(crate) fn wants_more_scope(headers: &HeaderMap) -> bool {
    challenges(headers)
        .iter()
        .filter(|challenge| challenge.scheme == "bearer")
        .any(|challenge| challenge.get("error") == Some("insufficient_scope"))
}

fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    headers
        .get_all(header::WWW_AUTHENTICATE)
        .iter()
        .flat_map(|value| {
            let bytes = value.as_bytes();
            let start = bytes.get(..challenge::LONGEST).unwrap_or(bytes);
            Challenge::parse(&String::from_utf8_lossy(start))
        })
        .take(challenge::MOST)
        .collect()
}
