# SPDX-License-Identifier: Apache-2.0
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from bench.testbed import undo
from bench.testbed.base import Chain, Namespace, Run, TestbedError
from bench.testbed.chain import CLIENT, MTU, SERVER, set_offloads
from bench.testbed.ethtool import Ethtool

pytestmark = pytest.mark.root

FAMILIES = {socket.AF_INET: (CLIENT.v4, SERVER.v4), socket.AF_INET6: (CLIENT.v6, SERVER.v6)}


def udp(namespace: Namespace, family: socket.AddressFamily, bind: str | None = None) -> socket.socket:
    """A socket inside a namespace; the caller stays outside."""
    with namespace.enter():
        opened = socket.socket(family, socket.SOCK_DGRAM)
    opened.settimeout(2)
    if bind is not None:
        opened.bind((bind, 7))
    return opened


def traffic_counters(chain: Chain) -> list[str]:
    """All that counts packets in the three namespaces, as text."""
    found: list[str] = []
    for namespace in (chain.client, chain.gateway, chain.server):
        with namespace.enter():
            names = ("dev", "snmp6", "snmp", "netstat")
            found += [Path("/proc/thread-self/net", name).read_text() for name in names]
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_packets_go_through_and_come_back(chain: Chain, family: socket.AddressFamily) -> None:
    """UDP from client to server arrives with its source, and the answer returns."""
    client_address, server_address = FAMILIES[family]
    server, client = udp(chain.server, family, server_address), udp(chain.client, family)
    client.sendto(b"ping", (server_address, 7))
    data, peer = server.recvfrom(100)
    assert (data, peer[0]) == (b"ping", client_address)
    server.sendto(b"pong", peer)
    assert client.recv(100) == b"pong"


def test_the_first_packet_arrives(run: Run) -> None:
    """No link still waits for the kernel to notice its carrier when build returns, five times in a row."""
    for _ in range(5):
        with Chain(run).build() as built, udp(built.server, socket.AF_INET, SERVER.v4) as server:
            with udp(built.client, socket.AF_INET) as client:
                client.sendto(b"first", (SERVER.v4, 7))
            assert server.recv(100) == b"first"


@pytest.mark.parametrize(
    ("family", "source"), [(socket.AF_INET, "8.8.8.8"), (socket.AF_INET6, "2600:1234::1")]
)
def test_any_global_source_is_accepted(chain: Chain, family: socket.AddressFamily, source: str) -> None:
    """The gateway forwards whatever source comes from the client side."""
    length, no_dad = (32, 0) if family == socket.AF_INET else (128, 0x02)
    with chain.client.enter(), IPRoute() as netlink:
        index = chain.client_if.index
        netlink.addr("add", index=index, address=source, prefixlen=length, flags=no_dad)
    server, client = udp(chain.server, family, FAMILIES[family][1]), udp(chain.client, family, source)
    client.sendto(b"ping", (FAMILIES[family][1], 7))
    assert server.recvfrom(100)[1][0] == source


def test_is_quiet_when_built(chain: Chain) -> None:
    """Not one packet of ARP, ND, MLD or anything else in a second."""
    before = traffic_counters(chain)
    time.sleep(1.0)
    assert traffic_counters(chain) == before


def test_every_end_is_the_same(chain: Chain) -> None:
    """One queue each way, MTU, fixed MACs; GRO on and every other offload off."""
    for interface in chain.interfaces.values():
        with interface.namespace.enter(), Ethtool() as ethtool, IPRoute() as netlink:
            features = ethtool.features(interface.name)
            assert ethtool.channels(interface.name) == {"rx": 1, "tx": 1, "other": 0, "combined": 0}
            (link,) = netlink.get_links(interface.index)
            found = (link.get("ifname"), link.get("mtu"), link.get("address"))
            assert found == (interface.name, MTU, interface.mac)
            changeable = ethtool.changeable(interface.name)
        on = {name for name in changeable if features[name]}
        assert on - {"highdma", "tx-nocache-copy"} == {"rx-gro"}
        assert interface.mac_bytes.hex(":") == interface.mac


