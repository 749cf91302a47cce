# SPDX-License-Identifier: Apache-2.0
"""Floods of TCP segments that belong to no connection, at a strict gateway: nothing of them passes."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bench.testbed.run import Run
from neurowall.model.reasons import Reason
from tests.net.attackpackets import (
    DISGUISES,
    NULL,
    ONE,
    ONE6,
    XMAS,
    from_many,
    from_one,
)
from tests.net.attackscene import STRICT, TARGET, Scene, scene
from tests.sampling import some

pytestmark = [pytest.mark.root, pytest.mark.tool("nft", "iperf3")]

COUNT = 100
FLOODS: dict[str, Callable[[], list[Any]]] = {}
for _name, _flags in {
    "ack": "A",
    "rst": "R",
    "rst-ack": "RA",
    "fin": "FA",
    "bare-fin": "F",
    "push": "PA",
    "xmas": XMAS,
    "null": NULL,
    "syn-ack-reflection": "SA",
}.items():
    FLOODS[f"{_name} of one"] = lambda flags=_flags: from_one(TARGET.tcp(flags), COUNT)  # type: ignore[misc]
    FLOODS[f"{_name} of one, ipv6"] = lambda flags=_flags: from_one(TARGET.tcp(flags), COUNT, ONE6)  # type: ignore[misc]
    FLOODS[f"{_name} of many"] = lambda flags=_flags: from_many(TARGET.tcp(flags), COUNT)  # type: ignore[misc]


@pytest.fixture(scope="module")
def at(run: Run) -> Iterator[Scene]:
    """The gateway, strict, with honest people at work."""
    with scene(run, STRICT) as at:
        yield at
        assert at.casualties() == []


@pytest.mark.parametrize("flood", some(FLOODS, every=4))
def test_what_belongs_to_no_connection_is_dropped(at: Scene, flood: str) -> None:
    """All of it, as out of state; honest people notice nothing."""
    assert at.attack(FLOODS[flood]()) == {Reason.OUT_OF_STATE: COUNT}
    assert at.casualties() == []


@pytest.mark.parametrize("source", [ONE, ONE6])
@pytest.mark.parametrize("disguise", some(DISGUISES, every=2))
def test_disguises_do_not_help_what_is_out_of_state(at: Scene, disguise: str, source: str) -> None:
    """Whatever stands before the TCP header."""
    packets = [DISGUISES[disguise](each) for each in from_one(TARGET.tcp("A"), 40, source)]
    dropped = at.attack(packets)
    dropped[Reason.OUT_OF_STATE] += dropped.pop(Reason.LIMITED, 0)  # fragments are limited, too
    assert dropped == {Reason.OUT_OF_STATE: 40}
