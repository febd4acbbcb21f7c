//! Errors of TLS in words for people: no names of types, dates as dates, and what to do.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError};

use crate::clock;
use crate::printable;

/// The key and signature algorithms that the provider `ring` can check.
const ALGORITHMS: &str =
    "RSA of 2048 to 8192 bits, ECDSA P-256 and P-384, and Ed25519, but not ECDSA P-521";

/// TLS that did not come about.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    pub(crate) reason: String,
    /// Advice after a semicolon; empty if there is none.
    pub(crate) advice: String,
    /// Whether the next attempt ends in the same way.
    pub(crate) is_final: bool,
}

/// Returns the TLS error that this is, in however many I/O errors it was wrapped: their `source()`
/// skips what they hold.
pub(crate) fn tls_error<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a rustls::Error> {
    if let Some(found) = error.downcast_ref() {
        return Some(found);
    }
    tls_error(error.downcast_ref::<io::Error>()?.get_ref()?)
}

/// Returns what `error` means.
pub(crate) fn of(error: &rustls::Error) -> Trouble {
    let settled = |reason: String, advice: &str| Trouble {
        reason,
        advice: advice.to_owned(),
        is_final: true,
    };
    match error {
        rustls::Error::InvalidCertificate(found) => certificate(found),
        rustls::Error::InvalidMessage(_) => settled(
            "it does not speak TLS".to_owned(),
            "; a registry without TLS has to be named for plain http (Options::plain_http)",
        ),
        rustls::Error::AlertReceived(found) => alert(*found),
        rustls::Error::PeerIncompatible(_) => settled(
            "the server and this program have no TLS version (1.2 or 1.3), cipher or key exchange in common"
                .to_owned(),
            "",
        ),
        rustls::Error::PeerMisbehaved(_) => {
            settled("the server breaks the rules of TLS".to_owned(), "")
        }
        rustls::Error::NoCertificatesPresented => {
            settled("the server sends no certificate".to_owned(), "")
        }
        other => Trouble {
            reason: format!("the TLS handshake failed: {}", printable::text(other)),
            advice: String::new(),
            is_final: false,
        },
    }
}

/// Returns what `error` means of a connection to a proxy, which receives no client certificate and has a URL of its
/// own.
pub(crate) fn of_proxy(error: &rustls::Error) -> Trouble {
    let advice = match error {
        rustls::Error::InvalidMessage(_) => "; the URL of a proxy without TLS begins with http://",
        rustls::Error::AlertReceived(_) => "; check the proxy's TLS settings",
        _ => return of(error),
    };
    Trouble {
        advice: advice.to_owned(),
        ..of(error)
    }
}

/// Returns what is wrong with a certificate: of the server, or one that was named as an authority.
pub(crate) fn certificate(error: &CertificateError) -> Trouble {
    let clock = "; have it renewed, or this machine's clock is wrong";
    let authority = "; name a PEM file with its authority (Options::ca_files)";
    let (reason, advice) = match error {
        CertificateError::ExpiredContext { time, not_after } => (
            format!("its certificate expired on {}, and it is {} now", date(*not_after), date(*time)),
            clock,
        ),
        CertificateError::Expired => ("its certificate has expired".to_owned(), clock),
        CertificateError::NotValidYetContext { time, not_before } => (
            format!(
                "its certificate is not valid before {}, and it is {} now",
                date(*not_before),
                date(*time)
            ),
            "; wait until then, or this machine's clock is wrong",
        ),
        CertificateError::NotValidYet => (
            "its certificate is not valid yet".to_owned(),
            "; wait until it is, or this machine's clock is wrong",
        ),
        CertificateError::UnknownIssuer => (
            "its certificate is signed by an authority that is not trusted here".to_owned(),
            authority,
        ),
        CertificateError::NotValidForNameContext { expected, presented } => (
            format!(
                "its certificate is not for {}, {}",
                printable::text(expected.to_str()),
                names(presented)
            ),
            match presented.iter().any(|name| !is_address_as_name(name)) {
                true => "; use one of those names, or have the certificate issued for this one",
                false => "; have the certificate issued for this one (subject alternative name)",
            },
        ),
        CertificateError::NotValidForName => (
            "its certificate is for another name".to_owned(),
            "; have the certificate issued for this one",
        ),
        CertificateError::Revoked => ("its certificate was revoked".to_owned(), ""),
        CertificateError::BadSignature => (
            "the signature of its certificate is wrong".to_owned(),
            "; an authority of the same name may have another key by now: name the new one with Options::ca_files",
        ),
        CertificateError::BadEncoding => (
            "its certificate cannot be read; it may be of version 1, and version 3 is needed".to_owned(),
            "",
        ),
        CertificateError::UnhandledCriticalExtension => (
            "its certificate has a critical extension that this program does not know".to_owned(),
            "",
        ),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => (
            "its certificate is not meant for servers (extended key usage)".to_owned(),
            "",
        ),
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => (
            format!(
                "its certificate has a key or a signature of a kind that this program cannot check; it checks {ALGORITHMS}"
            ),
            "; have the certificate issued with another key",
        ),
        CertificateError::Other(other) => match other.0.downcast_ref::<webpki::Error>() {
            Some(webpki::Error::CaUsedAsEndEntity) => (
                "its certificate is that of an authority (CA:TRUE), which is not trusted here as a server's"
                    .to_owned(),
                "; to trust this very certificate, name a PEM file with it (Options::ca_files)",
            ),
            Some(webpki::Error::UnsupportedCertVersion) => (
                "its certificate is not of version 3".to_owned(),
                "; have it issued again",
            ),
            Some(webpki::Error::NameConstraintViolation) => (
                "its authority may not issue certificates for this name".to_owned(),
                "",
            ),
            Some(webpki::Error::EndEntityUsedAsCa) => (
                "its certificate is signed by one that is not an authority's (CA:FALSE)".to_owned(),
                "",
            ),
            _ => ("its certificate is not acceptable".to_owned(), ""),
        },
        _ => ("its certificate is not acceptable".to_owned(), ""),
    };
    Trouble {
        reason,
        advice: advice.to_owned(),
        is_final: true,
    }
}

