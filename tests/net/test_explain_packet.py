# SPDX-License-Identifier: Apache-2.0
"""What is said of a packet, and what the kernel does to it."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import pytest
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet as Frame

from bench.testbed.run import Run
from neurowall.kernel.nft import Nftables
from neurowall.kernel.routes import KernelRoutes
from neurowall.logic.classes import Registry
from neurowall.logic.compile import compile_lists
from neurowall.logic.evaluate import Listed, Packet, Verdict, evaluate, listed_of, read_packet
from neurowall.logic.explain import explain
from neurowall.logic.snapshot import Snapshot, named_lists
from neurowall.logic.stateful.compile import compile_ruleset
from neurowall.logic.stateful.fallback import fallback
from neurowall.model.address import parse_address
from neurowall.model.entries import EntrySet
from neurowall.model.guards import guards_of
from neurowall.model.intent import HeldList, ListRecord
from neurowall.model.policy import Capacity, ListVerdict, Policy
from tests.net.crossroads import Crossroads
from tests.unit.logic.packet_world import HOSTS, Json, load, random_packet, random_policy

pytestmark = [pytest.mark.root]

_PATIENCE = 2.0  # seconds for a packet that is on its way; it takes less than a millisecond
Frames = list[tuple[str, Frame]]


@pytest.fixture(scope="module")
def crossroads(run: Run) -> Iterator[Crossroads]:
    """A gateway with five links."""
    with Crossroads.build(run).opened() as crossroads:
        yield crossroads


class Gateway:
    """The gateway under one policy, with these lists in force on every interface that it declares."""

    def __init__(self, crossroads: Crossroads, raw: Json, lists: Sequence[HeldList] = ()) -> None:
        self.crossroads, self.raw, self.policy, self.lists = crossroads, raw, load(raw), tuple(lists)
        compiled = compile_lists(named_lists(self.lists), Registry(4096), Capacity())
        self.snapshot = Snapshot(1, self.lists, compiled)
        names = frozenset(each.name for each in self.policy.interfaces)
        instead_of_xdp = fallback(guards_of(self.policy), names, self.lists, 1000, time.time())
        with crossroads.gateway.enter():
            self.tables = Nftables()
            self.tables.commit(None, compile_ruleset(self.policy, instead_of_xdp))

    def evaluate(self, packet: Packet) -> Verdict:
        """What is said."""
        with self.crossroads.gateway.enter():
            return evaluate(self.policy, packet, self._listed, KernelRoutes())

    def _listed(self, address: str) -> Listed:
        return listed_of(explain(parse_address(address), self.snapshot, None, time.time()))

    def counts(self) -> Mapping[str, int]:
        """Packets of each named counter."""
        with self.crossroads.gateway.enter():
            return {name: counter.packets for name, counter in self.tables.counters().items()}

    def counted(self, before: Mapping[str, int], wanted: set[str]) -> set[str]:
        """The counters that rose; waits for those that should."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            now = self.counts()
            rose = {name for name, packets in now.items() if packets > before.get(name, 0)}
            if wanted <= rose or time.monotonic() > deadline:
                return rose


def expected_counters(found: Verdict) -> set[str]:
    """The counters that must rise for what was said."""
    counters = {f"rule-{step.name}" for step in found.steps if step.does == "count"}
    deciding = {
        "rules": f"rule-{found.name}",
        "defaults": f"default-{found.hook}",
        "state": "state-invalid" if found.name == "invalid" else None,
        "failsafe": "failsafe",
    }
    counters |= {name for name in [deciding.get(found.decided_by)] if name}
    forwards = [
        step for step in found.steps if step.stage == "destination-nat" and "port forward" in step.text
    ]
    return counters | {f"forward-{step.name}" for step in forwards} | {guard_counter(found)} - {""}


