# SPDX-License-Identifier: Apache-2.0
import pytest

from neurowall.management.sites import whole_site


@pytest.mark.parametrize(
    ("host", "site"),
    [
        ("2001:db8::7", "2001:db8::/64"),
        ("2001:db8::7/128", "2001:db8::/64"),
        ("2001:db8:0:1:ffff:ffff:ffff:ffff", "2001:db8:0:1::/64"),
        ("2002:c000:201::1", "2002:c000:201::/64"),
        ("2001:1::1", "2001:1::/64"),
    ],
)
def test_a_global_host_has_a_site(host: str, site: str) -> None:
    """The /64 that its holder may use as a whole."""
    assert whole_site(host) == site


@pytest.mark.parametrize(
    "text",
    [
        "203.0.113.7",
        "2001:db8::/48",
        "2001:db8::/127",
        "nonsense:",
        "::1",
        "fe80::1",
        "fd00::1",
        "64:ff9b::cb00:7107",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "ff02::1",
    ],
)
def test_what_has_none(text: str) -> None:
    """IPv4, prefixes, rubbish, and hosts whose /64 is full of strangers: NAT64 would be all of IPv4."""
    assert whole_site(text) is None
