//! Addresses that are not public: the special-purpose registries of IANA, and every way in which an
//! IPv6 address carries an IPv4 address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A row of a registry: first address, prefix length, and whether it is "globally reachable". A row
/// that does not say (deprecated, or "N/A") counts as not reachable.
type Row<T> = (T, u32, bool);

/// <https://www.iana.org/assignments/iana-ipv4-special-registry>, every row, as of 2025-10-09, and
/// multicast (RFC 5771), which has a registry of its own.
const V4: &[Row<Ipv4Addr>] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8, false),
    (Ipv4Addr::new(0, 0, 0, 0), 32, false),
    (Ipv4Addr::new(10, 0, 0, 0), 8, false),
    (Ipv4Addr::new(100, 64, 0, 0), 10, false),
    (Ipv4Addr::new(127, 0, 0, 0), 8, false),
    (Ipv4Addr::new(169, 254, 0, 0), 16, false),
    (Ipv4Addr::new(172, 16, 0, 0), 12, false),
    (Ipv4Addr::new(192, 0, 0, 0), 24, false),
    (Ipv4Addr::new(192, 0, 0, 0), 29, false),
    (Ipv4Addr::new(192, 0, 0, 8), 32, false),
    (Ipv4Addr::new(192, 0, 0, 9), 32, true),
    (Ipv4Addr::new(192, 0, 0, 10), 32, true),
    (Ipv4Addr::new(192, 0, 0, 170), 32, false),
    (Ipv4Addr::new(192, 0, 0, 171), 32, false),
    (Ipv4Addr::new(192, 0, 2, 0), 24, false),
    (Ipv4Addr::new(192, 31, 196, 0), 24, true),
    (Ipv4Addr::new(192, 52, 193, 0), 24, true),
    (Ipv4Addr::new(192, 88, 99, 0), 24, false),
    (Ipv4Addr::new(192, 88, 99, 2), 32, false),
    (Ipv4Addr::new(192, 168, 0, 0), 16, false),
    (Ipv4Addr::new(192, 175, 48, 0), 24, true),
    (Ipv4Addr::new(198, 18, 0, 0), 15, false),
    (Ipv4Addr::new(198, 51, 100, 0), 24, false),
    (Ipv4Addr::new(203, 0, 113, 0), 24, false),
    (Ipv4Addr::new(240, 0, 0, 0), 4, false),
    (Ipv4Addr::new(255, 255, 255, 255), 32, false),
    (Ipv4Addr::new(224, 0, 0, 0), 4, false),
];

/// <https://www.iana.org/assignments/iana-ipv6-special-registry>, every row, as of 2025-10-09. Rows
/// outside [`GLOBAL`] are here so that the table is whole.
const V6: &[Row<Ipv6Addr>] = &[
    (Ipv6Addr::LOCALHOST, 128, false),
    (Ipv6Addr::UNSPECIFIED, 128, false),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, false),
    (NAT64.0, NAT64.1, true),
    (LOCAL_NAT64.0, LOCAL_NAT64.1, false),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64, false),
    (Ipv6Addr::new(0x100, 0, 0, 1, 0, 0, 0, 0), 64, false),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, false),
    (TEREDO.0, TEREDO.1, false),
    (Ipv6Addr::new(0x2001, 1, 0, 0, 0, 0, 0, 1), 128, true),
    (Ipv6Addr::new(0x2001, 1, 0, 0, 0, 0, 0, 2), 128, true),
    (Ipv6Addr::new(0x2001, 1, 0, 0, 0, 0, 0, 3), 128, true),
    (Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0), 48, false),
    (Ipv6Addr::new(0x2001, 3, 0, 0, 0, 0, 0, 0), 32, true),
    (Ipv6Addr::new(0x2001, 4, 0x112, 0, 0, 0, 0, 0), 48, true),
    (Ipv6Addr::new(0x2001, 0x10, 0, 0, 0, 0, 0, 0), 28, false),
    (Ipv6Addr::new(0x2001, 0x20, 0, 0, 0, 0, 0, 0), 28, true),
    (Ipv6Addr::new(0x2001, 0x30, 0, 0, 0, 0, 0, 0), 28, true),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, false),
    (SIX_TO_FOUR.0, SIX_TO_FOUR.1, false),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48, true),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, false),
    (Ipv6Addr::new(0x5f00, 0, 0, 0, 0, 0, 0, 0), 16, false),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, false),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, false),
];

