# SPDX-License-Identifier: Apache-2.0
"""A masquerading gateway, honest people on both sides, and an attacker outside who can send any frame.

    with scene(run, POLICY) as at:
        assert at.attack(from_one(TARGET.tcp("A"), 500)) == {Reason.OUT_OF_STATE: 500}
        assert at.casualties() == []

The attacker knows all of it: addresses, ports, and of the flow that he is after even the sequence numbers.
"""

import json
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

from scapy.layers.inet import TCP
from scapy.layers.l2 import Ether
from scapy.packet import Packet as Layers

from bench.testbed.namespace import Namespace
from bench.testbed.run import Run
from neurowall.model.reasons import Reason, Verdict
from tests.net.attackpackets import Flow, Target, flow_in
from tests.net.conftest import daemons
from tests.net.daemon import Daemon, until
from tests.net.keepers import PATIENCE, Bulk, Echo, Idle
from tests.net.site import Segment, Site

OUTSIDE, OUTSIDE6 = "203.0.113.2", "2001:db8:0:1::2"  # where honest servers are; the next router, too
FAR = "198.18.20.7"  # an honest client far away
GATEWAY, GATEWAY6 = "203.0.113.1", "2001:db8:0:1::1"
CLIENT, CLIENT6 = "192.0.2.20", "2001:db8:1::20"
SERVER, SERVER6 = "192.0.2.10", "2001:db8:1::10"
SSH, IPERF, IPERF6, WEB, FORWARDED = 22, 5201, 5202, 443, 8443
TARGET = Target(GATEWAY, SERVER6, FORWARDED)
SEGMENTS = {
    "wan0": Segment(
        gateway=[f"{GATEWAY}/24", f"{GATEWAY6}/64"],
        hosts=[f"{OUTSIDE}/24", f"{OUTSIDE6}/64", f"{FAR}/32"],
        routed=["2001:db8:1::/64"],
        default=True,
    ),
    "lan0": Segment(
        gateway=["192.0.2.1/24", "2001:db8:1::1/64"],
        hosts=[f"{CLIENT}/24", f"{CLIENT6}/64", f"{SERVER}/24", f"{SERVER6}/64"],
    ),
}
BASE = """\
interfaces:
  - {name: wan0, zone: external}
  - {name: lan0, zone: internal, networks: [192.0.2.0/24, "2001:db8:1::/64"]}
forwarding: [ipv4, ipv6]
rules:
  - {name: out, from: internal, to: external, action: accept}
  - {name: own, from: external, to: gateway, protocol: tcp, ports: 9100, action: accept}
nat:
  masquerade:
    - {from: internal, to: external}
  port_forwards:
    - {name: web, from: external, protocol: tcp, ports: 8443, to: 192.0.2.10, to_ports: 443}
    - {name: raw, from: external, protocol: tcp, ports: 8444, to: 192.0.2.10, to_ports: 9000}
"""
LIMITED = (
    BASE
    + """\
limits:
  - {name: syn-per-source, key: source, match: tcp-syn, packets_per_second: 20, burst: 50}
  - {name: syn, key: global, match: tcp-syn, packets_per_second: 20, burst: 50}
  - {name: udp-per-source, key: source, match: udp, packets_per_second: 20, burst: 50}
  - {name: udp, key: global, match: udp, packets_per_second: 20, burst: 50}
  - {name: icmp, key: global, match: icmp, packets_per_second: 20, burst: 50}
  - {name: fragments, key: global, match: fragment, packets_per_second: 20, burst: 50}
"""
)
STRICT = LIMITED + "flows: {mode: strict, adopt: 0s}\n"
_ALL = 0x0003  # ETH_P_ALL
_SETTLED = 0.05  # seconds in which everything that was sent has been counted


