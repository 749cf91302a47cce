# SPDX-License-Identifier: Apache-2.0
"""Sources that cannot come from where they come, on a gateway with two uplinks: XDP and nftables alike."""

import json
import socket
import time
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from bench.testbed.chain import Chain
from bench.testbed.run import Run
from tests.net.conftest import daemons
from tests.net.daemon import Daemon

pytestmark = [pytest.mark.root, pytest.mark.tool("nft")]

FOLLOWED = 1.0  # seconds within which an address of ours is known
LAN = ("192.168.40.0/24", "2001:db8:40::/48")
BESIDE = "203.0.113.128/25"  # behind a third uplink


def policy(xdp: str) -> str:
    """g0 and g1 are uplinks of one zone, of which g0 takes no bogons; the others need not be there."""
    interfaces = [
        {"name": "g0", "zone": "external", "xdp": xdp, "bogons": "drop"},
        {"name": "g1", "zone": "external", "xdp": xdp},
        {"name": "wan2", "zone": "external", "networks": BESIDE},
        {"name": "lan0", "zone": "internal", "networks": LAN},
    ]
    return json.dumps(
        {"interfaces": interfaces, "lists": [{"name": "all", "verdict": "allow", "entries": ALL}]}
    )


ALL = ("0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1")


@pytest.fixture(scope="module", params=["native", "off"])
def gateway(request: pytest.FixtureRequest, run: Run, chain: Chain) -> Iterator[Daemon]:
    """A running daemon with two uplinks, in XDP or in nftables, that allows everybody."""
    with daemons(run, chain) as make:
        daemon = make(policy(request.param))
        daemon.start("--allow-missing-interfaces", ready=False)
        yield daemon
        daemon.ok("down")


def counts(daemon: Daemon) -> dict[str, int]:
    """Packets by reason."""
    return {each["reason"]: each["packets"] for each in daemon.get("/status")["packets"]}


def reason_of(daemon: Daemon, chain: Chain, source: str, *, by: str = "g0") -> str:
    """Under which reason a datagram from there is counted at one of the uplinks."""
    end, gateway = {
        "g0": (chain.client_if, chain.gateway_in),
        "g1": (chain.server_if, chain.gateway_out),
    }[by]
    four = ip_address(source).version == 4
    head = IP(src=source, dst="203.0.113.77") if four else IPv6(src=source, dst="2001:db8:77::1")
    frame = bytes(Ether(src=end.mac, dst=gateway.mac) / head / UDP(sport=4711, dport=4712) / b"abcd")
    before = counts(daemon)
    with end.namespace.enter(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((end.name, 0))
        wire.send(frame)
    deadline = time.monotonic() + 2
    while True:
        gone = [name for name, count in counts(daemon).items() if count != before.get(name, 0)]
        if gone or time.monotonic() > deadline:
            assert len(gone) == 1, (source, gone)
            return gone[0]


@pytest.mark.parametrize(
    ("source", "by", "reason"),
    [
        ("8.8.8.8", "g0", "allow-list"),
        ("2a00:1450::1", "g0", "allow-list"),
        ("198.18.0.1", "g0", "spoofed"),  # the address of g0 itself
        ("2001:2:0:1::1", "g0", "spoofed"),
        ("198.19.0.1", "g0", "spoofed"),  # the address of the other uplink
        ("198.18.0.1", "g1", "spoofed"),
        ("2001:2:0:1::1", "g1", "spoofed"),
        ("192.168.40.7", "g0", "spoofed"),  # behind another zone
        ("192.168.40.7", "g1", "spoofed"),
        ("2001:db8:40:1::7", "g1", "spoofed"),
        ("192.168.41.7", "g1", "allow-list"),
        ("203.0.113.129", "g1", "allow-list"),  # behind another interface of the same zone
        ("127.0.0.1", "g0", "martian"),
        ("240.0.0.1", "g1", "martian"),
        ("::", "g1", "martian"),
        ("192.168.41.7", "g0", "bogon"),
        ("2001:db8:41::7", "g0", "bogon"),
        ("100.64.0.1", "g0", "bogon"),
        ("100.64.0.1", "g1", "allow-list"),
        ("fd00::1", "g0", "bogon"),
    ],
)
def test_a_source_that_cannot_come_from_there(
    gateway: Daemon, chain: Chain, source: str, by: str, reason: str
) -> None:
    """Although everybody is allowed."""
    assert reason_of(gateway, chain, source, by=by) == reason


@pytest.mark.parametrize("address", ["93.184.216.34/32", "2a00:9:9:9::34/128"])
def test_an_address_of_ours_is_known_as_soon_as_it_is_there(
    gateway: Daemon, chain: Chain, address: str
) -> None:
    """Within a second, and forgotten as soon as it has gone."""
    source = address.partition("/")[0]
    options = ["nodad"] if ":" in address else []
    assert reason_of(gateway, chain, source) == "allow-list"
    for command, reason in (("add", "spoofed"), ("del", "allow-list")):
        argv = ["ip", "address", command, address, "dev", "lo", *(options if command == "add" else [])]
        began = time.monotonic()
        chain.gateway.exec(argv).check()
        while reason_of(gateway, chain, source) != reason:
            assert time.monotonic() - began < FOLLOWED, f"{command}: still not {reason}"


def test_a_link_local_address_is_ours_on_its_own_link_only(gateway: Daemon, chain: Chain) -> None:
    """On any other it may be a neighbour's."""
    argv = ["ip", "address", "add", "fe80::9/64", "dev", "g1", "nodad"]
    chain.gateway.exec(argv).check()
    try:
        began = time.monotonic()
        while reason_of(gateway, chain, "fe80::9", by="g1") != "spoofed":
            assert time.monotonic() - began < FOLLOWED
        assert reason_of(gateway, chain, "fe80::9", by="g0") == "allow-list"
    finally:
        chain.gateway.exec([*argv[:2], "del", *argv[3:6]]).check()
