# SPDX-License-Identifier: Apache-2.0
"""Events of limits and flows: what began, what ended, who was banned; each told once, not for each packet."""

import struct
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import pytest

from neurowall.kernel.ringbuf import Ring
from neurowall.model.events import EventKind
from neurowall.model.flows import FlowState
from neurowall.model.reasons import Reason
from tests.bpf.conftest import MakeFirewall
from tests.bpf.flowworld import ACK, FIN, INSIDE4, OUTSIDE4, RST, SYN, Ends, control
from tests.bpf.harness import Firewall
from tests.bpf.limitmaps import SECOND, Limits, Spec
from tests.bpf.test_mutations import compiled

pytestmark = pytest.mark.usefixtures("one_cpu")

BAN_NS = 7 * SECOND


class Note(NamedTuple):
    """What of an event matters here; of the peer's side, which is the source."""

    kind: EventKind
    reason: Reason
    source: str
    destination: str
    ports: tuple[int, int]
    number: int
    extra: int


class World:
    """A gateway with limits, bans and flows, and what it tells besides drops."""

    def __init__(self, firewall: Firewall) -> None:
        firewall.begin_window(1, 1 << 40)
        control(firewall)
        self.firewall = firewall
        self.limits = Limits(firewall, virtual=False)
        self.limits.put_ban_state()
        self.ends = Ends(firewall)
        self._ring = Ring(firewall.ring)

    def told(self) -> list[Note]:
        """Since the last call."""
        notes = [_note(each) for each in self._ring.read(0)]
        return [each for each in notes if each.kind is not EventKind.DROP]

    def close(self) -> None:
        """End the reader."""
        self._ring.close()


def _note(record: bytes) -> Note:
    _time, extra, source, destination, _ifindex, _bytes, number, kind = struct.unpack_from(
        "=QQ16s16sIIII", record
    )
    sport, dport, _type, reason, verdict, family = struct.unpack_from("!HHH3B", record, 64)
    assert family == 4
    assert verdict == (1 if kind == EventKind.DROP else 2)
    ends = [str(ip_address(each[12:])) for each in (source, destination)]
    return Note(EventKind(kind), Reason(reason), ends[0], ends[1], (sport, dport), number, extra)


def one(notes: list[Note]) -> Note:
    """The only one."""
    assert len(notes) == 1, notes
    return notes[0]


MakeWorld = Callable[..., World]


@pytest.fixture
def make_world(make_firewall: MakeFirewall) -> Iterator[MakeWorld]:
    """Such gateways."""
    made: list[World] = []

    def make(**more: object) -> World:
        role = {"engine": "classic", "limits": True, "bans": True, "flows": "strict", "events": True}
        made.append(World(make_firewall(**role, **more)))
        return made[-1]

    yield make
    for each in made:
        each.close()


def flow(kind: EventKind, state: FlowState, extra: int) -> Note:
    """An event of the connection."""
    return Note(kind, Reason.FLOW, OUTSIDE4, INSIDE4, (443, 40000), state, extra)


def check_close(make: MakeWorld) -> None:
    """A connection is told when both ends are there and at the second FIN, whoever sends it, once."""
    world = make()
    ours, theirs = world.ends.connect()
    assert world.told() == [flow(EventKind.FLOW_OPEN, FlowState.ESTABLISHED, 0)]
    world.ends.come(ACK, theirs, ours, data=10)
    world.ends.come(FIN | ACK, theirs + 10, ours)
    assert world.told() == []
    world.ends.out(FIN | ACK, ours, theirs + 11)
    world.ends.out(FIN | ACK, ours, theirs + 11)
    end = one(world.told())
    # Three segments of 40 bytes from the peer, two options of 20 in its SYN-ACK and in our SYN; the last FIN
    # is told before it is counted.
    assert end == flow(EventKind.FLOW_CLOSE, FlowState.CLOSED, 3 * 40 + 20 + 10 + 2 * 40 + 20)


def check_reset(make: MakeWorld) -> None:
    """The same of a RST that counts; one that does not is a drop."""
    world = make()
    ours, theirs = world.ends.connect()
    world.told()
    assert world.ends.come(RST, theirs + 5000, ours) is Reason.BAD_SEQUENCE
    assert world.told() == []
    world.ends.come(RST, theirs, ours)
    end = one(world.told())
    assert (end.kind, end.number) == (EventKind.FLOW_CLOSE, FlowState.RESET)


def check_guard(make: MakeWorld) -> None:
    """Told when it begins, not again while it lasts."""
    world = make()
    control(world.firewall, per_second=1)
    for port in range(40000, 40010):
        Ends(world.firewall, inside_port=port).out(SYN, 1000)
    note = one(world.told())
    assert (note.kind, note.number, note.extra) == (EventKind.GUARD, 0, 1)


def check_limit(make: MakeWorld) -> None:
    """A limit that is over is told once a second; one that only watches too, and its packets pass."""
    world = make()
    world.limits.put(
        Spec(rate=1, burst=2), Spec(rate=1, burst=1, kinds=("udp",), action="monitor"), slots=(3, 5)
    )
    for _ in range(6):
        world.ends.receive(world.ends.datagram(leaves=False))
    over = {(each.kind, each.number, each.reason) for each in world.told()}
    assert over == {
        (EventKind.LIMIT_OVER, 3, Reason.LIMITED),
        (EventKind.LIMIT_OVER, 5, Reason.DEFAULT),
    }
    for _ in range(6):
        world.ends.receive(world.ends.datagram(leaves=False))
    assert world.told() == []


def check_ban(make: MakeWorld) -> None:
    """Who is banned, by which limit and for how long; once."""
    world = make()
    world.limits.put(Spec(rate=1, burst=1, kinds=("tcp",), action="ban", ban_ns=BAN_NS), slots=(4,))
    ours, theirs = world.ends.connect()
    for _ in range(4):
        world.ends.come(ACK, theirs, ours)
    bans = [each for each in world.told() if each.kind is EventKind.BAN]
    assert bans == [Note(EventKind.BAN, Reason.LIMITED, OUTSIDE4, INSIDE4, (443, 40000), 4, BAN_NS)]


@pytest.mark.parametrize("check", [check_close, check_reset, check_guard, check_limit, check_ban])
def test_what_limits_and_flows_did_is_told(make_world: MakeWorld, check: Callable[[MakeWorld], None]) -> None:
    """Each of the checks above."""
    check(make_world)


MUTATIONS = {
    "every packet over a limit is told": (
        ("limits.h", "work->told |= 1U << slot;", ""),
        check_limit,
    ),
    "every FIN ends the flow": (("flowtable.h", "state != before && ", ""), check_close),
    "the guard is told for each flow": (
        ("flowtable.h", "EMITS && control->guarded_until < now", "EMITS"),
        check_guard,
    ),
}


@pytest.mark.tool("clang")
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_check_catches_a_broken_program(make_world: MakeWorld, name: str, tmp_path: Path) -> None:
    """The checks can fail."""
    mutation, check = MUTATIONS[name]
    path = compiled(tmp_path, mutation)
    with pytest.raises(AssertionError):
        check(lambda: make_world(path=path))
