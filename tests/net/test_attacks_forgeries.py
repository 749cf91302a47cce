# SPDX-License-Identifier: Apache-2.0
"""Segments in the name of an honest peer, by somebody who saw his packets pass: what is let in.

Of three sessions: behind masquerade, of IPv6, and from outside through a port forward.
"""

from collections.abc import Iterator

import pytest
from scapy.layers.inet import TCP

from bench.testbed.run import Run
from neurowall.model.reasons import Reason
from tests.net.attackscene import (
    CLIENT,
    CLIENT6,
    FAR,
    FORWARDED,
    GATEWAY,
    OUTSIDE,
    OUTSIDE6,
    SSH,
    STRICT,
    Scene,
    scene,
)
from tests.net.daemon import until
from tests.net.keepers import Idle
from tests.sampling import some

pytestmark = [pytest.mark.root, pytest.mark.tool("nft", "iperf3")]

FAR_AWAY = 1 << 30  # beyond any window
SESSIONS = ("session behind masquerade", "session of IPv6", "session from outside")
sessions = pytest.mark.parametrize("name", SESSIONS)


@pytest.fixture(scope="module")
def at(run: Run) -> Iterator[Scene]:
    """The gateway, strict, with honest people at work."""
    with scene(run, STRICT) as at:
        yield at


def session(at: Scene, name: str) -> Idle:
    """One of the honest."""
    found = at.keepers[name]
    assert isinstance(found, Idle)
    return found


@sessions
@pytest.mark.parametrize("ahead", some([1, 1000, -1000, FAR_AWAY], every=2))
@pytest.mark.parametrize("flags", some(["R", "RA"], every=2))
def test_a_forged_reset_needs_the_very_number(at: Scene, name: str, flags: str, ahead: int) -> None:
    """RFC 5961: within the window or not, all but the expected number is dropped, and the session goes on."""
    flow = at.flow(session(at, name))
    assert at.attack([flow.forged(flags, ahead)] * 20) == {Reason.BAD_SEQUENCE: 20}
    assert at.casualties() == []


@sessions
@pytest.mark.parametrize("flags", some(["FA", "PA", "SA", "A"], every=2))
def test_numbers_out_of_the_window_are_dropped(at: Scene, name: str, flags: str) -> None:
    """Whatever the segment is about: its own number, and what it acknowledges."""
    flow = at.flow(session(at, name))
    for forged in (
        flow.forged(flags, FAR_AWAY),
        flow.forged(flags, -FAR_AWAY),
        flow.forged(flags, behind=FAR_AWAY),
        flow.forged(flags, behind=-FAR_AWAY),
    ):
        assert at.attack([forged] * 5) == {Reason.BAD_SEQUENCE: 5}
    assert at.casualties() == []


@sessions
@pytest.mark.parametrize("flags", some(["", "F", "P", "FPU", "SF", "SR", "SFA", "FR"]))
def test_flags_that_no_open_connection_has_are_dropped(at: Scene, name: str, flags: str) -> None:
    """Even with the right numbers."""
    flow = at.flow(session(at, name))
    dropped = at.attack([flow.forged(flags)] * 5)
    assert sum(dropped.values()) == 5
    assert dropped.keys() <= {Reason.BAD_SEQUENCE, Reason.LIMITED}
    assert at.casualties() == []


@sessions
def test_a_forged_syn_changes_nothing(at: Scene, name: str) -> None:
    """It passes, as any that may begin something, within the limits; our end answers with a challenge."""
    flow = at.flow(session(at, name))
    for ahead in (0, 1000, FAR_AWAY):
        at.attack([flow.forged("S", ahead)] * 3)
    assert at.casualties() == []


@sessions
def test_a_fin_within_the_window_ends_nothing_for_the_firewall(at: Scene, name: str) -> None:
    """A hundred bytes ahead it passes, as an early one of the peer's would, and waits for what lies between.

    The end itself would take it once so much more has been said: what comes before then is the session's own.
    """
    flow = at.flow(session(at, name))
    assert at.attack([flow.forged("FA", 60_000)]) == {}
    assert at.casualties() == []


@pytest.mark.parametrize(
    ("source", "target"),
    [(CLIENT, (OUTSIDE, SSH)), (CLIENT6, (OUTSIDE6, SSH)), (FAR, (GATEWAY, FORWARDED))],
)
def test_a_reset_with_the_very_number_is_the_peers(at: Scene, source: str, target: tuple[str, int]) -> None:
    """Nobody can tell it from the peer's own: it passes and the session ends, though not for a new one."""
    place = at.outside if source == FAR else at.inside
    with Idle(place, source, target) as victim:
        flow = at.flow(victim)
        assert at.attack([flow.forged("R")]) == {}
        until(lambda: "reset" in victim.error.lower())
    with Idle(place, source, target) as another:
        assert another.lives()
    assert at.casualties() == []


@sessions
def test_a_forged_syn_ack_makes_no_answer(at: Scene, name: str) -> None:
    """One with the right numbers is at most challenged: nothing is reset by it."""
    flow = at.flow(session(at, name))
    with at.tap() as seen:
        at.attack([flow.forged("SA", -1)] * 3)
        resets = seen(lambda each: TCP in each and each[TCP].flags.R)
    assert resets == []
    assert at.casualties() == []