/// All of IPv6 that is handed out for use between networks (RFC 4291, 2.4). Nothing outside is
/// public, the well-known prefix of NAT64 apart: not the old site-local addresses (`fec0::/10`), not
/// multicast, not the wrappings of IPv4 in `::/8`.
const GLOBAL: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// RFC 6052: the last 32 bits are an IPv4 address.
const NAT64: (Ipv6Addr, u32) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);
/// RFC 8215: an IPv4 address in any of the layouts of RFC 6052.
const LOCAL_NAT64: (Ipv6Addr, u32) = (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48);
/// RFC 4380: server in bits 32 to 63, client in the last 32, inverted.
const TEREDO: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32);
/// RFC 3056: an IPv4 address in bits 16 to 47.
const SIX_TO_FOUR: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16);
/// RFC 4291, RFC 2765: `::a.b.c.d`, `::ffff:a.b.c.d` and `::ffff:0:a.b.c.d` begin so.
const WRAPPED: (Ipv6Addr, u32) = (Ipv6Addr::UNSPECIFIED, 64);

/// Addresses at which clouds answer a machine with its own credentials or configuration, besides
/// the link-local ones: Azure, Oracle, Alibaba, Amazon with the agent of its clusters, Google, Scaleway, Akamai.
const METADATA: &[IpAddr] = &[
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x100, 0, 0, 0, 0, 0x100, 0x200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1)),
];

/// Whether `address` means something else in every network: loopback, private, documentation,
/// multicast and so on, in whatever IPv6 address it is wrapped.
pub(crate) fn is_internal(address: IpAddr) -> bool {
    is_off_limits(address)
        || match address {
            IpAddr::V4(v4) => is_internal_v4(v4),
            IpAddr::V6(v6) => is_internal_v6(v6),
        }
}

/// Whether `address` is link-local or a cloud's metadata service, in whatever IPv6 address it is
/// wrapped. No registry has business there.
pub(crate) fn is_off_limits(address: IpAddr) -> bool {
    METADATA.contains(&address)
        || match address {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => {
                v6.is_unicast_link_local() || carried(v6).any(|v4| is_off_limits(v4.into()))
            }
        }
}

/// Whether a connection to `address` may end at this very machine: loopback, or the unspecified address, which Linux
/// takes for it, in whatever IPv6 address it is wrapped.
pub(crate) fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.octets()[0] == 0,
        IpAddr::V6(v6) => {
            v6.is_loopback() || v6.is_unspecified() || carried(v6).any(|v4| is_loopback(v4.into()))
        }
    }
}

fn is_internal_v4(address: Ipv4Addr) -> bool {
    is_reachable(V4, address.to_bits(), |row| row.to_bits(), Ipv4Addr::BITS) == Some(false)
}

fn is_internal_v6(address: Ipv6Addr) -> bool {
    // These are connections to the IPv4 address itself.
    if address.to_ipv4_mapped().is_some() || is_in(address, NAT64) {
        return carried(address).any(is_internal_v4);
    }
    !is_in(address, GLOBAL)
        || is_reachable(V6, address.to_bits(), |row| row.to_bits(), Ipv6Addr::BITS) == Some(false)
        || carried(address).any(is_internal_v4)
}

/// Returns the most specific row of `table` for an address of `bits` bits.
fn is_reachable<T: Copy, N>(
    table: &[Row<T>],
    address: N,
    number: impl Fn(T) -> N,
    bits: u32,
) -> Option<bool>
where
    N: Copy + PartialEq + std::ops::Shr<u32, Output = N>,
{
    table
        .iter()
        .filter(|(first, length, _)| {
            let host = bits - length;
            // Every row has a prefix of at least one bit, so that the shift is always in range.
            address >> host == number(*first) >> host
        })
        .max_by_key(|(_, length, _)| *length)
        .map(|(_, _, reachable)| *reachable)
}

fn is_in(address: Ipv6Addr, (prefix, length): (Ipv6Addr, u32)) -> bool {
    let host = Ipv6Addr::BITS - length;
    address.to_bits() >> host == prefix.to_bits() >> host
}

