//! Where a registry may send us: redirects, and realms of token servers.
//!
//! Both are URLs that the other side chooses. Followed blindly they make this client a way into
//! whatever network it runs in, so they are checked here, in one place.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

use crate::error::Error;

/// An URL that may be printed: no user, no query (signed URLs carry their signature there).
pub(crate) fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url
        .port()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    format!("{}://{host}{port}{}", url.scheme(), url.path())
}

/// Whether `asker` may send us to `target`, in the course of a pull from the registry `home`.
/// Hosts in `allowed` may be internal.
///
/// # Errors
/// [`Error::Forbidden`], with the rule that is broken.
pub(crate) fn check(
    target: &Url,
    asker: &Url,
    home: &Url,
    allowed: &[String],
) -> Result<(), Error> {
    let reason = match target.scheme() {
        "https" => None,
        "http" if asker.scheme() == "http" => None,
        "http" => Some("it leads from https to http"),
        _ => Some("it is neither https nor http"),
    };
    let reason = reason.or_else(|| {
        if !target.username().is_empty() || target.password().is_some() {
            Some("it carries a user name")
        } else if is_internal(target)
            && target.host() != home.host()
            && (is_link_local_literal(target) || !is_named(target, allowed))
        {
            Some("it is an internal address, and not the registry's own")
        } else {
            None
        }
    });
    match reason {
        None => Ok(()),
        Some(reason) => Err(Error::Forbidden {
            url: shown(asker),
            target: shown(target),
            reason: reason.to_owned(),
        }),
    }
}

/// Loopback by its name or address.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match host(url) {
        Some(Host::Address(address)) => address.is_loopback(),
        Some(Host::Name(name)) => is_localhost(&name),
        None => false,
    }
}

/// An address that only the own link can reach.
pub(crate) fn is_link_local(address: IpAddr) -> bool {
    match unmapped(address) {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// An address that means something else to everybody.
pub(crate) fn is_internal_address(address: IpAddr) -> bool {
    match unmapped(address) {
        IpAddr::V4(v4) => is_internal_v4(v4),
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
                || v6.is_multicast()
        }
    }
}

/// Whether the caller has named the host of `url`, with its port or without.
pub(crate) fn is_named(url: &Url, named: &[String]) -> bool {
    let Some(host) = url.host_str() else {
        return false;
    };
    let with_port = url
        .port_or_known_default()
        .map(|port| format!("{host}:{port}"));
    named.iter().any(|name| {
        name.eq_ignore_ascii_case(host)
            || with_port
                .as_ref()
                .is_some_and(|host| name.eq_ignore_ascii_case(host))
    })
}

/// Whether the host of `url` is an internal address, or a name for one. What cannot be resolved
/// here, as behind a proxy, is not.
pub(crate) async fn resolves_to_internal(url: &Url) -> bool {
    match host(url) {
        Some(Host::Address(address)) => is_internal_address(address),
        Some(Host::Name(name)) => match tokio::net::lookup_host((name, 0)).await {
            Ok(mut found) => found.any(|address| is_internal_address(address.ip())),
            Err(_) => false,
        },
        None => false,
    }
}

/// A literal address that is internal, or a name that always stands for one.
fn is_internal(url: &Url) -> bool {
    match host(url) {
        Some(Host::Name(name)) => is_localhost(&name),
        Some(Host::Address(address)) => is_internal_address(address),
        None => true,
    }
}

fn is_link_local_literal(url: &Url) -> bool {
    matches!(host(url), Some(Host::Address(address)) if is_link_local(address))
}

fn is_internal_v4(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    // 100.64.0.0/10 is shared by carriers (RFC 6598); 0.0.0.0/8 reaches the own host on Linux.
    let shared = a == 100 && (64..128).contains(&b);
    address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_multicast()
        || a == 0
        || shared
}

/// The IPv4 address that an IPv6 address wraps, as `::ffff:a.b.c.d` or for NAT64.
fn unmapped(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return v4.into();
    }
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)).into()
        }
        _ => address,
    }
}

enum Host {
    Name(String),
    Address(IpAddr),
}

