# SPDX-License-Identifier: Apache-2.0
"""The prefix table against a list of networks, read the way bpf/lists.h reads it."""

from ipaddress import IPv4Address, IPv4Network

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurowall.kernel.buckets import BucketTable, Seeds
from neurowall.kernel.prefixes import PrefixTable
from neurowall.model.errors import MapFull

SEEDS = Seeds((0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F), (12345, 67890))
LINES = 4
# A few nets side by side, so that prefixes nest and lines overflow.
BASE = int(IPv4Address("198.51.100.0"))
NETWORKS = st.builds(
    lambda offset, length: IPv4Network((BASE + offset, length), strict=False),
    st.integers(0, 1023),
    st.integers(14, 31),
)
ADDRESSES = st.integers(BASE - 300, BASE + 1400)


class Kernel:
    """The memory of the maps, and the reader of bpf/lists.h in plain integers."""

    def __init__(self) -> None:
        self.nets = np.zeros(1 << 24, np.uint16)
        self.registry = np.zeros(64, np.uint64)
        self.words = np.zeros(LINES * 8, np.uint64)
        self.trie: dict[tuple[int, int], int] = {}

    def table(self, capacity: int = 64) -> PrefixTable:
        """A writer over this memory, as each daemon makes one."""
        spilled = {address << 32 | length: c for (address, length), c in self.trie.items()}
        return PrefixTable(
            self.nets, self.registry, BucketTable(self.words, SEEDS, spilled, capacity, line_bits=24)
        )

    def put(self, table: PrefixTable, wanted: dict[IPv4Network, int]) -> None:
        """Insert, and spill as the caller must."""
        spilled = table.put(*columns(list(wanted)), np.array(list(wanted.values()), np.uint16))
        for key, class_id in spilled.items():
            self.trie[key >> 32, key & 63] = class_id

    def delete(self, table: PrefixTable, networks: list[IPv4Network]) -> None:
        """Delete, also what was spilled."""
        for key in table.delete(*columns(networks)):
            del self.trie[key >> 32, key & 63]

    def lookup(self, address: int) -> int:
        """prefix4_in_table of lists.h."""
        value = int(self.nets[address >> 8])
        if value & 0x8000:
            best = max(self._line(address, 0), self._line(address, 1))
            for (start, length), class_id in self.trie.items():
                if (start ^ address) >> (32 - length) == 0:
                    best = max(best, (length, class_id))
            if best[1]:
                return best[1]
        return value & 0x7FFF

    def _line(self, address: int, choice: int) -> tuple[int, int]:
        hashed = SEEDS.multiplier[choice] * (address & 0xFFFFFF00) + SEEDS.addend[choice]
        index = (hashed & 0xFFFFFFFFFFFFFFFF) >> (64 - (LINES.bit_length() - 1))
        best = (0, 0)
        for slot in (int(word) for word in self.words[index * 8 : index * 8 + 7]):
            length = slot & 63
            if length and (slot >> 32 ^ address) >> (32 - length) == 0:
                best = max(best, (length, slot >> 16 & 0xFFFF))
        return best


def columns(networks: list[IPv4Network]) -> tuple[np.ndarray, np.ndarray]:
    """Addresses and lengths."""
    return (
        np.array([int(n.network_address) for n in networks], np.uint32),
        np.array([n.prefixlen for n in networks], np.uint8),
    )


def oracle(model: dict[IPv4Network, int], address: int) -> int:
    """Linear scan for the longest match."""
    covering = [n for n in model if IPv4Address(address) in n]
    return model[max(covering, key=lambda n: n.prefixlen)] if covering else 0


STEPS = st.lists(
    st.tuples(st.booleans(), st.dictionaries(NETWORKS, st.integers(1, 32767), min_size=1, max_size=12)),
    max_size=8,
)