def test_offloads_that_do_not_take_are_an_error(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that ignores the request is found out by reading back."""
    with chain.gateway.enter(), Ethtool() as ethtool:
        ethtool.set_features("g0", {"tx-checksum-ip-generic": True})
        assert ethtool.features("g0")["tx-checksum-ip-generic"]
        set_offloads(ethtool, "g0")
        assert not ethtool.features("g0")["tx-checksum-ip-generic"]
        ethtool.set_features("g0", {"rx-gro": False})
        monkeypatch.setattr(ethtool, "set_features", lambda *_: None)
        with pytest.raises(TestbedError, match="rx-gro"):
            set_offloads(ethtool, "g0")


def test_links_are_never_seen_by_the_host(run: Run) -> None:
    """The host's own list of links does not change, not for a moment."""
    seen: set[str] = set()
    stop = threading.Event()

    def look() -> None:
        with IPRoute() as netlink:
            while not stop.is_set():
                seen.update(link.get("ifname") for link in netlink.get_links())

    with IPRoute() as netlink:
        before = {link.get("ifname") for link in netlink.get_links()}
    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        with Chain(run).build():
            pass
    finally:
        stop.set()
        watcher.join()
    assert not (seen - before) & {"c0", "g0", "g1", "s0"}


def test_is_found_by_name_and_gone_after_close(run: Run) -> None:
    """`ip netns exec` reaches it while it is there; nothing is mounted or named afterwards."""
    with Chain(run, "named").build() as chain:
        name = chain.gateway.name
        assert name == f"nwb-{run.id}-named-gateway"
        done = run.exec(["ip", "netns", "exec", name, "ip", "-o", "link"]).check()
        assert "g0" in done.stdout
        assert "g1" in done.stdout
    assert not Path("/run/netns", name).exists()
    assert name not in Path("/proc/self/mountinfo").read_text()
    with pytest.raises(TestbedError, match="is not built"):
        _ = chain.gateway


def test_close_is_synchronous_for_links(run: Run) -> None:
    """Even while something keeps the namespace itself alive, its veth ends are gone at once."""
    with Chain(run).build() as chain, chain.server.enter():
        held = IPRoute()  # an open netlink socket keeps the namespace alive
    with held:
        assert [link.get("ifname") for link in held.get_links()] == ["lo"]


def test_two_chains_at_once_do_not_meet(run: Run) -> None:
    """Same names, same addresses, other namespaces."""
    with Chain(run, "a").build() as a, Chain(run, "b").build() as b:
        receivers = [udp(chain.server, socket.AF_INET, SERVER.v4) for chain in (a, b)]
        udp(a.client, socket.AF_INET).sendto(b"for a", (SERVER.v4, 7))
        assert receivers[0].recv(100) == b"for a"
        receivers[1].settimeout(0.05)
        with pytest.raises(TimeoutError):
            receivers[1].recv(100)


def test_a_failed_build_leaves_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What existed before the failure is removed, and the error says what failed."""

    def refuse(*_: object) -> None:
        raise PermissionError("refused by the test")

    monkeypatch.setattr("bench.testbed.chain.set_offloads", refuse)
    with pytest.raises(TestbedError, match=r"chain chain: PermissionError: refused by the test"):
        Chain(run).build()
    assert not [name for name in undo.NETNS_DIR.iterdir() if run.id in name.name]


def test_entering_changes_only_the_calling_thread(chain: Chain) -> None:
    """Another thread stays where it was, and the caller comes back, also after an error."""

    def here() -> Path:
        return Path("/proc/thread-self/ns/net").readlink()

    home = here()
    inside: list[Path] = []
    with ThreadPoolExecutor(1) as other:
        other.submit(here).result()  # the thread exists before we enter

        def enter_and_fail() -> None:
            with chain.server.enter():
                inside.extend([here(), other.submit(here).result()])
                raise ValueError("out")

        with pytest.raises(ValueError, match="out"):
            enter_and_fail()
    assert inside[0] != home
    assert inside[1] == home
    assert here() == home


def test_builds_fast_enough_for_every_block(run: Run) -> None:
    """A chain a block is affordable: far below the 0.3 s planned, even on a busy machine (no benchmark)."""
    began = time.monotonic()
    for _ in range(3):
        Chain(run).build().close()
    assert (time.monotonic() - began) / 3 < 1.0


def test_conntrack_stays_off_unless_a_system_asks(chain: Chain) -> None:
    """Forwarded packets leave no entry until a rule needs connection tracking."""
    count = Path("/proc/sys/net/netfilter/nf_conntrack_count")
    if not count.exists():
        pytest.skip("this kernel has no conntrack")
    server, client = udp(chain.server, socket.AF_INET, SERVER.v4), udp(chain.client, socket.AF_INET)

    def tracked() -> int:
        client.sendto(b"ping", (SERVER.v4, 7))
        server.recv(100)
        with chain.gateway.enter():
            return int(count.read_text())

    assert tracked() == 0
    rules = "table ip t { chain c { type filter hook forward priority 0; ct state new accept; }; }"
    chain.gateway.exec(["nft", "-f", "-"], input=rules).check()
    assert tracked() == 1
