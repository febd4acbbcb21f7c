//! The hosts to which a registry may send requests: redirects, realms of token servers, URLs of foreign layers.
//!
//! All are URLs that the other side chooses. Followed blindly they make this client a way into
//! whatever network it runs in, so they are checked here, in one place.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::Url;

use crate::address;
use crate::error::{Error, rule};

/// The first port that needs no privilege to listen on. Below it are the services of an operating
/// system (SSH, mail, SMB), to which no registry has a reason to send anybody.
const FIRST_FREE_PORT: u16 = 1024;
/// Endings of names that mean something within one network alone (RFC 6761, 6762 with its appendix G,
/// 8375, and ICANN's `internal`).
const LOCAL_ENDINGS: &[&str] = &[
    "localhost",
    "localdomain",
    "local",
    "internal",
    "intranet",
    "private",
    "corp",
    "home",
    "home.arpa",
    "lan",
];

/// A URL that may be printed: no user, no query (signed URLs carry their signature there).
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
        let is_own = target.host() == home.host();
        if !target.username().is_empty() || target.password().is_some() {
            Some("it carries a user name")
        } else if !is_own && is_off_limits(target) {
            Some("it is the internal address of a machine's own link or of its cloud")
        } else if !is_own && is_internal(target) && !is_named(target, allowed) {
            Some(rule::INTERNAL)
        } else if !has_usual_port(target, home) && !is_named_with_port(target, allowed) {
            Some(rule::LOW_PORT)
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
        // As Go has it, `::ffff:127.0.0.1` is.
        Some(Host::Address(address)) => address.to_canonical().is_loopback(),
        Some(Host::Name(name)) => is_localhost(&name),
        None => false,
    }
}

/// Whether the caller has named the host of `url`, with its port or without.
pub(crate) fn is_named(url: &Url, named: &[String]) -> bool {
    let host = url.host_str().unwrap_or_default();
    named.iter().any(|name| name.eq_ignore_ascii_case(host)) || is_named_with_port(url, named)
}

/// Whether the caller has named the very port of the host of `url`.
fn is_named_with_port(url: &Url, named: &[String]) -> bool {
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return false;
    };
    let with_port = format!("{host}:{port}");
    named
        .iter()
        .any(|name| name.eq_ignore_ascii_case(&with_port))
}

/// Whether `target` is at a port where one may expect a registry, its storage or its token server:
/// 80, 443, those that need no privilege, and at the host of `home` its own. A host has many spellings, so that of the
/// others does not count.
pub(crate) fn has_usual_port(target: &Url, home: &Url) -> bool {
    let port = target.port_or_known_default();
    let is_own = target.host() == home.host() && port == home.port_or_known_default();
    is_own || port.is_some_and(|port| matches!(port, 80 | 443) || port >= FIRST_FREE_PORT)
}

/// The host of `url` if it is a name and not an address.
pub(crate) fn name(url: &Url) -> Option<String> {
    match host(url)? {
        Host::Name(_) => url.host_str().map(str::to_owned),
        Host::Address(_) => None,
    }
}

/// The host of `url` if it is an address.
pub(crate) fn literal(url: &Url) -> Option<IpAddr> {
    match host(url)? {
        Host::Name(_) => None,
        Host::Address(address) => Some(address),
    }
}

/// Whether `name` can only mean something within one network: it has no dot, or an ending that is
/// reserved for such names.
pub(crate) fn is_local_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let has_ending = |ending: &&str| {
        let rest = name.strip_suffix(*ending);
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    !name.contains('.') || LOCAL_ENDINGS.iter().any(has_ending)
}

/// A literal address that is internal, or a name that always resolves to one.
fn is_internal(url: &Url) -> bool {
    match host(url) {
        Some(Host::Name(name)) => is_localhost(&name),
        Some(Host::Address(address)) => address::is_internal(address),
        None => true,
    }
}

