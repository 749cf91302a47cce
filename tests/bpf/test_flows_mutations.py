# SPDX-License-Identifier: Apache-2.0
"""Random lives of a connection against an oracle, and broken programs that it must find.

The oracle knows no windows in scaled units, tables or bits: it keeps what each end said as plain numbers.
"""

from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from neurowall.model.reasons import Reason
from tests.bpf.conftest import MakeFirewall
from tests.bpf.flowworld import ACK, FIN, RST, SYN, Ends, control
from tests.bpf.harness import Firewall
from tests.bpf.test_mutations import compiled

STEPS = 6_000
WRAP = 1 << 32
SLACK = 66_000
WINDOW = 1000  # that both ends always offer; neither scales
OURS, THEIRS = WRAP - 700, WRAP - 300  # first numbers, so that both wrap


@dataclass
class Oracle:
    """One tuple. Numbers are offsets from the first number of their end, and never wrap."""

    state: str = "none"  # none, sent, received, open, reset
    sent: int = 0  # our next number
    seen: int = 0  # the peer's next number, as far as packets that passed say
    acked: int = 0  # what our end acknowledged

    def out(self, flags: int, seq: int, ack: int, data: int) -> None:
        """Our end sends."""
        end = seq + data + bool(flags & SYN) + bool(flags & FIN)
        if flags == SYN:
            if self.state not in ("open", "sent"):
                self.state, self.sent = "sent", end
        elif flags == SYN | ACK:
            if self.state != "open":
                self.state, self.sent, self.seen, self.acked = "received", end, ack, ack
        elif flags & RST:
            self.state = "none" if self.state == "none" else "reset"
        elif self.state == "open":
            self.sent, self.acked = max(self.sent, end), max(self.acked, ack)

    def come(self, flags: int, seq: int, ack: int, data: int) -> Reason:
        """The peer sends, or who says so."""
        end = seq + data + bool(flags & SYN) + bool(flags & FIN)
        if flags == SYN:
            return Reason.DEFAULT
        if self.state == "none":
            return Reason.OUT_OF_STATE
        good = self._good(flags, seq, ack, end)
        if good and flags & RST:
            self.state = "reset"
        elif good and self.state in ("sent", "received"):
            if self.state == "sent":
                self.acked = seq + 1
            self.state, self.seen = "open", end
        elif good:
            self.seen = max(self.seen, end)
        return Reason.FLOW if good else Reason.BAD_SEQUENCE

    def _good(self, flags: int, seq: int, ack: int, end: int) -> bool:
        ours = bool(flags & ACK) and 1 <= ack <= self.sent
        if self.state == "sent":
            return ours and (flags == SYN | ACK or bool(flags & RST))
        if self.state == "received":
            if flags & RST:
                return seq == self.seen
            if flags & SYN:
                return ours and seq + 1 == self.seen
            return ours and self.seen <= seq <= self.acked + WINDOW
        if flags & RST:
            return seq in (self.seen, self.acked)
        return (
            bool(flags & ACK)
            and self.acked - SLACK <= end
            and seq <= self.acked + WINDOW
            and self.sent - SLACK <= ack <= self.sent
        )


def _near(r: Random, number: int) -> int:
    return number + r.choice((0, 0, 0, 0, 1, -1, 10, WINDOW, WINDOW + 1, -SLACK, -SLACK - 2, 200_000))


def disagreement(firewall: Firewall, r: Random, steps: int) -> str | None:
    """What program and oracle first differ in, if they do."""
    life: list[str] = []
    ends, oracle = Ends(firewall), Oracle()
    for _ in range(steps):
        if oracle.state == "reset" or len(life) > 40:
            firewall.clear_flows()
            life, oracle = [], Oracle()
        data = r.choice((0, 0, 1, 100, 500))
        if r.randrange(5) < 2:
            flags = r.choice((SYN, SYN | ACK, ACK, ACK, ACK, RST | ACK)) if oracle.state != "open" else ACK
            flags = RST | ACK if oracle.state == "open" and r.randrange(20) == 0 else flags
            if oracle.state in ("none", "sent", "received") and flags == ACK:
                continue  # picked up in mid-stream: tested apart
            seq = oracle.sent if flags not in (SYN, SYN | ACK) else 0
            data = 0 if flags & SYN else data
            ack = oracle.seen if flags & ACK and oracle.state == "open" else (1 if flags & ACK else 0)
            if oracle.state in ("sent", "received") and flags != RST | ACK and flags == SYN:
                continue
            ends.out(flags, OURS + seq, THEIRS + ack if flags & ACK else 0, data, window=WINDOW)
            oracle.out(flags, seq, ack, data)
            life.append(f"out {flags:#x} {seq} {ack} {data} -> {oracle}")
            continue
        flags = r.choice((SYN, SYN | ACK, SYN | ACK, ACK, ACK, ACK, RST, RST | ACK, 0))
        data = 0 if flags & (SYN | RST) else data
        seq = _near(r, 0 if flags & SYN else oracle.seen)
        ack = _near(r, oracle.sent) if flags & ACK else 0
        before = str(oracle)
        expected = oracle.come(flags, seq, ack, data)
        said = ends.come(flags, THEIRS + seq, OURS + ack if flags & ACK else 0, data, window=WINDOW)
        life.append(f"come {flags:#x} {seq} {ack} {data}: {expected.name}, before {before}")
        if said is not expected:
            return f"{said.name}\n" + "\n".join(life)
    return None


def test_random_lives(make_firewall: MakeFirewall) -> None:
    """Thousands of steps, numbers wrap on both sides."""
    firewall = make_firewall(engine="classic", flows="strict")
    control(firewall)
    assert disagreement(firewall, Random("lives"), STEPS) is None


MUTATIONS = {
    "any number acknowledges our SYN": (
        "flows.h",
        "segment->acknowledgement - first <= (__u32)flow->inside_next - first",
        "1",
    ),
    "a RST anywhere in the window counts": (
        "flows.h",
        "if (flow->is_numbered && segment->sequence != flow->outside_next &&",
        "if (0 && segment->sequence != flow->outside_next &&",
    ),
    "data may come from ahead of the window": (
        "flows.h",
        "!is_after(segment->sequence, flow->outside_limit) &&\n	       !is_after(flow->outside_acked",
        "!is_after(flow->outside_acked",
    ),
    "what was never sent may be acknowledged": (
        "flows.h",
        "!is_after(acknowledged, known + ahead) &&",
        "",
    ),
    "numbers do not wrap": ("flowtable.h", "return (__s32)(a - b) > 0;", "return a > b;"),
    "what acknowledges nothing is good": (
        "flows.h",
        "if (!(flags & TCP_ACK) || (flags & TCP_SYN && flags & TCP_FIN))",
        "if (flags & TCP_SYN && flags & TCP_FIN)",
    ),
    "what is out of state is only unknown": (
        "flows.h",
        "		return FLOW_OUT_OF_STATE;\n	count_flow_event",
        "		return FLOW_UNKNOWN;\n	count_flow_event",
    ),
    "our window is forgotten": ("egress.h", "flow->outside_limit = acked + window;", ""),
}


@pytest.mark.tool("clang")
@pytest.mark.parametrize("name", MUTATIONS)
def test_the_oracle_finds_a_broken_program(make_firewall: MakeFirewall, name: str, tmp_path: Path) -> None:
    """With no more steps than the ordinary run takes."""
    firewall = make_firewall(engine="classic", flows="strict", path=compiled(tmp_path, MUTATIONS[name]))
    control(firewall)
    assert disagreement(firewall, Random("lives"), STEPS) is not None
