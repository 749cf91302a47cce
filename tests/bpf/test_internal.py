# SPDX-License-Identifier: Apache-2.0
"""Internal interfaces: destinations in the lists, sources that are not behind the interface."""

import time
from pathlib import Path
from random import Random
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NS, IPv6ExtHdrFragment

from neurowall.model.reasons import Reason
from tests.bpf import frames
from tests.bpf.conftest import ENGINES, MakeFirewall
from tests.bpf.differential import disagreements
from tests.bpf.harness import DROP, LOOPBACK, PASS, Answer, Firewall
from tests.bpf.packets import (
    ALL_NODES,
    ETHER,
    GATEWAY,
    HOST,
    HOST6,
    LINK_LOCAL,
    OTHER,
    OTHER6,
    SOURCE,
    SOURCE6,
    frame4,
    frame6,
    raw,
    tagged,
    tcp,
    udp,
)
from tests.bpf.test_mutations import FRAMES, compiled
from tests.sampling import some

UNLISTED = Answer(PASS, Reason.DEFAULT)
BLOCKED, ALLOWED = Answer(DROP, Reason.BLOCK_LIST), Answer(PASS, Reason.ALLOW_LIST)
BLOCKED_THERE = Answer(DROP, Reason.DESTINATION_BLOCK_LIST)
ALLOWED_THERE = Answer(PASS, Reason.DESTINATION_ALLOW_LIST)
SPOOFED = Answer(DROP, Reason.SPOOFED)
MONITORED = 3  # a class that only counts
FAMILIES = pytest.mark.parametrize(
    ("frame", "home", "listed", "free"),
    [(frame4, HOST, SOURCE, OTHER), (frame6, HOST6, SOURCE6, OTHER6)],
    ids=["IPv4", "IPv6"],
)


@pytest.fixture(params=ENGINES)
def internal(request: pytest.FixtureRequest, make_firewall: MakeFirewall) -> Firewall:
    """A program that asks for destinations; class 1 blocks, 2 allows, 3 counts."""
    return with_classes(make_firewall(engine=request.param, destinations=True))


@pytest.fixture
def fenced(make_firewall: MakeFirewall) -> Firewall:
    """A program that asks for sources, with one network of each family behind its interface."""
    firewall = with_classes(make_firewall(engine="classic", networks=True, failsafe=True))
    for text in ("192.0.2.0/24", "2001:db8:1::/48"):
        firewall.put_network(text)
    return firewall


def with_classes(firewall: Firewall) -> Firewall:
    """The same, its classes defined."""
    for class_id, verdict in ((1, DROP), (2, PASS), (MONITORED, "none")):
        firewall.put_class(class_id, verdict)
    return firewall