/// An alert (RFC 8446, 6), by the name that the RFC gives it.
fn alert(alert: AlertDescription) -> Trouble {
    let client = "; it may want a client certificate, or another one (Options::client_certificate)";
    let (name, advice, is_final) = match alert {
        AlertDescription::HandshakeFailure => (
            "handshake_failure",
            format!("{client}, or a key of another kind: this program takes {ALGORITHMS}"),
            true,
        ),
        AlertDescription::BadCertificate => ("bad_certificate", client.to_owned(), true),
        AlertDescription::UnsupportedCertificate => {
            ("unsupported_certificate", client.to_owned(), true)
        }
        AlertDescription::CertificateRevoked => ("certificate_revoked", client.to_owned(), true),
        AlertDescription::CertificateExpired => ("certificate_expired", client.to_owned(), true),
        AlertDescription::CertificateUnknown => ("certificate_unknown", client.to_owned(), true),
        AlertDescription::UnknownCA => ("unknown_ca", client.to_owned(), true),
        AlertDescription::AccessDenied => ("access_denied", client.to_owned(), true),
        AlertDescription::CertificateRequired => ("certificate_required", client.to_owned(), true),
        AlertDescription::ProtocolVersion => (
            "protocol_version",
            "; this program speaks TLS 1.2 and 1.3".to_owned(),
            true,
        ),
        AlertDescription::InsufficientSecurity => ("insufficient_security", String::new(), true),
        AlertDescription::UnrecognisedName => (
            "unrecognized_name",
            "; the server knows no host of this name".to_owned(),
            true,
        ),
        AlertDescription::InternalError => ("internal_error", String::new(), false),
        other => {
            let reason = format!("the server ended TLS with alert {}", u8::from(other));
            return Trouble {
                reason,
                advice: client.to_owned(),
                is_final: true,
            };
        }
    };
    Trouble {
        reason: format!("the server ended TLS with the alert {name}"),
        advice,
        is_final,
    }
}

fn date(time: UnixTime) -> String {
    clock::shown(SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs()))
}

/// A name in a certificate without its type. It comes as `DnsName("a")`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').map_or(name, |(_, inner)| inner);
    inner.trim_end_matches(')').trim_matches('"')
}

/// Whether a certificate has an address as the name of a host, which is valid for no connection.
fn is_address_as_name(name: &str) -> bool {
    name.starts_with("DnsName") && bare(name).parse::<IpAddr>().is_ok()
}