fn is_off_limits(url: &Url) -> bool {
    literal(url).is_some_and(address::is_off_limits)
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

    /// Go's `IP.IsLoopback` looks at the IPv4 address in a mapped one.
    #[test]
    fn loopback_is_known_in_every_spelling() {
        for (host, is_loopback) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("0x7f.1", true),
            ("[::1]", true),
            ("[::ffff:127.0.0.1]", true),
            ("[::FFFF:7f00:1]", true),
            ("localhost.", true),
            ("a.localhost", true),
            ("[::ffff:10.0.0.1]", false),
            ("[::127.0.0.1]", false),
            ("10.0.0.1", false),
        ] {
            let url = Url::parse(&format!("http://{host}:5000/")).unwrap();
            assert_eq!(super::is_loopback(&url), is_loopback, "{host}");
        }
    }

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
                "http://127.0.0.1:9000/x",
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
    fn a_literal_is_recognized_however_it_is_spelled() {
        let url = |text: &str| Url::parse(text).unwrap();
        let home = url("https://reg.example/");
        for host in [
            "127.0.0.1",
            "127.0.0.1.",
            "127.1",
            "0x7f.1",
            "0x7F000001",
            "017700000001",
            "0177.0.0.1",
            "2130706433",
            "0x7f.0.0x1",
            "127.0.1",
            "0",
            "1\u{ff12}7.0.0.1",
            "\u{2460}\u{2461}\u{2466}.0.0.1",
            "127%2e0%2e0%2e1",
            "%31%32%37.0.0.1",
            "127\u{3002}0\u{3002}0\u{3002}1",
            "LOCALHOST",
            "localhost.",
            "loc%61lhost",
            "a.localhost",
            "\u{24db}ocalhost",
            "192.0.0.192",
            "168.63.129.16",
            "198.18.0.1",
            "240.0.0.1",
            "224.0.0.1",
            "[64:ff9b:1::a9fe:a9fe]",
            "[2002:7f00:1::]",
            "[::127.0.0.1]",
            "[::ffff:7f00:1]",
            "[0:0:0:0:0:ffff:127.0.0.1]",
            "[fec0::1]",
            "[fe80::1]",
            "[ff02::1]",
        ] {
            for scheme in ["https", "http"] {
                let target = url(&format!("{scheme}://{host}:8080/x"));
                let asker = url(&format!("{scheme}://reg.example/"));
                let outcome = check(&target, &asker, &home, &[]);
                assert!(outcome.is_err(), "{target}");
            }
        }
        // A zone is no part of a URL's host: such a literal is no URL at all.
        for text in ["http://[fe80::1%25eth0]/", "http://[fe80::1%eth0]/"] {
            assert!(home.join(text).is_err(), "{text}");
        }
    }

    #[test]
    fn low_port_is_refused_on_every_host_unless_named() {
        let url = |text: &str| Url::parse(text).unwrap();
        let named = ["reg.example:636".to_owned(), "10.0.0.1".to_owned()];
        for (target, home, allowed) in [
            ("http://reg.example/", "http://reg.example:5000/", true),
            ("http://reg.example:443/", "http://reg.example:5000/", true),
            ("https://reg.example/", "http://reg.example:5000/", true),
            ("http://reg.example:22/", "http://reg.example:5000/", false),
            ("http://reg.example:1023/", "http://reg.example/", false),
            ("http://reg.example:1024/", "http://reg.example/", true),
            ("http://reg.example:65535/", "http://reg.example/", true),
            ("http://reg.example:0/", "http://reg.example/", false),
            ("http://reg.example:636/", "http://reg.example/", true),
            ("http://reg.example:900/", "http://reg.example:900/", true),
            ("http://10.0.0.1:25/", "http://10.0.0.1:5000/", false),
            ("http://10.0.0.1:5001/", "http://10.0.0.1:5000/", true),
            ("http://[::1]:111/", "http://[::1]:5000/", false),
            ("http://reg.example.:22/", "http://reg.example:22/", false),
            ("http://93.184.216.34:22/", "http://reg.example/", false),
            ("http://cdn.example:25/", "http://reg.example/", false),
            ("http://cdn.example:25/", "http://reg.example:25/", false),
            ("http://cdn.example:443/", "http://reg.example/", true),
            ("http://cdn.example:9000/", "http://reg.example/", true),
        ] {
            let home = url(home);
            let verdict = check(&url(target), &home, &home, &named);
            assert_eq!(verdict.is_ok(), allowed, "{target} from {home}");
        }
    }

    #[test]
    fn what_is_off_limits_cannot_be_named() {
        let url = |text: &str| Url::parse(text).unwrap();
        let home = url("http://reg.example/");
        for (host, allowed) in [
            ("10.0.0.1", true),
            ("[fd00::1]", true),
            ("169.254.169.254", false),
            ("168.63.129.16", false),
            ("[fd00:ec2::254]", false),
            ("[2002:a9fe:a9fe::]", false),
        ] {
            let target = url(&format!("http://{host}/"));
            let verdict = check(&target, &home, &home, &[host.to_owned()]);
            assert_eq!(verdict.is_ok(), allowed, "{host}");
        }
    }

    #[test]
    fn names_of_one_network_are_known_by_their_endings() {
        for (name, local) in [
            ("storage", true),
            ("storage.", true),
            ("metadata.google.internal", true),
            ("Metadata.Google.INTERNAL.", true),
            ("printer.local", true),
            ("a.b.home.arpa", true),
            ("reg.corp", true),
            ("internal", true),
            ("notinternal.example.com", false),
            ("internal.example.com", false),
            ("x.mylocal", false),
            ("cdn.example.com", false),
        ] {
            assert_eq!(is_local_name(name), local, "{name}");
        }
    }

    #[test]
    fn refusals_name_the_rule_that_is_broken() {
        let home = Url::parse("https://reg.example/").unwrap();
        for (target, says) in [
            ("http://cdn.example/x", "it leads from https to http"),
            ("ftp://cdn.example/x", "it is neither https nor http"),
            ("https://u@cdn.example/x", "it carries a user name"),
            ("https://:p@cdn.example/x", "it carries a user name"),
        ] {
            let target = Url::parse(target).unwrap();
            let error = check(&target, &home, &home, &[]).unwrap_err().to_string();
            assert!(error.contains(says), "{target}: {error}");
        }
    }
}
