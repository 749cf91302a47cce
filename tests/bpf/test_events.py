# SPDX-License-Identifier: Apache-2.0
"""Events: what is told of a drop, how much of it, and that nothing is told that should not be."""

import struct
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import NamedTuple

import pytest

from neurowall.kernel import libbpf
from neurowall.kernel.ringbuf import Ring
from neurowall.model.reasons import Reason
from tests.bpf.conftest import MakeFirewall
from tests.bpf.harness import DROP, PASS, Firewall
from tests.bpf.packets import (
    HOST,
    HOST6,
    OTHER,
    OTHER6,
    SOURCE,
    SOURCE6,
    frame4,
    frame6,
    patched,
    raw,
    tagged,
    tcp,
    udp,
)  # fmt: skip
from tests.bpf.test_mutations import compiled

pytestmark = pytest.mark.usefixtures("one_cpu")

TCP, UDP, ICMP = 6, 17, 1
IPV4, IPV6, PPPOE = 0x0800, 0x86DD, 0x8864
ALWAYS = 1 << 40  # a budget that no test spends
LIMITED = 2
CAPACITY = (1 << 20) // 88  # records of 80 bytes, each behind 8 of the kernel's own
RECORD = struct.Struct("=QQ16s16sIIII")  # up to kind; the rest is read as on the wire
REST = struct.Struct("!HHH5B5s")


class Seen(NamedTuple):
    """One record, unpacked here from what bpf/neurowall.h says, not with the product's code."""

    reason: Reason
    source: str
    destination: str
    ports: tuple[int, int]
    protocol: int
    ethertype: int
    number: int
    bytes: int
    flags: int
    ifindex: int
    time: int


def unpack(record: bytes) -> Seen:
    """What is told; of a drop it must be."""
    assert len(record) == 80
    moment, extra, source, destination, ifindex, size, number, kind = RECORD.unpack_from(record)
    sport, dport, ethertype, reason, verdict, family, protocol, flags, pad = REST.unpack_from(
        record, RECORD.size
    )
    assert (kind, extra, verdict, pad) == (0, 0, 1, bytes(5))
    ends = [_address(family, each) for each in (source, destination)]
    return Seen(
        Reason(reason),
        ends[0],
        ends[1],
        (sport, dport),
        protocol,
        ethertype,
        number,
        size,
        flags,
        ifindex,
        moment,
    )


def _address(family: int, packed: bytes) -> str:
    if family == 4:
        assert packed[:12] == bytes(12)
        return str(ip_address(packed[12:]))
    if family == 0:
        assert packed == bytes(16)
        return ""
    assert family == 6
    return str(IPv6Address(packed))


class Told:
    """A firewall, and what it tells."""

    def __init__(self, firewall: Firewall, budget: int = ALWAYS) -> None:
        self.firewall = firewall
        firewall.put_class(1, DROP)
        firewall.put(SOURCE, 1)
        firewall.put(SOURCE6, 1)
        if budget:
            firewall.begin_window(1, budget)
        self._ring = Ring(firewall.ring)

    def of(self, frame: bytes, ifindex: int | None = None) -> list[Seen]:
        """What is told of one frame."""
        if ifindex is None:
            self.firewall.run(frame)
        else:
            self.firewall.run_uncounted(frame, ifindex)
        return self.rest()

    def rest(self) -> list[Seen]:
        """What was not read yet."""
        return [unpack(record) for record in self._ring.read(0)]

    def close(self) -> None:
        """End the reader."""
        self._ring.close()


MakeTold = Callable[..., Told]


@pytest.fixture
def make_told(make_firewall: MakeFirewall) -> Iterator[MakeTold]:
    """Firewalls that tell; *budget* is for each reason."""
    made: list[Told] = []

    def make(budget: int = ALWAYS, **role: object) -> Told:
        made.append(Told(make_firewall(events=True, **role), budget))
        return made[-1]

    yield make
    for each in made:
        each.close()


def one(told: list[Seen]) -> Seen:
    """The only one."""
    assert len(told) == 1, told
    return told[0]


def check_fields(make: MakeTold) -> None:
    """Everything that is known of a packet, both families, behind tags too."""
    told = make()
    before = time.monotonic_ns()
    for stack in ((), (0x8100,), (0x88A8, 0x8100)):
        for packet, protocol, flags in (
            (frame4() / tcp(flags="SA"), TCP, 0x12),
            (frame4() / udp(443), UDP, 0),
            (frame6() / tcp(flags="R"), TCP, 0x04),
            (frame6() / udp(443), UDP, 0),
        ):
            frame = tagged(packet, *stack)
            seen = one(told.of(frame, ifindex=1))
            ends = (SOURCE, HOST, IPV4) if packet.type == IPV4 else (SOURCE6, HOST6, IPV6)
            assert (seen.source, seen.destination, seen.ethertype) == ends
            assert (seen.reason, seen.number, seen.ifindex) == (Reason.BLOCK_LIST, 1, 1)
            assert (seen.protocol, seen.flags, seen.ports) == (protocol, flags, (40000, 443))
            assert seen.bytes == len(frame)
            assert before <= seen.time <= time.monotonic_ns()