@given(STEPS, st.lists(ADDRESSES, min_size=30, max_size=30), st.booleans())
@settings(deadline=None, max_examples=120)
def test_every_lookup_is_the_longest_match(
    steps: list[tuple[bool, dict[IPv4Network, int]]], addresses: list[int], restart: bool
) -> None:
    """After any puts, changes, deletes and restarts of the writer."""
    kernel = Kernel()
    table, model = kernel.table(), dict[IPv4Network, int]()
    for is_put, wanted in steps:
        if is_put and len(model | wanted) <= 64:
            kernel.put(table, wanted)
            model |= wanted
        elif not is_put:
            kernel.delete(table, list(wanted))
            model = {n: c for n, c in model.items() if n not in wanted}
        table.after_grace()
        table = kernel.table() if restart else table
        edges = [int(n[0]) for n in model] + [int(n[-1]) for n in model]
        for address in addresses + edges:
            assert kernel.lookup(address) == oracle(model, address)
            assert table.lookup(address) == oracle(model, address)
    assert len(table) == len(model)
    held = {IPv4Network((a, n)): c for a, n, c in zip(*(x.tolist() for x in table.contents()), strict=True)}
    assert held == model
    if not model:
        assert not kernel.nets.any()


@given(
    st.dictionaries(NETWORKS, st.integers(1, 9), min_size=1, max_size=20),
    st.lists(st.tuples(st.integers(BASE >> 8, (BASE >> 8) + 3), st.integers(0, 65535)), max_size=6),
)
@settings(deadline=None, max_examples=60)
def test_a_new_writer_repairs_what_disagrees_with_the_registry(
    model: dict[IPv4Network, int], damage: list[tuple[int, int]]
) -> None:
    """A daemon killed half-way leaves paint and registry apart; the next one makes them agree."""
    kernel = Kernel()
    kernel.put(kernel.table(), model)
    for net, value in damage:
        kernel.nets[net] = value
    kernel.words[:7] = 0
    kernel.table()
    for network in model:
        for address in (int(network[0]), int(network[-1])):
            assert kernel.lookup(address) == oracle(model, address)
    for address in range(BASE, BASE + 1024, 37):
        assert kernel.lookup(address) == oracle(model, address)


def test_refuses_more_than_the_registry_holds_before_writing() -> None:
    """MapFull names the capacity, nothing is painted."""
    kernel = Kernel()
    table = kernel.table()
    too_many = {IPv4Network((BASE + 256 * i, 24)): 1 for i in range(65)}
    with pytest.raises(MapFull, match="prefixes4"):
        kernel.put(table, too_many)
    assert not kernel.nets.any()
    assert not kernel.registry.any()


def test_a_change_of_class_is_one_store() -> None:
    """The paint of a /24 whose class does not change is not written."""
    kernel = Kernel()
    table = kernel.table()
    kernel.put(table, {IPv4Network("198.51.100.0/24"): 1, IPv4Network("198.51.0.0/16"): 2})
    before = kernel.nets.copy()
    kernel.put(table, {IPv4Network("198.51.100.0/24"): 3})
    assert np.flatnonzero(before != kernel.nets).tolist() == [BASE >> 8]


def painted(address: np.ndarray, length: np.ndarray, class_id: np.ndarray) -> np.ndarray:
    """The class of each /24, the longest prefix last."""
    nets = np.zeros(1 << 24, np.uint16)
    for row in np.argsort(length, kind="stable"):
        start = int(address[row]) >> 8
        nets[start : start + (1 << (24 - int(length[row])))] = class_id[row]
    return nets


def test_more_nets_than_are_painted_at_once() -> None:
    """Wide prefixes, nested and side by side, in any order; put, then some deleted."""
    chance = np.random.default_rng(5)
    length = chance.integers(9, 25, 600).astype(np.uint8)
    networks = [
        IPv4Network((int(a), int(n)), strict=False)
        for a, n in zip(chance.integers(1 << 24, 40 << 24, 600), length, strict=True)
    ]
    address, length = columns(list(dict.fromkeys(networks)))
    class_id = chance.integers(1, 100, len(address)).astype(np.uint16)
    kernel = Kernel()
    kernel.registry = np.zeros(1000, np.uint64)
    table = kernel.table()
    table.put(address, length, class_id)
    assert np.array_equal(kernel.nets, painted(address, length, class_id))
    gone = chance.random(len(address)) < 0.5
    table.delete(address[gone], length[gone])
    assert np.array_equal(kernel.nets, painted(address[~gone], length[~gone], class_id[~gone]))
    before = kernel.nets.copy()
    kernel.table()
    assert np.array_equal(kernel.nets, before)
