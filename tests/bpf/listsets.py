# SPDX-License-Identifier: Apache-2.0
"""Random list sets of the kinds that tables get wrong, and the addresses worth asking about.

Few nets, so that lists overlap and lines fill; chains of prefixes around one address, shared out among lists
of every kind; more prefixes longer than /24 in one /24 than two lines of a bucket table hold; halves of the
whole space; and from every entry its edges and their neighbours.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from random import Random

from tests.bpf.oracle_lists import RawList

CHAINS = {
    4: (8, 12, 16, 20, 21, 22, 23, 24, 25, 26, 28, 29, 30, 31, 32),
    6: (3, 16, 24, 31, 32, 33, 44, 47, 48, 49, 56, 63, 64, 65, 96, 112, 126, 127, 128),
}
BITS = {4: 32, 6: 128}
CROWD = range(25, 32)  # lengths that share a /24
KINDS = (("block", True), ("block", True), ("allow", True), ("block", False), ("allow", False))
NOISE = ("", "# a comment", "   ", "; another", "\t# the end")

Network = tuple[int, int, int]  # family, address as a number, length


@dataclass(frozen=True)
class ListSet:
    """Lists, and the entries that they hold in all, host bits zero, in no order that matters."""

    lists: tuple[RawList, ...]
    networks: tuple[Network, ...]


def written(network: Network) -> str:
    """As an entry of a list."""
    family, address, length = network
    text = str(IPv4Address(address) if family == 4 else IPv6Address(address))
    return text if length == BITS[family] else f"{text}/{length}"


def host_in(r: Random, network: Network) -> Network:
    """Any host of a prefix."""
    family, base, length = network
    return family, base + r.randrange(1 << BITS[family] - length), BITS[family]


def list_set(r: Random) -> ListSet:
    """Two to seven lists, of 1 to about 800 entries in all."""
    networks = [*_world(r, 4, r.choice((3, 30, 150, 400))), *_world(r, 6, r.choice((1, 10, 60, 150)))]
    kinds = [r.choice(KINDS) for _ in range(r.randrange(2, 8))]
    rows: list[list[str]] = [[] for _ in kinds]
    for network in networks:
        for index in r.sample(range(len(kinds)), r.choice((1, 1, 1, 1, 2, min(3, len(kinds))))):
            rows[index].append(_line(r, network))
    lists = tuple(
        RawList(f"list-{index}", verdict, _text(r, lines), enforced)
        for index, ((verdict, enforced), lines) in enumerate(zip(kinds, rows, strict=True))
    )
    return ListSet(lists, tuple(sorted({(f, base & _mask(f, n), n) for f, base, n in networks})))


def addresses(r: Random, family: int, networks: Iterable[Network], count: int) -> list[int]:
    """Addresses at and beside the edges of entries, inside them, and anywhere."""
    bits, found = BITS[family], {0, (1 << BITS[family]) - 1}
    for each, base, length in networks:
        if each == family:
            size = 1 << bits - length
            found |= {base, base + size - 1, base - 1, base + size, base + r.randrange(size)}
    inside = sorted(address for address in found if 0 <= address < 1 << bits)
    chosen = r.sample(inside, min(len(inside), count))
    return chosen + [r.getrandbits(bits) for _ in range(count - len(chosen))]


def _mask(family: int, length: int) -> int:
    return -1 << BITS[family] - length


def _world(r: Random, family: int, hosts: int) -> list[Network]:
    """Hosts of a few nets, chains of prefixes, a crowd of longer ones, sometimes half of everything."""
    bits = BITS[family]
    nets = [_net(r, family) for _ in range(r.randrange(1, 5))]
    span = r.choice((8, 8, 10))  # so many bits are drawn below a net: dense, or a little less
    found = [(family, base ^ r.getrandbits(span), bits) for base in nets for _ in range(hosts // len(nets))]
    for base in r.choices(nets, k=r.randrange(4)):
        inner = base ^ r.getrandbits(span)
        found += [(family, inner, n) for n in r.sample(CHAINS[family], r.randrange(2, len(CHAINS[family])))]
    if r.randrange(2):
        crowded = r.choice(nets)
        lengths = CROWD if family == 4 else range(120, 128)
        found += [(family, crowded ^ r.getrandbits(8), r.choice(lengths)) for _ in range(r.choice((5, 40)))]
    if not r.randrange(6):  # each takes long to paint
        found.append((family, r.choice(nets), r.choice((1, 2))))
    return found + [(family, base, r.choice(CHAINS[family])) for base in nets for _ in range(r.randrange(3))]


def _net(r: Random, family: int) -> int:
    """The first address of a /24 or /120: anywhere, and often an end of the space."""
    below = BITS[family] - 8
    return r.choice((0, (1 << below) - 1, r.getrandbits(below), r.getrandbits(below))) << 8


def _line(r: Random, network: Network) -> str:
    """An entry as people write it: host bits as they come, blanks, comments."""
    entry = written(network)
    if r.randrange(10):
        return entry
    return r.choice((f"  {entry}", f"{entry}\t# seen today", f"{entry.upper()} , abuse", f"{entry};"))


def _text(r: Random, lines: Sequence[str]) -> str:
    mixed = [*lines, *r.choices(NOISE, k=r.randrange(3)), *lines[: r.randrange(3)]]  # some of them twice
    r.shuffle(mixed)
    return r.choice(("\n", "\r\n")).join(mixed) + "\n"
