# SPDX-License-Identifier: Apache-2.0
"""The filters in front of the lists: bits in words of 64, small enough to stay in the cache.

IPv4 hosts and everything of IPv6 by hash, IPv4 prefixes by a bit for each /22. A clear bit promises that
nothing of its kind is listed there; a set one promises nothing and costs a lookup. So bits are set before an
entry is written, and cleared only by a sweep over what is really there, after the entries are gone.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurowall.kernel.buckets import Seeds

WORDS = 1 << 16  # NW_BITMAP_WORDS
HOSTS6, PREFIXES6, WORDS6 = 0, 1 << 15, 1 << 16  # NW_FILTER6_*
_LOG4 = 4  # NW_FILTER4_LOG
_BITS6 = 1 << 21
_SHIFT6 = np.uint64(43)  # NW_FILTER6_SHIFT
_EVERY = np.uint64(0xFFFFFFFFFFFFFFFF)

Array = NDArray[Any]
Words = NDArray[np.uint64]
Lengths = NDArray[np.uint8]


def words_for(lines: int) -> int:
    """Words of filter4 for a host table of so many lines."""
    return max(1, (lines << _LOG4) // 64)


def set_bits(words: Words, numbers: NDArray[np.uint64], plane: int = 0) -> None:
    """Set bits by their numbers, in the plane that starts at word *plane*."""
    numbers = np.unique(numbers)
    if not len(numbers):
        return
    index = (numbers >> np.uint64(6)).astype(np.intp) + plane
    unique, start = np.unique(index, return_index=True)
    words[unique] |= np.bitwise_or.reduceat(np.uint64(1) << (numbers & np.uint64(63)), start)


def set_hosts4(words: Words, addresses: NDArray[np.uint32], seeds: Seeds) -> None:
    """Set the bits of these hosts, as may_be_host4() in lists.h looks for them."""
    bits = len(words) * 64
    set_bits(words, seeds.hash(addresses, 0) >> np.uint64(64 - bits.bit_length() + 1))


def set_prefixes4(words: Words, addresses: NDArray[np.uint32], lengths: Lengths) -> None:
    """Set the bit of every /22 that a prefix touches."""
    for length in np.unique(lengths):
        starts = (addresses[lengths == length] >> np.uint32(10)).astype(np.uint64)
        if length >= 16:  # at most 64 /22s each: expand them
            span = np.arange(1 << max(0, 22 - int(length)), dtype=np.uint64)
            set_bits(words, (starts[:, None] + span).ravel())
            continue
        span_words = 1 << (16 - int(length))  # whole words
        for start in (starts >> np.uint64(6)).astype(int):
            words[start : start + span_words] = _EVERY


def set_hosts6(words: Words, addresses: Array, seeds: Seeds) -> None:
    """Set the bits of these hosts; *addresses* is S16."""
    high, low = _halves(addresses)
    first, second = (np.uint64(each) for each in seeds.multiplier)
    hashed = first * high + second * low + np.uint64(seeds.addend[0])
    set_bits(words, hashed >> _SHIFT6, HOSTS6)


def set_prefixes6(words: Words, addresses: Array, lengths: Lengths, seeds: Seeds) -> None:
    """Set the bit of each prefix's /48, or of every /32 that a shorter one touches, as lookup6_buckets()."""
    first, second = (np.uint64(each) for each in seeds.multiplier)
    addend = np.uint64(seeds.addend[0])
    high, _ = _halves(addresses)
    long = lengths >= 48
    set_bits(words, first * (high[long] >> np.uint64(16)) + addend >> _SHIFT6, PREFIXES6)
    for length in np.unique(lengths[~long]):
        starts = high[lengths == length] >> np.uint64(32)
        span = 1 << max(0, 32 - int(length))
        if span >= _BITS6:
            words[PREFIXES6:WORDS6] = _EVERY
            return
        nets = (starts[:, None] + np.arange(span, dtype=np.uint64)).ravel()
        set_bits(words, second * nets + addend >> _SHIFT6, PREFIXES6)


def correct(words: Words, needed: Words) -> None:
    """Store *needed* where it differs: one store a word."""
    stale = np.flatnonzero(words != needed)
    words[stale] = needed[stale]


def _halves(addresses: Array) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The upper and lower 64 bits of each address as numbers."""
    octets = np.ascontiguousarray(addresses).view(np.uint8).reshape(-1, 16)
    numbers = np.ascontiguousarray(octets).view(">u8").astype(np.uint64)
    return numbers[:, 0], numbers[:, 1]
