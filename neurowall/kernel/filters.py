# SPDX-License-Identifier: Apache-2.0
"""The filters in front of the lists: bits in words of 64, small enough to stay in the cache.

IPv4 hosts and all IPv6 entries by hash, IPv4 prefixes by a bit for each /22, and for IPv6 prefixes which
lengths there are in a /32. A clear bit promises that nothing of its kind is listed there; a set one promises
nothing and costs a lookup. So bits are set before an entry is written, and cleared only by a sweep over what
is really there, after the entries are gone.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurowall.kernel.buckets import Seeds
from neurowall.kernel.buckets6 import Keys
from neurowall.model.entries import sorted_unique

WORDS = 1 << 16  # NW_BITMAP_WORDS
HOSTS6, PREFIXES6, WORDS6 = 0, 1 << 15, 1 << 16  # NW_FILTER6_*
_LOG4 = 3  # NW_FILTER4_LOG
_SHIFT6 = np.uint64(43)  # NW_FILTER6_SHIFT
LENGTHS6 = 1 << 15  # NW_LENGTHS6_ELEMENTS
_SHIFT_LENGTHS = np.uint64(49)  # NW_LENGTHS6_SHIFT
# Half (0: upper) and bit of each prefix length in struct nw_lengths6.
_LENGTH_BIT = {
    n: (0, np.uint64(1 << 128 - n)) if n > 64 else (1, np.uint64(1 << 64 - n)) for n in range(1, 128)
}
_LENGTH_BIT[0] = (0, np.uint64(1))
_MANY = 4096  # bits; more are cheaper to find through a byte for each
_EVERY = np.uint64(0xFFFFFFFFFFFFFFFF)

Array = NDArray[Any]
Words = NDArray[np.uint64]
Lengths = NDArray[np.uint8]


def words_for(lines: int) -> int:
    """Words of filter4 for a host table of so many lines."""
    return max(1, (lines << _LOG4) // 64)


def set_bits(words: Words, numbers: NDArray[np.uint64], plane: int = 0) -> None:
    """Set bits by their numbers, in the plane that starts at word *plane*; words that need none stay."""
    if len(numbers) > _MANY:
        bits = np.zeros(64 * (int(numbers.max()) // 64 + 1), np.bool_)
        bits[numbers.astype(np.intp)] = True
        more = np.packbits(bits, bitorder="little").view(np.uint64)
        changed = np.flatnonzero(more)
        words[changed + plane] |= more[changed]
    elif len(numbers):
        numbers = sorted_unique(numbers)
        index = (numbers >> np.uint64(6)).astype(np.intp)
        start = np.flatnonzero(np.diff(index, prepend=-1))
        more = np.bitwise_or.reduceat(np.uint64(1) << (numbers & np.uint64(63)), start)
        words[index[start] + plane] |= more


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
    keys = Keys.of(addresses, np.full(len(addresses), 128))
    set_bits(words, keys.hash(seeds, 0) >> _SHIFT6, HOSTS6)


def set_prefixes6(words: Words, addresses: Array, lengths: Lengths, seeds: Seeds) -> None:
    """Set the bit of each prefix, as prefix6_of_length() in lists6.h looks for it."""
    set_bits(words, Keys.of(addresses, lengths).hash(seeds, 0) >> _SHIFT6, PREFIXES6)


def set_lengths6(pairs: Words, addresses: Array, lengths: Lengths, seeds: Seeds) -> None:
    """Note the length of each prefix for every /32 that it touches; *pairs* is of shape (2^15, 2)."""
    multiplier, addend = np.uint64(seeds.multiplier[1]), np.uint64(seeds.addend[1])
    starts = Keys.of(addresses, lengths).high >> np.uint64(32)
    for length in np.unique(lengths).tolist():
        half, bit = _LENGTH_BIT[length]
        span = 1 << max(0, 32 - length)
        if span > len(pairs):
            pairs[:, half] |= bit
            continue
        nets = (starts[lengths == length][:, None] + np.arange(span, dtype=np.uint64)).ravel()
        pairs[sorted_unique(multiplier * nets + addend >> _SHIFT_LENGTHS), half] |= bit


def correct(words: Words, needed: Words) -> None:
    """Store *needed* where it differs: one store a word."""
    stale = np.nonzero(words != needed)
    words[stale] = needed[stale]
