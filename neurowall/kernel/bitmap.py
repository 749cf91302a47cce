# SPDX-License-Identifier: Apache-2.0
"""The /24 bitmap in front of the IPv4 lists: two planes of one bit for each /24, in words of 64.

A clear bit promises that nothing of its kind is listed in the /24; a set one promises nothing and
costs a lookup. So bits are set before an entry is written, and cleared only by a sweep over what is
really there, after the entries are gone.
"""

import numpy as np
from numpy.typing import NDArray

HOSTS, PREFIXES, WORDS = 0, 1 << 18, 1 << 19  # NW_BITMAP_*: first word of each plane, and all words
_EVERY = np.uint64(0xFFFFFFFFFFFFFFFF)

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
    stale = np.flatnonzero(words != needed)
    words[stale] = needed[stale]
