# SPDX-License-Identifier: Apache-2.0
"""What explain says that XDP does to a packet, and what the live program does to the same packet."""

import json
import socket
import time
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any
from urllib.parse import urlencode

import pytest
from scapy.layers.inet import GRE, ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoRequest, ICMPv6ND_NS, IPv6
from scapy.layers.l2 import Ether

from bench.testbed.chain import Chain
from bench.testbed.run import Run
from tests.net.conftest import daemons
from tests.net.daemon import Daemon

pytestmark = [pytest.mark.root, pytest.mark.tool("nft")]

IN_CI, IN_SOAK = 500, 10_000
LAN = ("198.19.0.0/24", "2001:2:0:2::/64", "192.168.40.0/24")
POLICY = {
    "interfaces": [
        {"name": "g0", "zone": "external", "xdp": "native"},
        {"name": "g1", "zone": "internal", "xdp": "native", "networks": LAN},
    ],
    "failsafe": [
        {
            "interface": "g0",
            "source": "203.0.113.0/28",
            "address": "198.18.0.1",
            "port": 22,
            "allow_external": True,
        },
        {"interface": "g1", "source": "198.19.0.0/28", "address": "198.19.0.1", "port": 22},
    ],
    "lists": [
        {"name": "feed", "verdict": "block", "entries": ["198.51.100.0/24", "2001:db8:bad::/48", "8.8.4.4"]},
        {"name": "friends", "verdict": "allow", "entries": ["198.51.100.128/25", "2001:db8:bad:1::/64"]},
        {"name": "watched", "verdict": "block", "monitor": True, "entries": ["192.0.2.0/25"]},
    ],
    "limits": [
        {"name": "once", "match": "udp", "ports": 7777, "key": "global", "packets_per_second": 1, "burst": 1},
        {
            "name": "small",
            "match": "udp",
            "ports": 8888,
            "key": "source",
            "bytes_per_second": 9,
            "burst": 1514,
        },
    ],
    "rules": [{"name": "all", "from": "any", "to": "any", "action": "accept"}],
}
SOURCES = {
    4: ("198.51.100.7", "198.51.100.200", "192.0.2.9", "8.8.8.8", "8.8.4.4", "203.0.113.3", "198.18.0.1",
        "198.19.0.2", "198.19.0.77", "192.168.40.9", "127.0.0.1", "240.0.0.1", "10.1.1.1"),
    6: ("2001:db8:bad::7", "2001:db8:bad:1::7", "2001:db8:9::9", "2001:2:0:1::1", "2001:2:0:2::9", "fe80::9",
        "::", "::1"),
}  # fmt: skip
TARGETS = {
    4: ("198.18.0.1", "198.19.0.1", "198.19.0.2", "198.51.100.9", "203.0.113.9", "255.255.255.255"),
    6: ("2001:2:0:2::2", "2001:db8:bad::9", "2001:db8:77::1", "ff02::1", "fe80::5"),
}


@pytest.fixture(scope="module")
def gateway(run: Run, chain: Chain) -> Iterator[Daemon]:
    """A running daemon with everything on that a policy can say of XDP."""
    with daemons(run, chain) as make:
        daemon = make(json.dumps(POLICY))
        daemon.start()
        yield daemon
        daemon.ok("down")


def random_packet(r: Random) -> tuple[str, Any, str]:
    """A packet in words, the same one as a frame, and where it arrives."""
    family, by = r.choice((4, 6)), r.choice(("g0", "g1"))
    source, target = r.choice(SOURCES[family]), r.choice(TARGETS[family])
    head = IP(src=source, dst=target) if family == 4 else IPv6(src=source, dst=target)
    kind = r.choice(("tcp", "udp", "udp", "echo", "error", "gre", "neighbour"))
    if kind in ("tcp", "udp"):
        sport, dport = r.choice((68, 546, 4711, 547)), r.choice((22, 22, 67, 547, 443, 7777))
        at = (f"{source}:{sport}", f"{target}:{dport}") if family == 4 else (
            f"[{source}]:{sport}", f"[{target}]:{dport}")  # fmt: skip
        transport = TCP(sport=sport, dport=dport) if kind == "tcp" else UDP(sport=sport, dport=dport)
        return f"{kind} {at[0]} -> {at[1]} via {by}", head / transport, by
    if kind == "gre":
        return f"gre {source} -> {target} via {by}", head / GRE() / bytes(20), by
    if family == 4:
        number = 8 if kind == "echo" else 3
        return f"icmp {number} {source} -> {target} via {by}", head / ICMP(type=number), by
    if kind == "neighbour":
        head.hlim = r.choice((255, 64))
        words = f"icmpv6 135 {source} -> {target} via {by} hop-limit {head.hlim}"
        return words, head / ICMPv6ND_NS(tgt="fe80::1"), by
    number = 128 if kind == "echo" else 1
    message = ICMPv6EchoRequest() if kind == "echo" else ICMPv6DestUnreach()
    return f"icmpv6 {number} {source} -> {target} via {by}", head / message, by


