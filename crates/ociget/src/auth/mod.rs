//! The credentials for one registry and one repository.
//!
//! The first request to a registry has no credentials: some answer a proactive Basic with 400, and
//! only the challenge tells which way it goes. Once that is known, every request carries the
//! answer, and a 401 gets one new one.

pub(crate) mod basic;
pub(crate) mod bearer;
pub(crate) mod challenge;

use std::sync::Arc;
use std::time::Instant;

use http::header::{self, HeaderMap, HeaderValue};
use tokio::sync::Mutex;
use tracing::Instrument as _;

use crate::auth::bearer::TokenServer;
use crate::auth::challenge::Challenge;
use crate::credentials::Credentials;
use crate::credentials::login::{Login, Secret};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::options::Budget;
use crate::progress::{Event, LookUp, Progress};
use crate::refusal::Sender;
use crate::retry::Retry;
use crate::transport::Transport;

/// The state of affairs between us and one repository. Requests in parallel share it: one of
/// them fetches a token, the others wait for it.
#[derive(Debug)]
pub(crate) struct Authorizer {
    registry: String,
    repository: String,
    home: Arc<Endpoint>,
    credentials: Arc<dyn Credentials>,
    budget: Budget,
    progress: Progress,
    state: Mutex<State>,
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
        }
    }

    /// What to send now. An expired token is renewed before anybody has to refuse it.
    pub(crate) async fn ticket(&self, transport: &Transport) -> Result<Ticket, Error> {
        let mut state = self.state.lock().await;
        if let Some((server, expires)) = state.renewal.clone()
            && expires <= Instant::now()
        {
            self.renew(&mut state, transport, server).await?;
        }
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
        let mut state = self.state.lock().await;
        if state.generation != used.generation {
            return Ok(true);
        }
        let challenges = challenges(headers);
        let named = |scheme: &str| challenges.iter().find(|c| c.scheme == scheme);
        if named("bearer").is_none() && named("basic").is_none() {
            return Ok(false);
        }
        if state.login.is_none() {
            let look_up = LookUp::begin(&self.progress, &self.registry);
            let login = self
                .credentials
                .login(&self.registry, &self.repository)
                .await?;
            drop(look_up);
            tracing::debug!(registry = %self.registry, %login, "credentials");
            for text in &login.warnings {
                tracing::warn!(registry = %self.registry, text, "credentials");
                self.progress.tell(&Event::Warning { text });
            }
            for text in &login.notes {
                tracing::debug!(registry = %self.registry, text, "credentials");
                self.progress.tell(&Event::Note { text });
            }
            state.login = Some(login);
        }
        let Some(login) = state.login.clone() else {
            return Ok(false);
        };
        if let (Some(_), Secret::Registry(token)) = (named("bearer"), &login.secret) {
            return Ok(state.change(bearer::header(token)));
        }
        // If the scope did not suffice, request the old one together with the new.
        let before = state.renewal.as_ref().map(|(server, _)| server.clone());
        let scope = format!("repository:{}:pull", self.repository);
        let mut unusable = None;
        for challenge in challenges.iter().filter(|c| c.scheme == "bearer") {
            match TokenServer::from_challenge(challenge, &self.home, &scope, before.as_ref()) {
                Ok(server) => {
                    self.renew(&mut state, transport, server).await?;
                    return Ok(true);
                }
                Err(error) => unusable = unusable.or(Some(error)),
            }
        }
        // A challenge that cannot be used is passed over for one that can be (RFC 9110, 11.6.1), and is the error if there
        // is none.
        match (&login.secret, named("basic"), unusable) {
            (Secret::Password { user, password }, Some(_), _) => {
                Ok(state.change(basic::header(user, password)))
            }
            (_, _, Some(error)) => Err(transport.hide_in(error)),
            (_, _, None) => Ok(false),
        }
    }

    /// Whose credentials the last answer was made of, for a refusal.
    pub(crate) async fn who(&self) -> Sender {
        match &self.state.lock().await.login {
            Some(login) => login.sender(),
            None => Sender::default(),
        }
    }

    /// Patience for one thing that is wanted from a token server.
    fn patience(&self) -> Retry {
        Retry::new(self.budget, self.progress.clone())
    }

    async fn renew(
        &self,
        state: &mut State,
        transport: &Transport,
        server: TokenServer,
    ) -> Result<(), Error> {
        let anonymous = Login::anonymous("no login was looked up before");
        let login = state.login.as_ref().unwrap_or(&anonymous);
        let span = tracing::debug_span!(
            "token",
            host = self.registry,
            repository = self.repository,
            realm = server.shown(),
        );
        let token = server
            .fetch(transport, &self.home, login, self.patience())
            .instrument(span)
            .await?;
        state.change(Some(token.header));
        state.renewal = Some((server, token.expires));
        Ok(())
    }
}

impl State {
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
        .flat_map(|value| Challenge::parse(&String::from_utf8_lossy(value.as_bytes())))
        .collect()
}
