# SPDX-License-Identifier: Apache-2.0
"""The effectiveness gate: proof, before and after every trial, that the rules are in force. Red voids it.

Listed addresses and their neighbours are sent as probes, mixed, in one go, and the sink says which arrived.
What must arrive is the control for what must not: where nothing gets through, nothing is proven.
"""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from bench import defencegate, rulegate
from bench.classes import OWN
from bench.sut.base import Rules, System
from bench.traffic.base import Array, Flow, Kind
from bench.traffic.probes import Pool, make_pool
from bench.traffic.wire import Wire, wire

if TYPE_CHECKING:
    from bench.testbed.base import Chain

PROBES = 256
"""Listed addresses of each family in a gate, and as many near misses."""
TRIES = 3
"""How often a probe that must arrive is tried: a loss under load is no verdict, a block repeats."""

_pools: WeakKeyDictionary[Rules, dict[int, Pool]] = WeakKeyDictionary()


@dataclass(frozen=True)
class GateResult:
    """What a gate saw. For the gate kind 'pass' listed ones must arrive, for 'drop' near ones must not."""

    passed: bool
    listed_blocked: int
    listed_sent: int
    near_passed: int
    near_sent: int
    detail: str


@dataclass(frozen=True, eq=False)
class _Probed:
    """Probes of one family and how they fared; True means it arrived."""

    listed: Array
    near: Array
    listed_arrived: Array
    near_arrived: Array


def run_gate(chain: "Chain", system: System, rules: Rules, rng: np.random.Generator) -> GateResult:
    """Probe one configured system. TrafficError if the probes could not be sent or received."""
    if rules.book is not None:
        return _of_rules(rulegate.run(chain, system, rules.book, rng))
    ends = wire(chain)
    before = system.counters().dropped if system.gate == "drop" else None
    probed = [_probe(chain, ends, pool, system, rng) for pool in pools(rules, rng).values()]
    complaints = _judge(probed, system)
    beside = defencegate.run(chain, system, rules)
    complaints += beside.complaints
    if before is not None:
        complaints += _unproven(system, before, sum(len(p.listed) + len(p.near) for p in probed))
    return GateResult(
        passed=not complaints,
        listed_blocked=sum(int((~p.listed_arrived).sum()) for p in probed) + beside.blocked,
        listed_sent=sum(len(p.listed) for p in probed) + beside.to_block,
        near_passed=sum(int(p.near_arrived.sum()) for p in probed) + beside.passed,
        near_sent=sum(len(p.near) for p in probed) + beside.to_pass,
        detail="; ".join(complaints) or "as it must be",
    )


def _of_rules(seen: rulegate.Outcome) -> GateResult:
    """The gate of stateful rules in the same words: listed is what must not get through."""
    return GateResult(
        passed=not seen.complaints,
        listed_blocked=seen.blocked,
        listed_sent=seen.to_block,
        near_passed=seen.passed,
        near_sent=seen.to_pass,
        detail="; ".join(seen.complaints) or "as it must be",
    )


def pools(rules: Rules, rng: np.random.Generator) -> dict[int, Pool]:
    """Probes by family, for those the rules have entries of; IPv4 if they have none.

    Made once for each Rules.
    """
    if rules not in _pools:
        families = [family for family in (4, 6) if len(rules.entries.family(family))] or [4]
        _pools[rules] = {family: make_pool(rules.entries.family(family), rng) for family in families}
        if rules.defence is not None:
            _pools[rules] = {family: _unlimited(pool) for family, pool in _pools[rules].items()}
    return _pools[rules]


def _unlimited(pool: Pool) -> Pool:
    """Without near misses where classes of packets come from: limits may have nothing left for them."""
    if pool.family == 6:
        return pool
    networks = pool.near >> np.uint32(24)
    return dataclasses.replace(pool, near=pool.near[(networks < OWN.start) | (networks >= OWN.stop)])


def _probe(chain: "Chain", ends: Wire, pool: Pool, system: System, rng: np.random.Generator) -> _Probed:
    listed, near = pool.draw(PROBES, rng)
    sources = np.concatenate((listed, near))
    must_arrive = np.zeros(len(sources), np.bool_)
    must_arrive[len(listed) :] = system.gate != "drop"
    must_arrive[: len(listed)] = system.gate == "pass"
    arrived = np.zeros(len(sources), np.bool_)
    waiting = rng.permutation(len(sources))
    for _ in range(TRIES):
        arrived[waiting] |= _send(chain, ends, pool.family, sources[waiting])
        waiting = np.flatnonzero(must_arrive & ~arrived)
        if not len(waiting):
            break
    return _Probed(listed, near, arrived[: len(listed)], arrived[len(listed) :])


def _send(chain: "Chain", ends: Wire, family: int, sources: Array) -> Array:
    """Send one probe from each source; bool for each, whether it arrived."""
    count = len(sources)
    ends.sink.clear(count)
    server = chain.server_if.v4 if family == 4 else chain.server_if.v6
    ends.generator.run(chain, Flow(family, sources, server, kind=Kind.PROBE), packets=count)
    ends.sink.settle()
    return ends.sink.arrivals(count) > 0


def _judge(probed: list[_Probed], system: System) -> list[str]:
    """What is wrong, in words; nothing if nothing is."""
    complaints = []
    for one in probed:
        near_blocked = one.near[~one.near_arrived]
        listed_passed, listed_blocked = one.listed[one.listed_arrived], one.listed[~one.listed_arrived]
        if system.gate == "filter":
            complaints += _complain(listed_passed, len(one.listed), "listed addresses got through")
        if system.gate == "pass":
            complaints += _complain(listed_blocked, len(one.listed), "addresses did not arrive")
        if system.gate == "drop":
            arrived = np.concatenate((listed_passed, one.near[one.near_arrived]))
            complaints += _complain(arrived, len(one.listed) + len(one.near), "packets got through")
        else:
            complaints += _complain(near_blocked, len(one.near), "unlisted neighbours did not arrive")
    return complaints


def _complain(wrong: Array, total: int, what: str) -> list[str]:
    if not len(wrong):
        return []
    return [f"{len(wrong)} of {total} {what}: {', '.join(map(_text, wrong[:3].tolist()))}"]


def _text(address: int | bytes) -> str:
    import ipaddress

    if isinstance(address, int):
        return str(ipaddress.IPv4Address(address))
    return str(ipaddress.IPv6Address(address.ljust(16, b"\0")))


def _unproven(system: System, before: int, sent: int) -> list[str]:
    """Complain unless the system counted the probes: one that drops all has no near misses for a control."""
    dropped = (system.counters().dropped or 0) - before
    return [] if dropped >= sent else [f"sent {sent} probes, but {system.name} counted {dropped} drops"]