def guard_counter(found: Verdict) -> str:
    """What the guard of the interface counts the packet under; "" where there is none."""
    if found.arrives is None:
        return ""
    steps = {step.stage: step for step in found.steps}
    if "essential" in steps:
        words = ("neighbour discovery", "multicast listener", "DHCP")
        (kind,) = [word for word in words if word in steps["essential"].text]
        return f"fallback-{kind.lower().replace(' ', '-')}"
    if "failsafe" in steps:
        return "fallback-failsafe"
    for stage, prefix in (("source-lists", ""), ("destination-lists", "destination-")):
        if stage in steps and steps[stage].name:
            return f"fallback-{prefix}{'block' if steps[stage].does == 'drop' else 'allow'}-list"
    unlisted = "tunnel" if found.packet.protocol == "gre" else "default"
    unlisted = "icmp-error" if found.packet.type_name == "destination-unreachable" else unlisted
    origins = {"spoofing": "spoofed", "foreign": "spoofed", "martian": "martian", "bogon": "bogon"}
    return f"fallback-{origins.get(found.decided_by, unlisted)}"


def is_of_answers(name: str, policy: Policy) -> bool:
    """Whether a counter is of what the gateway itself sends: it answers some packets."""
    own = {f"rule-{rule.name}" for rule in policy.rules or () if "gateway" in rule.from_}
    return name in own or name == "default-output"


def without_own_states(raw: Json) -> Json:
    """The policy without rules that would keep the gateway's answers from leaving."""
    for forward in raw["nat"]["port_forwards"]:
        if forward["hairpin"]:
            forward["from"] = "external"
    rules = [
        rule
        for rule in raw["rules"]
        if rule["from"] != "gateway" or "established" not in rule.get("state", ())
    ]
    return raw | {"rules": rules}


def layers(frame: Frame) -> tuple[str, str, int, bytes]:
    """Source, destination, protocol and what follows the IP header."""
    if IP in frame:
        return frame[IP].src, frame[IP].dst, frame[IP].proto, bytes(frame[IP].payload)
    return frame[IPv6].src, frame[IPv6].dst, frame[IPv6].nh, bytes(frame[IPv6].payload)


def is_sent(frame: Frame, sent: Packet) -> bool:
    """Whether a frame is the packet as it was said to leave."""
    source, destination, protocol, content = layers(frame)
    port = int.from_bytes(content[2:4], "big") if protocol in (6, 17) else None
    return (source, destination, port) == (sent.source, sent.destination, sent.destination_port)


def answer_in(frames: Frames, packet: Packet) -> str | None:
    """What the gateway answered: `accept` is what its own servers or stack say of what they received."""
    answers = {
        (1, 3, 3): "reject",  # port unreachable
        (58, 1, 4): "reject",
        (1, 3, 2): "accept",  # protocol unreachable
        (58, 4, 1): "accept",  # unrecognised next header
        (1, 0, 0): "accept",  # echo reply
        (58, 129, 0): "accept",
    }
    for _, frame in frames:
        _, destination, protocol, content = layers(frame)
        if destination != packet.source:
            continue
        if protocol == 6 and len(content) >= 20:
            return "reject" if content[13] & 0x04 else "accept"
        if (protocol, *content[:2]) in answers:
            return answers[protocol, content[0], content[1]]
    return None


