//! Trust and identity of connections: certificate authorities and client
//! certificates, in PEM files.

mod system;
mod verify;
pub(crate) mod words;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{self, KeyProvider};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, ClientConfig, InconsistentKeys, RootCertStore};

use crate::error::Error;
use crate::printable;
use crate::regular_file;
use crate::tls::system::MAX_CERTIFICATES;
use crate::tls::verify::{Credulous, Trusting};

/// Most bytes of a file with a key, which may hold the certificates as well.
const MAX_KEY: u64 = 16 << 20;

/// A client certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ClientCertificate {
    /// PEM file with the certificate, and after it the certificates that signed it.
    pub cert: PathBuf,
    /// PEM file with the key; may be the same file.
    pub key: PathBuf,
}

impl ClientCertificate {
    /// Returns a certificate whose PEM texts are in one file or in two.
    pub fn new(cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            cert: cert.into(),
            key: key.into(),
        }
    }
}

/// The settings of TLS connections to some host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Profile {
    /// PEM files with authorities that are trusted besides the system's.
    pub(crate) authorities: Vec<PathBuf>,
    /// Shown to a server that asks.
    pub(crate) client: Option<ClientCertificate>,
    /// Whether the certificate of the server is accepted without verification.
    pub(crate) skip_verify: bool,
}

impl Profile {
    /// Reads the files. This is disk work.
    pub(crate) fn load(&self) -> Result<ClientConfig, Error> {
        let provider = Arc::new(crypto::ring::default_provider());
        let keys = provider.key_provider;
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Usage(format!("TLS cannot be set up: {error}")))?;
        let builder = builder.dangerous();
        let builder = if self.skip_verify {
            builder.with_custom_certificate_verifier(Arc::new(Credulous(provider)))
        } else {
            let (roots, named) = self.roots()?;
            let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider)
                .build()
                .map_err(|error| Error::Usage(format!("TLS cannot be set up: {error}")))?;
            builder.with_custom_certificate_verifier(Arc::new(Trusting::new(verifier, named)))
        };
        let Some(client) = &self.client else {
            return Ok(builder.with_no_client_auth());
        };
        let identity = SingleCertAndKey::from(identity(client, keys)?);
        Ok(builder.with_client_cert_resolver(Arc::new(identity)))
    }

    /// All authorities, and the certificates of those that the configuration names.
    fn roots(&self) -> Result<(RootCertStore, HashSet<CertificateDer<'static>>), Error> {
        let mut roots = RootCertStore::empty();
        let mut named = HashSet::new();
        for file in &self.authorities {
            for certificate in certificates(file)? {
                let added = roots.add(certificate.clone());
                added.map_err(|error| {
                    let reason = match error {
                        rustls::Error::InvalidCertificate(error) => {
                            format!(": {}", words::certificate(&error).reason)
                        }
                        _ => String::new(),
                    };
                    unfit(
                        file,
                        &format!("one of its certificates cannot be an authority{reason}"),
                    )
                })?;
                named.insert(certificate);
            }
        }
        let system = system::load()?;
        roots.add_parsable_certificates(system.certificates);
        if !roots.is_empty() {
            return Ok((roots, named));
        }
        let reasons = system.reasons;
        Err(Error::Usage(format!(
            "this system has no certificate authorities (package ca-certificates), and none were \
             given{}{}",
            if reasons.is_empty() { "" } else { ": " },
            reasons.join("; ")
        )))
    }
}

