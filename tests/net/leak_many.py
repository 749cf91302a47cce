# SPDX-License-Identifier: Apache-2.0
"""Two block lists of any size with the same shapes as those of leak_lists, made with numpy.

    what                share   in the first                in the second
    hosts               80 %    a host                      the same host
    hosts               10 %    a host                      another host
    widened, narrowed   2 x 2 % hosts                       the /24 around them, and the other way round
    same prefixes       1 %     a prefix of any length      the same prefix
    halved, joined      2 x 1 % a /24                       its two /25s, and the other way round
    crowded             1 %     24 /30s in each /24         half of them, and /29s around the others
    IPv6                4 %     hosts, and as widened and narrowed with /64s

Hosts are spread evenly over 16 million addresses, so that lines overflow and some of them spill.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import numpy as np

from neurowall.model.entries import DTYPE, Array
from tests.net.leak_lists import Lists

HOSTS4 = 23 << 24
WIDENED4, NARROWED4, SAME4, HALVED4, JOINED4, CROWDED4 = (n << 24 for n in (31, 37, 52, 62, 71, 81))
SAME6, WIDENED6, NARROWED6 = (0x26000000 + n << 96 for n in (1, 2, 3))
MEMBERS = 4  # hosts in a /24 or /64 that the other list holds as a whole


class _Side:
    """What one list holds."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def hosts(self, numbers: Iterable[int]) -> None:
        self.lines += [f"{n >> 24}.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in numbers]

    def prefixes(self, numbers: Iterable[int], length: int) -> None:
        self.lines += [f"{IPv4Address(n)}/{length}" for n in numbers]

    def hosts6(self, numbers: Iterable[int]) -> None:
        self.lines += [str(IPv6Address(n)) for n in numbers]

    def prefixes6(self, numbers: Iterable[int], length: int) -> None:
        self.lines += [f"{IPv6Address(n)}/{length}" for n in numbers]


def make(entries: int, nets: int | None = None) -> Lists:
    """About so many entries in each list, the same in every run; bystanders as in leak_lists are none.

    nets: how many /24s are widened, and so on; by default the share above.
    """
    r = np.random.default_rng(3)
    first, second = _Side(), _Side()
    drawn = r.permutation(1 << 24)[: entries + 2000] + HOSTS4
    same, gone, come, unlisted = np.split(drawn, [entries * 80 // 100, entries * 90 // 100, entries])
    for side, own in ((first, gone), (second, come)):
        side.hosts(same.tolist())
        side.hosts(own.tolist())
    nets = nets or entries // 200
    groups = [_rehoused(r, first, second, nets), *_prefixes(r, first, second, nets)]
    common6, unlisted6 = _entries6(r, first, second, entries // 20)
    common = np.concatenate([same, *groups])
    v6: Array = np.empty(0, DTYPE[6])
    return Lists(
        _text(r, first),
        _text(r, second),
        common={4: _column4(r, common), 6: _column6(common6)},
        only_first={4: _column4(r, gone), 6: v6},
        only_second={4: _column4(r, come), 6: v6},
        unlisted={4: _column4(r, unlisted[:2000]), 6: _column6(unlisted6[:2000])},
        listed={4: _column4(r, np.concatenate([common, gone])), 6: _column6(common6)},
        bystanders=(),
    )


def _rehoused(r: Any, first: _Side, second: _Side, nets: int) -> Array:
    """Hosts in one list, the /24 around them in the other."""
    found = []
    for start, hosts, wide in ((WIDENED4, first, second), (NARROWED4, second, first)):
        bases = start + (np.arange(nets) << 8)
        members = (
            bases[:, None] + r.permuted(np.tile(np.arange(256), (nets, 1)), axis=1)[:, :MEMBERS]
        ).ravel()
        hosts.hosts(members.tolist())
        wide.prefixes(bases.tolist(), 24)
        found.append(members)
    return np.concatenate(found)


def _prefixes(r: Any, first: _Side, second: _Side, nets: int) -> list[Array]:
    """Prefixes that stay, that are cut in two or joined, and that crowd a /24."""
    found = []
    for number, length in enumerate((20, 22, 23, 24, 25, 27, 28, 29, 30, 31)):
        bases = SAME4 + (number << 20) + (np.arange(min(nets // 10, 256)) << 12)
        for side in (first, second):
            side.prefixes(bases.tolist(), length)
        found += [bases, bases + (1 << 32 - length) - 1]
    for start, whole, halves in ((HALVED4, first, second), (JOINED4, second, first)):
        bases = start + (np.arange(nets) << 8)
        whole.prefixes(bases.tolist(), 24)
        halves.prefixes(np.concatenate([bases, bases + 128]).tolist(), 25)
        found.append(bases + r.integers(0, 256, nets))
    bases = CROWDED4 + (np.arange(max(10, nets // 24)) << 8)
    parts = (bases[:, None] + (np.arange(24) << 3)).ravel()
    first.prefixes(parts.tolist(), 30)
    second.prefixes(parts[::2].tolist(), 30)
    second.prefixes(parts[1::2].tolist(), 29)
    return [*found, parts + r.integers(0, 4, len(parts))]


def _entries6(r: Any, first: _Side, second: _Side, entries: int) -> tuple[list[int], list[int]]:
    """Common sources and unlisted neighbours."""
    same = [SAME6 + (n % 1000 << 64) + (n << 1) for n in range(entries * 6 // 10)]
    for side in (first, second):
        side.hosts6(same)
    common = list(same)
    for start, hosts, wide in ((WIDENED6, first, second), (NARROWED6, second, first)):
        bases = [start + (n << 64) for n in range(entries // 10)]
        members = [base + int(r.integers(1 << 62)) for base in bases]
        hosts.hosts6(members)
        wide.prefixes6(bases, 64)
        common += members
    r.shuffle(common)
    return common, [address + 1 for address in same]


def _text(r: Any, side: _Side) -> str:
    lines = np.array(side.lines, dtype=object)
    r.shuffle(lines)
    return "\n".join(lines) + "\n"


def _column4(r: Any, numbers: Array) -> Array:
    return np.asarray(r.permutation(numbers), DTYPE[4])


def _column6(numbers: list[int]) -> Array:
    return np.frombuffer(b"".join(number.to_bytes(16, "big") for number in numbers), DTYPE[6])