/// Returns every IPv4 address that `address` may embed, in any of the forms in use.
fn carried(address: Ipv6Addr) -> impl Iterator<Item = Ipv4Addr> {
    let s = address.segments();
    let last = pair(s[6], s[7]);
    let is_isatap = matches!(s[4] & 0xfdff, 0) && s[5] == 0x5efe;
    let is_wrapped = is_in(address, WRAPPED) && s[4..6] != [0, 0]
        // Not `::` and `::1`, which are addresses of their own.
        || is_in(address, (Ipv6Addr::UNSPECIFIED, 96)) && s[6] != 0;
    let local = is_in(address, LOCAL_NAT64);
    let teredo = is_in(address, TEREDO);
    // Where a prefix is shorter than 96 bits, bits 64 to 71 are left out.
    let [_, s3] = s[3].to_be_bytes();
    let [_, s4] = s[4].to_be_bytes();
    let [s5, s5_low] = s[5].to_be_bytes();
    let [s6, _] = s[6].to_be_bytes();
    let forms = [
        (is_wrapped || is_isatap || local || is_in(address, NAT64)).then_some(last),
        is_in(address, SIX_TO_FOUR).then(|| pair(s[1], s[2])),
        teredo.then(|| pair(s[2], s[3])),
        teredo.then(|| Ipv4Addr::from_bits(!last.to_bits())),
        local.then(|| pair(s[3], u16::from_be_bytes([s4, s5]))),
        local.then(|| Ipv4Addr::new(s3, s4, s5, s5_low)),
        local.then(|| Ipv4Addr::new(s4, s5, s5_low, s6)),
    ];
    forms.into_iter().flatten()
}

