# SPDX-License-Identifier: Apache-2.0
"""Bans by limits: only of sources that proved who they are, never of the gateway, so many in a second."""

from pathlib import Path

import pytest

from neurowall.model.reasons import Reason
from tests.bpf.conftest import MakeFirewall
from tests.bpf.harness import DROP, PASS, Firewall
from tests.bpf.limitmaps import SECOND, Limits, Spec
from tests.bpf.packets import OTHER, SOURCE, SOURCE6, frame4, frame6, tcp, udp
from tests.bpf.test_mutations import compiled

pytestmark = pytest.mark.tool("clang")
BAN = Spec(rate=1, burst=1, action="ban", ban_ns=30 * SECOND)
BANNED, LIMITED = (DROP, Reason.BANNED), (DROP, Reason.LIMITED)
PROVEN = (  # every packet is of an established connection
    (
        "defend.h",
        "flow = flow_of(ctx, segment);",
        "flow_of(ctx, segment), flow = FLOW_KNOWN, segment->is_proven = segment->protocol == IPPROTO_TCP;",
    ),
)


@pytest.fixture(scope="module")
def proven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The object for which every TCP packet is of a proven connection, with a clock that tests set."""
    return compiled(tmp_path_factory.mktemp("proven"), *PROVEN, defines=("NW_VIRTUAL_TIME",))


def banning(
    make_firewall: MakeFirewall, path: Path, spec: Spec = BAN, **more: bool
) -> tuple[Firewall, Limits]:
    """A firewall with one limit that bans."""
    firewall = make_firewall(engine="classic", limits=True, bans=True, flows="loose", path=path, **more)
    limits = Limits(firewall)
    limits.put(spec)
    limits.put_ban_state()
    return firewall, limits


def reasons(firewall: Firewall, *packets: object) -> list[Reason]:
    """Why each was judged as it was."""
    return [firewall.run(packet).reason for packet in packets]  # type: ignore[arg-type]


@pytest.mark.parametrize("source", [SOURCE, SOURCE6])
def test_a_proven_source_is_banned_and_the_ban_ends(
    make_firewall: MakeFirewall, proven: Path, source: str
) -> None:
    """The packet over the limit is dropped as such, then all of the source's, until the ban ends."""
    firewall, limits = banning(make_firewall, proven)
    frame = frame6 if ":" in source else frame4
    packet = frame(source) / tcp(flags="A")
    assert reasons(firewall, packet, packet, packet) == [Reason.FLOW, Reason.LIMITED, Reason.BANNED]
    assert reasons(firewall, frame(source) / udp()) == [Reason.BANNED]
    assert limits.ban(source) == limits.now + 30 * SECOND
    assert limits.ban_state() == (1, 0)
    assert limits.counter()["bans"] == 1
    limits.now += 30 * SECOND - 1
    assert reasons(firewall, packet) == [Reason.BANNED]
    limits.now += 1
    assert reasons(firewall, packet, packet, packet) == [Reason.FLOW, Reason.LIMITED, Reason.BANNED]
    assert limits.ban_state() == (1, 0)  # the same entry again: it had not been taken out
    assert limits.counter()["bans"] == 2


def test_others_are_not_banned(make_firewall: MakeFirewall, proven: Path) -> None:
    """Neighbours go on; so does a source of the same number in the other family."""
    firewall, limits = banning(make_firewall, proven)
    packet = frame4() / tcp(flags="A")
    reasons(firewall, packet, packet)
    assert reasons(firewall, frame4(OTHER) / tcp(flags="A")) == [Reason.FLOW]
    assert reasons(firewall, frame6(f"::{SOURCE}") / tcp(flags="A")) == [Reason.FLOW]
    assert limits.ban(OTHER) is None


@pytest.mark.parametrize("flags", ["S", "SA"])
def test_a_packet_that_proves_nothing_bans_nobody(
    make_firewall: MakeFirewall, proven: Path, flags: str
) -> None:
    """SYN and SYN-ACK, and everything that is not TCP: dropped, no more."""
    firewall, limits = banning(make_firewall, proven)
    packet = frame4() / tcp(flags=flags)
    assert reasons(firewall, packet, packet, packet)[1:] == [Reason.LIMITED] * 2
    assert (
        reasons(firewall, *[frame4() / udp()] * 3)[1:] == [Reason.LIMITED] * 2
    )  # with a budget of their own
    assert limits.ban_state() == (0, 0)
    assert "bans" not in limits.counter()


def test_a_forged_source_bans_nobody(make_firewall: MakeFirewall, tmp_path: Path) -> None:
    """Packets of no known flow, whatever their flags: an attacker does not choose whom we shut out."""
    path = compiled(tmp_path, defines=("NW_VIRTUAL_TIME",))
    firewall = make_firewall(engine="classic", limits=True, bans=True, path=path)
    limits = Limits(firewall)
    limits.put(BAN)
    limits.put_ban_state()
    packet = frame4() / tcp(flags="A")
    assert reasons(firewall, *[packet] * 5)[1:] == [Reason.LIMITED] * 4
    assert limits.ban_state() == (0, 0)