class TestDestinations:
    """Lists meet destinations."""

    @FAMILIES
    def test_a_listed_destination_is_dropped(
        self, internal: Firewall, frame: Any, home: str, listed: str, free: str
    ) -> None:
        """Match and miss: the host, not its neighbours; every protocol."""
        internal.put(listed, 1)
        for transport in (tcp(), udp(), ICMP() if frame is frame4 else ICMPv6EchoRequest()):
            assert internal.run(frame(home, listed) / transport) == BLOCKED_THERE
        for other in (free, f"{listed[:-1]}6", f"{listed[:-1]}8"):
            assert internal.run(frame(home, other) / tcp()) == UNLISTED

    @pytest.mark.parametrize(
        ("entry", "inside", "outside"),
        [
            ("198.51.100.0/24", ("198.51.100.0", "198.51.100.255"), ("198.51.99.255", "198.51.101.0")),
            ("198.51.100.4/30", ("198.51.100.4", "198.51.100.7"), ("198.51.100.3", "198.51.100.8")),
            ("2001:db8:bad::/48", ("2001:db8:bad::", SOURCE6), ("2001:db8:bac:ffff::1", "2001:db8:bae::")),
        ],
    )
    def test_a_listed_prefix_covers_its_members(
        self, internal: Firewall, entry: str, inside: tuple[str, ...], outside: tuple[str, ...]
    ) -> None:
        """Both ends, and the addresses beside them."""
        internal.put(entry, 1)
        frame, home = (frame6, HOST6) if ":" in entry else (frame4, HOST)
        assert [internal.run(frame(home, each) / udp()) for each in inside] == [BLOCKED_THERE] * 2
        assert [internal.run(frame(home, each) / udp()) for each in outside] == [UNLISTED] * 2

    @FAMILIES
    def test_an_allowed_destination_passes_by_name(
        self, internal: Firewall, frame: Any, home: str, listed: str, free: str
    ) -> None:
        """Under its own reason, so that it can be counted."""
        internal.put(listed, 2)
        assert internal.run(frame(home, listed) / tcp()) == ALLOWED_THERE
        assert internal.run(frame(home, free) / tcp()) == UNLISTED

    @FAMILIES
    @pytest.mark.parametrize(("source", "answer"), [(1, BLOCKED), (2, ALLOWED)])
    def test_a_listed_source_decides_first(
        self,
        internal: Firewall,
        frame: Any,
        home: str,
        listed: str,
        free: str,
        source: int,
        answer: Answer,
    ) -> None:
        """The destination is not even counted."""
        internal.put(home, source)
        internal.put(listed, 3 - source)
        assert internal.run(frame(home, listed) / tcp()) == answer
        assert internal.class_counter(3 - source) == (0, 0)

    @FAMILIES
    def test_both_classes_are_counted(
        self, internal: Firewall, frame: Any, home: str, listed: str, free: str
    ) -> None:
        """One that only counts the source, and the one that decides by the destination."""
        internal.put(home, MONITORED)
        internal.put(listed, 1)
        packet = bytes(frame(home, listed) / tcp())
        assert internal.run(packet) == BLOCKED_THERE
        assert internal.class_counter(MONITORED) == internal.class_counter(1) == (1, len(packet))

    @FAMILIES
    def test_a_monitored_destination_is_counted_and_passes(
        self, internal: Firewall, frame: Any, home: str, listed: str, free: str
    ) -> None:
        """The reason is that of an unlisted packet."""
        internal.put(listed, MONITORED)
        packet = bytes(frame(home, listed) / tcp())
        assert internal.run(packet) == UNLISTED
        assert internal.class_counter(MONITORED) == (1, len(packet))

    @FAMILIES
    def test_a_timed_destination_ends_by_itself(
        self, internal: Firewall, frame: Any, home: str, listed: str, free: str
    ) -> None:
        """By the end of the destination; the source's own says nothing."""
        internal.put_class(4, DROP, "block", MONITORED)
        internal.put(listed, 4)
        internal.put_expiry(listed, block_until=time.monotonic_ns() + 10**12)
        internal.put_expiry(home, block_until=1)
        assert internal.run(frame(home, listed) / tcp()) == BLOCKED_THERE
        internal.put_expiry(listed, block_until=1)
        assert internal.run(frame(home, listed) / tcp()) == UNLISTED
        assert internal.class_counter(MONITORED)[0] == 1

    def test_a_source_whose_block_is_over_does_not_hide_the_destination(self, internal: Firewall) -> None:
        """What the source is not listed for any more decides nothing."""
        internal.put_class(4, DROP, "block")
        internal.put(HOST, 4)
        internal.put_expiry(HOST, block_until=1)
        internal.put(SOURCE, 1)
        assert internal.run(frame4(HOST, SOURCE) / tcp()) == BLOCKED_THERE

    def test_a_class_that_was_never_defined_drops(self, internal: Firewall) -> None:
        """A fault of ours must not open anything."""
        internal.put(SOURCE, 9)
        assert internal.run(frame4(HOST, SOURCE) / tcp()) == BLOCKED_THERE

    @pytest.mark.parametrize(
        ("entry", "destination", "beside"),
        [
            ("224.0.0.0/4", "239.255.255.250", "223.255.255.255"),
            ("255.255.255.255", "255.255.255.255", None),
            ("240.0.0.0/4", "255.255.255.255", "255.255.255.254"),
            ("169.254.0.0/16", "169.254.169.254", "169.253.255.255"),
            ("ff00::/8", "ff05::1:3", "feff::1"),
            ("fe80::/10", "fe80::9", "fec0::1"),
        ],
    )
    def test_groups_and_the_link_itself_are_no_destinations(
        self, internal: Firewall, entry: str, destination: str, beside: str | None
    ) -> None:
        """Lists of bogons hold them; the addresses beside them are looked up."""
        internal.put(entry, 1)
        frame, home = (frame6, HOST6) if ":" in entry else (frame4, HOST)
        assert internal.run(frame(home, destination) / udp()) == UNLISTED
        if beside:
            internal.put(beside, 1)
            assert internal.run(frame(home, beside) / udp()) == BLOCKED_THERE
        if entry == "240.0.0.0/4":
            assert internal.run(frame(home, "240.0.0.1") / udp()) == BLOCKED_THERE

    def test_fragments_tunnels_and_errors_too(self, internal: Firewall) -> None:
        """What the source alone would have let pass under another reason."""
        internal.put(SOURCE, 1)
        internal.put(SOURCE6, 1)
        later = ETHER / IP(src=HOST, dst=SOURCE, frag=100, proto=17) / (b"x" * 16)
        assert internal.run(later) == BLOCKED_THERE
        assert internal.run(ETHER / IP(src=HOST, dst=SOURCE, proto=47) / (b"x" * 16)) == BLOCKED_THERE
        assert internal.run(frame4(HOST, SOURCE) / ICMP(type=3)) == BLOCKED_THERE
        later6 = frame6(HOST6, SOURCE6) / IPv6ExtHdrFragment(offset=100, nh=17) / (b"x" * 16)
        assert internal.run(later6) == BLOCKED_THERE
        assert internal.run(tagged(frame4(HOST, SOURCE) / tcp(), 0x8100)) == BLOCKED_THERE

    def test_essential_and_malformed_come_first(self, internal: Firewall) -> None:
        """As for sources."""
        internal.put("255.255.255.255", 1)
        internal.put(HOST6, 1)
        dhcp = frame4("0.0.0.0", "255.255.255.255") / udp(67, chksum=0)
        dhcp.sport = 68
        assert internal.run(dhcp).reason is Reason.DHCP
        solicitation = frame6(SOURCE6, HOST6, hlim=255) / ICMPv6ND_NS(tgt=HOST6)
        assert internal.run(solicitation).reason is Reason.NEIGHBOUR_DISCOVERY
        internal.put(SOURCE, 1)
        assert internal.run(bytes(frame4(HOST, SOURCE) / tcp())[:-1]).reason is Reason.TRUNCATED
        assert internal.run(raw(0x0806)).reason is Reason.ARP

    def test_a_role_without_it_asks_for_no_destination(self, make_firewall: MakeFirewall) -> None:
        """Neither the program of external interfaces, nor the other one with the switch off."""
        for role in ({}, {"networks": True}):
            firewall = with_classes(make_firewall(engine="classic", **role))
            firewall.put(SOURCE, 1)
            if role:
                firewall.put_network("192.0.2.0/24")
            assert firewall.run(frame4(HOST, SOURCE) / tcp()) == UNLISTED


