# SPDX-License-Identifier: Apache-2.0
import socket
import time

import pytest

from bench.measure import counters, ledger
from bench.testbed.base import Chain
from bench.testbed.chain import SERVER

pytestmark = pytest.mark.root

PACKETS = 50


def send(chain: Chain, address: str, packets: int = PACKETS, hops: int = 64) -> None:
    """Some UDP datagrams from the client; answers are not waited for."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with chain.client.enter(), socket.socket(family, socket.SOCK_DGRAM) as client:
        if family == socket.AF_INET6:
            client.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
        else:
            client.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
        for _ in range(packets):
            client.sendto(b"x" * 20, (address, 7))
    time.sleep(0.05)


@pytest.mark.parametrize(("address", "protocol"), [(SERVER.v4, "ip"), (SERVER.v6, "ip6")])
def test_forwarded_packets_show_at_every_station(chain: Chain, address: str, protocol: str) -> None:
    """Client, both gateway ends and server count them, and so does the gateway's IP layer."""
    with chain.server.enter():
        server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 7))
    before = counters.snapshot(chain)
    send(chain, address)
    changes = counters.difference(before, counters.snapshot(chain))
    server.close()
    stations = ("client_if/dev/tx_packets", "gateway_in/dev/rx_packets", "gateway_out/dev/tx_packets")
    for name in (*stations, "server_if/dev/rx_packets"):
        assert changes[name] == PACKETS, name
    forwarded = {"ip": "gateway/ip/ForwDatagrams", "ip6": "gateway/ip6/OutForwDatagrams"}[protocol]
    assert changes[forwarded] == PACKETS
    assert changes[f"server/{protocol}/InDelivers"] == PACKETS
    assert ledger.elsewhere(changes) == {}
    assert (ledger.entered(changes), ledger.left(changes)) == (PACKETS, PACKETS)


@pytest.mark.parametrize(("address", "place"), [(SERVER.v4, "gateway: IPv4"), (SERVER.v6, "gateway: IPv6")])
def test_what_the_gateways_ip_layer_discards_has_a_place(chain: Chain, address: str, place: str) -> None:
    """Packets out of hops end there and are found there."""
    before = counters.snapshot(chain)
    send(chain, address, hops=1)
    changes = counters.difference(before, counters.snapshot(chain))
    assert ledger.elsewhere(changes) == {place: PACKETS}
    assert (ledger.entered(changes), ledger.left(changes)) == (PACKETS, 0)


def test_a_quiet_chain_changes_nothing(chain: Chain) -> None:
    """Reading the counters is not itself traffic."""
    before = counters.snapshot(chain)
    changes = counters.difference(before, counters.snapshot(chain))
    assert [name for name in changes if not name.startswith("machine/")] == []


def test_veth_statistics_are_summed_over_queues(chain: Chain) -> None:
    """A native XDP program's drops and the frames' way are there under short names."""
    names = {
        name.rpartition("/")[2] for name in counters.snapshot(chain) if name.startswith("gateway_in/xdp/")
    }
    assert {"packets", "drops", "ring_drops", "xmit_errors", "redirect"} <= names


def test_tracked_connections_show(chain: Chain) -> None:
    """With a stateful rule there are entries, without there are none."""
    send(chain, SERVER.v4, packets=1)
    if "gateway/conntrack/entries" not in counters.snapshot(chain):
        pytest.skip("this kernel has no conntrack statistics")
    assert counters.snapshot(chain)["gateway/conntrack/entries"] == 0
    rules = "table ip t { chain c { type filter hook forward priority 0; ct state new accept; }; }"
    chain.gateway.exec(["nft", "-f", "-"], input=rules).check()
    send(chain, SERVER.v4, packets=1)
    assert counters.snapshot(chain)["gateway/conntrack/entries"] == 1


def test_difference_leaves_out_what_did_not_change() -> None:
    """Names that appear later count from zero."""
    assert counters.difference({"a": 1, "b": 2}, {"a": 1, "b": 5, "c": 4}) == {"b": 3, "c": 4}