@dataclass
class Scene:
    """The gateway under attack."""

    site: Site
    daemon: Daemon
    wire: socket.socket
    ends: Ether
    keepers: dict[str, Idle | Bulk] = field(default_factory=dict)

    @property
    def inside(self) -> Namespace:
        """Where the protected hosts are."""
        return self.site.places["lan0"]

    @property
    def outside(self) -> Namespace:
        """Where everybody else is."""
        return self.site.places["wan0"]

    def send(self, packets: Iterable[Layers | bytes]) -> int:
        """Frames, or packets from IP on, from outside to the gateway; how many."""
        frames = [each if isinstance(each, bytes) else bytes(self.ends / each) for each in packets]
        for frame in frames:
            self.wire.send(frame)
        return len(frames)

    def neighbour(self, address: str) -> None:
        """Let the gateway send to an outside address that nobody has: the attacker reads it."""
        link = ("lladdr", self.ends.src, "dev", "wan0", "nud", "permanent")
        self.gateway_ip("neigh", "replace", address, *link)

    def gateway_ip(self, *words: str) -> None:
        """Have `ip` change something on the gateway."""
        done = self.site.gateway.exec(("ip", *words))
        assert done.returncode == 0, done.stderr

    def counters(self) -> dict[Reason, int]:
        """Packets by reason, of all interfaces."""
        rows = {row["reason"]: row["packets"] for row in self.daemon.get("/status")["packets"]}
        return {reason: int(rows[reason.label]) for reason in Reason}

    @contextmanager
    def dropped(self) -> Iterator[dict[Reason, int]]:
        """Packets dropped within the block, by reason; those of which there are any."""
        found: dict[Reason, int] = {}
        before = self.counters()
        yield found
        time.sleep(_SETTLED)
        after = self.counters()
        grown = {reason: after[reason] - before[reason] for reason in Reason}
        found.update({r: n for r, n in grown.items() if n and r.verdict == Verdict.DROP})

    def attack(self, packets: Sequence[Layers | bytes]) -> dict[Reason, int]:
        """What of these was dropped. Honest people lose nothing, so whatever is dropped is among them."""
        with self.dropped() as found:
            self.send(packets)
        return found

    def banned(self) -> list[str]:
        """Whom limits banned."""
        return [ban["address"] for ban in self.daemon.get("/limits")["bans"]]

    def until_dropped(self, packets: Sequence[Layers | bytes], wanted: dict[Reason, int]) -> None:
        """Send them again and again until this is what of them is dropped."""
        until(lambda: self.attack(packets) == wanted)

    def casualties(self) -> list[str]:
        """Who did not live through it."""
        with ThreadPoolExecutor(len(self.keepers)) as pool:
            lives = list(pool.map(lambda keeper: keeper.lives(), self.keepers.values()))
        return [name for name, alive in zip(self.keepers, lives, strict=True) if not alive]

    @contextmanager
    def tap(self) -> Iterator[Callable[..., list[Layers]]]:
        """A function that gives what left the gateway since, waiting *quiet* seconds for the first."""
        with self.outside.enter():
            tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL))
        with tap:
            tap.bind(("eth0", _ALL))

            def seen(wanted: Callable[[Layers], object], quiet: float = _SETTLED) -> list[Layers]:
                found, deadline = [], time.monotonic() + quiet
                while (left := deadline - time.monotonic()) > 0:
                    tap.settimeout(left)
                    with suppress(TimeoutError):
                        content, address = tap.recvfrom(65_535)
                        if address[2] != socket.PACKET_OUTGOING and wanted(packet := Ether(content)):
                            found.append(packet)
                            deadline = time.monotonic() + _SETTLED
                return found

            yield seen

    def flow(self, session: Idle) -> Flow:
        """A session of the honest as it is between two words: the attacker saw them pass."""
        ends = {session.port, session.target_port}
        with self.tap() as seen:
            packets = seen(lambda each: TCP in each and {each.sport, each.dport} == ends, quiet=PATIENCE)
        assert packets, "the session says nothing"
        return flow_in(packets[-1])


@contextmanager
def scene(run: Run, policy: str, *, honest: bool = True) -> Iterator[Scene]:
    """The gateway with *policy* in force, and honest people at work or nobody."""
    with Site.build(run, SEGMENTS) as site, daemons(run, site) as make, ExitStack() as stack:
        daemon = make(policy)
        daemon.start()
        with site.places["wan0"].enter():
            wire = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
            wire.bind(("eth0", 0))
        ends = Ether(src=_mac(site.places["wan0"], "eth0"), dst=_mac(site.gateway, "wan0"))
        at = Scene(site, daemon, wire, ends)
        stack.enter_context(Echo(at.inside, SERVER, WEB))
        if honest:
            _honest(at, stack)
            assert at.casualties() == []
        yield at


def _honest(at: Scene, stack: ExitStack) -> None:
    """Sessions and transfers from inside, with and without masquerade, and a session from outside."""
    for address in (OUTSIDE, OUTSIDE6):
        stack.enter_context(Echo(at.outside, address, SSH))
    for name, place, source, target in (
        ("session behind masquerade", at.inside, CLIENT, (OUTSIDE, SSH)),
        ("session of IPv6", at.inside, CLIENT6, (OUTSIDE6, SSH)),
        ("session from outside", at.outside, FAR, (GATEWAY, FORWARDED)),
    ):
        at.keepers[name] = stack.enter_context(Idle(place, source, target))
    for name, to, port in (("transfer behind masquerade", OUTSIDE, IPERF), ("of IPv6", OUTSIDE6, IPERF6)):
        at.keepers[name] = stack.enter_context(Bulk(at.inside, at.outside, to, port))


def _mac(place: Namespace, name: str) -> str:
    (link,) = json.loads(place.exec(["ip", "-j", "link", "show", "dev", name]).stdout)
    return str(link["address"])
