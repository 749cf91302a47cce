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
    numbers = {hashed(SEEDS.multiplier[0] * host) >> 64 - 10 for host in hosts}  # 64 lines of 16 bits
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


@given(st.lists(NETWORKS6, max_size=12))
@settings(deadline=None)
def test_ipv6(networks: list[IPv6Network]) -> None:
    """Each host, each prefix's /48, each /32 that a shorter one touches."""
    words = np.zeros(filters.WORDS6, np.uint64)
    hosts = [n for n in networks if n.prefixlen == 128]
    prefixes = [n for n in networks if n.prefixlen < 128]
    packed = [np.array([n.network_address.packed for n in part], V6) for part in (hosts, prefixes)]
    lengths = np.array([n.prefixlen for n in prefixes], np.uint8)
    filters.set_hosts6(words, packed[0], SEEDS)
    filters.set_prefixes6(words, packed[1], lengths, SEEDS)
    first, second = SEEDS.multiplier
    wanted = set()
    for network in hosts:
        high, low = divmod(int(network[0]), 1 << 64)
        wanted.add(hashed(first * high + second * low) >> 43)
    plane = 64 * filters.PREFIXES6
    for network in prefixes:
        if network.prefixlen >= 48:
            wanted.add(plane + (hashed(first * (int(network[0]) >> 80)) >> 43))
        else:
            nets = range(int(network[0]) >> 96, (int(network[-1]) >> 96) + 1)
            wanted |= {plane + (hashed(second * net) >> 43) for net in nets}
    assert all(bit(words, number) for number in wanted)
    assert set_bits(words) == len(wanted)


@pytest.mark.parametrize("length", [1, 8, 11])
def test_a_very_short_ipv6_prefix_marks_everything(length: int) -> None:
    """It covers at least as many /32s as there are bits."""
    words = np.zeros(filters.WORDS6, np.uint64)
    filters.set_prefixes6(words, np.array([bytes(16)], V6), np.array([length], np.uint8), SEEDS)
    assert set_bits(words) == 1 << 21


def test_correct_stores_what_differs() -> None:
    """Stale bits go, missing ones come, the rest is not touched."""
    words = np.array([1, 2, 3, 4], np.uint64)
    filters.correct(words, np.array([1, 0, 7, 4], np.uint64))
    assert words.tolist() == [1, 0, 7, 4]