class TestSpoofing:
    """Sources that do not live behind the interface."""

    @pytest.mark.parametrize("source", ["192.0.2.0", HOST, "192.0.2.255", "2001:db8:1::", HOST6])
    def test_a_source_of_the_network_passes(self, fenced: Firewall, source: str) -> None:
        """Both ends."""
        packet = frame6(source, OTHER6) if ":" in source else frame4(source, OTHER)
        assert fenced.run(packet / tcp()) == UNLISTED

    @pytest.mark.parametrize(
        "source",
        [
            "192.0.1.255",
            "192.0.3.0",
            SOURCE,
            "0.0.0.0",
            "127.0.0.1",
            "2001:db8:2::",
            "2001:db8:0:ffff::1",
            "::1",
        ],
    )
    def test_any_other_source_is_dropped(self, fenced: Firewall, source: str) -> None:
        """The addresses beside the network, and those that nobody has."""
        packet = frame6(source, OTHER6) if ":" in source else frame4(source, OTHER)
        assert fenced.run(packet / tcp()) == SPOOFED

    def test_networks_belong_to_one_interface(self, fenced: Firewall) -> None:
        """Another interface's say nothing here."""
        fenced.put_network("198.51.100.0/24", ifindex=LOOPBACK + 1)
        assert fenced.run(frame4(SOURCE, OTHER) / tcp()) == SPOOFED
        fenced.put_network("198.51.100.0/24", ifindex=LOOPBACK)
        assert fenced.run(frame4(SOURCE, OTHER) / tcp()) == UNLISTED

    def test_a_network_is_of_one_family(self, fenced: Firewall) -> None:
        """The same leading bytes of the other family do not count."""
        assert fenced.run(frame6("c000:20a::1", OTHER6) / tcp()) == SPOOFED
        assert fenced.run(frame4("32.1.13.184", OTHER) / tcp()) == SPOOFED  # 2001:db8

    def test_without_networks_nobody_may_send(self, make_firewall: MakeFirewall) -> None:
        """The switch on and the map empty: everything but the link's own traffic is dropped."""
        firewall = make_firewall(engine="classic", networks=True)
        assert firewall.run(frame4(HOST, OTHER) / tcp()) == SPOOFED
        assert firewall.run(frame6(HOST6, OTHER6) / tcp()) == SPOOFED
        assert firewall.run(raw(0x0806)).reason is Reason.ARP

    def test_the_links_own_traffic_passes(self, fenced: Firewall) -> None:
        """Addresses that hosts use before they have one, and within the link."""
        dhcp = frame4("0.0.0.0", "255.255.255.255") / udp(67, chksum=0)
        dhcp.sport = 68
        assert fenced.run(dhcp).reason is Reason.DHCP
        detection = frame6("::", "ff02::1:ff00:10", hlim=255) / ICMPv6ND_NS(tgt=HOST6)
        assert fenced.run(detection).reason is Reason.NEIGHBOUR_DISCOVERY
        for destination in ("fe80::9", ALL_NODES, "febf::9"):
            assert fenced.run(frame6(LINK_LOCAL, destination) / udp()) == UNLISTED
        for destination in (HOST6, "ff05::1", "fec0::1"):
            assert fenced.run(frame6(LINK_LOCAL, destination) / udp()) == SPOOFED
        assert fenced.run(frame6("::", ALL_NODES) / udp()) == SPOOFED
        assert fenced.run(frame6("fec0::1", ALL_NODES) / udp()) == SPOOFED

    def test_fragments_too(self, fenced: Firewall) -> None:
        """First and later ones, tagged ones as well."""
        for fields in ({"frag": 100}, {"flags": "MF"}):
            packet = ETHER / IP(src=SOURCE, dst=OTHER, proto=17, **fields) / (b"x" * 16)
            assert fenced.run(packet) == SPOOFED
        later = frame6(SOURCE6, OTHER6) / IPv6ExtHdrFragment(offset=100, nh=17) / (b"x" * 16)
        assert fenced.run(later) == SPOOFED
        assert fenced.run(tagged(frame4(SOURCE, OTHER) / tcp(), 0x88A8)) == SPOOFED

    def test_before_failsafe_and_lists_and_after_malformed(self, fenced: Firewall) -> None:
        """Neither the operator's way in nor an allow list helps a source that cannot be."""
        fenced.put_failsafe(GATEWAY, 22, ["198.51.100.0/24", "192.0.2.0/24"])
        fenced.put(SOURCE, 2)
        assert fenced.run(frame4(SOURCE, GATEWAY) / tcp(22)) == SPOOFED
        assert fenced.run(frame4(HOST, GATEWAY) / tcp(22)).reason is Reason.FAILSAFE
        assert fenced.run(bytes(frame4(SOURCE, OTHER) / tcp())[:-1]).reason is Reason.TRUNCATED

    def test_a_role_without_it_asks_for_no_source(self, make_firewall: MakeFirewall) -> None:
        """Any source, as on external interfaces; the map does not even exist."""
        firewall = make_firewall(engine="classic", destinations=True)
        assert firewall.run(frame4(SOURCE, OTHER) / tcp()) == UNLISTED
        assert "networks" not in firewall.dump()


