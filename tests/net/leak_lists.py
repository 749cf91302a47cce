# SPDX-License-Identifier: Apache-2.0
"""Two block lists with a common part, and the addresses to flood and to probe with.

Everything is known by construction, without any of the product's code: each kind of entry has a region of
its own, so that an address is in a list exactly if its region says so.

    region (IPv4, IPv6)         in the first list       in the second list
    SAME_HOSTS                  a host                  the same host
    ONLY                        hosts of its own        hosts of its own, in the same /24s as SAME_HOSTS
    SAME_PREFIXES               a prefix                the same prefix, any length
    WIDENED                     a host                  the /24 (/64) around it
    NARROWED                    a /24 (/64)             hosts inside it
    NESTED                      a wide prefix and one inside it     narrower ones that fill it
    CROWDED                     24 /30s in each /24     half of them, and /29s around the others
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from ipaddress import IPv4Address, IPv6Address
from random import Random

import numpy as np

from neurowall.model.entries import DTYPE, Array

NETS = 500  # /24s of SAME_HOSTS
AROUND = range(NETS // 2, NETS, 5)  # those that a bystander covers
SAME_HOSTS4 = 23 << 24
WIDENED4, NARROWED4, NESTED4, SAME_PREFIXES4, SHORT4, CROWDED4 = (n << 24 for n in (31, 37, 45, 52, 62, 71))
SAME_HOSTS6, WIDENED6, NARROWED6, SAME_PREFIXES6 = (0x26000000 + n << 96 for n in (1, 2, 3, 4))


@dataclass
class Family:
    """Addresses of one family as numbers; see Lists."""

    common: set[int] = field(default_factory=set)
    only_first: set[int] = field(default_factory=set)
    only_second: set[int] = field(default_factory=set)
    unlisted: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Lists:
    """The texts of two block lists, and sources of each family in the generator's format, shuffled.

    common: in both lists; only_first, only_second: in one; unlisted: in none, next to listed ones.
    listed: common and only_first, so all that the first list blocks. bystanders: other entries, most of
    them around common addresses, none around one of only_first, only_second or unlisted.
    """

    first: str
    second: str
    common: dict[int, Array]
    only_first: dict[int, Array]
    only_second: dict[int, Array]
    unlisted: dict[int, Array]
    listed: dict[int, Array]
    bystanders: tuple[str, ...]


@cache
def make() -> Lists:
    """The same lists in every run: about 8,050 hosts and 1,100 prefixes of IPv4, 1,300 and 300 of IPv6."""
    rng = Random(2)
    first: set[str] = set()
    second: set[str] = set()
    v4, v6 = Family(), Family()
    _hosts4(rng, first, second, v4)
    _prefixes4(rng, first, second, v4)
    _entries6(rng, first, second, v6)
    families = {4: v4, 6: v6}
    return Lists(
        _text(rng, first),
        _text(rng, second),
        {family: _column(rng, family, each.common) for family, each in families.items()},
        {family: _column(rng, family, each.only_first) for family, each in families.items()},
        {family: _column(rng, family, each.only_second) for family, each in families.items()},
        {family: _column(rng, family, each.unlisted) for family, each in families.items()},
        {family: _column(rng, family, each.common | each.only_first) for family, each in families.items()},
        _bystanders(),
    )


def _hosts4(rng: Random, first: set[str], second: set[str], v4: Family) -> None:
    """Hosts in NETS /24s by last byte modulo 4: odd ones are common, 0 in one list, 2 in none."""
    for net in range(NETS):
        base = SAME_HOSTS4 + (net << 8)
        same = {base + byte for byte in rng.sample(range(1, 256, 2), 13)}
        only = {base + byte for byte in rng.sample(range(0, 256, 4), 0 if net in AROUND else 3)}
        first |= _strings4(same)
        second |= _strings4(same)
        v4.common |= same
        (first if net % 2 else second).update(_strings4(only))
        (v4.only_first if net % 2 else v4.only_second).update(only)
        if net < NETS // 2:
            v4.unlisted.add(base + rng.randrange(2, 256, 4))
    for net in range(400):
        wide, narrow = WIDENED4 + (net << 8), NARROWED4 + (net << 8)
        hosts = {rng.randrange(256) for _ in range(2)}
        v4.common |= {base + byte for base in (wide, narrow) for byte in hosts}
        first |= _strings4(wide + byte for byte in hosts) | {f"{IPv4Address(narrow)}/24"}
        second |= _strings4(narrow + byte for byte in hosts) | {f"{IPv4Address(wide)}/24"}


def _prefixes4(rng: Random, first: set[str], second: set[str], v4: Family) -> None:
    for number in range(30):
        wide = NESTED4 + (number << 16)
        first |= {f"{IPv4Address(wide)}/16", f"{IPv4Address(wide + (7 << 8))}/24"}
        second |= {f"{IPv4Address(wide + (part << 12))}/20" for part in range(16)}
        v4.common |= {wide + rng.randrange(1 << 16) for _ in range(16)} | {wide, wide + 0xFFFF, wide + 0x700}
    same = {f"{IPv4Address(SHORT4)}/10", f"{IPv4Address(SHORT4 + (1 << 24))}/13"}
    v4.common |= {
        SHORT4,
        SHORT4 + (1 << 22) - 1,
        SHORT4 + (1 << 24),
        SHORT4 + (1 << 24) + rng.randrange(1 << 19),
    }
    for number in range(400):
        length = rng.choice((20, 22, 23, 24, 25, 27, 28, 29, 30, 31))
        base, size = SAME_PREFIXES4 + (number << 12), 1 << 32 - length
        same.add(f"{IPv4Address(base)}/{length}")
        v4.common |= {base, base + size - 1, base + rng.randrange(size)}
        if length > 20:
            v4.unlisted.add(base + size)
    first |= same
    second |= same
    for number in range(10):  # more long prefixes than two lines of the bucket table have slots
        for part in range(24):
            base = CROWDED4 + (number << 8) + (part << 3)
            v4.common.add(base + rng.randrange(4))
            first.add(f"{IPv4Address(base)}/30")
            second.add(f"{IPv4Address(base)}/{29 if part % 2 else 30}")
        v4.unlisted.add(CROWDED4 + (number << 8) + 255)


def _entries6(rng: Random, first: set[str], second: set[str], v6: Family) -> None:
    for number in range(800):
        same = SAME_HOSTS6 + (number % 50 << 64) + (number << 2)
        v6.common.add(same)
        v6.unlisted.add(same + 1)
        first.add(str(IPv6Address(same)))
        second.add(str(IPv6Address(same)))
        chosen, only = (first, v6.only_first) if number % 2 else (second, v6.only_second)
        chosen.add(str(IPv6Address(same + 2)))
        only.add(same + 2)
    for number in range(100):
        wide, narrow = WIDENED6 + (number << 64), NARROWED6 + (number << 64)
        host = rng.getrandbits(64)
        v6.common |= {wide + host, narrow + host}
        first |= {str(IPv6Address(wide + host)), f"{IPv6Address(narrow)}/64"}
        second |= {str(IPv6Address(narrow + host)), f"{IPv6Address(wide)}/64"}
    for number in range(200):
        length = rng.choice((48, 56, 64, 96, 120, 127))
        base = SAME_PREFIXES6 + (number << 80)
        same_prefix = f"{IPv6Address(base)}/{length}"
        first.add(same_prefix)
        second.add(same_prefix)
        v6.common |= {base, base + rng.getrandbits(128 - length), base + (1 << 128 - length) - 1}


def _bystanders() -> tuple[str, ...]:
    """Around hosts and prefixes that both lists hold, and elsewhere."""
    nets = [f"{IPv4Address(SAME_HOSTS4 + (net << 8))}/24" for net in AROUND]
    wide = [f"{IPv4Address(NESTED4)}/12", f"{IPv4Address(WIDENED4)}/18", f"{IPv4Address(NARROWED4)}/17"]
    elsewhere = ["203.0.113.7", "192.0.2.0/25", "2001:db8::/32"]
    return (*nets, *wide, f"{IPv6Address(WIDENED6)}/48", f"{IPv6Address(NARROWED6)}/40", *elsewhere)


def _strings4(numbers: Iterable[int]) -> set[str]:
    return {str(IPv4Address(number)) for number in numbers}


def _text(rng: Random, entries: set[str]) -> str:
    lines = sorted(entries)
    rng.shuffle(lines)
    return "\n".join(lines) + "\n"


def _column(rng: Random, family: int, numbers: set[int]) -> Array:
    ordered = sorted(numbers)
    rng.shuffle(ordered)
    if family == 4:
        return np.array(ordered, DTYPE[4])
    return np.frombuffer(b"".join(number.to_bytes(16, "big") for number in ordered), DTYPE[6])
