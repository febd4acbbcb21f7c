//! Names of hosts and domains, and addresses of name servers, which are written into files of `/etc`.

use std::net::{IpAddr, Ipv6Addr};

/// Returns whether `text` is a host name, which can be written into the files of `/etc` without another meaning there.
pub(crate) fn is_name(text: &str) -> bool {
    // HOST_NAME_MAX of Linux.
    text.len() <= 64 && text.split('.').all(is_label)
}

/// Returns whether `text` is a domain to search in. One dot is the root of all domains.
pub(crate) fn is_domain(text: &str) -> bool {
    // The longest name of the domain name system in text.
    let labels = text.strip_suffix('.').unwrap_or(text);
    text == "." || labels.len() <= 253 && labels.split('.').all(is_label)
}

fn is_label(text: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !text.is_empty() && text.bytes().all(valid)
}

/// Returns whether `text` is an address, as resolv.conf(5) takes it: one of IPv6 can have the name of a device after `%`.
pub(crate) fn is_address(text: &str) -> bool {
    let Some((address, device)) = text.split_once('%') else {
        return text.parse::<IpAddr>().is_ok();
    };
    // IFNAMSIZ of Linux counts a zero byte.
    let named = device.len() < 16 && device.split('.').all(is_label);
    named && address.parse::<Ipv6Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_as_long_as_names_in_the_network() {
        let longest = [&*"a".repeat(63); 4].join(".");
        let longest = &longest[..253];
        for domain in [".", "corp.example.", "_tcp.example", longest] {
            assert!(is_domain(domain), "{domain}");
        }
        for text in ["", "..", "a..b", ".a", "a b", &format!("{longest}b")] {
            assert!(!is_domain(text), "{text}");
        }
    }

    #[test]
    fn host_names_have_no_empty_part() {
        for (text, valid) in [
            ("vm-7.example", true),
            (".", false),
            ("..", false),
            ("a.", false),
        ] {
            assert_eq!(is_name(text), valid, "{text}");
        }
    }

    #[test]
    fn address_of_a_device_has_its_name() {
        for (text, valid) in [
            ("10.0.0.1", true),
            ("fe80::1%eth0", true),
            ("fe80::1%eth0.100", true),
            ("fe80::1%", false),
            ("fe80::1%a/b", false),
            ("fe80::1%sixteen-letters-", false),
            ("10.0.0.1%eth0", false),
        ] {
            assert_eq!(is_address(text), valid, "{text}");
        }
    }
}