MUTATIONS: dict[str, tuple[str, str, str]] = {
    "groups are looked up": ("internal.h", "packet->ip6->daddr.s6_addr[0] == 0xFF || ", ""),
    "IPv4 groups are looked up": ("internal.h", "bpf_htonl(0xE0000000) ||", "bpf_htonl(0xE1000000) ||"),
    "limited broadcast is looked up": ("internal.h", "address == bpf_htonl(INADDR_BROADCAST)", "0"),
    "the link's addresses are looked up": (
        "internal.h",
        " || is_link_local(&packet->ip6->daddr))\n		return UN",
        ")\n		return UN",
    ),
    "the source is looked up again": (
        "internal.h",
        "address = packet->ip4->daddr;",
        "address = packet->ip4->saddr;",
    ),
    "only half of an IPv6 destination counts": (
        "internal.h",
        "lower_half(&packet->ip6->daddr));",
        "lower_half(&packet->ip6->daddr) & 0xFFFFFFFF);",
    ),
    "an allowed source does not help": (
        "internal.h",
        "	return reason == NW_REASON_DEFAULT ||",
        "	return reason == NW_REASON_ALLOW_LIST || reason == NW_REASON_DEFAULT ||",
    ),
    "fragments may go anywhere": ("internal.h", "reason == NW_REASON_FRAGMENT ||", ""),
    "tunnels may go anywhere": ("internal.h", "reason == NW_REASON_TUNNEL ||", ""),
    "errors may go anywhere": ("internal.h", "reason == NW_REASON_ICMP_ERROR", "0"),
    "an allowed destination is not named": ("internal.h", "found >> 16 == NW_VERDICT_PASS", "0"),
    "a blocked destination passes": ("internal.h", "found >> 16 == NW_VERDICT_DROP", "0"),
    "spoofed sources are essential": (
        "internal.h",
        "&&\n	    essential(packet) == NW_REASON_DEFAULT)",
        ")",
    ),
    "essential traffic is spoofed": ("internal.h", "!bpf_map_lookup_elem(&networks, &key)", "0"),
    "link-local sources go everywhere": (
        "internal.h",
        "(is_link_local(&packet->ip6->daddr) || is_link_multicast(&packet->ip6->daddr))",
        "1",
    ),
}


