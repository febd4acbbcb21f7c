//! The client: checked options, and the connections that use them.

use std::sync::Arc;

use crate::error::Error;
use crate::options::Options;
use crate::printable;
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
