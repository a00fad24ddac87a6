"""Addresses on the public internet, told from those inside a network or a host."""

import ipaddress
from collections.abc import Mapping

# The special-purpose registries of IANA (RFC 6890, RFC 8190), as of October 2024, also where they
# call a block globally reachable: no photos lie there.
# https://www.iana.org/assignments/iana-ipv4-special-registry
# https://www.iana.org/assignments/iana-ipv6-special-registry
IANA = {
    "0.0.0.0/8": "this network, RFC 791",
    "10.0.0.0/8": "private, RFC 1918",
    "100.64.0.0/10": "shared by carriers, RFC 6598; Alibaba's metadata, 100.100.100.200",
    "127.0.0.0/8": "loopback, RFC 1122",
    "169.254.0.0/16": "link local, RFC 3927; metadata of most clouds, 169.254.169.254",
    "172.16.0.0/12": "private, RFC 1918",
    "192.0.0.0/24": "protocol assignments, RFC 6890; Oracle's metadata, 192.0.0.192",
    "192.0.2.0/24": "documentation, RFC 5737",
    "192.31.196.0/24": "AS112, RFC 7535",
    "192.52.193.0/24": "AMT, RFC 7450",
    "192.88.99.0/24": "relays of 6to4, RFC 7526",
    "192.168.0.0/16": "private, RFC 1918",
    "192.175.48.0/24": "AS112, RFC 7534",
    "198.18.0.0/15": "benchmarks, RFC 2544",
    "198.51.100.0/24": "documentation, RFC 5737",
    "203.0.113.0/24": "documentation, RFC 5737",
    "240.0.0.0/4": "reserved, RFC 1112; broadcast, RFC 919",
    "::1/128": "loopback, RFC 4291",
    "::/128": "unspecified, RFC 4291",
    "::ffff:0:0/96": "IPv4-mapped, RFC 4291",
    "64:ff9b::/96": "NAT64, which leads to an IPv4 address, RFC 6052",
    "64:ff9b:1::/48": "NAT64 inside a network, RFC 8215",
    "100::/64": "discarded, RFC 6666",
    "100:0:0:1::/64": "dummy, RFC 9780",
    "2001::/23": "protocol assignments with Teredo, ORCHID and benchmarks, RFC 2928",
    "2001:db8::/32": "documentation, RFC 3849",
    "2002::/16": "6to4, which leads to an IPv4 address, RFC 3056",
    "2620:4f:8000::/48": "AS112, RFC 7534",
    "3fff::/20": "documentation, RFC 9637",
    "5f00::/16": "segment routing, RFC 9602",
    "fc00::/7": "unique local, RFC 4193; Amazon's metadata, fd00:ec2::254, and Google's",
    "fe80::/10": "link local, RFC 4291",
}
# Outside of these registries.
# https://www.iana.org/assignments/multicast-addresses and ipv6-address-space
OTHERS = {
    "224.0.0.0/4": "multicast, RFC 5771",
    "ff00::/8": "multicast, RFC 4291",
    "::/96": "IPv4-compatible, RFC 4291",
    "fec0::/10": "site local, RFC 3879",
}
# Public in form, but answered by the host or the network of a cloud, with secrets for its machines.
# As of 2025, from the documentation of each cloud.
CLOUDS = {
    "168.63.129.16/32": "Azure: learn.microsoft.com, What is IP address 168.63.129.16?",
    "161.26.0.0/16": "IBM: cloud.ibm.com/docs/vpc?topic=vpc-service-endpoints-for-vpc",
    "166.8.0.0/14": "IBM: cloud.ibm.com/docs/vpc?topic=vpc-service-endpoints-for-vpc",
    "192.80.8.124/32": "Equinix Metal: metadata.platformequinix.com",
}
TABLES: tuple[Mapping[str, str], ...] = (IANA, OTHERS, CLOUDS)
BLOCKED = tuple(ipaddress.ip_network(block) for table in TABLES for block in table)
UNICAST = ipaddress.ip_network("2000::/3")  # all of IPv6 that is given out


def is_public(address: str) -> bool:
    """True if an IP address is on the public internet, and does not tunnel to another address."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped:
            return is_public(str(ip.ipv4_mapped))
        if ip not in UNICAST:
            return False
    return ip.is_global and not any(ip in block for block in BLOCKED)