/// The URL parser has turned every spelling of an IPv4 address (`0x7f.1`) into the plain one.
fn host(url: &Url) -> Option<Host> {
    let text = url.host_str()?;
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    Some(match (text.parse::<Ipv4Addr>(), bare.parse::<Ipv6Addr>()) {
        (Ok(v4), _) => Host::Address(v4.into()),
        (_, Ok(v6)) => Host::Address(v6.into()),
        _ => Host::Name(text.trim_end_matches('.').to_ascii_lowercase()),
    })
}

fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_for_where_to_go() {
        for (target, asker, home, allowed) in [
            (
                "https://cdn.example/x",
                "https://reg.example/",
                "https://reg.example/",
                true,
            ),
            (
                "http://cdn.example/x",
                "https://reg.example/",
                "https://reg.example/",
                false,
            ),
            (
                "http://cdn.example/x",
                "http://reg.lan/",
                "http://reg.lan/",
                true,
            ),
            (
                "https://cdn.example/x",
                "http://reg.lan/",
                "http://reg.lan/",
                true,
            ),
            (
                "ftp://cdn.example/x",
                "http://reg.lan/",
                "http://reg.lan/",
                false,
            ),
            (
                "file:///etc/passwd",
                "http://reg.lan/",
                "http://reg.lan/",
                false,
            ),
            (
                "https://u:p@cdn.example/",
                "https://reg.example/",
                "https://reg.example/",
                false,
            ),
            (
                "http://127.0.0.1:9/x",
                "http://127.0.0.1:5000/",
                "http://127.0.0.1:5000/",
                true,
            ),
            (
                "http://127.0.0.1:9/x",
                "http://localhost:5000/",
                "http://localhost:5000/",
                false,
            ),
            (
                "http://localhost:9/x",
                "http://127.0.0.1:5000/",
                "http://127.0.0.1:5000/",
                false,
            ),
            (
                "https://10.1.2.3/x",
                "https://10.1.2.3:5000/",
                "https://10.1.2.3:5000/",
                true,
            ),
            (
                "https://8.8.8.8/x",
                "https://reg.example/",
                "https://reg.example/",
                true,
            ),
            (
                "https://0x7f.1/",
                "https://reg.example/",
                "https://reg.example/",
                false,
            ),
            (
                "https://2130706433/",
                "https://reg.example/",
                "https://reg.example/",
                false,
            ),
            (
                "https://169.254.169.254/latest",
                "https://reg.example/",
                "https://reg.example/",
                false,
            ),
            (
                "https://[::ffff:169.254.169.254]/",
                "https://reg.example/",
                "https://reg.example/",
                false,
            ),
            (
                "https://[64:ff9b::a9fe:a9fe]/",
                "https://reg.example/",
                "https://reg.example/",
                false,
            ),
            (
                "https://[fd00::1]/",
                "https://reg.example/",
                "https://reg.example/",
                false,
            ),
            (
                "https://[::1]/",
                "https://reg.example/",
                "https://reg.example/",
                false,
            ),
            (
                "https://192.168.1.1/",
                "https://reg.example/",
                "https://reg.example/",
                false,
            ),
            (
                "https://100.64.0.1/",
                "https://reg.example/",
                "https://reg.example/",
                false,
            ),
            (
                "https://0.0.0.0/",
                "https://reg.example/",
                "https://reg.example/",
                false,
            ),
            (
                "https://foo.localhost/",
                "https://reg.example/",
                "https://reg.example/",
                false,
            ),
            (
                "https://localhost./",
                "https://reg.example/",
                "https://reg.example/",
                false,
            ),
        ] {
            let url = |text: &str| Url::parse(text).unwrap();
            let verdict = check(&url(target), &url(asker), &url(home), &[]);
            assert_eq!(verdict.is_ok(), allowed, "{target} from {asker}");
        }
    }

    #[test]
    fn what_is_shown_has_no_secrets() {
        let url = Url::parse("https://u:p@h:5000/a/b?sig=s#f").unwrap();
        assert_eq!(shown(&url), "https://h:5000/a/b");
    }

    #[test]
    fn link_local_hides_behind_no_notation() {
        for (address, expected) in [
            ("169.254.169.254", true),
            ("::ffff:169.254.169.254", true),
            ("64:ff9b::a9fe:a9fe", true),
            ("fe80::1", true),
            ("10.0.0.1", false),
            ("::1", false),
        ] {
            assert_eq!(
                is_link_local(address.parse().unwrap()),
                expected,
                "{address}"
            );
        }
    }
}