class Check:
    """Compares what is said of packets with what becomes of them."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway, self.crossroads = gateway, gateway.crossroads
        self.seen: Counter[str] = Counter()

    def packet(self, packet: Packet, *, forget: bool = True, about: Frame | None = None) -> None:
        """Send one and look at counters, links and servers. forget: connections that are known, before.

        about: the packet that an ICMP error is about.
        """
        if forget:
            self.crossroads.forget()
        before, found = self.gateway.counts(), self.gateway.evaluate(packet)
        wanted = expected_counters(found)
        self.crossroads.send(packet, about)
        rose = self.gateway.counted(before, wanted)
        context = "\n".join((str(packet), *map(str, found.steps), str(self.gateway.raw), f"rose: {rose}"))
        if packet.via:
            rose -= {name for name in rose - wanted if is_of_answers(name, self.gateway.policy)}
        if found.verdict == "reject" and packet.state == "invalid":
            rose -= {"state-invalid"}  # its answer belongs to no connection either
        assert rose == wanted, context
        getattr(self, f"_{found.verdict}")(packet, found, context)
        self.seen[f"{found.hook} {found.decided_by} {found.verdict}"] += 1
        self.seen.update(step.stage for step in found.steps if step.does == "translate")

    def _accept(self, packet: Packet, found: Verdict, context: str) -> None:
        if found.hook == "input":
            if packet.protocol == "udp":
                self._await(
                    lambda: (packet.source, packet.destination_port) in self.crossroads.delivered(), context
                )
            elif packet.state != "invalid":
                self._await(lambda: answer_in(self.crossroads.frames(), packet) == "accept", context)
            return
        sent = found.sent
        assert sent is not None
        self._await(
            lambda: any(name == sent.to and is_sent(frame, sent) for name, frame in self.crossroads.frames()),
            context,
        )

    def _reject(self, packet: Packet, found: Verdict, context: str) -> None:
        if packet.via and packet.state != "invalid":
            self._await(lambda: answer_in(self.crossroads.frames(), packet) == "reject", context)

    def _drop(self, packet: Packet, found: Verdict, context: str) -> None:
        frames = self.crossroads.frames()
        assert not frames, f"{context}\n{frames}"
        assert not self.crossroads.delivered(), context

    @staticmethod
    def _await(happened: Callable[[], bool], context: str) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not happened():
            assert time.monotonic() < deadline, context
            time.sleep(0.001)


@pytest.mark.parametrize("seed", range(6))
def test_the_kernel_does_what_is_said_of_random_packets(crossroads: Crossroads, seed: int) -> None:
    """The same rule decides, the same monitor rules count, and the packet leaves as it was said."""
    rng = random.Random(seed)
    raw = without_own_states(random_policy(rng))
    check = Check(Gateway(crossroads, raw))
    for _ in range(80):
        check.packet(random_packet(rng, raw))
    assert len(check.seen) > 5, check.seen


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 200))
def test_the_kernel_does_what_is_said_of_many_random_packets(crossroads: Crossroads, seed: int) -> None:
    """The same for many more policies."""
    test_the_kernel_does_what_is_said_of_random_packets(crossroads, seed)


GUARDED: Json = {
    "interfaces": [
        {"name": "wan0", "zone": "external"},
        {"name": "lan0", "zone": "internal", "networks": ["198.18.0.0/24", "2001:db8:0:2::/64"]},
        {"name": "lan1", "zone": "internal"},
    ],
    "failsafe": [
        {"interface": "lan0", "source": "198.18.0.10", "port": 22, "address": "198.18.0.1"},
        {"interface": "lan0", "source": "2001:db8:0:2::/64", "port": 22, "address": "2001:db8:0:2::1"},
    ],
    "defaults": {"input": "accept", "forward": "accept"},
}
LISTS: tuple[tuple[str, ListVerdict, bool, list[str]], ...] = (
    ("abuse", "block", False, ["203.0.113.0/28", "198.18.0.10", "2001:db8:ffff::/48", "2001:db8:0:2::11"]),
    ("friends", "allow", False, ["203.0.113.8", "198.18.1.10", "2001:db8:ffff::7"]),
    ("watched", "block", True, ["192.0.2.10", "198.18.0.11", "2001:db8:0:1::/64"]),
)
SPECIAL = (
    "icmpv6 nd-neighbor-solicit 2001:db8:ffff::9 -> 2001:db8:0:2::1 via lan0",
    "icmpv6 nd-neighbor-solicit 2001:db8:ffff::9 -> 2001:db8:0:2::1 via lan0 ttl 64",
    "icmpv6 mld-listener-report fe80::5 -> ff02::16 via lan0",
    "icmpv6 mld-listener-report 2001:db8:ffff::9 -> ff02::16 via lan0",
    "udp [fe80::5]:546 -> [ff02::1:2]:547 via lan0",
    "udp [fe80::5]:5353 -> [ff02::fb]:5353 via lan0",
    "udp 0.0.0.0:68 -> 255.255.255.255:67 via lan0",
    "udp 0.0.0.0:68 -> 255.255.255.255:69 via lan0",
    "tcp 198.18.0.10 -> 198.18.0.1:22 via lan0",
    "tcp 198.18.0.10 -> 198.18.0.1:443 via lan0",
    "tcp [2001:db8:0:2::11]:5000 -> [2001:db8:0:2::1]:22 via lan0",
    "tcp [2001:db8:0:2::11]:5000 -> [2001:db8:0:2::1]:22 via lan1",
)


def held(name: str, verdict: ListVerdict, entries: Sequence[str], *, monitor: bool) -> HeldList:
    """A list that is in force."""
    return HeldList(ListRecord(name, verdict, "policy", "", monitor=monitor), EntrySet.from_strings(entries))


@pytest.fixture(scope="module")
def guarded(crossroads: Crossroads) -> Gateway:
    """A gateway whose interfaces are guarded by the nftables form of what XDP does."""
    lists = [held(name, verdict, entries, monitor=monitor) for name, verdict, monitor, entries in LISTS]
    return Gateway(crossroads, GUARDED, lists)


@pytest.mark.parametrize("text", SPECIAL)
def test_the_guard_counts_special_packets_under_what_is_said(guarded: Gateway, text: str) -> None:
    """Essential traffic, link-local traffic, failsafe and what only looks like them."""
    packet = read_packet(text)
    guarded.crossroads.forget()
    before, found = guarded.counts(), guarded.evaluate(packet)
    guarded.crossroads.send(packet)
    wanted = guard_counter(found)
    rose = guarded.counted(before, {wanted})
    assert {name for name in rose if name.startswith("fallback-")} == {wanted}, (found.steps, rose)


def test_the_guard_does_what_is_said_of_random_packets(guarded: Gateway) -> None:
    """Lists by source and destination, allow before block, monitor lists, spoofed sources, failsafe."""
    rng, check = random.Random(5), Check(guarded)
    every = sorted({host for hosts in HOSTS.values() for host in hosts})
    for _ in range(120):
        packet = random_packet(rng, arriving=True)
        if rng.random() < 0.4:
            same = [host for host in every if (":" in host) == (":" in packet.source)]
            packet = replace(packet, source=rng.choice(same))
        if packet.source != packet.destination:
            check.packet(packet)
    stages = {key.split()[1] for key in check.seen if " " in key}
    assert {"spoofing", "source-lists", "destination-lists", "defaults"} <= stages, check.seen


def test_the_kernel_treats_states_as_is_said(crossroads: Crossroads) -> None:
    """An answer is established, an error about a connection related, an error about none invalid."""
    rules = [
        {"name": "out", "from": "internal", "to": "external", "action": "accept"},
        *(
            {
                "name": f"see-{state}",
                "from": "external",
                "to": "internal",
                "state": state,
                "monitor": True,
                "action": "drop",
            }
            for state in ("new", "established", "related", "invalid")
        ),
    ]
    interfaces = [{"name": "wan0", "zone": "external"}, {"name": "lan0", "zone": "internal"}]
    check = Check(Gateway(crossroads, {"interfaces": interfaces, "rules": rules}))
    check.packet(read_packet("udp 198.18.0.10:4711 -> 203.0.113.7:53 via lan0"))
    answer = "udp 203.0.113.7:53 -> 198.18.0.10:4711 via wan0 state established"
    check.packet(read_packet(answer), forget=False)
    asked = crossroads.network_layer(read_packet("udp 198.18.0.10:4711 -> 203.0.113.7:53"))
    error = read_packet("icmp destination-unreachable 192.0.2.10 -> 198.18.0.10 via wan0 state related")
    check.packet(error, forget=False, about=asked)
    check.packet(replace(error, state="invalid"), about=asked)
    check.packet(read_packet("icmp echo-reply 203.0.113.7 -> 198.18.0.10 via wan0"))
    check.packet(read_packet("udp 203.0.113.7:53 -> 198.18.0.10:4711 via wan0"))
    assert [key for key in check.seen if "state" in key] == ["forward state accept", "forward state drop"]
