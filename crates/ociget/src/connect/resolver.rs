//! Names to addresses, of which only those are kept that may be connected to.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

use crate::background;
use crate::connect::failure::{ConnectError, Unresolved};
use crate::printable;
use crate::reach::{Names, Reach};

/// Name resolution that never yields a link-local address, at which clouds serve the
/// credentials of the machine (169.254.169.254), and where it matters no internal one either.
/// The addresses that were checked are those that are connected to.
#[derive(Clone, Debug)]
pub(crate) struct Resolver {
    /// `None` for hosts that the user has named.
    checks: Option<(Reach, Arc<Names>)>,
    patience: Duration,
}

impl Resolver {
    pub(crate) fn new(reach: Reach, names: Arc<Names>) -> Self {
        Self {
            checks: Some((reach, names)),
            patience: Duration::MAX,
        }
    }

    /// Yields every address.
    pub(crate) fn anywhere() -> Self {
        Self {
            checks: None,
            patience: Duration::MAX,
        }
    }

    /// Gives a look-up up after `patience`.
    pub(crate) fn within(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Returns the addresses of `name` that may be connected to.
    pub(crate) async fn resolve(&self, name: &str) -> Result<Vec<SocketAddr>, ConnectError> {
        let found = in_time(name, look_up(name), self.patience).await?;
        let found = found.map_err(|error| {
            let text = error.to_string();
            let words = text.strip_prefix("failed to lookup address information: ");
            Unresolved::new(name, words.unwrap_or(&text))
        })?;
        let Some((reach, names)) = &self.checks else {
            return Ok(found);
        };
        let kept = reach.of(name, names).among(found.clone())?;
        names.note_connected(name, &found);
        Ok(kept)
    }
}

/// Returns what a look-up of `name` finds within `patience`.
async fn in_time<T>(
    name: &str,
    look_up: impl Future<Output = T>,
    patience: Duration,
) -> Result<T, Unresolved> {
    let silent = |_| {
        let patience = printable::exact(patience);
        let reason = format!(
            "the look-up gave no answer in {patience}; the name servers of this machine (/etc/resolv.conf) are silent"
        );
        Unresolved::new(name, reason)
    };
    tokio::time::timeout(patience, look_up)
        .await
        .map_err(silent)
}

/// Returns the addresses of `name`, all with port 0.
pub(crate) async fn look_up(name: &str) -> io::Result<Vec<SocketAddr>> {
    let name = name.to_owned();
    background::run(move || Ok((name.as_str(), 0).to_socket_addrs()?.collect())).await?
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = self.clone();
        Box::pin(async move {
            match resolver.resolve(name.as_str()).await {
                Ok(found) => Ok(found.into_iter()),
                Err(ConnectError::Refused(refused)) => Err(refused.into()),
                Err(ConnectError::Unresolved(unresolved)) => Err(unresolved.into()),
                Err(other) => Err(other.into()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn look_up_without_an_answer_is_said_to_be_one() {
        let silent = std::future::pending::<()>();
        let error = in_time("silent.example", silent, Duration::from_millis(1)).await;
        let text = error.unwrap_err().to_string();
        assert!(text.contains("silent.example cannot be resolved"), "{text}");
        assert!(text.contains("the look-up gave no answer"), "{text}");
    }
}
