# SPDX-License-Identifier: Apache-2.0
"""Floods from outside at a gateway with limits: what is dropped, why, and who survives."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bench.testbed.run import Run
from neurowall.model.reasons import Reason
from tests.net.attackpackets import (
    DISGUISES,
    ONE,
    ONE6,
    from_many,
    from_one,
)
from tests.net.attackscene import LIMITED, TARGET, Scene, scene
from tests.sampling import some

pytestmark = [pytest.mark.root, pytest.mark.tool("nft", "iperf3")]

COUNT = 300
BURST, REFILLED = 50, 30  # of every limit in LIMITED: packets, and how many more while a flood lasts
FLOODS: dict[str, Callable[[], list[Any]]] = {
    "syn of one": lambda: from_one(TARGET.tcp("S"), COUNT),
    "syn of one, ipv6": lambda: from_one(TARGET.tcp("S"), COUNT, ONE6),
    "syn of many": lambda: from_many(TARGET.tcp("S"), COUNT),
    "udp of one": lambda: from_one(TARGET.udp, COUNT),
    "udp of one, ipv6": lambda: from_one(TARGET.udp, COUNT, ONE6),
    "udp of many": lambda: from_many(TARGET.udp, COUNT),
    "icmp of one": lambda: from_one(TARGET.echo, COUNT),
    "icmp of one, ipv6": lambda: from_one(TARGET.echo, COUNT, ONE6),
    "icmp of many": lambda: from_many(TARGET.echo, COUNT),
    "fragments of one": lambda: from_one(TARGET.fragment, COUNT),
    "fragments of one, ipv6": lambda: from_one(TARGET.fragment, COUNT, ONE6),
    "fragments of many": lambda: from_many(TARGET.fragment, COUNT),
}


@pytest.fixture(scope="module")
def at(run: Run) -> Iterator[Scene]:
    """The gateway with honest people at work."""
    with scene(run, LIMITED) as at:
        yield at
        assert at.casualties() == []


@pytest.mark.parametrize("flood", some(FLOODS, every=2))
def test_what_may_begin_something_is_limited(at: Scene, flood: str) -> None:
    """All but the burst, by the limits; honest people notice nothing."""
    dropped = at.attack(FLOODS[flood]())
    assert dropped.keys() == {Reason.LIMITED}
    assert COUNT - BURST - REFILLED <= dropped[Reason.LIMITED] <= COUNT
    assert at.casualties() == []


@pytest.mark.parametrize("source", [ONE, ONE6])
@pytest.mark.parametrize("disguise", some(DISGUISES, every=2))
def test_disguises_draw_on_the_same_allowance(at: Scene, disguise: str, source: str) -> None:
    """A source that used up its SYNs gets no more by hiding them."""
    at.attack(from_one(TARGET.tcp("S"), BURST * 3, source))
    packets = [DISGUISES[disguise](each) for each in from_one(TARGET.tcp("S"), COUNT, source)]
    dropped = at.attack(packets)
    assert dropped.keys() == {Reason.LIMITED}
    assert COUNT - REFILLED <= dropped[Reason.LIMITED] <= COUNT