/// Reads a client certificate and its key. The server judges the certificate: only that of another key is refused here,
/// so that one of version 1, which has no extensions, is used as well.
fn identity(client: &ClientCertificate, keys: &dyn KeyProvider) -> Result<CertifiedKey, Error> {
    let chain = certificates(&client.cert)?;
    let pem = regular_file::read(&client.key, MAX_KEY)?.bytes;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match is_encrypted(&pem) {
        true => encrypted(&client.key),
        false => unusable(&client.key, "private key", error),
    })?;
    let key = keys.load_private_key(key).map_err(|_| match is_encrypted(&pem) {
        true => encrypted(&client.key),
        false => unfit(
            &client.key,
            "its private key is damaged or of a kind that this program cannot use; it uses RSA of 2048 to 4096 bits, \
             ECDSA P-256 and P-384, and Ed25519",
        ),
    })?;
    let identity = CertifiedKey::new(chain, key);
    match identity.keys_match() {
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(misfit(client)),
        Err(rustls::Error::InvalidCertificate(CertificateError::BadEncoding)) => Err(unfit(
            &client.cert,
            "its certificate cannot be read; name another file",
        )),
        Ok(()) => Ok(identity),
        Err(_) => match has_key(&identity) {
            Some(false) => Err(misfit(client)),
            _ => Ok(identity),
        },
    }
}

/// Whether a certificate holds the public part of its key; `None` if that is unknown. It reads version 1 as well.
fn has_key(identity: &CertifiedKey) -> Option<bool> {
    let certificate = identity.cert.first()?.clone();
    let mut readable = RootCertStore::empty();
    readable.add(certificate).ok()?;
    // Without the header of the sequence, which the key has.
    let of_certificate = &readable.roots.first()?.subject_public_key_info;
    let of_key = identity.key.public_key()?;
    Some(of_key.as_ref().ends_with(of_certificate))
}

fn misfit(client: &ClientCertificate) -> Error {
    let key = printable::path(&client.key);
    let reason = format!(
        "its certificate does not fit the key in {key}; name the key that it was issued for"
    );
    unfit(&client.cert, &reason)
}

/// Whether a key needs a password, in PKCS #8 or in the older form of OpenSSL.
fn is_encrypted(pem: &[u8]) -> bool {
    let marks = [
        &b"-----BEGIN ENCRYPTED PRIVATE KEY-----"[..],
        b"Proc-Type: 4,ENCRYPTED",
    ];
    let mut marks = marks.into_iter();
    marks.any(|mark| pem.windows(mark.len()).any(|part| part == mark))
}

fn encrypted(file: &Path) -> Error {
    unfit(
        file,
        "its private key is encrypted; decrypt it into another file (openssl pkey) and name that one",
    )
}

/// At least one.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = regular_file::read(file, MAX_CERTIFICATES)?.bytes;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(file, "certificate", error))?;
    if found.is_empty() {
        return Err(unusable(file, "certificate", pem::Error::NoItemsFound));
    }
    Ok(found)
}

fn unusable(file: &Path, wanted: &str, error: pem::Error) -> Error {
    match error {
        pem::Error::Io(source) => Error::Io {
            path: file.to_owned(),
            source,
        },
        // Report only the kind of damage, because the file may hold a key.
        _ => unfit(
            file,
            &format!("it holds no {wanted} in PEM form, or a damaged one; name another file"),
        ),
    }
}

