//! The addresses that a name may resolve to.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::address;
use crate::error::rule;

/// How long a name that did not resolve is not looked up again for the sake of a proxy.
const UNKNOWN_LIFE: Duration = Duration::from_secs(60);
/// How many such names are remembered.
const MAX_UNKNOWN: usize = 1024;

/// Addresses that a name may resolve to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reach {
    /// Anything but a link-local address and a cloud's metadata service.
    Anywhere,
    /// As the registry's own name: anything of these at first, and no loopback address once it was elsewhere.
    Home,
    /// Neither these nor a loopback address, at which the services of this machine are.
    Network,
    /// No address that means something else to everybody: loopback, private, shared.
    Public,
}

/// The known facts about names.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Names that were resolved for a connection.
    connected: Mutex<HashMap<String, Seen>>,
    /// Names that did not resolve, and when.
    unknown: Mutex<HashMap<String, Instant>>,
}

/// The addresses of a name so far.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// Whether all of them have ever been internal.
    internal: bool,
    /// Whether each time one of them was a loopback address, as of a name of this machine.
    some_loopback: bool,
    /// Whether all of them have ever been loopback addresses.
    loopback: bool,
}

impl Names {
    /// Notes what `name` resolved to for a connection, also the addresses that were out of its reach.
    pub(crate) fn note_connected(&self, name: &str, addresses: &[SocketAddr]) {
        if addresses.is_empty() {
            return;
        }
        let are_internal = addresses
            .iter()
            .all(|address| address::is_internal(address.ip()));
        let mut connected = lock(&self.connected);
        let is_loopback = |address: &SocketAddr| address::is_loopback(address.ip());
        let seen = connected.entry(name.to_owned()).or_insert(Seen {
            internal: true,
            some_loopback: true,
            loopback: true,
        });
        seen.internal &= are_internal;
        seen.some_loopback &= addresses.iter().any(is_loopback);
        seen.loopback &= addresses.iter().all(is_loopback);
    }

    /// Notes what a look-up found. That a name is public is believed, because it only closes ways; that it
    /// is internal is not.
    pub(crate) fn note_looked_up(&self, name: &str, addresses: &[SocketAddr]) {
        let is_public = |address: &SocketAddr| !address::is_internal(address.ip());
        if addresses.iter().any(is_public) {
            let public = Seen {
                internal: false,
                some_loopback: false,
                loopback: false,
            };
            lock(&self.connected).insert(name.to_owned(), public);
        }
    }

    pub(crate) fn is_internal(&self, name: &str) -> bool {
        self.seen(name).is_some_and(|seen| seen.internal)
    }

    /// Whether connections found loopback addresses of `name` and no other: another host may answer for the others.
    pub(crate) fn is_loopback(&self, name: &str) -> bool {
        self.seen(name).is_some_and(|seen| seen.loopback)
    }

    fn seen(&self, name: &str) -> Option<Seen> {
        lock(&self.connected).get(name).copied()
    }

    /// Whether a connection found a public address of `name`.
    pub(crate) fn is_public(&self, name: &str) -> bool {
        self.seen(name).is_some_and(|seen| !seen.internal)
    }

    pub(crate) fn note_unknown(&self, name: &str, now: Instant) {
        let mut unknown = lock(&self.unknown);
        if unknown.len() >= MAX_UNKNOWN {
            unknown.clear();
        }
        unknown.insert(name.to_owned(), now);
    }

    pub(crate) fn is_unknown(&self, name: &str, now: Instant) -> bool {
        let noted = lock(&self.unknown).get(name).copied();
        noted.is_some_and(|noted| now.saturating_duration_since(noted) < UNKNOWN_LIFE)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a name is not connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RefusedAddress {
    #[error("the name resolves to a link-local address or to a cloud's metadata service")]
    OffLimits,
    #[error(
        "the name resolves to a loopback address, where services of this machine are, and this registry is elsewhere; {}",
        rule::NAME_IT
    )]
    Loopback,
    #[error(
        "the name resolves to an internal address, and this registry may not send us to one; {}",
        rule::NAME_IT
    )]
    Internal,
    #[error(
        "the name does not resolve here, a proxy would be asked for it, and it is one of an \
         internal network; {}",
        rule::NAME_IT
    )]
    LocalName,
}

impl Reach {
    /// Those of a name's addresses that may be connected to; none is left only if there was none.
    pub(crate) fn among(
        self,
        mut found: Vec<SocketAddr>,
    ) -> Result<Vec<SocketAddr>, RefusedAddress> {
        let refusal = self.refusal(&found);
        let were_any = !found.is_empty();
        found.retain(|address| self.holds(*address));
        if were_any && found.is_empty() {
            return Err(refusal);
        }
        Ok(found)
    }

    pub(crate) fn holds(self, address: SocketAddr) -> bool {
        match self {
            Self::Anywhere | Self::Home => !address::is_off_limits(address.ip()),
            Self::Network => {
                let address = address.ip();
                !address::is_off_limits(address) && !address::is_loopback(address)
            }
            Self::Public => !address::is_internal(address.ip()),
        }
    }

    /// The reach to `name`, after what is known about it.
    pub(crate) fn of(self, name: &str, names: &Names) -> Self {
        match self {
            Self::Home if names.seen(name).is_some_and(|seen| !seen.some_loopback) => Self::Network,
            other => other,
        }
    }

