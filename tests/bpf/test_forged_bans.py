# SPDX-License-Identifier: Apache-2.0
"""Nobody is banned, nor held up, for what others send in his name."""

from pathlib import Path

import pytest

from neurowall.model.reasons import Reason
from tests.bpf.conftest import MakeFirewall
from tests.bpf.flowworld import ACK, RST, SYN, Ends, control
from tests.bpf.harness import Firewall
from tests.bpf.limitmaps import SECOND, Limits, Spec
from tests.bpf.test_mutations import compiled

BURST = 3
BAN = Spec(rate=1, burst=BURST, action="ban", ban_ns=30 * SECOND)
_REFUSED = """\
	if (flow == FLOW_OUT_OF_STATE)
		return NW_REASON_OUT_OF_STATE;
	if (flow == FLOW_BAD_SEQUENCE)
		return NW_REASON_BAD_SEQUENCE;
"""
MUTANTS = {
    "one allowance for both": ("limittable.h", "a |= (__u64)segment->is_proven << 32;", ";"),
    "limits come before what flows refuse": ("defend.h", _REFUSED, ""),
}


def banning(firewall: Firewall) -> Limits:
    """One limit that bans, by the clock of the kernel."""
    limits = Limits(firewall, virtual=False)
    limits.put(BAN)
    limits.put_ban_state()
    control(firewall)
    return limits


def victim(firewall: Firewall, family: int = 4) -> tuple[Limits, Ends, int, int]:
    """A peer at work, in whose name a flood was sent that is over the limit by far."""
    limits, ends = banning(firewall), Ends(firewall, family)
    ours, theirs = ends.connect()
    for number in range(4 * BURST):
        ends.receive(ends.echo(leaves=False, reply=False, identifier=number))
        ends.come(SYN, number)
        ends.come(ACK, theirs + (1 << 30), ours)
        ends.come(RST, theirs + 100)
    return limits, ends, ours, theirs


@pytest.mark.parametrize("family", [4, 6])
def test_forged_packets_use_up_nothing_that_is_proven(make_firewall: MakeFirewall, family: int) -> None:
    """The peer's own packets have the allowance that the flood did not touch; then it is its own doing."""
    firewall = make_firewall(engine="classic", limits=True, bans=True, flows="strict")
    limits, ends, ours, theirs = victim(firewall, family)
    assert limits.ban_state() == (0, 0)
    # One of the burst was the SYN-ACK that proved it.
    assert [ends.come(ACK, theirs, ours) for _ in range(BURST + 1)] == [
        *[Reason.FLOW] * (BURST - 1),
        Reason.LIMITED,
        Reason.BANNED,
    ]
    assert limits.ban_state() == (1, 0)


def test_what_flows_refuse_is_no_limits_business(make_firewall: MakeFirewall) -> None:
    """Segments with wrong numbers, or of no connection, take nothing of anybody's allowance."""
    firewall = make_firewall(engine="classic", limits=True, flows="strict")
    limits = Limits(firewall, virtual=False)
    limits.put(Spec(rate=1, burst=BURST))
    control(firewall)
    ends = Ends(firewall)
    for number in range(4 * BURST):
        assert ends.come(ACK, number, number) is Reason.OUT_OF_STATE
    assert limits.counter() == {}
    assert ends.receive(ends.echo(leaves=False, reply=False)).reason is Reason.DEFAULT


@pytest.mark.tool("clang")
@pytest.mark.parametrize("name", MUTANTS)
def test_a_program_that_lets_others_use_it_up_is_caught(
    make_firewall: MakeFirewall, name: str, tmp_path: Path
) -> None:
    """The tests above can fail."""
    path = compiled(tmp_path, MUTANTS[name])
    firewall = make_firewall(engine="classic", limits=True, bans=True, flows="strict", path=path)
    limits, ends, ours, theirs = victim(firewall)
    if name == "one allowance for both":
        assert ends.come(ACK, theirs, ours) is Reason.LIMITED
        assert limits.ban_state() == (1, 0)
    else:
        assert limits.counter()["dropped_packets"] > 8 * BURST
