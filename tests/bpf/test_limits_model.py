# SPDX-License-Identifier: Apache-2.0
"""Random packets over several limits, with a virtual clock, against a model that shares no code with them.

Intervals are whole units of time, so nothing is rounded and the two must agree on every packet; keys are
fewer than the table has room for in any line, so that none takes the place of another.
"""

from ipaddress import ip_address
from pathlib import Path
from random import Random
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6EchoRequest

from neurowall.kernel import libbpf
from tests.bpf.conftest import MakeFirewall
from tests.bpf.limitmaps import Limits, Spec
from tests.bpf.limitmodel import Model, Sent
from tests.bpf.packets import frame4, frame6, tcp, udp
from tests.bpf.test_mutations import compiled

pytestmark = pytest.mark.tool("clang")
TRANSPORT = ("tcp-syn", "tcp", "udp")
SPECS = [
    Spec(rate=100, burst=20),
    Spec(rate=10, burst=4, kinds=("tcp-syn",)),
    Spec(rate=200, burst=30, prefix4=24, prefix6=64),
    Spec(rate=400, burst=60, kinds=TRANSPORT, key="port"),
    Spec(rate=20_000, burst=4_000, counts_bytes=True, kinds=("udp",), ports=(53, 80, 65535)),
    Spec(rate=2_500, burst=250, key="all"),
    Spec(rate=20, burst=5, kinds=("icmp",)),
    Spec(rate=10, burst=3, kinds=("fragment",), key="all"),
    Spec(rate=5, burst=2, kinds=("udp",), action="monitor"),
]
PORTS = (53, 80, 123, 443, 65535)
MUTATIONS = {
    "the first limit that admits is enough": (
        "limits.h",
        "		if (!judge_claim(claim, limit, line, now, bytes))\n			continue;",
        "		if (!judge_claim(claim, limit, line, now, bytes))\n			break;",
    ),
    "what another limit drops is charged": (
        "limits.h",
        "	if ((__u32)over) {",
        "	if ((__u32)over && commit_all(work, over >> 32, segment->bytes)) {",
    ),
    "a burst is one too many": (
        "limittable.h",
        "return ahead > tolerance;",
        "return ahead > tolerance + 156250;",
    ),
    "what is over counts on": ("limittable.h", "if (!held || ahead > horizon)", "if (!held)"),
    "the mask of IPv6 is that of IPv4": (
        "limittable.h",
        "(const __u32 *)limit->mask6",
        "(const __u32 *)limit->mask4",
    ),
    "a SYN is any TCP": (
        "limits.h",
        "(segment->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN",
        "(segment->tcp_flags & TCP_SYN)",
    ),
    "odd ports are even ones": ("limits.h", "*word >> (port & 1) * 32", "*word"),
    "bytes are packets": (
        "limittable.h",
        "limit->counts_bytes ? bytes : 1",
        "limit->counts_bytes ? bytes > 0 : 1",
    ),
}


def _packets(random: Random) -> list[tuple[bytes, Sent]]:
    """Packets of every kind from few sources of both families."""
    sources = [f"198.51.{a}.{b}" for a in (100, 101) for b in (1, 2, 3)]
    sources += [f"2001:db8:0:{a}::{b}" for a in (1, 2) for b in (1, 2)]
    made: list[tuple[Any, int | None, int, set[str]]] = []
    for source in sources:
        is4 = ":" not in source
        frame = frame4(source) if is4 else frame6(source)
        for flags in ("S", "A", "SA"):
            port = random.choice(PORTS)
            kind = "tcp-syn" if flags == "S" else "tcp"
            made.append((frame / tcp(port, flags=flags), port, 6, {kind}))
        for size in (0, 700, 1400):
            port = random.choice(PORTS)
            made.append((frame / udp(port) / bytes(size), port, 17, {"udp"}))
        ping = ICMP() if is4 else ICMPv6EchoRequest()
        made.append((frame / ping, None, 1 if is4 else 58, {"icmp"}))
        if is4:
            later = frame.copy()
            later[IP].frag, later[IP].proto = 50, 17
            made.append((later / bytes(100), None, 17, {"udp", "fragment"}))
            first = frame.copy()
            first[IP].flags = "MF"
            made.append((first / udp(53) / bytes(100), 53, 17, {"udp", "fragment"}))
    frames = [(bytes(packet), port, protocol, kinds) for packet, port, protocol, kinds in made]
    return [
        (frame, Sent(_source(frame), port, protocol, frozenset(kinds), len(frame) - 14))
        for frame, port, protocol, kinds in frames
    ]


def _source(frame: bytes) -> str:
    return str(ip_address(frame[26:30] if frame[12:14] == b"\x08\0" else frame[22:38]))


def disagreement(make_firewall: MakeFirewall, path: Path, seed: int, count: int) -> str | None:
    """What the first packet is that program and model judge differently; None if there is none."""
    random = Random(seed)
    firewall = make_firewall(engine="classic", limits=True, path=path)
    limits, model = Limits(firewall), Model(SPECS)
    limits.put(*SPECS)
    packets = _packets(random)
    passed, pause = 0, 0
    for number in range(count):
        # Streams below, at and above the rates, with bursts at one moment and rests of seconds.
        if number % 500 == 0:
            pause = random.choice((30_000, 300_000, 1_000_000, 10_000_000))
        limits.now += random.choice((0, random.randrange(pause), random.randrange(2 * pause)))
        if random.random() < 0.001:
            limits.now += random.randrange(6 * 10**9)
        frame, packet = random.choice(packets)
        expected = model.admits(packet, limits.now)
        found = libbpf.program_run(firewall.program_fd, frame)[0] == libbpf.XDP_PASS
        if found != expected:
            return f"packet {number}, {packet}: {'passes' if found else 'is dropped'}"
        passed += found
    assert count * 0.1 < passed < count * 0.9, f"{passed} of {count} passed: that tries little"
    return None


@pytest.fixture(scope="module")
def virtual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The object with a clock that tests set."""
    return compiled(tmp_path_factory.mktemp("virtual"), defines=("NW_VIRTUAL_TIME",))


def test_limits_agree_with_a_model(make_firewall: MakeFirewall, virtual: Path) -> None:
    """On each of 20,000 packets."""
    assert disagreement(make_firewall, virtual, 5, 20_000) is None


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
def test_limits_agree_with_a_model_for_long(make_firewall: MakeFirewall, virtual: Path, seed: int) -> None:
    """On each of 200,000 packets."""
    assert disagreement(make_firewall, virtual, seed, 200_000) is None


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_model_catches_a_broken_program(make_firewall: MakeFirewall, name: str, tmp_path: Path) -> None:
    """Within as many packets as the ordinary run looks at."""
    path = compiled(tmp_path, MUTATIONS[name], defines=("NW_VIRTUAL_TIME",))
    try:
        found = disagreement(make_firewall, path, 5, 20_000)
    except AssertionError:
        return
    assert found is not None