fn pair(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// The first and the last address of each row, and the neighbors outside it, by the registries
    /// as they are published and not by the constants above.
    #[test]
    fn every_row_of_the_special_registries_is_followed() {
        for (first, last, internal) in [
            ("0.0.0.0", "0.255.255.255", true),
            ("10.0.0.0", "10.255.255.255", true),
            ("100.64.0.0", "100.127.255.255", true),
            ("127.0.0.0", "127.255.255.255", true),
            ("169.254.0.0", "169.254.255.255", true),
            ("172.16.0.0", "172.31.255.255", true),
            ("192.0.0.0", "192.0.0.7", true),
            ("192.0.0.8", "192.0.0.8", true),
            ("192.0.0.9", "192.0.0.10", false),
            ("192.0.0.11", "192.0.0.255", true),
            ("192.0.0.170", "192.0.0.171", true),
            ("192.0.2.0", "192.0.2.255", true),
            ("192.31.196.0", "192.31.196.255", false),
            ("192.52.193.0", "192.52.193.255", false),
            ("192.88.99.0", "192.88.99.255", true),
            ("192.88.99.2", "192.88.99.2", true),
            ("192.168.0.0", "192.168.255.255", true),
            ("192.175.48.0", "192.175.48.255", false),
            ("198.18.0.0", "198.19.255.255", true),
            ("198.51.100.0", "198.51.100.255", true),
            ("203.0.113.0", "203.0.113.255", true),
            ("224.0.0.0", "239.255.255.255", true),
            ("240.0.0.0", "255.255.255.254", true),
            ("255.255.255.255", "255.255.255.255", true),
            ("::", "::1", true),
            ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", true),
            ("100::", "100::ffff:ffff:ffff:ffff", true),
            ("100:0:0:1::", "100:0:0:1:ffff:ffff:ffff:ffff", true),
            ("2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff", true),
            ("2001:1::1", "2001:1::3", false),
            ("2001:1::4", "2001:1:ffff:ffff:ffff:ffff:ffff:ffff", true),
            ("2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff", true),
            ("2001:3::", "2001:3:ffff:ffff:ffff:ffff:ffff:ffff", false),
            ("2001:4:112::", "2001:4:112:ffff:ffff:ffff:ffff:ffff", false),
            ("2001:4:113::", "2001:f:ffff:ffff:ffff:ffff:ffff:ffff", true),
            ("2001:10::", "2001:1f:ffff:ffff:ffff:ffff:ffff:ffff", true),
            ("2001:20::", "2001:2f:ffff:ffff:ffff:ffff:ffff:ffff", false),
            ("2001:30::", "2001:3f:ffff:ffff:ffff:ffff:ffff:ffff", false),
            ("2001:40::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", true),
            ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", true),
            ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true),
            (
                "2620:4f:8000::",
                "2620:4f:8000:ffff:ffff:ffff:ffff:ffff",
                false,
            ),
            ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", true),
            ("5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true),
            ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true),
            ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true),
            ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true),
            ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true),
            // Neighbors.
            ("1.0.0.0", "9.255.255.255", false),
            ("100.63.255.255", "100.63.255.255", false),
            ("100.128.0.0", "126.255.255.255", false),
            ("128.0.0.0", "169.253.255.255", false),
            ("169.255.0.0", "172.15.255.255", false),
            ("172.32.0.0", "191.255.255.255", false),
            ("192.0.1.0", "192.0.1.255", false),
            ("192.0.3.0", "192.88.98.255", false),
            ("192.88.100.0", "192.167.255.255", false),
            ("192.169.0.0", "198.17.255.255", false),
            ("198.20.0.0", "198.51.99.255", false),
            ("198.51.101.0", "203.0.112.255", false),
            ("203.0.114.0", "223.255.255.255", false),
            ("2000::", "2000:ffff::", false),
            ("2001:200::", "2001:db7:ffff::", false),
            ("2001:db9::", "2001:ffff::", false),
            ("2003::", "3ffe:ffff::", false),
            ("3fff:1000::", "3fff:ffff::", false),
            ("4000::", "5eff:ffff::", true),
            ("6000::", "fbff:ffff::", true),
        ] {
            for address in [first, last] {
                assert_eq!(is_internal(parse(address)), internal, "{address}");
            }
        }
    }

    #[test]
    fn loopback_is_known_in_every_wrapping() {
        for (address, loopback) in [
            ("127.0.0.1", true),
            ("127.255.255.254", true),
            ("0.0.0.0", true),
            ("0.1.2.3", true),
            ("::", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("::ffff:0.0.0.0", true),
            ("::127.0.0.1", true),
            ("64:ff9b::7f00:1", true),
            ("2002:7f00:1::", true),
            ("10.0.0.1", false),
            ("126.255.255.255", false),
            ("128.0.0.1", false),
            ("::ffff:10.0.0.1", false),
            ("fd00::1", false),
            ("2a00:1450:4001:830::200e", false),
        ] {
            assert_eq!(is_loopback(parse(address)), loopback, "{address}");
        }
    }

    #[test]
    fn an_internal_ipv4_address_is_found_in_every_wrapping() {
        for (address, internal, off_limits) in [
            ("::ffff:127.0.0.1", true, false),
            ("::ffff:8.8.8.8", false, false),
            ("::ffff:169.254.169.254", true, true),
            ("::ffff:168.63.129.16", true, true),
            // IPv4-compatible and IPv4-translated: never public, whatever they carry.
            ("::127.0.0.1", true, false),
            ("::169.254.169.254", true, true),
            ("::8.8.8.8", true, false),
            ("::ffff:0:127.0.0.1", true, false),
            ("::ffff:0:169.254.169.254", true, true),
            ("64:ff9b::10.0.0.1", true, false),
            ("64:ff9b::169.254.169.254", true, true),
            ("64:ff9b::100.100.100.200", true, true),
            ("64:ff9b::8.8.8.8", false, false),
            ("64:ff9b::1:808:808", true, false),
            // RFC 6052 with prefixes of 96, 64, 56 and 48 bits.
            ("64:ff9b:1::169.254.169.254", true, true),
            ("64:ff9b:1:0:a9:fea9:fe00:0", true, true),
            ("64:ff9b:1:a9:fe:a9fe::", true, true),
            ("64:ff9b:1:a9fe:a9:fe00::", true, true),
            ("2002:7f00:1::", true, false),
            ("2002:a9fe:a9fe::1", true, true),
            ("2002:808:808::1", true, false),
            ("2001:0:a9fe:a9fe::", true, true),
            ("2001::5601:5601", true, true),
            ("2001:0:808:808::f7f7:f7f7", true, false),
            ("fe80::5efe:10.0.0.1", true, true),
            ("2a00:1450::5efe:10.0.0.1", true, false),
            ("2a00:1450::200:5efe:169.254.169.254", true, true),
            ("2a00:1450::5efe:8.8.8.8", false, false),
            ("2a00:1450:4001:830::200e", false, false),
            ("fd00:ec2::254", true, true),
            ("fd20:ce::254", true, true),
            ("fd00:ec2::23", true, true),
            ("fd00:c1::a9fe:a9fe", true, true),
            ("fd00:100::100:200", true, true),
            ("fd00:42::42", true, true),
            ("fd00:a9fe:a9fe::1", true, true),
            ("fd00::1", true, false),
            ("168.63.129.16", true, true),
            ("192.0.0.192", true, true),
            ("100.100.100.200", true, true),
            ("169.254.0.1", true, true),
            ("10.0.0.1", true, false),
            ("::1", true, false),
            ("::", true, false),
            ("93.184.216.34", false, false),
        ] {
            let parsed = parse(address);
            assert_eq!(is_internal(parsed), internal, "{address}");
            assert_eq!(is_off_limits(parsed), off_limits, "{address}");
        }
    }
}