def check_budget(make: MakeTold) -> None:
    """As many as it allows for each reason, the first ones; a new window begins anew; the rest is counted."""
    told = make(budget=3)
    firewall, blocked, cut = told.firewall, bytes(frame4() / udp()), bytes(frame4() / udp())[:20]
    for _ in range(5):
        firewall.run(blocked)
        firewall.run(cut)
    reasons = [each.reason for each in told.rest()]
    assert reasons == [Reason.BLOCK_LIST, Reason.TRUNCATED] * 3
    assert firewall.event_budget(Reason.BLOCK_LIST) == (2, 3, 0)
    assert firewall.event_budget(Reason.TRUNCATED) == (2, 3, 0)
    firewall.begin_window(2, 1)
    firewall.run(blocked)
    firewall.run(blocked)
    assert len(told.rest()) == 1
    assert firewall.event_budget(Reason.BLOCK_LIST) == (3, 4, 0)


def check_full_ring(make: MakeTold) -> None:
    """What finds no room is counted as lost; what was in the ring is whole, and read makes room."""
    told = make()
    libbpf.program_run(told.firewall.program, bytes(frame4() / udp()), repeat=CAPACITY + 50)
    sent = told.firewall.event_budget(Reason.BLOCK_LIST)[1]
    assert CAPACITY - 1 <= sent <= CAPACITY
    assert told.firewall.event_budget(Reason.BLOCK_LIST) == (0, sent, CAPACITY + 50 - sent)
    told.firewall.settle()
    seen = told.rest()
    assert len(seen) == sent
    assert {(each.source, each.number) for each in seen} == {(SOURCE, 1)}
    assert len(told.of(bytes(frame4() / udp()))) == 1


def check_off(make: MakeTold) -> None:
    """Window 0: neither told nor counted."""
    told = make(budget=0)
    for frame in (frame4() / udp(), frame6() / tcp(), raw(PPPOE)):
        assert told.of(bytes(frame)) == []
    for index in range(len(Reason)):
        assert told.firewall.event_budget(index) == (0, 0, 0)


def check_dry_run(make: MakeTold) -> None:
    """A dry run tells nothing and touches no budget."""
    told = make(dry_run=True)
    before = told.firewall.dump()
    assert told.firewall.run_uncounted(frame4() / udp()) == DROP
    assert told.rest() == []
    assert told.firewall.dump() == before


def check_broken(make: MakeTold) -> None:
    """Of a packet that cannot be read whole: what stands where it should."""
    told = make()
    good4, good6 = bytes(frame4() / tcp()), bytes(frame6() / tcp())
    nothing, both4, both6 = ("", ""), (SOURCE, HOST), (SOURCE6, HOST6)
    cases: dict[Reason, list[tuple[bytes, tuple[str, str], int]]] = {
        Reason.TRUNCATED: [(good4[:33], nothing, 0), (good4[:40], both4, TCP), (good6[:60], both6, TCP)],
        Reason.MALFORMED_IPV4: [(patched(good4, 14, b"\x41"), both4, TCP)],
        Reason.MALFORMED_IPV6: [(patched(good6, 14, b"\x50"), both6, TCP)],
        Reason.MALFORMED_TCP: [(patched(good4, 46, b"\x40"), both4, TCP)],
        Reason.MALFORMED_UDP: [(patched(frame6() / udp(), 58, b"\x00\x07"), both6, UDP)],
        Reason.FRAGMENT_TINY: [(patched(good4[:42], 16, b"\x00\x1c\x00\x01\x20\x00"), both4, TCP)],
        Reason.FRAGMENT_OVERLAP: [(patched(good4, 20, b"\x00\x01"), both4, TCP)],
        Reason.VLAN_DEPTH: [(tagged(good4, 0x8100, 0x8100, 0x8100), nothing, 0)],
        Reason.EXTENSION_DEPTH: [(_extended(9), both6, 60)],
        Reason.UNPARSED_DROP: [(raw(PPPOE, bytes(40)), nothing, 0)],
    }
    for reason, variants in cases.items():
        for frame, ends, protocol in variants:
            seen = one(told.of(frame))
            assert (seen.reason, (seen.source, seen.destination), seen.protocol) == (reason, ends, protocol)
            assert (seen.ports, seen.flags, seen.number, seen.bytes) == ((0, 0), 0, 0, len(frame))
    assert one(told.of(raw(PPPOE))).ethertype == PPPOE


def _extended(headers: int) -> bytes:
    """A packet behind so many destination options."""
    options = b"\x3c\x00\x01\x04\x00\x00\x00\x00" * headers
    return bytes(frame6(nh=60, plen=len(options)) / options)


