# SPDX-License-Identifier: Apache-2.0
"""The bitmaps in front of the lists: two planes of bits in words of 64, one for hosts, one for prefixes.

IPv4 has a bit for each /24; IPv6 one for each of 2^20 hashes, of the /64 for hosts, of the /32 for prefixes.

A clear bit promises that nothing of its kind is listed there; a set one promises nothing and
costs a lookup. So bits are set before an entry is written, and cleared only by a sweep over what is
really there, after the entries are gone.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurowall.kernel.buckets import Seeds

HOSTS, PREFIXES, WORDS = 0, 1 << 18, 1 << 19  # NW_BITMAP_*: first word of each plane, and all words
_EVERY = np.uint64(0xFFFFFFFFFFFFFFFF)

HOSTS6, PREFIXES6, WORDS6 = 0, 1 << 14, 1 << 15  # NW_BITMAP6_*
_SHIFT6 = np.uint64(44)  # NW_BITMAP6_SHIFT
_BITS6 = 1 << 20

Array = NDArray[Any]
Nets = NDArray[np.uint32]
Words = NDArray[np.uint64]


def set_nets(words: Words, nets: Nets, plane: int) -> None:
    """Set the bits of these /24s (address >> 8) in one plane."""
    nets = np.unique(nets)
    index = (nets >> np.uint32(6)).astype(np.intp) + plane
    bits = np.uint64(1) << (nets & np.uint32(63)).astype(np.uint64)
    if not len(index):
        return
    unique, start = np.unique(index, return_index=True)
    words[unique] |= np.bitwise_or.reduceat(bits, start)


def set_prefixes(words: Words, addresses: NDArray[np.uint32], lengths: NDArray[np.uint8]) -> None:
    """Set the prefix bit of every /24 that a prefix touches."""
    for length in np.unique(lengths):
        starts = addresses[lengths == length] >> np.uint32(8)
        if length >= 19:  # at most 32 /24s each: expand them
            span = np.arange(1 << max(0, 24 - int(length)), dtype=np.uint32)
            set_nets(words, (starts[:, None] + span).ravel(), PREFIXES)
            continue
        span_words = 1 << (18 - int(length))  # whole words
        for start in (starts >> np.uint32(6)).astype(int) + PREFIXES:
            words[start : start + span_words] = _EVERY


def sweep(
    words: Words, hosts: NDArray[np.uint32], prefixes: NDArray[np.uint32], lengths: NDArray[np.uint8]
) -> None:
    """Clear every bit that no entry needs. *hosts* and *prefixes* are all that the kernel holds."""
    needed = np.zeros(WORDS, np.uint64)
    set_nets(needed, hosts >> np.uint32(8), HOSTS)
    set_prefixes(needed, prefixes, lengths)
    _correct(words, needed)


def _correct(words: Words, needed: Words) -> None:
    stale = np.flatnonzero(words != needed)
    words[stale] = needed[stale]


def set_hosts6(words: Words, addresses: Array, seeds: Seeds) -> None:
    """Set the bits of the /64s of these hosts; *addresses* is S16."""
    _set_hashed(words, HOSTS6, _upper_half(addresses), seeds)


def set_prefixes6(words: Words, addresses: Array, lengths: NDArray[np.uint8], seeds: Seeds) -> None:
    """Set the bits of every /32 that a prefix touches; all of them for one shorter than /12."""
    nets = _upper_half(addresses) >> np.uint64(32)
    for length in np.unique(lengths):
        starts = nets[lengths == length]
        span = 1 << max(0, 32 - int(length))
        if span >= _BITS6:
            words[PREFIXES6:WORDS6] = _EVERY
            return
        _set_hashed(words, PREFIXES6, (starts[:, None] + np.arange(span, dtype=np.uint64)).ravel(), seeds)


def sweep6(words: Words, hosts: Array, prefixes: Array, lengths: NDArray[np.uint8], seeds: Seeds) -> None:
    """Clear every bit that no entry needs, as sweep()."""
    needed = np.zeros(WORDS6, np.uint64)
    set_hosts6(needed, hosts, seeds)
    set_prefixes6(needed, prefixes, lengths, seeds)
    _correct(words, needed)


def _upper_half(addresses: Array) -> NDArray[np.uint64]:
    """The first 64 bits of each address as a number."""
    octets = np.ascontiguousarray(addresses).view(np.uint8).reshape(-1, 16)[:, :8]
    return np.ascontiguousarray(octets).view(">u8").ravel().astype(np.uint64)


def _set_hashed(words: Words, plane: int, nets: NDArray[np.uint64], seeds: Seeds) -> None:
    """As is_marked6() in lists.h."""
    hashed = nets * np.uint64(seeds.multiplier[0]) + np.uint64(seeds.addend[0])
    number = np.unique(hashed >> _SHIFT6)
    index = (number >> np.uint64(6)).astype(np.intp) + plane
    if len(index):
        unique, start = np.unique(index, return_index=True)
        words[unique] |= np.bitwise_or.reduceat(np.uint64(1) << (number & np.uint64(63)), start)
