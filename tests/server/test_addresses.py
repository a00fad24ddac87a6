"""Addresses that a download may go to: all that are public, and no other."""

import ipaddress

import pytest

from latefusion.server.addresses import BLOCKED, TABLES, is_public

CLOUDS = (
    *("169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd00:ec2::23"),
    *("100.100.100.200", "168.63.129.16", "192.0.0.192", "169.254.0.23", "169.254.42.42"),
    *("fd20:ce::254", "fd00:42::42", "fe80::a9fe:a9fe", "161.26.0.10", "166.8.1.1", "192.80.8.124"),
)
TUNNELS = (
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:168.63.129.16"),
    *("::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::8.8.8.8", "64:ff9b:1::1", "2002:7f00:1::"),
    *("2002:808:808::", "2001:0:1::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2"),
)


@pytest.mark.parametrize("block", [block for table in TABLES for block in table])
def test_both_ends_of_a_blocked_range_are_not_public(block: str) -> None:
    network = ipaddress.ip_network(block)
    if block != "::ffff:0:0/96":  # judged by the address inside
        assert not is_public(str(network[0]))
    assert not is_public(str(network[-1]))


@pytest.mark.parametrize("address", [*CLOUDS, *TUNNELS])
def test_metadata_and_tunnels_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.8.8.8", "0.0.0.0", "172.31.255.255", "192.168.1.1", "224.0.0.1", "255.255.255.255"),
        *("239.255.255.250", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1", "4000::1", "0200::1"),
        *("3fff:fff::1", "5f00::1", "2001:20::1", "2001:1::1", "100::1", "2620:4f:8000::6"),
    ],
)
def test_other_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("1.1.1.1", "8.8.8.8", "93.184.216.34", "168.63.129.17", "192.0.1.1", "172.32.0.1"),
        *("100.128.0.1", "11.0.0.1", "223.255.255.1", "198.20.0.1", "::ffff:1.1.1.1"),
        *("2606:4700::1111", "2a00:1450:4001::64", "2001:200::1", "3ffe::1", "2003::1"),
    ],
)
def test_addresses_beside_them_are_public(address: str) -> None:
    assert is_public(address)


def test_no_range_is_written_down_twice() -> None:
    assert len(set(BLOCKED)) == sum(len(table) for table in TABLES)
