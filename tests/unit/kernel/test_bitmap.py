# SPDX-License-Identifier: Apache-2.0
"""The /24 bitmap against brute force."""

from ipaddress import IPv4Network, IPv6Network

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from neurowall.kernel import bitmap
from neurowall.kernel.buckets import Seeds
from neurowall.model.entries import V6

SEEDS = Seeds((0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F), (12345, 67890))

NETWORKS = st.builds(
    lambda address, length: IPv4Network((address, length), strict=False),
    st.integers(0, (1 << 32) - 1),
    st.integers(10, 32),
)


def bit(words: np.ndarray, net: int, plane: int) -> bool:
    """Whether the bit of a /24 is set."""
    return bool(int(words[plane + net // 64]) >> (net % 64) & 1)


def columns(networks: list[IPv4Network]) -> tuple[np.ndarray, np.ndarray]:
    """As the writer takes them: addresses and lengths."""
    return (
        np.array([int(n.network_address) for n in networks], np.uint32),
        np.array([n.prefixlen for n in networks], np.uint8),
    )


@given(st.lists(NETWORKS, max_size=8), st.lists(st.integers(0, (1 << 32) - 1), max_size=20))
@settings(deadline=None, max_examples=100)
def test_bits_are_set_for_what_is_listed_and_nothing_else(
    prefixes: list[IPv4Network], hosts: list[int]
) -> None:
    """Exactly the /24s of hosts have the host bit, those that a prefix touches the prefix bit."""
    words = np.zeros(bitmap.WORDS, np.uint64)
    bitmap.set_nets(words, np.array(hosts, np.uint32) >> np.uint32(8), bitmap.HOSTS)
    bitmap.set_prefixes(words, *columns(prefixes))
    host_nets = {host >> 8 for host in hosts}
    prefix_nets: set[int] = set()
    for network in prefixes:
        prefix_nets |= set(range(int(network[0]) >> 8, (int(network[-1]) >> 8) + 1))
    assert int(np.bitwise_count(words).sum()) == len(host_nets) + len(prefix_nets)
    assert all(bit(words, net, bitmap.HOSTS) for net in host_nets)
    assert all(bit(words, net, bitmap.PREFIXES) for net in prefix_nets)


def test_sweep_clears_what_no_entry_needs() -> None:
    """Stale bits go, needed ones stay, missing ones come back."""
    words = np.zeros(bitmap.WORDS, np.uint64)
    bitmap.set_nets(words, np.array([1, 2, 3], np.uint32), bitmap.HOSTS)
    bitmap.set_prefixes(words, *columns([IPv4Network("10.0.0.0/8"), IPv4Network("192.0.2.128/25")]))
    prefixes, lengths = columns([IPv4Network("192.0.2.128/25")])
    bitmap.sweep(words, np.array([2 << 8 | 77], np.uint32), prefixes, lengths)
    assert bit(words, 2, bitmap.HOSTS)
    assert bit(words, 0xC00002, bitmap.PREFIXES)
    assert int(np.bitwise_count(words).sum()) == 2


def bit6(words: np.ndarray, plane: int, net: int) -> bool:
    """is_marked6 of lists.h in plain integers."""
    number = (SEEDS.multiplier[0] * net + SEEDS.addend[0]) % (1 << 64) >> 44
    return bool(int(words[plane + number // 64]) >> number % 64 & 1)


@given(
    st.lists(
        st.builds(
            lambda address, length: IPv6Network((address, length), strict=False),
            st.integers(0, (1 << 128) - 1),
            st.integers(18, 128),
        ),
        max_size=12,
    )
)
@settings(deadline=None, max_examples=60)
def test_ipv6_bits_are_set_for_all_that_is_listed(networks: list[IPv6Network]) -> None:
    """The /64 of each host and every /32 that a prefix touches; a sweep over nothing clears them all."""
    words = np.zeros(bitmap.WORDS6, np.uint64)
    hosts = [n for n in networks if n.prefixlen == 128]
    prefixes = [n for n in networks if n.prefixlen < 128]
    packed = [np.array([n.network_address.packed for n in part], V6) for part in (hosts, prefixes)]
    lengths = np.array([n.prefixlen for n in prefixes], np.uint8)
    bitmap.set_hosts6(words, packed[0], SEEDS)
    bitmap.set_prefixes6(words, packed[1], lengths, SEEDS)
    assert all(bit6(words, bitmap.HOSTS6, int(n[0]) >> 64) for n in hosts)
    for network in prefixes:
        first, last = int(network[0]) >> 96, int(network[-1]) >> 96
        assert all(bit6(words, bitmap.PREFIXES6, net) for net in range(first, last + 1))
    assert int(np.bitwise_count(words).sum()) <= len(hosts) + sum(
        1 << max(0, 32 - n) for n in lengths.tolist()
    )
    before = words.copy()
    bitmap.sweep6(words, packed[0], packed[1], lengths, SEEDS)
    assert np.array_equal(before, words)
    bitmap.sweep6(words, packed[0][:0], packed[1][:0], lengths[:0], SEEDS)
    assert not words.any()


def test_a_very_short_ipv6_prefix_marks_everything() -> None:
    """Shorter than /12 covers more /32s than there are bits."""
    words = np.zeros(bitmap.WORDS6, np.uint64)
    bitmap.set_prefixes6(words, np.array([bytes(16)], V6), np.array([8], np.uint8), SEEDS)
    assert int(np.bitwise_count(words).sum()) == 1 << 20