    /// Why `addresses` are refused, if they are.
    pub(crate) fn refusal(self, addresses: &[SocketAddr]) -> RefusedAddress {
        let mut addresses = addresses.iter().map(SocketAddr::ip);
        match self {
            Self::Network if addresses.any(address::is_loopback) => RefusedAddress::Loopback,
            Self::Anywhere | Self::Home | Self::Network => RefusedAddress::OffLimits,
            Self::Public => RefusedAddress::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rules_that_a_name_lifts_say_so() {
        for (refused, helps) in [
            (RefusedAddress::Internal, true),
            (RefusedAddress::Loopback, true),
            (RefusedAddress::LocalName, true),
            (RefusedAddress::OffLimits, false),
        ] {
            assert_eq!(rule::can_be_lifted(&refused.to_string()), helps);
        }
    }

    #[test]
    fn only_reachable_addresses_of_a_name_are_kept() {
        let addresses = |list: &[&str]| -> Vec<SocketAddr> {
            list.iter().map(|text| text.parse().unwrap()).collect()
        };
        let (public, private, link) = ("93.184.216.34:0", "10.0.0.1:0", "169.254.169.254:0");
        for (reach, found, expected) in [
            (
                Reach::Anywhere,
                vec![public, private, link],
                Some(vec![public, private]),
            ),
            (
                Reach::Public,
                vec![public, private, link],
                Some(vec![public]),
            ),
            (Reach::Anywhere, vec![link], None),
            (
                Reach::Home,
                vec![link, "127.0.0.1:0"],
                Some(vec!["127.0.0.1:0"]),
            ),
            (
                Reach::Network,
                vec![link, private, public],
                Some(vec![private, public]),
            ),
            (
                Reach::Network,
                vec!["127.0.0.1:0", private],
                Some(vec![private]),
            ),
            (
                Reach::Network,
                vec!["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"],
                None,
            ),
            (Reach::Network, vec!["[::ffff:127.0.0.1]:0", "[::]:0"], None),
            (Reach::Anywhere, vec!["[fe80::1]:0"], None),
            (Reach::Public, vec![private, "[::1]:0", "[fd00::1]:0"], None),
            (Reach::Public, vec![], Some(vec![])),
            (Reach::Anywhere, vec!["168.63.129.16:0"], None),
            (Reach::Anywhere, vec!["[2002:a9fe:a9fe::]:0"], None),
            (
                Reach::Public,
                vec!["[2002:7f00:1::]:0", "198.18.0.1:0"],
                None,
            ),
        ] {
            let kept = reach.among(addresses(&found)).ok();
            assert_eq!(kept, expected.map(|list| addresses(&list)), "{found:?}");
        }
    }

    #[test]
    fn own_name_stays_away_from_loopback_once_it_was_elsewhere() {
        let addresses = |list: &[&str]| -> Vec<SocketAddr> {
            list.iter().map(|text| text.parse().unwrap()).collect()
        };
        let names = Names::default();
        for (name, answers, reach, is_here) in [
            ("new.example", &[][..], Reach::Home, false),
            (
                "here.example",
                &[&["127.0.0.1:0"][..]][..],
                Reach::Home,
                true,
            ),
            (
                "both.example",
                &[&["127.0.1.1:0", "10.0.0.1:0"]],
                Reach::Home,
                false,
            ),
            (
                "once.example",
                &[&["127.0.0.1:0"], &["10.0.0.1:0", "127.0.0.1:0"]],
                Reach::Home,
                false,
            ),
            ("away.example", &[&["10.0.0.1:0"]], Reach::Network, false),
            (
                "left.example",
                &[&["127.0.0.1:0"], &["10.0.0.1:0"]],
                Reach::Network,
                false,
            ),
            (
                "back.example",
                &[&["10.0.0.1:0"], &["127.0.0.1:0"]],
                Reach::Network,
                false,
            ),
        ] {
            for answer in answers {
                names.note_connected(name, &addresses(answer));
            }
            assert_eq!(Reach::Home.of(name, &names), reach, "{name}");
            assert_eq!(Reach::Public.of(name, &names), Reach::Public);
            assert_eq!(names.is_loopback(name), is_here, "{name}");
        }
    }

    #[test]
    fn look_up_makes_a_name_public_and_never_internal() {
        let addresses = |text: &str| -> Vec<SocketAddr> { vec![text.parse().unwrap()] };
        let (public, private) = (addresses("93.184.216.34:0"), addresses("10.0.0.1:0"));
        let names = Names::default();
        names.note_looked_up("a.example", &private);
        assert!(!names.is_internal("a.example") && !names.is_public("a.example"));
        names.note_connected("a.example", &private);
        assert!(names.is_internal("a.example"));
        names.note_looked_up("a.example", &public);
        names.note_connected("a.example", &private);
        assert!(!names.is_internal("a.example") && names.is_public("a.example"));
    }

    #[test]
    fn name_that_did_not_resolve_is_looked_up_again_later() {
        let names = Names::default();
        let start = Instant::now();
        names.note_unknown("a.example", start);
        assert!(names.is_unknown("a.example", start));
        assert!(!names.is_unknown("b.example", start));
        assert!(!names.is_unknown("a.example", start + UNKNOWN_LIFE));
        for number in 0..2 * MAX_UNKNOWN {
            names.note_unknown(&format!("{number}.example"), start);
        }
        assert!(lock(&names.unknown).len() <= MAX_UNKNOWN);
    }
}
