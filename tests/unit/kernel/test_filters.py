# SPDX-License-Identifier: Apache-2.0
"""The filters in front of the lists against plain integers."""

from ipaddress import IPv4Network, IPv6Network

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurowall.kernel import filters
from neurowall.kernel.buckets import Seeds
from neurowall.model.entries import V6

SEEDS = Seeds((0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F), (12345, 67890))
LINES = 64
NETWORKS4 = st.builds(
    lambda address, length: IPv4Network((address, length), strict=False),
    st.integers(0, (1 << 32) - 1),
    st.integers(8, 31),
)
NETWORKS6 = st.builds(
    lambda address, length: IPv6Network((address, length), strict=False),
    st.integers(0, (1 << 128) - 1),
    st.integers(20, 128),
)


def bit(words: np.ndarray, number: int) -> bool:
    """Whether a bit is set."""
    return bool(int(words[number // 64]) >> number % 64 & 1)


def hashed(product: int, choice: int = 0) -> int:
    """The hash of lists.h in plain integers."""
    return (product + SEEDS.addend[choice]) % (1 << 64)


def set_bits(words: np.ndarray) -> int:
    """How many bits are set."""
    return int(np.bitwise_count(words).sum())


@given(st.lists(st.integers(0, (1 << 32) - 1), max_size=40))
@settings(deadline=None)
def test_ipv4_hosts(hosts: list[int]) -> None:
    """The bit of each host's hash is set, and no other."""
    words = np.zeros(filters.words_for(LINES), np.uint64)
    filters.set_hosts4(words, np.array(hosts, np.uint32), SEEDS)
    numbers = {hashed(SEEDS.multiplier[0] * host) >> 64 - 9 for host in hosts}  # 64 lines of 8 bits
    assert all(bit(words, number) for number in numbers)
    assert set_bits(words) == len(numbers)


@given(st.lists(NETWORKS4, max_size=8))
@settings(deadline=None)
def test_ipv4_prefixes(networks: list[IPv4Network]) -> None:
    """Each /22 that a prefix touches, and no other."""
    words = np.zeros(filters.WORDS, np.uint64)
    filters.set_prefixes4(
        words,
        np.array([int(n[0]) for n in networks], np.uint32),
        np.array([n.prefixlen for n in networks], np.uint8),
    )
    touched: set[int] = set()
    for network in networks:
        touched |= set(range(int(network[0]) >> 10, (int(network[-1]) >> 10) + 1))
    assert set_bits(words) == len(touched)
    assert all(bit(words, number) for number in touched)


def hashed6(network: IPv6Network) -> int:
    """The first hash of an entry, as lists6.h has it, in plain integers."""
    high, low = divmod(int(network[0]), 1 << 64)
    product = SEEDS.multiplier[0] * high + SEEDS.multiplier[1] * low
    return hashed(product + SEEDS.addend[1] * network.prefixlen)


def columns6(networks: list[IPv6Network]) -> tuple[np.ndarray, np.ndarray]:
    """Addresses and lengths."""
    packed = np.array([n.network_address.packed for n in networks], V6)
    return packed, np.array([n.prefixlen for n in networks], np.uint8)


@given(st.lists(NETWORKS6, max_size=12))
@settings(deadline=None)
def test_ipv6(networks: list[IPv6Network]) -> None:
    """Each entry's own bit, hosts and prefixes in planes of their own."""
    words = np.zeros(filters.WORDS6, np.uint64)
    hosts = [n for n in networks if n.prefixlen == 128]
    prefixes = [n for n in networks if n.prefixlen < 128]
    filters.set_hosts6(words, columns6(hosts)[0], SEEDS)
    filters.set_prefixes6(words, *columns6(prefixes), SEEDS)
    wanted = {hashed6(network) >> 43 for network in hosts}
    wanted |= {64 * filters.PREFIXES6 + (hashed6(network) >> 43) for network in prefixes}
    assert all(bit(words, number) for number in wanted)
    assert set_bits(words) == len(wanted)


def lengths_at(pairs: np.ndarray, net: int) -> set[int]:
    """The lengths noted for a /32, read as lists6.h says: bit b is 128 - b, or 64 - b in the lower half."""
    element = hashed(SEEDS.multiplier[1] * net, 1) >> 49
    upper, lower = (int(half) for half in pairs[element])
    noted = {128 - b for b in range(1, 64) if upper >> b & 1} | {64 - b for b in range(64) if lower >> b & 1}
    return noted | ({0} if upper & 1 else set())


@given(st.lists(NETWORKS6, max_size=6), st.integers(0, (1 << 32) - 1))
@settings(deadline=None)
def test_lengths_of_ipv6_prefixes(networks: list[IPv6Network], elsewhere: int) -> None:
    """Every /32 that a prefix touches knows its length; one of another hash knows nothing of it."""
    prefixes = [n for n in networks if n.prefixlen < 128]
    pairs = np.zeros((filters.LENGTHS6, 2), np.uint64)
    filters.set_lengths6(pairs, *columns6(prefixes), SEEDS)
    touched: dict[int, set[int]] = {}
    for network in prefixes:
        for net in range(int(network[0]) >> 96, (int(network[-1]) >> 96) + 1):
            touched.setdefault(net, set()).add(network.prefixlen)
    for net, lengths in touched.items():
        assert lengths <= lengths_at(pairs, net)
    by_element: dict[int, set[int]] = {}
    for net, lengths in touched.items():
        by_element.setdefault(hashed(SEEDS.multiplier[1] * net, 1) >> 49, set()).update(lengths)
    element = hashed(SEEDS.multiplier[1] * elsewhere, 1) >> 49
    assert lengths_at(pairs, elsewhere) == by_element.get(element, set())


@pytest.mark.parametrize("length", [0, 1, 8, 16])
def test_a_very_short_ipv6_prefix_is_noted_everywhere(length: int) -> None:
    """It covers more /32s than there are elements."""
    pairs = np.zeros((filters.LENGTHS6, 2), np.uint64)
    filters.set_lengths6(pairs, np.array([bytes(16)], V6), np.array([length], np.uint8), SEEDS)
    assert set_bits(pairs) == filters.LENGTHS6
    assert lengths_at(pairs, 0x20010DB8) == {length}


@pytest.mark.parametrize("count", [1, 100, 5000, 20_000])
def test_many_bits_are_set_as_few_are(count: int) -> None:
    """Whatever way they are found, and what was set stays."""
    numbers = np.random.default_rng(count).integers(0, 1 << 16, count).astype(np.uint64)
    words = np.zeros(2048, np.uint64)
    words[1024] = 1
    filters.set_bits(words, numbers, plane=1024)
    wanted = {int(number) + 64 * 1024 for number in numbers} | {64 * 1024}
    assert set_bits(words) == len(wanted)
    assert all(bit(words, number) for number in wanted)


def test_correct_stores_what_differs() -> None:
    """Stale bits go, missing ones come, the rest is not touched."""
    words = np.array([1, 2, 3, 4], np.uint64)
    filters.correct(words, np.array([1, 0, 7, 4], np.uint64))
    assert words.tolist() == [1, 0, 7, 4]
