//! `NO_PROXY`, as Go's `golang.org/x/net/http/httpproxy` reads it: that is what people write it for.

use std::net::IpAddr;

use url::Url;

use crate::target;

/// The hosts that are reached without a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bypass {
    everything: bool,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    Network {
        address: IpAddr,
        bits: u32,
    },
    Address {
        address: IpAddr,
        port: Option<u16>,
    },
    Name {
        suffix: String,
        port: Option<u16>,
        and_itself: bool,
    },
}

impl Bypass {
    /// Reads a list that commas or white space separate. What cannot be read matches nothing.
    pub(crate) fn parse(list: &str) -> Self {
        let mut bypass = Self::default();
        let entries = list.split(|c: char| c == ',' || c.is_whitespace());
        for entry in entries.filter(|entry| !entry.is_empty()) {
            match entry {
                "*" => bypass.everything = true,
                entry => bypass
                    .rules
                    .extend(Rule::parse(&entry.to_ascii_lowercase())),
            }
        }
        bypass
    }

    /// Whether `url` is reached directly.
    pub(crate) fn holds(&self, url: &Url) -> bool {
        if self.everything {
            return true;
        }
        let port = url.port_or_known_default();
        let address = target::literal(url).map(|address| address.to_canonical());
        let name = url.host_str().unwrap_or_default();
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let is_port = |wanted: &Option<u16>| wanted.is_none() || *wanted == port;
        self.rules.iter().any(|rule| match rule {
            Rule::Network {
                address: network,
                bits,
            } => address.is_some_and(|address| is_within(address, *network, *bits)),
            Rule::Address {
                address: wanted,
                port,
            } => address == Some(*wanted) && is_port(port),
            Rule::Name {
                suffix,
                port,
                and_itself,
            } => {
                let is_itself = || *and_itself && suffix.get(1..) == Some(&name);
                address.is_none() && is_port(port) && (name.ends_with(suffix) || is_itself())
            }
        })
    }
}

impl Rule {
    fn parse(entry: &str) -> Option<Self> {
        if let Some((address, bits)) = entry.split_once('/') {
            let address: IpAddr = unbracketed(address).parse().ok()?;
            let bits = bits.parse().ok()?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            return (bits <= most).then_some(Self::Network { address, bits });
        }
        if let Ok(address) = unbracketed(entry).parse::<IpAddr>() {
            let address = address.to_canonical();
            return Some(Self::Address {
                address,
                port: None,
            });
        }
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (entry, None),
        };
        if let Ok(address) = unbracketed(host).parse::<IpAddr>() {
            let address = address.to_canonical();
            return Some(Self::Address { address, port });
        }
        let host = host.trim_end_matches('.');
        let host = host
            .strip_prefix('*')
            .filter(|rest| rest.starts_with('.'))
            .unwrap_or(host);
        if host.trim_matches('.').is_empty() {
            return None;
        }
        let and_itself = !host.starts_with('.');
        let suffix = match and_itself {
            true => format!(".{host}"),
            false => host.to_owned(),
        };
        Some(Self::Name {
            suffix,
            port,
            and_itself,
        })
    }
}

fn unbracketed(text: &str) -> &str {
    let inner = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    inner.unwrap_or(text)
}

fn is_within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            a.to_bits() & mask == n.to_bits() & mask
        }
        (IpAddr::V6(a), IpAddr::V6(n)) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            a.to_bits() & mask == n.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // docker/docs#12463, moby/moby#5989, moby/moby#20366
    #[test]
    fn no_proxy_list_is_read_as_go_reads_it() {
        for (list, url, direct) in [
            ("*", "https://reg.test/", true),
            ("reg.test", "https://reg.test/", true),
            ("reg.test", "https://a.reg.test/", true),
            ("reg.test", "https://xreg.test/", false),
            (".test", "https://reg.test/", true),
            (".reg.test", "https://reg.test/", false),
            ("*.test", "https://reg.test/", true),
            ("*.test", "https://other.example/", false),
            ("*.reg.test", "https://reg.test/", false),
            ("*test", "https://reg.test/", false),
            ("REG.Test.", "https://reg.test/", true),
            ("reg.test", "https://REG.test./", true),
            ("reg.test:443", "https://reg.test/", true),
            ("reg.test:443", "https://reg.test:5000/", false),
            ("reg.test:5000", "https://a.reg.test:5000/", true),
            ("*.test:443", "https://reg.test/", true),
            ("reg.test:port", "https://reg.test/", false),
            ("192.0.2.7", "https://192.0.2.7/", true),
            ("192.0.2.7:443", "https://192.0.2.7/", true),
            ("192.0.2.7:80", "https://192.0.2.7/", false),
            ("192.0.2.0/24", "https://192.0.2.7:5000/", true),
            ("192.0.2.0/24", "https://192.0.3.7/", false),
            ("192.0.2.0/33", "https://192.0.2.7/", false),
            ("0.0.0.0/0", "https://192.0.2.7/", true),
            ("0.0.0.0/0", "https://[2001:db8::7]/", false),
            ("2001:db8::7", "https://[2001:db8::7]/", true),
            ("[2001:db8::7]", "https://[2001:db8::7]/", true),
            ("[2001:DB8:0::7]:443", "https://[2001:db8::7]/", true),
            ("[2001:db8::7]:5000", "https://[2001:db8::7]/", false),
            ("2001:db8::/32", "https://[2001:db8::7]/", true),
            ("::/0", "https://[2001:db8::7]/", true),
            ("a.test , reg.test", "https://reg.test/", true),
            (" a.test\treg.test ", "https://reg.test/", true),
            (",,.", "https://reg.test/", false),
            ("", "https://reg.test/", false),
            // A name that looks like the end of an address matches no address.
            ("2.7", "https://192.0.2.7/", false),
        ] {
            let found = Bypass::parse(list).holds(&Url::parse(url).unwrap());
            assert_eq!(found, direct, "NO_PROXY={list:?} {url}");
        }
    }
}