/// The error of a file that an option or a `hosts.toml` names for TLS. It holds no login for a registry.
fn unfit(file: &Path, reason: &str) -> Error {
    Error::Usage(format!("cannot use {}: {reason}", printable::path(file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_hold_nothing_usable_are_named_and_not_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.pem");
        let body = "-----BEGIN CERTIFICATE-----\nsecret!\n-----END CERTIFICATE-----\n";
        for text in ["", "hunter2", body] {
            std::fs::write(&file, text).unwrap();
            let authority = Profile {
                authorities: vec![file.clone()],
                ..Profile::default()
            };
            let client = Profile {
                client: Some(ClientCertificate::new(&file, &file)),
                skip_verify: true,
                ..Profile::default()
            };
            for profile in [authority, client] {
                let error = profile.load().unwrap_err();
                assert!(matches!(error, Error::Usage(_)), "{error:?}");
                let error = error.to_string();
                assert!(error.contains("x.pem"), "{error}");
                assert!(
                    !error.contains("hunter2") && !error.contains("secret"),
                    "{error}"
                );
            }
        }
        let missing = Profile {
            authorities: vec![dir.path().join("missing")],
            ..Profile::default()
        };
        assert!(matches!(missing.load(), Err(Error::Io { .. })));
    }

    /// A certificate of version 1 for the key `KEY`, which `openssl req` and `openssl x509 -req` write.
    const VERSION_1: &str = "MIIBFTCBuwIUa+0trkEqUNJg1nE38vbQwoDiP38wCgYIKoZIzj0EAwIwDDEKMAgGA1UEAwwB\
        YTAgFw0yNjExMjgxMjUxMjNaGA8yMTI2MTEwNDEyNTEyM1owDDEKMAgGA1UEAwwBYTBZMBMGByqGSM49AgEGCCqG\
        SM49AwEHA0IABJiWE/8LlglZDFjNNjrlTqHlsQzsPrQeO7yCp4b/yGQ/zzHx4M7NuDhISJlZXpbKh+LKsCAdBbCI\
        /NgoLSxVzFkwCgYIKoZIzj0EAwIDSQAwRgIhAOTbhLdf6M6kJgfjuhEpGTexs2keJctt+Ru4socn3eIDAiEAzhRW\
        vS4W9ofF1+TP5/iqMpK9vaqWo1648t4i61rXarE=";
    const KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgxFUDYXmNV1+fUUS9vDsas+J9WdRsuMPm\
        QJCWXMDu7HWhRANCAASYlhP/C5YJWQxYzTY65U6h5bEM7D60Hju8gqeG/8hkP88x8eDOzbg4SEiZWV6WyofiyrAg\
        HQWwiPzYKC0sVcxZ";
    const OTHER_KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgQxCMGuWCEdbDEKoOk6fRsWGeGDXRNIEg\
        8uAb8zfi9+OhRANCAAR6L9CoWCGKvZuTng1UBt25Y33I7DcmbKqGYd40cgxg0S4798x2MLfCn+KAQh4Mscyu\
        YBUfXzPXG0rIgcc4Zd06";

    fn pem(label: &str, text: &str) -> String {
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    }

    // rustls/rustls#2364
    #[test]
    fn client_certificate_of_version_1_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.pem");
        let text = pem("CERTIFICATE", VERSION_1) + &pem("PRIVATE KEY", KEY);
        std::fs::write(&file, text).unwrap();
        let profile = Profile {
            client: Some(ClientCertificate::new(&file, &file)),
            skip_verify: true,
            ..Profile::default()
        };
        assert!(
            profile
                .load()
                .unwrap()
                .client_auth_cert_resolver
                .has_certs()
        );
    }

    #[test]
    fn client_key_that_cannot_be_used_is_named_with_its_reason() {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        let old = format!("Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n{KEY}");
        for (certificate, text, file, reason) in [
            (
                VERSION_1,
                pem("ENCRYPTED PRIVATE KEY", KEY),
                &key,
                "is encrypted; decrypt it",
            ),
            (
                VERSION_1,
                pem("EC PRIVATE KEY", &old),
                &key,
                "is encrypted; decrypt it",
            ),
            (
                VERSION_1,
                pem("PRIVATE KEY", VERSION_1),
                &key,
                "of a kind that this program cannot use",
            ),
            (KEY, pem("PRIVATE KEY", KEY), &cert, "cannot be read"),
            (
                VERSION_1,
                pem("PRIVATE KEY", OTHER_KEY),
                &cert,
                "does not fit the key in",
            ),
        ] {
            std::fs::write(&cert, pem("CERTIFICATE", certificate)).unwrap();
            std::fs::write(&key, text).unwrap();
            let profile = Profile {
                client: Some(ClientCertificate::new(&cert, &key)),
                skip_verify: true,
                ..Profile::default()
            };
            let error = profile.load().unwrap_err().to_string();
            let start = format!("cannot use {}: ", file.display());
            assert!(error.contains(&start), "{error}");
            assert!(error.contains(reason), "{error}");
        }
    }
}
