# SPDX-License-Identifier: Apache-2.0
from ipaddress import ip_network

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurowall.model.address import InvalidEntry
from neurowall.model.entries import Entries, EntrySet, clear_host_bits, last_address

V4_TEXTS = st.builds(
    lambda a, n: str(ip_network((a, n), strict=False)), st.integers(0, 2**32 - 1), st.integers(1, 32)
)
V6_TEXTS = st.builds(
    lambda a, n: str(ip_network((a | 1 << 127, n), strict=False)),
    st.integers(0, 2**128 - 1),
    st.integers(1, 128),
)
TEXTS = st.lists(V4_TEXTS | V6_TEXTS, max_size=30)


def order(text: str) -> tuple[int, int, int]:
    """The sort key of an entry."""
    network = ip_network(text)
    return network.version, network.prefixlen, int(network.network_address)


def shown(texts: set[str]) -> list[str]:
    """What a set of entries is to be written as."""
    return [text.removesuffix("/32" if ":" not in text else "/128") for text in sorted(texts, key=order)]


class TestEntrySet:
    @given(TEXTS)
    def test_is_sorted_and_unique(self, texts: list[str]) -> None:
        """Entries come out by family, length and address, each once."""
        assert EntrySet.from_strings(texts * 2).to_strings() == shown(set(texts))

    @given(TEXTS, TEXTS)
    def test_union_and_minus(self, one: list[str], other: list[str]) -> None:
        """Set operations are those of sets of strings."""
        left, right = EntrySet.from_strings(one), EntrySet.from_strings(other)
        assert left.union(right).to_strings() == shown(set(one) | set(other))
        assert left.minus(right).to_strings() == shown(set(one) - set(other))

    def test_trailing_zero_bytes_survive(self) -> None:
        """IPv6 addresses that end in zero bytes, which numpy cuts from single elements, keep them."""
        texts = ["2001:db8::/32", "2001:db8:0:1::/64", "::", "2001:db8::"]
        assert set(EntrySet.from_strings(texts).to_strings()) == set(texts)

    def test_names_the_text_that_is_no_entry(self) -> None:
        """One bad text is refused by name."""
        with pytest.raises(InvalidEntry, match=r"'192\.0\.2\.999'"):
            EntrySet.from_strings(["192.0.2.1", "192.0.2.999"])

    def test_len_counts_both_families(self) -> None:
        """The size is that of both families together."""
        assert len(EntrySet.from_strings(["192.0.2.1", "2001:db8::1", "192.0.2.1"])) == 2


class TestEntries:
    def test_cannot_be_written(self) -> None:
        """Entries never change: their arrays are read-only, and the caller's own stay writable."""
        mine = np.array([1, 2], np.uint32)
        entries = Entries(4, mine, np.full(2, 32, np.uint8))
        with pytest.raises(ValueError, match="read-only"):
            entries.address[0] = 9
        mine[0] = 3

    def test_refuses_a_wrong_dtype(self) -> None:
        """A column of the wrong type or shape is an error at once."""
        with pytest.raises(ValueError, match="uint32"):
            Entries(4, np.array([1], np.int64), np.array([32], np.uint8))
        with pytest.raises(ValueError, match="length"):
            Entries(4, np.array([1], np.uint32), np.array([32, 32], np.uint8))

    def test_make_clears_host_bits(self) -> None:
        """Rows in any order become clean entries."""
        entries = Entries.make(4, np.array([0x0A000001, 0x0A000002], np.uint32), np.array([24, 24], np.uint8))
        assert [str(row) for row in entries.rows()] == ["10.0.0.0/24"]

    def test_segments_and_hosts(self) -> None:
        """Rows of one length are one run."""
        entries = EntrySet.from_strings(["10.0.0.0/8", "10.0.0.1", "10.0.0.2", "10.1.0.0/16"]).v4
        assert entries.segments() == [(8, slice(0, 1)), (16, slice(1, 2)), (32, slice(2, 4))]
        assert entries.hosts == 2

    def test_comparison(self) -> None:
        """Equal content is equal; family, address and length all count."""
        one = EntrySet.from_strings(["10.0.0.0/8"])
        assert one == EntrySet.from_strings(["10.0.0.0/8"])
        assert one.v4 != EntrySet.from_strings(["10.0.0.0/9"]).v4
        assert Entries.empty(4) != Entries.empty(6)


@given(st.integers(0, 2**128 - 1), st.integers(0, 128))
def test_first_and_last_address(value: int, length: int) -> None:
    """The bounds of a prefix are those that ipaddress gives, for both families."""
    for family, bits in ((4, 32), (6, 128)):
        low, size = value & ((1 << bits) - 1), min(length, bits)
        network = ip_network((low.to_bytes(bits // 8, "big"), size), strict=False)
        packed = low.to_bytes(16, "big")
        address = np.array([low], np.uint32) if family == 4 else np.array([packed], "S16")
        for got, expected in (
            (clear_host_bits(family, address, size), network.network_address),
            (last_address(family, address, size), network.broadcast_address),
        ):
            number = int(got[0]) if family == 4 else int.from_bytes(bytes(got[0]).ljust(16, b"\0"), "big")
            assert number == int(expected)
