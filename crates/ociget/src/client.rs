//! The client: checked options, and the connections that use them.

use std::sync::Arc;

use crate::error::Error;
use crate::options::Options;
use crate::printable;
use crate::tls::Profile;
use crate::transport::Transport;

/// Connections to registries, shared by all pulls of the client and of its clones.
///
/// [`new`](Self::new) opens and reads nothing. The first request that needs connections, certificates or
/// credentials opens and reads them.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    transport: Transport,
}

impl Client {
    /// Returns a client with these options.
    ///
    /// # Errors
    /// Returns [`Error::Usage`] for an invalid option.
    pub fn new(options: Options) -> Result<Self, Error> {
        let odd = |host: &&String| {
            host.is_empty() || host.contains("//") || host.contains('@') || host.ends_with('/')
        };
        for (hosts, what) in [
            (&options.plain_http, "plain-http registry"),
            (&options.allow_private_realms, "private realm"),
        ] {
            if let Some(host) = hosts.iter().find(odd) {
                return Err(Error::Usage(format!(
                    "{:?} does not name a {what}; write HOST or HOST:PORT",
                    printable::redacted(host)
                )));
            }
        }
        if options.connect_timeout.is_zero()
            || options.stall_timeout.is_zero()
            || options.min_rate_window.is_zero()
        {
            return Err(Error::Usage(
                "a time limit of zero leaves no time for anything".to_owned(),
            ));
        }
        if options.ranges.bytes == 0 {
            return Err(Error::Usage(
                "ranges of zero bytes fetch nothing; set ranges.parallel to 0 to do without"
                    .to_owned(),
            ));
        }
        let transport = Transport::new(&options);
        Ok(Self {
            shared: Arc::new(Shared { options, transport }),
        })
    }

    /// Reads everything that the options and the environment name for connections: the certificate authorities, the
    /// client certificate and the proxies. Requests read them when they need them; this finds a fault before. It is disk
    /// work and opens no connection.
    ///
    /// # Errors
    /// Returns [`Error::Io`] or [`Error::Credentials`] for a file, [`Error::Environment`] for a variable, and
    /// [`Error::Usage`] if there are no certificate authorities.
    pub fn check(&self) -> Result<(), Error> {
        let options = self.options();
        options.proxies.check()?;
        let profile = Profile {
            authorities: options.ca_files.clone(),
            client: options.client_certificate.clone(),
            skip_verify: false,
        };
        profile.load().map(drop)
    }

    pub(crate) fn options(&self) -> &Options {
        &self.shared.options
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.shared.transport
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn client_with_unreadable_authority_fails_its_check() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options {
            ca_files: vec![directory.path().join("missing.pem")],
            ..Options::default()
        };
        let client = Client::new(options).unwrap();
        assert!(matches!(client.check(), Err(Error::Io { .. })));
    }

    #[test]
    fn options_without_sense_are_refused() {
        for host in ["", "http://reg.lan", "reg.lan/", "u:pw@reg.lan"] {
            let options = Options {
                plain_http: vec![host.to_owned()],
                ..Options::default()
            };
            assert!(
                matches!(Client::new(options), Err(Error::Usage(_))),
                "{host}"
            );
        }
        let zero = Duration::ZERO;
        for options in [
            Options {
                stall_timeout: zero,
                ..Options::default()
            },
            Options {
                min_rate_window: zero,
                ..Options::default()
            },
        ] {
            assert!(Client::new(options).is_err());
        }
    }
}
