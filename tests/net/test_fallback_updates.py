# SPDX-License-Identifier: Apache-2.0
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from bench.testbed.chain import Chain
from neurowall.kernel.nft import Nftables
from neurowall.logic.stateful.fallback import fallback, packets_by_reason
from neurowall.model.policy import Failsafe
from neurowall.model.reasons import Reason
from neurowall.model.ruleset import Ruleset
from tests.net.probes import Probes
from tests.net.samepackets import EXTERNAL, INTERNAL, Packet, tcp
from tests.net.samesides import GUARDS, Side, counted, held
from tests.unit.logic.oracle import RawList

pytestmark = pytest.mark.root

FEED = RawList("feed", "block", ("198.51.100.0/24", "203.0.113.7", "2001:db8:bad::/48"))
BAN = "operator-block-timed"


class Table:
    """The nftables form on both interfaces, changed as the engine changes it: by difference."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self.kernel = Nftables()
        self._held: Ruleset | None = None

    def hold(self, *lists: RawList, limit: int = 1_000_000) -> None:
        """Make it hold these lists, ends counted from now."""
        now = time.time()
        wanted = fallback(GUARDS, {EXTERNAL, INTERNAL}, held(lists, now), limit, now).into(Ruleset())
        with self._chain.gateway.enter():
            self.kernel.commit(self._held, wanted)
        self._held = wanted

    def dropped(self) -> int:
        """Packets of the reason block-list."""
        return packets_by_reason(self.kernel.counters())[Reason.BLOCK_LIST].packets


@pytest.fixture
def table(chain: Chain) -> Iterator[Table]:
    """An empty one."""
    table = Table(chain)
    table.hold()
    yield table
    table.kernel.delete_table()


def ban(ends: dict[str, float]) -> RawList:
    """Timed blocks, with the seconds that each still holds."""
    return RawList(BAN, "block", tuple(ends), ends=tuple(ends.values()))


def test_a_ban_adds_to_what_is_there_and_counters_go_on(table: Table, probes: Probes) -> None:
    """Match, miss, and nothing else changes."""
    table.hold(FEED)
    assert probes.arrived("198.51.100.1", "203.0.113.7", "203.0.113.8") == {"203.0.113.8"}
    table.hold(FEED._replace(texts=(*FEED.texts, "203.0.113.8", "2001:db8:9::/64")))
    others = "203.0.113.9", "2001:db8:8:ffff::1"
    assert probes.arrived("203.0.113.8", "2001:db8:9::7", *others) == set(others)
    assert table.dropped() == 4


def test_a_list_that_is_taken_back_leaves_nothing(table: Table, probes: Probes) -> None:
    """Its sets go with it, and come again."""
    for lists, arrive in (((FEED,), set[str]()), ((), {"203.0.113.7"}), ((FEED,), set[str]())):
        table.hold(*lists)
        assert probes.arrived("203.0.113.7") == arrive


def test_a_ban_ends_by_itself_and_is_taken_out_afterwards(table: Table, probes: Probes) -> None:
    """With nobody there to take it out; and the change that forgets it does not stumble over its absence."""
    sources = "203.0.113.7", "198.51.100.1", "198.51.100.9", "2001:db8:9::7"
    ends = {"203.0.113.7": 2.0, "198.51.100.0/24": 2.0, "198.51.100.8/29": 3600.0, "2001:db8:9::7": 2.0}
    table.hold(ban(ends))
    assert probes.blocked(*sources) == set(sources)
    deadline = time.monotonic() + 6
    while probes.blocked(*sources) != {"198.51.100.9"}:
        assert time.monotonic() < deadline, "a ban did not end"
        time.sleep(0.05)
    table.hold(ban({"198.51.100.8/29": 3599.0, "203.0.113.8": 60.0}))
    assert probes.blocked(*sources, "203.0.113.8") == {"198.51.100.9", "203.0.113.8"}
    table.hold()
    assert probes.blocked(*sources) == set()


def test_what_overlaps_may_change_in_one_transaction(table: Table, probes: Probes) -> None:
    """The kernel refuses elements that overlap, also while one replaces another."""
    steps: Sequence[tuple[dict[str, float], set[str]]] = (
        ({"198.51.100.0/24": 60.0}, {"198.51.100.1", "198.51.100.129"}),
        ({"198.51.100.0/24": 60.0, "198.51.100.128/25": 90.0}, {"198.51.100.1", "198.51.100.129"}),
        ({"198.51.100.128/25": 90.0}, {"198.51.100.129"}),
        (
            {"198.51.0.0/16": 60.0, "198.51.100.128/25": 90.0},
            {"198.51.100.1", "198.51.100.129", "198.51.7.7"},
        ),
    )
    for ends, blocked in steps:
        table.hold(ban(ends))
        assert probes.blocked("198.51.100.1", "198.51.100.129", "198.51.7.7", "203.0.113.7") == blocked
    for texts in (("198.51.100.0/25", "198.51.101.0/24"), ("198.51.100.0/23",), ("198.51.100.0/24",)):
        table.hold(RawList("feed", "block", texts))
        assert probes.blocked("198.51.100.1", "203.0.113.7") == {"198.51.100.1"}


def test_the_way_in_is_bounded_in_packets_a_second(table: Table, chain: Chain) -> None:
    """Beyond its limit a listed source is what it is: listed."""
    way = Failsafe(
        interface=EXTERNAL, source="203.0.113.7", address="198.18.0.1", port=22, packets_per_second=50
    )
    with chain.gateway.enter():
        now = time.time()
        guards = replace(GUARDS, failsafe=(way,))
        made = fallback(guards, {EXTERNAL, INTERNAL}, held([FEED], now), 100, now).into(Ruleset())
        table.kernel.commit(None, made)
    packet = Packet(1, EXTERNAL, way.source, way.address, tcp(way.port))
    with Side(chain, lambda: counted(table.kernel)).wired() as side:
        fates = side.meet([packet] * 500, repeats=True)
    assert 50 <= fates.reasons["failsafe"] <= 450
    assert fates.reasons["failsafe"] + fates.reasons["block-list"] == 500


def test_many_entries_fit_and_one_more_is_quick(table: Table, probes: Probes) -> None:
    """As many as the default limit: hosts and prefixes of both families in one transaction; then one ban."""
    hosts = [f"100.{64 + i // 65536}.{i // 256 % 256}.{i % 256}" for i in range(0, 120_000, 2)]
    prefixes = [f"11.{i // 256}.{i % 256}.0/25" for i in range(20_000)]
    hosts6 = [f"2001:db8:5::{i:x}" for i in range(20_000)]
    full = RawList("feed", "block", (*hosts, *prefixes, *hosts6))
    table.hold(full, limit=100_000)
    near = {hosts[-1], prefixes[-1].replace("0/25", "127"), hosts6[-1]}
    far = {"100.64.0.1", prefixes[-1].replace("0/25", "128"), "2001:db8:5::ffff"}
    assert probes.arrived(*near, *far) == far
    started = time.process_time()
    table.hold(full, ban({"203.0.113.7": 60.0}))
    assert time.process_time() - started < 3
    assert probes.blocked("203.0.113.7", "203.0.113.8") == {"203.0.113.7"}
