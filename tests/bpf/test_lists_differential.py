# SPDX-License-Identifier: Apache-2.0
"""List sets through the whole product against a linear scan, both engines, IPv4 and IPv6.

Each set replaces the one before in the same maps, so what is left behind by one is found by the next. Tables
are small: lines overflow, and hosts and long prefixes spill.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from neurowall.kernel import buckets6, mapset
from neurowall.kernel.buckets import Seeds
from tests.bpf import listsets
from tests.bpf.conftest import ENGINES
from tests.bpf.gateway import Gateway, gateways
from tests.bpf.oracle_lists import Judge, RawList

LINES = 64  # of a bucket table: 448 slots for up to about 500 hosts
ADDRESSES = 1000  # of each family, for each set
SETS = 20
SOAK_SETS, SOAK_CHAIN = 2000, 100  # so many of them in the same maps
RUNNING = 12  # timed entries of a verdict, at most


@pytest.fixture(autouse=True)
def small_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few lines, and hash functions that are the same in every run."""
    monkeypatch.setattr(mapset, "lines_for", lambda _entries: LINES)
    monkeypatch.setattr(buckets6, "lines_for", lambda _entries: LINES)
    seeds = Seeds((0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F), (1, 2))
    monkeypatch.setattr(Seeds, "random", lambda: seeds)


class Timed:
    """Which single entries were blocked or allowed for a time and still are."""

    def __init__(self) -> None:
        self.running: dict[str, set[listsets.Network]] = {"block": set(), "allow": set()}
        self._asked: list[listsets.Network] = []  # the last time, also those that are over

    def change(self, r: Random, tried: Sequence[Gateway], networks: Sequence[listsets.Network]) -> None:
        """Some begin, for an hour or so short that they are over when this returns; some are taken out."""
        verb, seconds = r.choice(("block", "allow")), r.choice((3600.0, 0.01))
        chosen = r.sample(networks, min(len(networks), r.randrange(1, 6)))
        chosen += [listsets.host_in(r, each) for each in sorted(self.running[verb])[:3]]
        self._asked = chosen = list(dict.fromkeys(chosen))
        last = 0.0
        for gateway in tried:
            ends = gateway.timed(verb, list(map(listsets.written, chosen)), seconds)
            # One that was running already does not end sooner than it would have.
            self.running[verb] |= {each for each, end in zip(chosen, ends, strict=True) if is_far(end)}
            last = max([last, *(end for end in ends if not is_far(end))])
        time.sleep(max(0.0, last - time.time()))
        for running_verb, running in self.running.items():
            if len(running) > RUNNING:
                gone = sorted(running)[::2]
                for gateway in tried:
                    gateway.take_out(running_verb, list(map(listsets.written, gone)))
                running.difference_update(gone)

    def lists(self) -> list[RawList]:
        """As the two built-in lists."""
        return [
            RawList(
                f"operator-{verb}-timed", verb, "\n".join(map(listsets.written, sorted(each))), timed=True
            )
            for verb, each in self.running.items()
        ]

    def networks(self) -> list[listsets.Network]:
        """All of them, and those that were asked for last."""
        return sorted(set().union(self._asked, *self.running.values()))


def is_far(end: float) -> bool:
    """Whether this end is one of an hour from now, not of a moment."""
    return end > time.time() + 1800


def in_order(gateway: Gateway, lists: Sequence[RawList]) -> list[RawList]:
    """The lists as the product orders them, since that decides which one is named."""
    names = gateway.order()
    return sorted(lists, key=lambda each: names.index(each.name))


def compare(
    tried: Sequence[Gateway], r: Random, sets: int, count: int = ADDRESSES, timed_share: float = 0.5
) -> int:
    """Put list sets in force one after the other and ask each gateway about *count* sources a family.

    With that share of them single entries are blocked or allowed for a time. Answers how many packets were
    judged; fails with everything that is needed to see it again.
    """
    timed, judged = Timed(), 0
    for number in range(sets):
        chosen = listsets.list_set(r)
        for gateway in tried:
            gateway.declare(chosen.lists)
        if r.random() < timed_share:
            timed.change(r, tried, chosen.networks)
        judge = Judge(in_order(tried[0], [*chosen.lists, *timed.lists()]))
        for family in (4, 6):
            sources = listsets.addresses(r, family, [*chosen.networks, *timed.networks()], count)
            expected = dict(zip(sources, judge.findings(judge.covered(family, sources)), strict=True))
            for gateway in tried:
                found = next(gateway.disagreements(family, expected), None)
                what = f"{gateway.policy.engine}, set {number}: {found}"
                assert found is None, f"{what}\n{chosen.lists}\n{timed.running}"
                judged += len(expected)
    return judged


def test_random_list_sets(tmp_path: Path) -> None:
    """The same sets every time."""
    with gateways(ENGINES, tmp_path) as tried:
        assert compare(tried, Random("list sets"), SETS) > SETS * 2 * 2 * ADDRESSES * 0.9


@pytest.mark.soak
def test_many_random_list_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others every time, with other hash functions; the seed is in the output."""
    seed = Random().getrandbits(64)
    print(f"seed {seed}")  # noqa: T201
    r, judged = Random(seed), 0
    for number in range(SOAK_SETS // SOAK_CHAIN):
        draws = [r.getrandbits(64) for _ in range(4)]
        seeds = Seeds((draws[0] | 1, draws[1] | 1), (draws[2], draws[3]))
        monkeypatch.setattr(Seeds, "random", lambda seeds=seeds: seeds)
        with gateways(ENGINES, tmp_path / str(number)) as tried:
            judged += compare(tried, r, SOAK_CHAIN)
    print(f"{judged:,} packets")  # noqa: T201
    assert judged > SOAK_SETS * 2 * 2 * ADDRESSES * 0.9
