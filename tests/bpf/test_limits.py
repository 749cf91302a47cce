# SPDX-License-Identifier: Apache-2.0
"""Limits: each matcher proves match, miss, wrong protocol, default and counter; the clock is the test's."""

from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6ExtHdrFragment

from neurowall.kernel import libbpf
from neurowall.model.reasons import Reason
from tests.bpf.conftest import MakeFirewall
from tests.bpf.harness import DROP, PASS, Firewall
from tests.bpf.limitmaps import SECOND, START, Limits, Spec
from tests.bpf.packets import OTHER, SOURCE, SOURCE6, frame4, frame6, tcp, udp
from tests.bpf.test_mutations import compiled

pytestmark = pytest.mark.tool("clang")
SYN, ACK, SYN_ACK = "S", "A", "SA"
LIMITED = (DROP, Reason.LIMITED)
OPEN = (PASS, Reason.DEFAULT)


@pytest.fixture(scope="module")
def virtual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The object with a clock that tests set."""
    return compiled(tmp_path_factory.mktemp("virtual"), defines=("NW_VIRTUAL_TIME",))


@pytest.fixture
def limited(make_firewall: MakeFirewall, virtual: Path) -> tuple[Firewall, Limits]:
    """A firewall that asks limits, and these."""
    firewall = make_firewall(engine="classic", limits=True, path=virtual)
    return firewall, Limits(firewall)


def one_each(firewall: Firewall, packet: Any) -> tuple[bool, bool]:
    """Whether the first and the second of two packets pass."""
    return firewall.run(packet) == OPEN, firewall.run(packet) == OPEN


MATCHERS: dict[str, tuple[tuple[str, ...], list[Any], list[Any]]] = {
    # kinds; packets that the limit is about; packets that it is not about
    "tcp-syn": (
        ("tcp-syn",),
        [frame4() / tcp(flags=SYN), frame6() / tcp(flags=SYN), frame4() / tcp(flags="SEC")],
        [frame4() / tcp(flags=ACK), frame4() / tcp(flags=SYN_ACK), frame4() / udp(), frame4() / ICMP()],
    ),
    "udp": (
        ("udp",),
        [frame4() / udp(), frame6() / udp(), frame4() / udp(123)],
        [frame4() / tcp(flags=SYN), frame4() / ICMP(), frame6() / ICMPv6EchoRequest()],
    ),
    "icmp": (
        ("icmp",),
        [frame4() / ICMP(), frame6() / ICMPv6EchoRequest(), frame4() / ICMP(type=0)],
        [frame4() / udp(), frame4() / tcp(flags=SYN), frame4() / tcp(flags=ACK)],
    ),
    "all": (
        ("tcp-syn", "tcp", "udp", "icmp", "other"),
        [
            frame4() / tcp(flags=ACK),
            frame4() / tcp(flags=SYN),
            frame4() / udp(),
            frame6() / ICMPv6EchoRequest(),
        ],
        [],
    ),
}


@pytest.mark.parametrize("name", MATCHERS)
def test_a_limit_is_about_its_kind_of_packet(limited: tuple[Firewall, Limits], name: str) -> None:
    """The second of two packets at once is over a burst of one; others never are; counted all the same."""
    firewall, limits = limited
    kinds, about, others = MATCHERS[name]
    limits.put(Spec(rate=1, burst=1, kinds=kinds))
    for packet in about:
        limits.now += 10 * SECOND
        assert one_each(firewall, packet) == (True, False), packet.summary()
    for packet in others:
        assert one_each(firewall, packet) == (True, True), packet.summary()
    counted = limits.counter()
    assert counted["passed_packets"] == counted["dropped_packets"] == len(about)
    assert counted["dropped_bytes"] == sum(len(bytes(each)) - 14 for each in about)


def test_without_a_limit_nothing_is_limited(limited: tuple[Firewall, Limits]) -> None:
    """No site, or a site of another interface."""
    firewall, limits = limited
    assert one_each(firewall, frame4() / udp()) == (True, True)
    Limits(firewall, ifindex=5).put(Spec(rate=1, burst=1))
    assert one_each(firewall, frame4() / udp()) == (True, True)
    assert limits.counter() == {}


def test_fragments_have_a_limit_of_their_own(limited: tuple[Firewall, Limits]) -> None:
    """First and later ones of both families; whole packets are not fragments."""
    firewall, limits = limited
    limits.put(Spec(rate=1, burst=1, kinds=("fragment",)))
    first = frame4() / udp() / bytes(64)
    first[IP].flags = "MF"
    later = frame4() / bytes(64)
    later[IP].frag, later[IP].proto = 8, 17
    later6 = frame6() / IPv6ExtHdrFragment(offset=8, nh=17) / bytes(64)
    for packet, reason in ((first, Reason.DEFAULT), (later, Reason.FRAGMENT), (later6, Reason.FRAGMENT)):
        limits.now += 10 * SECOND
        assert firewall.run(packet) == (PASS, reason)
        assert firewall.run(packet) == LIMITED
    assert one_each(firewall, frame4() / udp()) == (True, True)


def test_a_fragment_is_of_its_protocol_too(limited: tuple[Firewall, Limits]) -> None:
    """A limit of UDP counts later fragments of it; one with ports does not, since they have none."""
    firewall, limits = limited
    later = frame4() / bytes(64)
    later[IP].frag, later[IP].proto = 8, 17
    limits.put(Spec(rate=1, burst=1, kinds=("udp",)))
    assert firewall.run(later) == (PASS, Reason.FRAGMENT)
    assert firewall.run(later) == LIMITED
    limits.put(Spec(rate=1, burst=1, kinds=("udp",), ports=(0, 53)))
    assert firewall.run(later) == (PASS, Reason.FRAGMENT)


def test_every_source_has_its_own_budget(limited: tuple[Firewall, Limits]) -> None:
    """Of either family; destinations and ports make no difference."""
    firewall, limits = limited
    limits.put(Spec(rate=1, burst=1))
    for source in (SOURCE, OTHER, "198.51.100.8"):
        assert one_each(firewall, frame4(source) / udp()) == (True, False)
    assert firewall.run(frame4(SOURCE, OTHER) / udp(99)) == LIMITED
    assert one_each(firewall, frame6(SOURCE6) / udp()) == (True, False)
    assert one_each(firewall, frame6(SOURCE6[:-1] + "8") / udp()) == (True, False)


def test_a_prefix_shares_a_budget(limited: tuple[Firewall, Limits]) -> None:
    """Addresses that differ behind its length are one key, others are not; each family by its own length."""
    firewall, limits = limited
    limits.put(Spec(rate=1, burst=1, prefix4=20, prefix6=52))
    assert firewall.run(frame4("198.51.96.1") / udp()) == OPEN
    assert firewall.run(frame4("198.51.111.255") / udp()) == LIMITED
    assert firewall.run(frame4("198.51.112.0") / udp()) == OPEN
    assert firewall.run(frame6("2001:db8:1:1::1") / udp()) == OPEN
    assert firewall.run(frame6("2001:db8:1:fff:ffff:ffff:ffff:ffff") / udp()) == LIMITED
    assert firewall.run(frame6("2001:db8:1:1000::") / udp()) == OPEN


def test_a_port_shares_a_budget(limited: tuple[Firewall, Limits]) -> None:
    """Whoever sends; TCP and UDP ports of one number are two."""
    firewall, limits = limited
    limits.put(Spec(rate=1, burst=1, kinds=("tcp-syn", "tcp", "udp"), key="port"))
    assert firewall.run(frame4(SOURCE) / udp(53)) == OPEN
    assert firewall.run(frame6(SOURCE6) / udp(53)) == LIMITED
    assert firewall.run(frame4(OTHER) / udp(54)) == OPEN
    assert firewall.run(frame4(OTHER) / tcp(53)) == OPEN
    assert firewall.run(frame4(OTHER) / ICMP()) == OPEN


def test_all_share_a_budget(limited: tuple[Firewall, Limits]) -> None:
    """A limit in all knows one key."""
    firewall, limits = limited
    limits.put(Spec(rate=1, burst=2, key="all"))
    assert firewall.run(frame4(SOURCE) / udp(53)) == OPEN
    assert firewall.run(frame6(SOURCE6) / tcp(80)) == OPEN
    assert firewall.run(frame4(OTHER) / ICMP()) == LIMITED


def test_a_limit_of_ports_is_about_these(limited: tuple[Firewall, Limits]) -> None:
    """Even and odd ones; two limits with different ports; ICMP has none."""
    firewall, limits = limited
    transport = ("tcp-syn", "tcp", "udp")
    limits.put(
        Spec(rate=1, burst=1, kinds=transport, ports=(443, 8000)),
        Spec(rate=1, burst=1, kinds=transport, ports=(444, 65535)),
    )
    for number, port in enumerate((443, 8000, 444, 65535)):
        limits.now += 10 * SECOND
        assert one_each(firewall, frame4() / tcp(port)) == (True, False)
        limits.now += 10 * SECOND
        assert one_each(firewall, frame4() / udp(port)) == (True, False)
        assert limits.counter(number // 2)["dropped_packets"] == 2 + number % 2 * 2
    for port in (442, 445, 7999, 8001, 65534, 1):
        assert one_each(firewall, frame4() / tcp(port)) == (True, True)
    assert one_each(firewall, frame4() / ICMP()) == (True, True)


def test_bytes_are_those_of_the_ip_packet(limited: tuple[Firewall, Limits]) -> None:
    """Padding of the frame counts for nothing; a packet larger than what is left does not pass."""
    firewall, limits = limited
    limits.put(Spec(rate=1000, burst=1000, counts_bytes=True))
    packet = bytes(frame4() / udp() / bytes(472))  # 500 bytes of IP
    assert [firewall.run(packet + bytes(40))[0] for _ in range(3)] == [PASS, PASS, DROP]
    limits.now += SECOND // 2 - 1000
    assert firewall.run(packet) == LIMITED
    limits.now += 1000
    assert firewall.run(packet) == OPEN
    assert limits.counter() == {
        "passed_packets": 3, "passed_bytes": 1500, "dropped_packets": 2, "dropped_bytes": 1000,
    }  # fmt: skip
    limits.now += 10 * SECOND
    assert firewall.run(frame6() / udp() / bytes(952)) == OPEN  # 1000 bytes
    assert firewall.run(frame6() / udp()) == LIMITED


def test_a_burst_comes_at_once_and_then_the_rate(limited: tuple[Firewall, Limits]) -> None:
    """Exactly as many as the burst; then one an interval, to the unit of time."""
    firewall, limits = limited
    limits.put(Spec(rate=1000, burst=5))
    packet = bytes(frame4() / udp())
    assert [firewall.run(packet)[0] for _ in range(7)] == [PASS] * 5 + [DROP] * 2
    for _ in range(3):
        limits.now += 1_000_000 - 16
        assert firewall.run(packet) == LIMITED
        limits.now += 16
        assert firewall.run(packet) == OPEN
        assert firewall.run(packet) == LIMITED
    limits.now += 3_000_000
    assert [firewall.run(packet)[0] for _ in range(5)] == [PASS] * 3 + [DROP] * 2


@pytest.mark.parametrize(
    ("rate", "counts_bytes"), [(3, False), (7_777, False), (10_000_000, False), (12_500_000_000, True)]
)
def test_the_rate_is_right_though_the_interval_is_no_whole_number(
    limited: tuple[Firewall, Limits], rate: int, counts_bytes: bool
) -> None:
    """Of packets that come one and a half times as fast, two thirds pass, from 3 a second to 100 Gbit/s."""
    firewall, limits = limited
    payload = 1472 if counts_bytes else 0
    cost = 1500 if counts_bytes else 1
    limits.put(Spec(rate=rate, burst=4 * cost, counts_bytes=counts_bytes))
    packet = bytes(frame4() / udp() / bytes(payload))
    passed, number = 0, 3000
    for i in range(number):
        limits.now = START + i * 2 * cost * SECOND // (rate * 3)
        passed += firewall.run_uncounted(packet) == PASS
    assert passed == pytest.approx(number * 2 / 3 + 4, rel=0.004)


def test_known_flows_are_not_asked_about_new_ones(make_firewall: MakeFirewall, tmp_path: Path) -> None:
    """new_only; a limit that is not new_only holds for them too."""
    known = ("defend.h", "flow = flow_of(ctx, segment);", "flow_of(ctx, segment), flow = FLOW_KNOWN;")
    path = compiled(tmp_path, known, defines=("NW_VIRTUAL_TIME",))
    for flows, expected in (("loose", [PASS, PASS]), ("", [PASS, DROP])):
        firewall = make_firewall(engine="classic", limits=True, flows=flows, path=path)
        limits = Limits(firewall)
        limits.put(Spec(rate=1, burst=1, new_only=True))
        packet = bytes(frame4() / tcp(flags=ACK))
        assert [firewall.run_uncounted(packet) for _ in range(2)] == expected
        limits.put(Spec(rate=1, burst=1), slots=[3])
        limits.now += 10 * SECOND
        assert [firewall.run_uncounted(packet) for _ in range(2)] == [PASS, DROP]


def test_monitor_counts_and_drops_nothing(limited: tuple[Firewall, Limits]) -> None:
    """What would have been dropped is counted; what would have passed uses the budget as it does without."""
    firewall, limits = limited
    limits.put(Spec(rate=1, burst=2, action="monitor"))
    packet = bytes(frame4() / udp())
    assert [firewall.run(packet) for _ in range(5)] == [OPEN] * 5
    size = len(packet) - 14
    assert limits.counter() == {
        "passed_packets": 2, "passed_bytes": 2 * size, "would_packets": 3, "would_bytes": 3 * size,
    }  # fmt: skip


def test_what_one_limit_drops_uses_up_nothing_of_another(limited: tuple[Firewall, Limits]) -> None:
    """All are asked, and each counts what is over it; only a packet that all admit is taken note of."""
    firewall, limits = limited
    limits.put(
        Spec(rate=1, burst=10, key="all"),
        Spec(rate=1, burst=1),
        Spec(rate=1, burst=3, key="all", action="monitor"),
        Spec(rate=1, burst=1, kinds=("tcp-syn",)),
        slots=[0, 7, 30, 31],
    )
    packet = bytes(frame4() / udp())
    assert [firewall.run(packet)[0] for _ in range(6)] == [PASS] + [DROP] * 5
    assert limits.counter(0) == {"passed_packets": 1, "passed_bytes": len(packet) - 14}
    assert limits.counter(7)["dropped_packets"] == 5
    others = [firewall.run(frame4(f"203.0.113.{i}") / udp())[0] for i in range(12)]
    assert others == [PASS] * 9 + [DROP] * 3
    assert limits.counter(30)["would_packets"] == 10  # 2 more pass it, then 7 of the nine and 3 dropped ones
    assert limits.counter(7)["dropped_packets"] == 5
    assert limits.counter(31) == {}


def test_sixteen_limits_and_more_hold_together(limited: tuple[Firewall, Limits]) -> None:
    """As many as there are slots; the smallest decides."""
    firewall, limits = limited
    limits.put(*(Spec(rate=1, burst=40 - i, key="all") for i in range(32)))
    packet = bytes(frame4() / udp())
    assert [firewall.run(packet)[0] for _ in range(12)] == [PASS] * 9 + [DROP] * 3
    assert [limits.counter(i)["passed_packets"] for i in (0, 31)] == [9, 9]
    assert limits.counter(31)["dropped_packets"] == 3
    assert "dropped_packets" not in limits.counter(30)


def test_an_interface_is_found_behind_others_of_its_place(limited: tuple[Firewall, Limits]) -> None:
    """Numbers that are equal modulo the size of the map: the next places are looked at."""
    firewall, limits = limited
    limits.put(Spec(rate=1, burst=1))
    site = firewall.map_fd("limit_sites")
    value = bytearray(_value(site, 1))
    _store(site, 1, b"\x01\x04\0\0" + value[4:])  # interface 1025
    assert one_each(firewall, frame4() / udp()) == (True, True)
    _store(site, 4, bytes(value))
    assert one_each(firewall, frame4() / udp()) == (True, False)
    _store(site, 4, bytes(48))
    _store(site, 5, bytes(value))
    assert one_each(firewall, frame4(OTHER) / udp()) == (True, True)


def _value(fd: int, key: int) -> bytes:
    value = libbpf.map_lookup(fd, key.to_bytes(4, "little"), 48)
    assert value is not None
    return value


def _store(fd: int, key: int, value: bytes) -> None:
    libbpf.map_update(fd, key.to_bytes(4, "little"), value)


def test_essential_traffic_and_lists_come_first(make_firewall: MakeFirewall, virtual: Path) -> None:
    """A blocked source is dropped as such, an allowed one is limited like any other."""
    firewall = make_firewall(engine="classic", limits=True, path=virtual)
    limits = Limits(firewall)
    limits.put(Spec(rate=1, burst=1))
    firewall.put_class(1, DROP)
    firewall.put_class(2, PASS)
    firewall.put(SOURCE, 1)
    firewall.put(OTHER, 2)
    assert firewall.run(frame4(SOURCE) / udp()) == (DROP, Reason.BLOCK_LIST)
    assert firewall.run(frame4(OTHER) / udp()) == (PASS, Reason.ALLOW_LIST)
    assert firewall.run(frame4(OTHER) / udp()) == LIMITED
    dhcp = frame4(OTHER, "255.255.255.255") / udp(67)
    dhcp["UDP"].sport = 68
    assert firewall.run(dhcp) == (PASS, Reason.DHCP)


def test_internal_interfaces_are_limited_too(make_firewall: MakeFirewall, virtual: Path) -> None:
    """By the program of these."""
    firewall = make_firewall(engine="classic", limits=True, networks=True, destinations=True, path=virtual)
    firewall.put_network("198.51.100.0/24")
    Limits(firewall).put(Spec(rate=1, burst=1))
    assert one_each(firewall, frame4() / udp()) == (True, False)


def test_a_dry_run_answers_and_leaves_everything(make_firewall: MakeFirewall, virtual: Path) -> None:
    """The answer is what the next packet would get; no map changes but what is thought with."""
    firewall = make_firewall(engine="classic", limits=True, bans=True, dry_run=True, path=virtual)
    limits = Limits(firewall)
    limits.put(Spec(rate=1, burst=1, action="ban"), Spec(rate=1, burst=1, action="monitor"))
    line, tag = limits.place(SOURCE)
    before = firewall.dump()
    assert [firewall.run_uncounted(frame4() / udp()) for _ in range(3)] == [PASS] * 3
    changed = {name for name, content in firewall.dump().items() if content != before[name]}
    assert changed <= {"segments", "limit_work"}
    full = tag << 40 | (limits.now + SECOND) // 16 % (1 << 40)
    limits.put_line(line, [full, *[0] * 7])
    before = firewall.dump()
    assert firewall.run_uncounted(frame4() / udp()) == DROP
    assert firewall.run_uncounted(frame4(OTHER) / udp()) == PASS
    changed = {name for name, content in firewall.dump().items() if content != before[name]}
    assert changed <= {"segments", "limit_work"}
