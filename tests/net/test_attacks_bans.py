# SPDX-License-Identifier: Apache-2.0
"""Limits that ban: who really misbehaves is banned, and nobody gets anybody else banned by using his name."""

import socket
import time
from collections.abc import Iterator

import pytest

from bench.testbed.run import Run
from neurowall.model.reasons import Reason
from tests.net.attackpackets import from_one
from tests.net.attackscene import BASE, FAR, FORWARDED, GATEWAY, TARGET, Scene, scene
from tests.net.daemon import until
from tests.net.keepers import Idle
from tests.sampling import some

pytestmark = [pytest.mark.root, pytest.mark.tool("nft")]

LIMIT = 50  # packets a second, and the burst
POLICY = (
    BASE
    + f"""\
flows: {{mode: strict, adopt: 0s}}
limits:
  - {{name: busy, key: source, packets_per_second: {LIMIT}, burst: {LIMIT}, action: ban, ban_ttl: 3s}}
"""
)
MANY = 6 * LIMIT


@pytest.fixture(scope="module")
def at(run: Run) -> Iterator[Scene]:
    """A gateway that bans."""
    with scene(run, POLICY, honest=False) as at:
        yield at


def _talks(at: Scene) -> bool:
    with Idle(at.outside, FAR, (GATEWAY, FORWARDED)) as session:
        return session.lives()


@pytest.mark.parametrize("kind", some(["S", "R", "FA", "SA", "A", "icmp", "udp", "fragment"]))
def test_a_third_party_is_not_banned_by_packets_in_its_name(at: Scene, kind: str) -> None:
    """Whatever the flood is made of: it is dropped, and whose address it has is served right after."""
    builds = {"udp": TARGET.udp, "icmp": TARGET.echo, "fragment": TARGET.fragment}
    dropped = at.attack(from_one(builds.get(kind) or TARGET.tcp(kind), MANY, FAR))
    assert dropped.keys() <= {Reason.LIMITED, Reason.OUT_OF_STATE, Reason.BAD_SEQUENCE}
    assert sum(dropped.values()) >= MANY - 2 * LIMIT
    time.sleep(1.2)  # until the allowance of its address is there again: that much a flood in its name takes
    assert _talks(at)


def test_a_third_party_at_work_is_not_banned_by_packets_in_its_name(at: Scene) -> None:
    """Nor disturbed: what anybody can send does not count against what it proved to be its own."""
    with Idle(at.outside, FAR, (GATEWAY, FORWARDED)) as session:
        flow = at.flow(session)
        wrong = [flow.forged(flags, 1 << 30) for flags in ("A", "PA", "R", "FA")]
        unrelated = [build(FAR, n) for n in range(MANY) for build in (TARGET.tcp("S"), TARGET.udp)]
        for _ in range(3):
            dropped = at.attack(wrong * LIMIT + unrelated)
            assert Reason.BANNED not in dropped
            assert session.lives()
    assert at.banned() == []


def test_who_really_is_too_busy_is_banned_until_the_end_of_it(at: Scene) -> None:
    """Over a connection of its own: then all its packets are dropped as banned, and later none is."""
    with Idle(at.outside, FAR, (GATEWAY, FORWARDED)) as session:
        session.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        until(lambda: sum(session.socket.send(b"!") for _ in range(LIMIT)) > 0 and at.banned() == [FAR])
    assert at.attack(from_one(TARGET.tcp("S"), 5, FAR)) == {Reason.BANNED: 5}
    until(lambda: at.attack(from_one(TARGET.udp, 5, FAR)) == {}, 10)
    assert _talks(at)
