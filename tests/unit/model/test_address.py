# SPDX-License-Identifier: Apache-2.0
from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurowall.model.address import InvalidEntry, format_entry, parse_address, parse_entry


class TestParseEntry:
    @pytest.mark.parametrize(
        ("text", "family", "value", "length"),
        [
            ("192.0.2.1", 4, 0xC0000201, 32),
            ("0.0.0.0", 4, 0, 32),
            ("255.255.255.255", 4, 0xFFFFFFFF, 32),
            ("198.51.100.0/24", 4, 0xC6336400, 24),
            ("128.0.0.0/1", 4, 0x80000000, 1),
            ("2001:db8::1", 6, 0x20010DB8 << 96 | 1, 128),
            ("2001:DB8::/32", 6, 0x20010DB8 << 96, 32),
            ("::", 6, 0, 128),
            ("::1", 6, 1, 128),
            ("1:2:3:4:5:6:7::", 6, 0x00010002000300040005000600070000, 128),
            ("64:ff9b::192.0.2.33", 6, 0x64FF9B << 96 | 0xC0000221, 128),
        ],
    )
    def test_reads(self, text: str, family: int, value: int, length: int) -> None:
        """Reads plain addresses and prefixes of both families."""
        assert parse_entry(text) == (family, value, length, False)

    def test_clears_host_bits_and_says_so(self) -> None:
        """Bits beyond the length are cleared and reported."""
        assert parse_entry("192.0.2.77/24") == (4, 0xC0000200, 24, True)
        assert parse_entry("2001:db8::1/64") == (6, 0x20010DB8 << 96, 64, True)

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("", "not an IPv4 or IPv6"),
            ("192.0.2.010", "leading zero"),
            ("192.0.2.256", "above 255"),
            ("192.0.2.1/33", "above 32"),
            ("2001:db8::/129", "above 128"),
            ("192.0.2.1/0", "covers every address"),
            ("::/0", "covers every address"),
            ("192.0.2.0/024", "plain number"),
            ("192.0.2.0/", "plain number"),
            ("192.0.2.0/+8", "plain number"),
            ("192.0.2.0/24/24", "plain number"),
            ("192.0.2.0/255.255.255.0", "netmask"),
            ("192.0.2", "short or hexadecimal"),
            ("0x7f.0.0.1", "short or hexadecimal"),
            ("3221225985", "short or hexadecimal"),
            ("192.0.2.1-192.0.2.9", "range"),
            ("fe80::1%eth0", "zone id"),
            ("::ffff:192.0.2.1", "IPv4-mapped"),
            ("::ffff:0:0/96", "IPv4-mapped"),
            ("[2001:db8::1]", "brackets"),
            ("192.0.2.1:80", "port"),
            ("bad.example.com", "host names"),
            ("localhost", "host names"),
            ("192.0.2.\u0661", "characters"),
            ("192.0.2.1\x00", "characters"),
            ("1:2:3:4:5:6:7:8:9", "not an IPv4 or IPv6"),
            ("1:2:3:4:5:6:7", "not an IPv4 or IPv6"),
            ("1:2:3:4:5:6:7:8::", "not an IPv4 or IPv6"),
            ("1::2::3", "not an IPv4 or IPv6"),
            (":::", "not an IPv4 or IPv6"),
            (":1::", "not an IPv4 or IPv6"),
            ("12345::", "not an IPv4 or IPv6"),
            ("2001:db8::g", "not an IPv4 or IPv6"),
        ],
    )
    def test_refuses(self, text: str, why: str) -> None:
        """Everything ambiguous or wrong is refused with its own reason."""
        with pytest.raises(InvalidEntry, match=why):
            parse_entry(text)

    @given(st.text(alphabet="0123456789abcdef:.", max_size=42))
    def test_reads_ipv6_as_the_standard_library_does(self, text: str) -> None:
        """What looks like IPv6 is read exactly when ipaddress reads it, with the same value."""
        if ":" not in text:
            return
        try:
            expected = int(IPv6Address(text))
        except ValueError:
            with pytest.raises(InvalidEntry):
                parse_entry(text)
        else:
            if expected >> 32 != 0xFFFF:
                assert parse_entry(text)[:3] == (6, expected, 128)

    @given(st.integers(0, 2**128 - 1))
    def test_reads_what_it_writes(self, value: int) -> None:
        """Writing and reading an address gives it back."""
        if value >> 32 != 0xFFFF:
            assert parse_entry(format_entry(6, value, 128)) == (6, value, 128, False)
        low = value & 0xFFFFFFFF
        assert parse_entry(format_entry(4, low, 32)) == (4, low, 32, False)


def test_parse_address_refuses_a_prefix() -> None:
    """A question about an address takes one address."""
    assert parse_address("192.0.2.1/32").value == 0xC0000201
    with pytest.raises(InvalidEntry, match="one address"):
        parse_address("192.0.2.0/24")