@pytest.mark.tool("clang")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("failsafe", [False, True])
def test_external_interfaces_pay_nothing_for_internal_ones(
    make_firewall: MakeFirewall, engine: str, failsafe: bool, tmp_path: Path
) -> None:
    """Their program is as long as in an object where nobody asks for networks and destinations."""
    call = "struct decision decision = judge_internal(ctx, &destination_class);"
    path = compiled(tmp_path, ("neurowall.bpf.c", call, "struct decision decision = judge(ctx);"))
    without = make_firewall(engine=engine, failsafe=failsafe, path=path).program_size()
    assert make_firewall(engine=engine, failsafe=failsafe).program_size() == without
    internal = make_firewall(engine=engine, failsafe=failsafe, networks=True).program_size()
    assert internal[0] > without[0]
    assert max(internal) < 500_000  # of the verifier's million


@pytest.mark.tool("clang")
@pytest.mark.parametrize("name", some(MUTATIONS, every=2))
def test_the_differential_catches_a_broken_program(
    make_firewall: MakeFirewall, name: str, tmp_path: Path
) -> None:
    """With no more frames than the ordinary run looks at."""
    path = compiled(tmp_path, MUTATIONS[name])
    firewall = make_firewall(
        engine="classic", failsafe=True, networks=True, destinations=True, lines=2, path=path
    )
    r = Random("mutations")
    start = frames.policy(r, unparsed=DROP, failsafe=True, internal=True)
    assert next(disagreements(firewall, start, r, FRAMES), None) is not None
