//! Which addresses lie in the open Internet: where a server may be sent by people who do not own it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Networks that are not the open Internet, by address and prefix length: IANA's special-purpose
/// registry, multicast, what is reserved, and the platform.
const CLOSED_V4: &[([u8; 4], u32)] = &[
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    // Carrier-grade NAT.
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    // Link-local, with the metadata services of clouds.
    ([169, 254, 0, 0], 16),
    // What Azure answers virtual machines from: an address like any other, and on every host.
    ([168, 63, 129, 16], 32),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];

/// Of IPv6 only this is given out as global unicast. Addresses that hold one of IPv4 (mapped,
/// translated by NAT64) lie outside of it and are refused with it.
const OPEN_V6: (u128, u32) = (0x2000 << 112, 3);

/// Parts of it that are not the open Internet.
const CLOSED_V6: &[(u128, u32)] = &[
    // Protocol assignments, Teredo among them, which holds an address of IPv4.
    (0x2001 << 112, 23),
    // Documentation.
    (0x2001_0db8 << 96, 32),
    (0x3fff << 112, 20),
    // 6to4, which holds an address of IPv4.
    (0x2002 << 112, 16),
];

/// Whether an address lies in the open Internet.
pub fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_global_v4(address),
        IpAddr::V6(address) => is_global_v6(address),
    }
}

fn is_global_v4(address: Ipv4Addr) -> bool {
    let differs = |(network, length): &([u8; 4], u32)| {
        (address.to_bits() ^ u32::from_be_bytes(*network)).leading_zeros() < *length
    };
    CLOSED_V4.iter().all(differs)
}

fn is_global_v6(address: Ipv6Addr) -> bool {
    let within = |(network, length): &(u128, u32)| (address.to_bits() ^ network).leading_zeros() >= *length;
    within(&OPEN_V6) && !CLOSED_V6.iter().any(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_networks_are_told_from_the_open_internet() {
        let closed = "0.0.0.0 0.255.255.255 10.0.0.1 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.254 \
            169.254.169.254 168.63.129.16 172.16.0.1 172.31.255.255 192.0.0.8 192.0.2.1 192.88.99.1 192.168.1.1 \
            198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.7 224.0.0.1 239.255.255.255 240.0.0.1 \
            255.255.255.255 :: ::1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::127.0.0.1 64:ff9b::7f00:1 64:ff9b:1::1 \
            100::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:1ff::1 2001:db8::1 2002:7f00:1::1 3fff::1 \
            4000::1 5f00::1 fc00::1 fd12:3456::1 fe80::1 fec0::1 ff02::1 fd00:ec2::254";
        let open = "1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.1 100.63.255.255 100.128.0.1 126.255.255.255 128.0.0.1 \
            168.63.129.15 168.63.129.17 169.253.255.255 169.255.0.1 172.15.255.255 172.32.0.1 192.0.1.1 \
            192.167.255.255 192.169.0.1 198.17.255.255 198.20.0.1 223.255.255.255 2001:200::1 2001:4860:4860::8888 \
            2606:4700:4700::1111 2a00:1450::1 2003::1 3ffe::1";
        for (addresses, expected) in [(closed, false), (open, true)] {
            for text in addresses.split_whitespace() {
                assert_eq!(is_global(text.parse().unwrap()), expected, "{text}");
            }
        }
    }
}