class Wires:
    """Both links of the gateway."""

    def __init__(self, chain: Chain) -> None:
        self._wires = {}
        for name, end in (("g0", chain.client_if), ("g1", chain.server_if)):
            with end.namespace.enter():
                self._wires[name] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
                self._wires[name].bind((end.name, 0))

    def send(self, packet: Any, by: str) -> None:
        """To nobody's address, so that it ends behind XDP and nobody answers."""
        self._wires[by].send(bytes(Ether(src="02:00:00:00:00:02", dst="02:00:00:00:00:77") / packet))

    def close(self) -> None:
        """Both."""
        for wire in self._wires.values():
            wire.close()


@pytest.fixture
def wires(chain: Chain) -> Iterator[Wires]:
    """Both links."""
    wires = Wires(chain)
    yield wires
    wires.close()


def counts(daemon: Daemon) -> dict[str, int]:
    """Packets by reason."""
    return {each["reason"]: each["packets"] for each in daemon.get("/status")["packets"]}


def agree(daemon: Daemon, wires: Wires, r: Random, number: int) -> Counter[str]:
    """Explain and send so many random packets; how often each reason was right."""
    seen: Counter[str] = Counter()
    before = counts(daemon)
    for _ in range(number):
        words, packet, by = random_packet(r)
        answer = daemon.get(f"/explain-packet?{httpx_query(words)}")
        assert counts(daemon) == before, f"{words}: to explain is to count nothing"
        said = answer["xdp"]
        wires.send(packet, by)
        after = counts(daemon)
        rose = [name for name in after if after[name] != before.get(name, 0)]
        # A limit may give something back between the two.
        assert rose == [said["reason"]] or "limited" in (*rose, said["reason"]), (words, rose, answer)
        assert said["agrees"], answer
        assert (answer["verdict"] == "drop") >= (said["verdict"] == "drop"), answer
        before = after
        seen[said["reason"]] += 1
    return seen


def httpx_query(words: str) -> str:
    """The packet as a query."""
    return urlencode({"packet": words})


REASONS = {
    *("default", "allow-list", "block-list", "failsafe", "neighbour-discovery", "icmp-error", "tunnel"),
    *("destination-block-list", "spoofed", "martian"),
}


def test_random_packets_get_from_xdp_what_is_said(gateway: Daemon, wires: Wires) -> None:
    """The reason under which each is counted; and asking counts nothing."""
    seen = agree(gateway, wires, Random("explain"), IN_CI)
    assert seen.keys() >= REASONS, seen


@pytest.mark.soak
def test_ten_thousand_random_packets_get_from_xdp_what_is_said(gateway: Daemon, wires: Wires) -> None:
    """The same."""
    agree(gateway, wires, Random("explain much"), IN_SOAK)


def test_a_limit_that_is_reached_is_named(gateway: Daemon, wires: Wires) -> None:
    """Before it is, the packet passes; then explain says by which limit it is dropped."""
    words = "udp 8.8.8.8:4711 -> 198.19.0.2:7777 via g0"
    ask = f"/explain-packet?{httpx_query(words)}"
    time.sleep(1.1)  # for what others sent
    for _ in range(2):
        assert gateway.get(ask)["xdp"]["reason"] == "default"
    packet = IP(src="8.8.8.8", dst="198.19.0.2") / UDP(sport=4711, dport=7777)
    for _ in range(5):  # it gives one back each second
        wires.send(packet, "g0")
        answer = gateway.get(ask)
        if answer["verdict"] == "drop":
            break
    assert (answer["verdict"], answer["decided_by"], answer["name"]) == ("drop", "xdp", "limited")
    assert answer["xdp"]["limit"] == "once"
    assert "over limit once" in answer["steps"][-1]["text"]


def test_sizes_count_for_limits_of_bytes(gateway: Daemon, wires: Wires) -> None:
    """What is larger than the rest of the burst is over it."""
    words = "udp 8.8.8.9:4711 -> 198.19.0.2:8888 via g0 size {}"
    wires.send(IP(src="8.8.8.9", dst="198.19.0.2") / UDP(sport=4711, dport=8888) / bytes(972), "g0")
    asked = [f"/explain-packet?{httpx_query(words.format(size))}" for size in (40, 1200)]
    assert [gateway.get(each)["xdp"]["reason"] for each in asked] == ["default", "limited"]


def test_it_goes_on_after_a_reload_and_after_growth(gateway: Daemon) -> None:
    """The program that is asked is always on the maps in force."""
    ask = f"/explain-packet?{httpx_query('tcp 9.9.9.9:1 -> 198.19.0.2:443 via g0')}"
    assert gateway.get(ask)["xdp"]["reason"] == "default"
    gateway.ok("reload")
    gateway.post("block", "9.9.9.9")
    assert gateway.get(ask)["xdp"] | {"banned_until": None} == {
        "verdict": "drop", "reason": "block-list", "list": "operator-block", "limit": "",
        "banned_until": None, "agrees": True,
    }  # fmt: skip
    gateway.forget()
    assert gateway.get(ask)["xdp"]["reason"] == "default"