def test_the_gateway_and_the_operator_are_never_banned(make_firewall: MakeFirewall, proven: Path) -> None:
    """Refused in the kernel, and counted; the packet is dropped all the same."""
    firewall, limits = banning(make_firewall, proven)
    for source in (SOURCE, SOURCE6):
        limits.put_never_ban(source)
        frame = frame6 if ":" in source else frame4
        packet = frame(source) / tcp(flags="A")
        assert reasons(firewall, packet, packet, packet)[1:] == [Reason.LIMITED] * 2
    assert limits.counter()["bans_refused"] == 4
    assert limits.ban_state() == (0, 0)


def test_an_allowed_source_is_neither_banned_nor_held_by_a_ban(
    make_firewall: MakeFirewall, proven: Path
) -> None:
    """It is limited, and that is all."""
    firewall, limits = banning(make_firewall, proven)
    firewall.put_class(2, PASS)
    firewall.put(SOURCE, 2)
    packet = frame4() / tcp(flags="A")
    assert reasons(firewall, packet, packet, packet)[1:] == [Reason.LIMITED] * 2
    assert limits.ban(SOURCE) is None
    limits.put_ban(SOURCE, limits.now + SECOND)
    limits.put_ban_state(put=1)
    limits.now += SECOND - 1
    assert reasons(firewall, packet)[0] in (Reason.ALLOW_LIST, Reason.LIMITED)


def test_so_many_bans_in_a_second(make_firewall: MakeFirewall, proven: Path) -> None:
    """More are refused and counted, and possible again later."""
    firewall, limits = banning(make_firewall, proven)
    limits.put_ban_state(per_second=3)
    limits.now = limits.now >> 30 << 30  # a window begins: they are of 2^30 nanoseconds
    for i in range(5):
        packet = frame4(f"203.0.113.{i}") / tcp(flags="A")
        firewall.run(packet)
        firewall.run(packet)
    assert limits.ban_state() == (3, 0)
    assert (limits.counter()["bans"], limits.counter()["bans_refused"]) == (3, 2)
    limits.now += 1 << 30
    packet = frame4("203.0.113.99") / tcp(flags="A")
    assert reasons(firewall, packet, packet, packet) == [Reason.FLOW, Reason.LIMITED, Reason.BANNED]


def test_no_ban_no_lookup(make_firewall: MakeFirewall, proven: Path) -> None:
    """While as many were taken out as were put in, an entry is not even looked for."""
    firewall, limits = banning(make_firewall, proven, Spec(rate=1000, burst=1000))
    limits.put_ban(SOURCE, limits.now + SECOND)
    packet = frame4() / tcp(flags="A")
    limits.put_ban_state(put=5, taken=5)
    assert reasons(firewall, packet) == [Reason.FLOW]
    limits.put_ban_state(put=6, taken=5)
    assert reasons(firewall, packet) == [Reason.BANNED]


def test_a_block_list_comes_before_a_ban(make_firewall: MakeFirewall, proven: Path) -> None:
    """What an operator blocks is told apart from what a limit banned."""
    firewall, limits = banning(make_firewall, proven)
    firewall.put_class(1, DROP)
    firewall.put(SOURCE, 1)
    limits.put_ban(SOURCE, limits.now + SECOND)
    limits.put_ban_state(put=1)
    assert reasons(firewall, frame4() / tcp(flags="A")) == [Reason.BLOCK_LIST]


def test_a_dry_run_bans_nobody(make_firewall: MakeFirewall, proven: Path) -> None:
    """And tells of a ban that is there."""
    firewall, limits = banning(make_firewall, proven, dry_run=True)
    line, tag = limits.place(SOURCE, proven=True)
    limits.put_line(line, [tag << 40 | (limits.now + SECOND) // 16 % (1 << 40), *[0] * 7])
    packet = frame4() / tcp(flags="A")
    assert firewall.run_uncounted(packet) == DROP
    assert limits.ban_state() == (0, 0)
    assert limits.ban(SOURCE) is None
    limits.put_ban(OTHER, limits.now + SECOND)
    limits.put_ban_state(put=1)
    assert firewall.run_uncounted(frame4(OTHER) / tcp(flags="A")) == DROP


UNPROVEN = (
    "defend.h",
    "(segment->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_ACK",
    "1",
)


def test_a_program_that_bans_on_a_syn_is_caught(make_firewall: MakeFirewall, tmp_path: Path) -> None:
    """The test above can fail."""
    path = compiled(tmp_path, *PROVEN, UNPROVEN, defines=("NW_VIRTUAL_TIME",))
    firewall, limits = banning(make_firewall, path)
    packet = frame4() / tcp(flags="S")
    reasons(firewall, packet, packet)
    assert limits.ban_state() == (1, 0)
