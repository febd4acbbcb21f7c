//! Why there is no connection: at which step it failed, and whether the same again may work.

use crate::proxy::Proxy;
use crate::reach::RefusedAddress;
use crate::tls::words::Trouble;

/// Why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("{0}")]
    Unresolved(#[from] Unresolved),
    #[error(transparent)]
    Refused(#[from] RefusedAddress),
    #[error("no connection: {0}")]
    Tcp(String),
    #[error("no connection within {0}")]
    TooLate(String),
    #[error("{}", .0.reason)]
    Tls(Trouble),
    #[error("{}", .0.reason)]
    Proxy(ProxyFailure),
}

/// The answer of a proxy that did not connect.
#[derive(Clone, Debug)]
pub(crate) struct ProxyFailure {
    /// Its host and port.
    pub(crate) proxy: String,
    /// Of its answer, if it speaks HTTP and answered.
    pub(crate) status: Option<u16>,
    /// In words that are safe to print.
    pub(crate) reason: String,
    /// Whether it would do the same again.
    pub(crate) is_final: bool,
    /// Whether it rejected the login, or requires one.
    pub(crate) is_of_login: bool,
}

impl ProxyFailure {
    /// A failure that may not happen again.
    pub(crate) fn passing(proxy: &Proxy, reason: String) -> Self {
        Self {
            proxy: proxy.shown(),
            status: None,
            reason,
            is_final: false,
            is_of_login: false,
        }
    }
}

/// A name without an address.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the name {name} cannot be resolved: {reason}")]
pub(crate) struct Unresolved {
    name: String,
    reason: String,
}

impl Unresolved {
    pub(crate) fn new(name: &str, reason: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            reason: reason.into(),
        }
    }
}
