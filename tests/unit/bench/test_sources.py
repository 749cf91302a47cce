# SPDX-License-Identifier: Apache-2.0
import ipaddress
from typing import Any

import numpy as np
import pytest

from bench import space
from bench.lists import Counts, generate
from bench.points import Traffic
from bench.sources import draw, listed, near_listed
from bench.sut.base import Rules
from neurowall.model.entries import Entries, EntrySet

LIST = generate(Counts(hosts4=3_000, prefixes4=600, hosts6=800, prefixes6=100), seed=3)


def networks(entries: Entries) -> list[Any]:
    """The entries as the standard library knows them: the oracle of these tests."""
    return [ipaddress.ip_network(str(row)) for row in entries.rows()]


def addresses(family: int, sources: Any) -> list[Any]:
    """The sources as the standard library knows them."""
    if family == 4:
        return [ipaddress.IPv4Address(int(value)) for value in sources]
    return [ipaddress.IPv6Address(bytes(value).ljust(16, b"\0")) for value in sources]


def is_listed(address: Any, entries: list[Any]) -> bool:
    """By linear scan."""
    return any(address in network for network in entries)


@pytest.mark.parametrize("family", [4, 6])
def test_a_flood_has_one_source_of_every_entry(family: int) -> None:
    """Each entry is hit, each source is listed, and their order says nothing."""
    entries = LIST.family(family)
    sources = listed(entries, np.random.default_rng(1))
    assert len(sources) == len(entries)
    assert space.covered(entries, sources).all()
    oracle = networks(entries)
    sample = addresses(family, sources[:200])
    assert all(is_listed(address, oracle) for address in sample)
    assert sample != sorted(sample)
    hosts = entries.address[len(entries) - entries.hosts :]
    assert np.isin(hosts, sources).all()


@pytest.mark.parametrize("family", [4, 6])
def test_clean_sources_are_not_listed_and_half_are_neighbours(family: int) -> None:
    """Neighbours share a /24 (IPv6: /64) with an entry; the others do not."""
    entries = LIST.family(family)
    sources = near_listed(entries, 1_000, np.random.default_rng(1))
    assert len(sources) == 1_000
    oracle = networks(entries)
    near_length = 24 if family == 4 else 64
    touched = {n.supernet(new_prefix=near_length) for n in oracle if n.prefixlen > near_length}
    near = 0
    for address in addresses(family, sources[:200]):
        assert not is_listed(address, oracle)
        assert address.is_global
        near += ipaddress.ip_network((address, near_length), strict=False) in touched
    assert near == pytest.approx(100, abs=30)


def traffic(**changes: Any) -> Traffic:
    """A flood of listed sources, but for what changes."""
    return Traffic.model_validate({"kind": "flood", "sources": "listed"} | changes)


def test_a_fixed_set_has_its_size_and_is_listed() -> None:
    """Distinct entries of the list, and the same ones for the same seed."""
    wanted = traffic(sources="fixed-set", set_size=100)
    found = draw(wanted, LIST.v4, np.random.default_rng(1))
    assert len(found) == 100
    assert len(np.unique(found)) > 95
    assert space.covered(LIST.v4, found).all()
    assert np.array_equal(found, draw(wanted, LIST.v4, np.random.default_rng(1)))


@pytest.mark.parametrize(("position", "kind"), [("first", "hosts"), ("last", "prefixes")])
def test_a_position_is_a_hundredth_of_the_list_in_the_order_of_its_file(position: Any, kind: str) -> None:
    """A list file names hosts first, then prefixes."""
    lines = Rules(EntrySet(LIST.v4, LIST.v6.take(slice(0)))).list_text.splitlines()
    part = lines[:36] if position == "first" else lines[-36:]
    wanted = [ipaddress.ip_network(line) for line in part]
    found = addresses(4, draw(traffic(position=position), LIST.v4, np.random.default_rng(1)))
    assert len(found) == 36
    assert all(any(address in network for address in found) for network in wanted), kind


def test_misses_are_listed_nowhere() -> None:
    """Neither in the list that they are near to, nor in a larger one of the same shape."""
    larger = generate(Counts(hosts4=200_000, prefixes4=40_000), seed=3).v4
    wanted = traffic(sources="fixed-set", position="miss", set_size=2_000)
    found = draw(wanted, LIST.v4, np.random.default_rng(1), larger)
    assert len(found) == 2_000
    assert not space.covered(LIST.v4, found).any()
    assert not space.covered(larger, found).any()
    careless = draw(wanted, LIST.v4, np.random.default_rng(1))
    assert space.covered(larger, careless).any()  # the larger list does make a difference


def test_sources_are_the_same_for_the_same_seed() -> None:
    """Every system gets the same packets, and so does a replay."""
    first = near_listed(LIST.v4, 500, np.random.default_rng(9))
    assert np.array_equal(first, near_listed(LIST.v4, 500, np.random.default_rng(9)))


def test_a_list_that_nothing_clean_is_near_to_is_refused() -> None:
    """Only /24s and shorter: every neighbour is listed."""
    wide = EntrySet.from_strings(["8.8.8.0/24", "9.0.0.0/16"]).v4
    with pytest.raises(ValueError, match="longer than /24"):
        near_listed(wide, 10, np.random.default_rng(1))


def test_a_list_that_leaves_no_room_is_refused() -> None:
    """A /24 whose every address is listed has no clean neighbour."""
    full = EntrySet.from_strings(["8.8.8.0/25", "8.8.8.128/25"]).v4
    with pytest.raises(ValueError, match="leaves no room"):
        near_listed(full, 10, np.random.default_rng(1))
