# SPDX-License-Identifier: Apache-2.0
"""The kernel's answer beside what the policy says as it is written; and the frame that it is asked about."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from neurowall.logic.dryrun import with_kernel
from neurowall.logic.evaluate import Listed, Verdict, evaluate, read_packet
from neurowall.logic.packetframe import frame_of
from neurowall.model.dryrun import DryRun
from neurowall.model.image import ClassDef
from neurowall.model.limits import LimitBan
from neurowall.model.reasons import Reason
from tests.unit.logic.packet_world import World, interfaces, load

POLICY = load({"interfaces": interfaces(), "zones": [{"name": "dmz", "kind": "internal"}]})
CLASSES = {7: ClassDef(7, "drop", "abuse", frozenset({"abuse"}))}


def judge(text: str, **listed: str) -> Verdict:
    """What is said of it; lists hold its source by name of the verdict."""
    lookup = lambda _: Listed(listed["verdict"], "abuse", "203.0.113.7") if listed else Listed()  # type: ignore[arg-type]  # noqa: E731
    return evaluate(POLICY, read_packet(text), lookup, World())


OPEN = "udp 203.0.113.7:1 -> 198.51.100.10:443 via wan0"


def test_a_drop_that_only_the_kernel_knows_of_decides() -> None:
    """A ban, with its end; nothing comes after it."""
    ban = LimitBan("203.0.113.7", 12345.0, "syn")
    found = with_kernel(judge(OPEN), DryRun(Reason.BANNED), CLASSES, ban)
    assert (found.verdict, found.decided_by, found.name, found.sent) == ("drop", "xdp", "banned", None)
    assert found.kernel
    assert (found.kernel.agrees, found.kernel.banned_until) == (True, 12345.0)
    assert found.steps[-1].stage == "xdp"


def test_the_name_of_a_limit_is_told() -> None:
    """Where that is the reason."""
    found = with_kernel(judge(OPEN), DryRun(Reason.LIMITED, limit="syn"), CLASSES, None)
    assert "over limit syn" in found.steps[-1].text


@pytest.mark.parametrize("reason", [Reason.DEFAULT, Reason.FLOW])
def test_what_passes_goes_on_to_nftables(reason: Reason) -> None:
    """The kernel's step stands where XDP has its place, and changes nothing else."""
    before = judge(OPEN)
    found = with_kernel(before, DryRun(reason), CLASSES, None)
    assert (found.verdict, found.decided_by) == (before.verdict, before.decided_by)
    stages = [step.stage for step in found.steps]
    assert stages.index("xdp") == stages.index("source-lists") + 1
    assert stages[-1] != "xdp"
    assert found.kernel
    assert found.kernel.agrees


@pytest.mark.parametrize(
    ("verdict", "reason", "agrees"),
    [
        ("block", Reason.BLOCK_LIST, True),
        ("block", Reason.DEFAULT, False),
        ("allow", Reason.ALLOW_LIST, True),
        ("allow", Reason.BLOCK_LIST, False),
        ("allow", Reason.LIMITED, True),
        ("allow", Reason.BANNED, False),
        ("", Reason.BLOCK_LIST, False),
        ("", Reason.SPOOFED, False),
    ],
)
def test_a_disagreement_is_said(verdict: str, reason: Reason, agrees: bool) -> None:
    """Both reasons are in the step; the verdict is the one by the policy."""
    before = judge(OPEN, **({"verdict": verdict} if verdict else {}))
    found = with_kernel(before, DryRun(reason, 7), CLASSES, None)
    (step,) = [each for each in found.steps if each.stage == "xdp"]
    assert found.kernel
    assert found.kernel.agrees == agrees
    assert ("disagree" in step.text) == (not agrees)
    assert reason.label in step.text
    if not agrees:
        assert found.verdict == before.verdict


def test_the_list_of_the_class_is_named() -> None:
    """As the maps in force know it."""
    found = with_kernel(judge(OPEN, verdict="block"), DryRun(Reason.BLOCK_LIST, 7), CLASSES, None)
    assert found.kernel
    assert found.kernel.list == "abuse"


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("tcp 192.0.2.1:4711 -> 192.0.2.10:443", (IP, TCP)),
        (
            "tcp [2001:db8::1]:4711 -> [2001:db8::2]:443 flags rst,ack sequence 7 acknowledgement 8",
            (IPv6, TCP),
        ),
        ("udp 192.0.2.1:4711 -> 192.0.2.10:53 size 600", (IP, UDP)),
        ("icmp time-exceeded 192.0.2.1 -> 192.0.2.10 ttl 3", (IP, ICMP)),
    ],
)
def test_the_frame_is_the_packet(text: str, layers: tuple[type, type]) -> None:
    """As another reader reads it."""
    packet = read_packet(text)
    network, transport = layers
    frame = Ether(frame_of(packet))
    assert (frame[network].src, frame[network].dst) == (packet.source, packet.destination)
    assert (frame.hlim if network is IPv6 else frame.ttl) == packet.hop_limit
    assert len(frame) - 14 >= packet.size
    assert transport in frame
    if packet.has_ports:
        assert (frame[transport].sport, frame[transport].dport) == (
            packet.source_port,
            packet.destination_port,
        )
    if transport is TCP:
        assert str(frame[TCP].flags) == "".join(each[0].upper() for each in packet.tcp_flags)
        assert (frame[TCP].seq, frame[TCP].ack) == (packet.sequence, packet.acknowledgement)
    if transport is UDP:
        assert (len(frame) - 14, frame[UDP].len) == (600, 580)
    if transport is ICMP:
        assert frame[ICMP].type == 11


def test_every_protocol_has_a_frame() -> None:
    """Long enough for the kernel to look at, its length as the header says."""
    for protocol in ("sctp", "gre", "esp", "ah", "ipip", "ipv6"):
        ends = "192.0.2.1:5 -> 192.0.2.2:6" if protocol == "sctp" else "192.0.2.1 -> 192.0.2.2"
        frame = Ether(frame_of(read_packet(f"{protocol} {ends}")))
        assert frame[IP].len == len(frame) - 14 >= 32
    assert frame_of(read_packet("ah 2001:db8::1 -> 2001:db8::2"))[20] == 51
