# SPDX-License-Identifier: Apache-2.0
"""Sources that cannot come from an interface, as bpf/spoof.h looks them up: foreign networks, marks."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network

from neurowall.kernel import layout
from neurowall.kernel.maps import Map
from neurowall.model.guards import Guard
from neurowall.model.origins import BOGONS, LINK_LOCAL
from neurowall.model.reasons import Reason

Own = Mapping[str, Collection[str]]
"""The machine's own addresses by interface."""

_Network = IPv4Network | IPv6Network
_LINK_LOCAL = [ip_network(text) for text in LINK_LOCAL.values()]
_HASH_FACTOR = 0x9E3779B1  # ORIGIN6_FACTOR
_BITS, _WORD = 256, 64  # of each family


def foreign_networks(guard: Guard, own: Own) -> dict[_Network, Reason]:
    """What is dropped at an interface by its source, and why.

    Spoofed is asked before bogon, so a bogon prefix within what is spoofed has no entry: the longest decides.
    """
    found = dict.fromkeys(_spoofed(guard, own) if guard.spoofing else (), Reason.SPOOFED)
    if guard.bogons:
        spoofed = tuple(found)
        for text in (*BOGONS[4], *BOGONS[6]):
            bogon = ip_network(text)
            if not any(_covers(each, bogon) for each in spoofed):
                found[bogon] = Reason.BOGON
    return found


def _spoofed(guard: Guard, own: Own) -> Iterator[_Network]:
    yield from map(ip_network, guard.foreign)
    for name, addresses in own.items():
        for text in addresses:
            network = ip_network(text)
            # A link-local address is ours on its own link, and may be a neighbour's on any other.
            if name == guard.name or not any(_covers(each, network) for each in _LINK_LOCAL):
                yield network


def _covers(a: _Network, b: _Network) -> bool:
    return a.version == b.version and a.prefixlen <= b.prefixlen and a.overlaps(b)


def mark(origins: Map, keys: Iterable[bytes]) -> None:
    """Set the marks of foreign networks, before they are put."""
    _write(origins, _read(origins) | _marks(keys))


def prune_marks(origins: Map, keys: Iterable[bytes]) -> None:
    """Clear all marks but those of *keys*, what is left in the map of networks."""
    marks = _marks(keys)
    if marks != _read(origins):
        _write(origins, marks)


def _marks(keys: Iterable[bytes]) -> int:
    marks = 0
    for raw in keys:
        key = layout.Network.from_buffer_copy(raw)
        if key.family & layout.Constant.FOREIGN:
            length = key.length - layout.Constant.NETWORK_BITS
            marks |= _marks_of(bytes(key.address), length, key.family & ~layout.Constant.FOREIGN)
    return marks


def _marks_of(address: bytes, length: int, family: int) -> int:
    if family == 4:
        return _run(address[0], 1 << max(0, 8 - length))
    if length < 3:
        return (1 << _BITS) - 1 << _BITS
    if address[0] >> 5 != 1:  # not global unicast: by the first byte
        return _run(_BITS + address[0], 1 << max(0, 8 - length))
    first, count = int.from_bytes(address[:3]), 1 << max(0, 24 - length)
    if count > _BITS:
        return (1 << _BITS) - 1 << _BITS
    marks = 0
    for number in range(first, first + count):
        marks |= 1 << _BITS + ((number * _HASH_FACTOR & 0xFFFFFFFF) >> 24)
    return marks


def _run(first: int, count: int) -> int:
    return (1 << count) - 1 << first


def _read(origins: Map) -> int:
    found = layout.Origins.from_buffer_copy(origins.lookup(bytes(4)) or bytes(64))
    return sum(word << _WORD * index for index, word in enumerate((*found.first4, *found.hash6)))


def _write(origins: Map, marks: int) -> None:
    words = [marks >> _WORD * index & (1 << _WORD) - 1 for index in range(2 * _BITS // _WORD)]
    value = layout.Origins()
    value.first4[:] = list(words[:4])
    value.hash6[:] = list(words[4:])
    origins.update(bytes(4), bytes(value))
