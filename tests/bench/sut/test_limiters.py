# SPDX-License-Identifier: Apache-2.0
"""Limiters through their gate: those that limit are green, and every way not to is red."""

from collections.abc import Callable

import numpy as np
import pytest

from bench.defence import Defence, Limit
from bench.defencegate import within
from bench.gate import GateResult, run_gate
from bench.sut.base import Rules, RulesetRejected, System
from bench.sut.nftlimit import NftLimit
from bench.sut.registry import create
from bench.sut.xdplru import XdpLruFlows, XdpLruLimiter
from bench.testbed.base import Chain
from bench.traffic.base import Flow, Kind
from bench.traffic.trial import trial
from neurowall.model.entries import EntrySet

pytestmark = pytest.mark.root

SOURCE = Limit(name="s", key="source", packets_per_second=5, burst=20)
PREFIX = Limit(name="p", key="source-prefix", packets_per_second=5, burst=50)
SYN = Limit(name="syn", key="source", match="tcp-syn", packets_per_second=5, burst=10)
LIMITS = Defence(limits=(SOURCE, PREFIX))
BOTH = pytest.mark.parametrize(
    "name", ["xdp-lru-limiter", pytest.param("nft-limit", marks=pytest.mark.tool("nft"))]
)

Gate = Callable[..., GateResult]


def traffic(chain: Chain) -> Flow:
    """Packets of a thousand sources."""
    return Flow(4, (0x08080000 + np.arange(1000)).astype(np.uint32), chain.server_if.v4, kind=Kind.CLEAN)


def other(limit: Limit, burst: int) -> Limit:
    """The same limit with another burst."""
    return limit.model_copy(update={"burst": burst})


@pytest.fixture
def gate(chain: Chain, rng: np.random.Generator) -> Gate:
    """What two gates in turn, before and after a flood, say of a system that was told *told*; the worse."""

    def probe(
        system: System, told: Defence, asked: Defence = LIMITS, listed: tuple[str, ...] = ()
    ) -> GateResult:
        entries = EntrySet.from_strings(listed)
        try:
            system.configure(chain, Rules(entries, defence=told))
            rules = Rules(entries, defence=asked)
            first = run_gate(chain, system, rules, rng)
            assert trial(chain, system, traffic(chain), 0.05).closed
            second = run_gate(chain, system, rules, rng)
        finally:
            system.close()
        return first if not first.passed else second

    return probe


@BOTH
def test_a_limiter_that_limits_is_green(gate: Gate, name: str) -> None:
    """Exactly the burst of a source and of a /24 gets through, other sources do not pay for it."""
    seen = gate(create(name), LIMITS)
    assert seen.passed, seen.detail
    # Twice the burst and 16 of each, by UDP and by SYN packets.
    assert seen.listed_sent == 2 * ((20 + 16) + (50 + 16))
    assert abs(seen.listed_sent - seen.listed_blocked) <= 4
    assert seen.near_sent == seen.near_passed == 256 + 32


@BOTH
@pytest.mark.parametrize(
    ("told", "why"),
    [
        (Defence(), "from one source 56 got through"),
        (Defence(limits=(SOURCE,)), "from one /24 116 got through"),
        (Defence(limits=(PREFIX,)), "from one source 50 got through"),
        (
            Defence(limits=(other(SOURCE, 22), PREFIX)),
            "where limit s has a burst of 20",
        ),
        (
            Defence(limits=(other(SOURCE, 18), PREFIX)),
            "where limit s has a burst of 20",
        ),
        (
            Defence(limits=(SOURCE, other(PREFIX, 54))),
            "where limit p has a burst of 50",
        ),
    ],
)
def test_one_that_does_not_limit_as_asked_is_red(gate: Gate, name: str, told: Defence, why: str) -> None:
    """No limiter, one that is missing, one of another burst, by little."""
    seen = gate(create(name), told)
    assert not seen.passed
    assert why in seen.detail


@pytest.mark.tool("nft")
def test_one_that_limits_everybody_is_red(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source is made to pay for others: all of them together have one bucket."""
    monkeypatch.setattr("bench.sut.nftlimit._KEYS", dict.fromkeys(("source", "source-prefix"), "ip daddr"))
    seen = gate(NftLimit(), LIMITS)
    assert not seen.passed
    assert "other sources beside limited ones did not get through" in seen.detail


@pytest.mark.tool("nft")
def test_limits_of_syns_and_spoofed_sources_are_proven_too(gate: Gate) -> None:
    """A SYN limit that is not there lets SYNs through; spoofed sources must be dropped."""
    asked = Defence(limits=(SYN,), spoofing=True)
    assert gate(NftLimit(), asked, asked, ("192.0.2.1", "8.8.8.0/28")).passed
    unlimited = gate(NftLimit(), Defence(spoofing=True), asked)
    assert "tcp-syn packets at once from one source 36 got through" in unlimited.detail
    spoofed = gate(NftLimit(), Defence(limits=(SYN,)), asked)
    assert spoofed.detail == "32 of 32 spoofed sources got through"


def test_an_lru_limiter_refuses_what_it_cannot_do(chain: Chain) -> None:
    """It has no lists, and limits all packets alike."""
    listed = Rules(EntrySet.from_strings(["8.8.8.8"]))
    assert XdpLruLimiter().available(listed) == "xdp-lru-limiter has no lists"
    with pytest.raises(RulesetRejected, match="all packets alike"):
        XdpLruLimiter().configure(chain, Rules(EntrySet.empty(), defence=Defence(limits=(SYN,))))


def test_an_lru_flow_table_tracks_every_packet_and_drops_none(chain: Chain, rng: np.random.Generator) -> None:
    """What comes in makes an entry; the table forgets, and goes on."""
    system = XdpLruFlows(entries=128)
    try:
        system.configure(chain, Rules(EntrySet.empty()))
        before = system.counters()
        seen = trial(chain, system, traffic(chain), 0.05)
        after = system.counters()
        assert run_gate(chain, system, Rules(EntrySet.empty()), rng).passed
    finally:
        system.close()
    assert (seen.closed, seen.dropped) == (True, 0)
    assert (after.passed or 0) - (before.passed or 0) == seen.sent


@pytest.mark.parametrize(
    ("admitted", "seconds", "fits"),
    [(100, 0, True), (98, 0, True), (97, 0, False), (103, 0, False), (112, 1, True), (113, 1, False)],
)
def test_a_burst_is_held_to_two_per_cent_and_its_rate(admitted: int, seconds: float, fits: bool) -> None:
    """What the rate admits meanwhile comes on top."""
    assert within(admitted, 100, seconds, 10) is fits