/// The names in a certificate, which is for none that a client uses.
fn names(presented: &[String]) -> String {
    if presented.is_empty() {
        return "nor for any other host: it has no subject alternative name".to_owned();
    }
    let shown = |name: &String| {
        let bare = printable::text(bare(name));
        match is_address_as_name(name) {
            true => format!("a host with the DNS name {bare}"),
            false => bare,
        }
    };
    let mut all: Vec<String> = presented.iter().take(8).map(shown).collect();
    if presented.len() > all.len() {
        all.push(format!("{} more", presented.len() - all.len()));
    }
    format!("but for {}", all.join(", "))
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;

    use super::*;

    #[test]
    fn certificate_errors_are_in_plain_words() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let other = |error: webpki::Error| {
            CertificateError::Other(rustls::OtherError(std::sync::Arc::new(error)))
        };
        for (error, words) in [
            (
                CertificateError::ExpiredContext {
                    time: at(1_795_693_683),
                    not_after: at(1_609_502_400),
                },
                &["expired on 2021-01-01 12:00:00 UTC", "2026-11-26", "clock"][..],
            ),
            (
                CertificateError::NotValidYetContext {
                    time: at(0),
                    not_before: at(1_609_502_400),
                },
                &["not valid before 2021-01-01", "1970-01-01", "clock"],
            ),
            (CertificateError::UnknownIssuer, &["Options::ca_files"]),
            (
                CertificateError::NotValidForNameContext {
                    expected: ServerName::try_from("reg.test").unwrap(),
                    presented: vec!["DnsName(\"a.test\")".into(), "IpAddress(10.0.0.1)".into()],
                },
                &["not for reg.test, but for a.test, 10.0.0.1"],
            ),
            (
                CertificateError::NotValidForNameContext {
                    expected: ServerName::try_from("10.0.0.1").unwrap(),
                    presented: vec![],
                },
                &["not for 10.0.0.1", "no subject alternative name"],
            ),
            (
                other(webpki::Error::CaUsedAsEndEntity),
                &["CA:TRUE", "Options::ca_files"],
            ),
            (other(webpki::Error::EmptyEkuExtension), &["not acceptable"]),
            (CertificateError::BadEncoding, &["version 3"]),
        ] {
            let trouble = certificate(&error);
            let text = format!("{}{}", trouble.reason, trouble.advice);
            for word in words {
                assert!(text.contains(word), "{error:?}: {text}");
            }
            for name in ["DnsName", "UnknownIssuer", "CaUsed", "Error", "proxy"] {
                assert!(!text.contains(name), "{error:?}: {text}");
            }
            assert!(trouble.is_final);
        }
    }

    #[test]
    fn advice_names_no_name_that_cannot_be_used() {
        for (presented, says, may_use_another) in [
            (&[][..], "nor for any other host", false),
            (
                &["DnsName(\"127.0.0.1\")"],
                "but for a host with the DNS name 127.0.0.1",
                false,
            ),
            (
                &["DnsName(\"127.0.0.1\")", "DnsName(\"localhost\")"],
                "127.0.0.1, localhost",
                true,
            ),
            (&["IpAddress(10.0.0.1)"], "but for 10.0.0.1", true),
        ] {
            let trouble = certificate(&CertificateError::NotValidForNameContext {
                expected: ServerName::try_from("127.0.0.1").unwrap(),
                presented: presented.iter().map(|name| (*name).to_owned()).collect(),
            });
            assert!(trouble.reason.contains(says), "{trouble:?}");
            let is_offered = trouble.advice.contains("one of those names");
            assert_eq!(is_offered, may_use_another, "{trouble:?}");
        }
    }

    #[test]
    fn advice_about_a_proxy_names_no_option_of_the_registry() {
        for error in [
            rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType),
            rustls::Error::AlertReceived(AlertDescription::HandshakeFailure),
            rustls::Error::AlertReceived(AlertDescription::DecodeError),
        ] {
            let trouble = of_proxy(&error);
            assert!(trouble.advice.contains("proxy"), "{trouble:?}");
            assert!(!trouble.advice.contains("--"), "{trouble:?}");
            assert_eq!(trouble.reason, of(&error).reason);
        }
    }

    #[test]
    fn alerts_have_the_names_of_the_rfc() {
        for (found, word) in [
            (AlertDescription::HandshakeFailure, "P-521"),
            (
                AlertDescription::CertificateRequired,
                "certificate_required; it may want",
            ),
            (AlertDescription::DecodeError, "alert 50"),
        ] {
            let trouble = of(&rustls::Error::AlertReceived(found));
            let text = format!("{}{}", trouble.reason, trouble.advice);
            assert!(text.contains(word), "{text}");
        }
    }
}