def check_internal(make: MakeTold) -> None:
    """Spoofed sources, and the class of the end that is blocked, although the other one has one too."""
    told = make(networks=True, destinations=True)
    firewall = told.firewall
    firewall.put_class(2, "none")
    for entry in (OTHER, OTHER6):
        firewall.put(entry, 2)
    for network in ("203.0.113.0/24", "2001:db8:600d::/48"):
        firewall.put_network(network)
    for frame, source, destination in (
        (frame4(OTHER, SOURCE) / udp(), OTHER, SOURCE),
        (frame6(OTHER6, SOURCE6) / udp(), OTHER6, SOURCE6),
    ):
        seen = one(told.of(bytes(frame)))
        assert (seen.reason, seen.number) == (Reason.DESTINATION_BLOCK_LIST, 1)
        assert (seen.source, seen.destination) == (source, destination)
    for frame, source in ((frame4() / udp(), SOURCE), (frame6() / udp(), SOURCE6)):
        seen = one(told.of(bytes(frame)))
        assert (seen.reason, seen.number, seen.source) == (Reason.SPOOFED, 0, source)
    assert told.of(bytes(frame4(OTHER, HOST) / udp())) == []


CHECKS = (
    *(check_fields, check_budget, check_full_ring, check_off),
    *(check_dry_run, check_broken, check_internal),
)


@pytest.mark.parametrize("check", CHECKS)
def test_events(make_told: MakeTold, check: Callable[[MakeTold], None]) -> None:
    """Each of the checks above."""
    check(make_told)


def test_what_passes_is_not_told(make_told: MakeTold) -> None:
    """Miss and default: essential, allowed, unlisted."""
    told = make_told()
    told.firewall.put_class(2, PASS)
    told.firewall.put(OTHER, 2)
    for frame in (raw(0x0806), frame4(OTHER) / udp(), frame6(OTHER6) / tcp()):
        assert told.of(bytes(frame)) == []
    assert all(told.firewall.event_budget(index) == (0, 0, 0) for index in range(len(Reason)))


def test_icmp_has_no_ports(make_told: MakeTold) -> None:
    """Wrong protocol: what would be ports is not read as such."""
    packet = bytes(frame4() / tcp())[:34] + b"\x08\x00" + bytes(18)
    seen = one(make_told().of(patched(packet, 23, bytes([ICMP]))))
    assert (seen.reason, seen.protocol, seen.ports, seen.flags) == (Reason.BLOCK_LIST, ICMP, (0, 0), 0)


def test_without_the_switch_there_is_no_ring(make_firewall: MakeFirewall) -> None:
    """As on kernels below 5.8: the object loads without the map, and drops as ever."""
    firewall = make_firewall(events=False)
    firewall.put_class(1, DROP)
    firewall.put(SOURCE, 1)
    firewall.begin_window(1, ALWAYS)
    assert firewall.ring < 0
    assert firewall.run(frame4() / udp()) == (DROP, Reason.BLOCK_LIST)
    assert firewall.event_budget(Reason.BLOCK_LIST) == (0, 0, 0)


def test_the_next_reader_goes_on(make_told: MakeTold) -> None:
    """The position is part of the map: nothing is read twice, and nothing missed."""
    told = make_told()
    first = one(told.of(bytes(frame4() / udp())))
    told.firewall.run(frame6() / udp())
    told.close()
    ring = Ring(told.firewall.ring)
    (record,) = ring.read(0)
    assert unpack(record).source == SOURCE6 != first.source
    ring.close()


MUTATIONS: dict[str, tuple[tuple[str, str, str], Callable[[MakeTold], None]]] = {
    "the budget is never spent": (("events.h", "	budget->left--;\n", ""), check_budget),
    "what is over the budget is not counted": (
        ("events.h", "		budget->suppressed++;\n", ""),
        check_budget,
    ),
    "a window does not begin anew": (
        ("events.h", "budget->window != control->window", "!budget->window"),
        check_budget,
    ),
    "off is a window": (("events.h", "|| !budget || !control->window)", "|| !budget)"), check_off),
    "what finds no room counts as sent": (
        ("events.h", "		budget->lost++;", "		budget->sent++;"),
        check_full_ring,
    ),
    "a dry run tells": (
        ("events.h", "(nw_config.events && !nw_config.dry_run)", "nw_config.events"),
        check_dry_run,
    ),
    "the last event shines through": (
        ("events.h", "	__builtin_memset(event, 0, sizeof(*event));\n", ""),
        check_broken,
    ),
    "source and destination are one": (
        ("events.h", "event->destination, &ip6->daddr", "event->destination, &ip6->saddr"),
        check_fields,
    ),
    "the class is that of the source": (
        (
            "neurowall.bpf.c",
            "decision.reason == NW_REASON_DESTINATION_BLOCK_LIST ?",
            "decision.reason == NW_REASON_MAX ?",
        ),
        check_internal,
    ),
}


@pytest.mark.tool("clang")
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_check_catches_a_broken_program(make_told: MakeTold, name: str, tmp_path: Path) -> None:
    """The checks can fail."""
    mutation, check = MUTATIONS[name]
    path = compiled(tmp_path, mutation)
    with pytest.raises(AssertionError):
        check(lambda **role: make_told(path=path, **role))
