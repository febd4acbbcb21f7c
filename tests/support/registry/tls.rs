//! The registry behind TLS.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::authority::{Authority, Pair};

/// How it speaks TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    server: Pair,
    clients: PathBuf,
}

impl Tls {
    /// Makes the configuration with a server's certificate. The server requests a certificate of `authority` from
    /// clients, accepts clients without one as well, and logs which clients had one.
    #[must_use]
    pub fn new(server: &Pair, authority: &Authority) -> Self {
        Self {
            server: server.clone(),
            clients: authority.cert(),
        }
    }

    pub(super) fn acceptor(&self) -> io::Result<TlsAcceptor> {
        let certificate =
            |file: &PathBuf| CertificateDer::from_pem_file(file).map_err(io::Error::other);
        let key = PrivateKeyDer::from_pem_file(&self.server.key).map_err(io::Error::other)?;
        let provider = Arc::new(default_provider());
        let mut roots = RootCertStore::empty();
        roots
            .add(certificate(&self.clients)?)
            .map_err(io::Error::other)?;
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .allow_unauthenticated()
                .build()
                .map_err(io::Error::other)?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![certificate(&self.server.cert)?], key)
            .map_err(io::Error::other)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
