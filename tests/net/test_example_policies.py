# SPDX-License-Identifier: Apache-2.0
"""The example policies, in force: real clients and servers around a gateway, and who reaches whom."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.testbed.run import Run
from neurowall import management
from tests.net.conftest import daemons
from tests.net.daemon import Daemon, until
from tests.net.site import GATEWAY, Segment, Site

pytestmark = pytest.mark.root

FAR, FAR6 = "198.18.20.7", "2001:2:0:20::7"  # somebody in the internet
LISTED, LISTED6 = "198.18.7.5", "2001:2:0:7::5"
INTERNET = [
    "203.0.113.1/24",
    "2001:db8:0:1::1/64",
    *(
        f"{each}/32"
        for each in (FAR, "198.18.20.8", LISTED, "198.18.7.7", "198.18.8.8", "198.18.5.9", "198.18.9.9")
    ),
    *(f"{each}/128" for each in (FAR6, LISTED6, "2001:2:0:5::9", "2001:2:0:21::7")),
]
SILENCE = "silence"
EXAMPLES = Path(management.__path__[0]) / "examples"


@contextmanager
def enforced(run: Run, name: str, segments: dict[str, Segment]) -> Iterator[tuple[Site, Daemon]]:
    """The example in force at a gateway with these networks."""
    with Site.build(run, segments) as site, daemons(run, site) as make:
        daemon = make((EXAMPLES / f"{name}.yaml").read_text())
        daemon.start()
        yield site, daemon


class TestHome:
    """One uplink, one local network, and a server in it."""

    CLIENT, CLIENT6 = "192.0.2.20", "2001:db8:1::20"
    SERVER, SERVER6 = "192.0.2.10", "2001:db8:1::10"
    OUTSIDE = "203.0.113.2"

    def test_masquerade(self, home: tuple[Site, Daemon]) -> None:
        """The internet sees the gateway's IPv4 address, and each host's own IPv6 address."""
        site, _ = home
        assert site.tcp("lan0", self.CLIENT, FAR, 80) == self.OUTSIDE
        assert site.udp("lan0", self.CLIENT, FAR, 80) == self.OUTSIDE
        assert site.tcp("lan0", self.CLIENT6, FAR6, 80) == self.CLIENT6

    def test_refusals_are_told_and_drops_are_not(self, home: tuple[Site, Daemon]) -> None:
        """Mail from a client is rejected at once; what comes from outside meets silence."""
        site, _ = home
        assert site.tcp("lan0", self.CLIENT, FAR, 25) == "refused"
        assert site.tcp("wan0", FAR, self.OUTSIDE, 22) == SILENCE
        assert site.tcp("wan0", FAR6, self.SERVER6, 22) == SILENCE
        assert site.udp("wan0", FAR, self.OUTSIDE, 53) == SILENCE

    def test_port_forwards(self, home: tuple[Site, Daemon]) -> None:
        """The server sees who really asks; a range keeps its port; only these ports lead inside."""
        site, _ = home
        assert site.tcp("wan0", FAR, self.OUTSIDE, 443) == FAR
        assert site.udp("wan0", FAR, self.OUTSIDE, 27018) == FAR
        assert site.tcp("wan0", FAR, self.SERVER, 443) == SILENCE
        assert site.tcp("wan0", FAR6, self.SERVER6, 443) == FAR6

    def test_hairpin(self, home: tuple[Site, Daemon]) -> None:
        """A client in the house reaches the server by the outside address, as if from the gateway."""
        site, _ = home
        assert site.tcp("lan0", self.CLIENT, self.OUTSIDE, 443) == "192.0.2.1"

    def test_the_gateway_itself(self, home: tuple[Site, Daemon]) -> None:
        """Its services are for the house; everybody may ping it."""
        site, _ = home
        assert site.tcp("lan0", self.CLIENT, "192.0.2.1", 22) == self.CLIENT
        assert site.udp("lan0", self.CLIENT, "192.0.2.1", 53) == self.CLIENT
        assert site.tcp("lan0", self.CLIENT, "192.0.2.1", 80) == SILENCE
        assert site.ping("wan0", FAR, self.OUTSIDE)
        assert site.ping("wan0", FAR6, self.SERVER6)
        assert not site.ping("wan0", LISTED, self.OUTSIDE)
        assert site.ping("wan0", "198.18.7.7", self.OUTSIDE), "the friend in a listed network"

    def test_listed_ends(self, home: tuple[Site, Daemon]) -> None:
        """A listed source reaches nobody, and nobody inside reaches a listed destination."""
        site, daemon = home
        assert site.tcp("wan0", LISTED, self.OUTSIDE, 443) == SILENCE
        before = daemon.packets("destination-block-list")
        assert site.tcp("lan0", self.CLIENT, LISTED, 80) == SILENCE
        assert site.tcp("lan0", self.CLIENT6, LISTED6, 80) == SILENCE
        assert daemon.packets("destination-block-list") >= before + 2

    def test_spoofed_sources(self, home: tuple[Site, Daemon]) -> None:
        """A host inside that borrows an address of elsewhere gets nowhere."""
        site, daemon = home
        before = daemon.packets("spoofed")
        assert site.tcp("lan0", "198.51.100.99", FAR, 80) == SILENCE
        assert daemon.packets("spoofed") > before

    def test_connection_limit(self, home: tuple[Site, Daemon]) -> None:
        """The fifty-first connection of one source waits for ever; another source has its own fifty."""
        site, _ = home
        busy = "2001:2:0:21::7"
        with ExitStack() as stack:
            for _ in range(50):
                said, _ = stack.enter_context(site.connected("wan0", busy, self.SERVER6, 443))
                assert said == busy
            assert site.tcp("wan0", busy, self.SERVER6, 443) == SILENCE
            assert site.tcp("wan0", FAR6, self.SERVER6, 443) == FAR6

    def test_a_timed_ban_ends(self, home: tuple[Site, Daemon]) -> None:
        """Blocked for two seconds, and then not: also an open connection, which goes on after."""
        site, daemon = home
        with site.connected("wan0", "198.18.20.8", self.OUTSIDE, 443) as (said, client):
            assert said == "198.18.20.8"
            begun = time.monotonic()
            daemon.ok("block", "198.18.20.8", "--ttl", "2s")
            assert site.tcp("wan0", "198.18.20.8", self.OUTSIDE, 443) == SILENCE
            assert time.monotonic() - begun < 2
            until(lambda: site.tcp("wan0", "198.18.20.8", self.OUTSIDE, 443) == "198.18.20.8")
            assert time.monotonic() - begun >= 2
            client.shutdown(socket.SHUT_WR)

    def test_rules_are_counted(self, home: tuple[Site, Daemon]) -> None:
        """Each hit is counted under its rule, and nothing under another."""
        site, daemon = home
        before = _hits(daemon)
        assert site.tcp("lan0", self.CLIENT, FAR, 25) == "refused"
        after = _hits(daemon)
        assert after["no-mail-from-clients"] == before["no-mail-from-clients"] + 1
        assert after["out"] == before["out"]


@pytest.fixture(scope="class")
def home(run: Run) -> Iterator[tuple[Site, Daemon]]:
    """The example in force, with servers inside, outside and on the gateway."""
    segments = {
        "wan0": Segment(
            ["203.0.113.2/24", "2001:db8:0:1::2/64"], INTERNET, ["2001:db8:1::/64", "192.0.2.0/24"], True
        ),
        "lan0": Segment(
            ["192.0.2.1/24", "2001:db8:1::1/64"],
            [f"{each}/24" for each in (TestHome.CLIENT, TestHome.SERVER)]
            + [f"{each}/64" for each in (TestHome.CLIENT6, TestHome.SERVER6)]
            + ["198.51.100.99/32"],
        ),
    }
    with enforced(run, "home", segments) as (site, daemon):
        for address in (FAR, FAR6, LISTED, LISTED6):
            for port in (25, 80):
                site.server("wan0", address, port)
        for address in (TestHome.SERVER, TestHome.SERVER6):
            for port in (22, 443):
                site.server("lan0", address, port)
        site.server("lan0", TestHome.SERVER, 27018)
        for port in (22, 53):
            site.server(GATEWAY, "0.0.0.0", port)
        yield site, daemon


class TestOffice:
    """Clients, guests, and servers in a network of their own."""

    CLIENT, ADMIN, GUEST, WEB, MAIL = (
        "192.0.2.20",
        "192.0.2.9",
        "192.0.2.200",
        "198.51.100.10",
        "198.51.100.25",
    )
    CLIENT6, GUEST6, WEB6 = "2001:db8:1::20", "2001:db8:3::20", "2001:db8:2::10"

    @pytest.mark.parametrize(
        ("place", "source", "target", "port", "expected"),
        [
            ("wan0", FAR, "203.0.113.2", 443, FAR),
            ("wan0", FAR, "203.0.113.2", 22, SILENCE),
            ("wan0", FAR6, WEB6, 443, FAR6),
            ("wan0", FAR6, WEB6, 3306, SILENCE),
            ("wan0", FAR6, CLIENT6, 445, SILENCE),
            ("wan0", LISTED, "203.0.113.2", 443, SILENCE),
            ("wan0", "198.18.8.8", "203.0.113.2", 443, "198.18.8.8"),  # only a monitor list holds it
            ("lan0", CLIENT, WEB, 443, CLIENT),
            ("lan0", CLIENT, WEB, 3306, SILENCE),
            ("lan0", CLIENT, WEB, 22, SILENCE),
            ("lan0", ADMIN, WEB, 22, ADMIN),
            ("lan0", CLIENT, FAR, 4000, "203.0.113.2"),
            ("lan0", CLIENT, "203.0.113.2", 443, CLIENT),  # by the outside address, no hairpin needed
            ("guest0", GUEST, FAR, 443, "203.0.113.3"),
            ("guest0", GUEST, FAR, 4000, SILENCE),
            ("guest0", GUEST, CLIENT, 445, SILENCE),
            ("guest0", GUEST6, CLIENT6, 445, SILENCE),
            ("guest0", GUEST, WEB, 443, GUEST),
            ("dmz0", WEB, FAR, 443, "203.0.113.2"),
            ("dmz0", WEB, FAR, 4000, SILENCE),
            ("dmz0", WEB, CLIENT, 445, "refused"),  # isolation, told at once
            ("dmz0", WEB6, CLIENT6, 445, "refused"),
        ],
    )
    def test_who_reaches_whom(
        self, office: tuple[Site, Daemon], place: str, source: str, target: str, port: int, expected: str
    ) -> None:
        """The servers reach no client, guests reach no client, and each is seen under the right address."""
        site, _ = office
        assert site.tcp(place, source, target, port) == expected

    def test_one_to_one(self, office: tuple[Site, Daemon]) -> None:
        """The mail server is reached and seen under an address of its own; only for mail."""
        site, _ = office
        assert site.tcp("wan0", FAR, "203.0.113.25", 25) == FAR
        assert site.tcp("wan0", FAR, "203.0.113.25", 80) == SILENCE
        assert site.tcp("dmz0", self.MAIL, FAR, 25) == "203.0.113.25"
        assert site.tcp("dmz0", self.WEB, FAR, 25) == SILENCE

    def test_a_forward_for_one_network_to_another_port(self, office: tuple[Site, Daemon]) -> None:
        """The supplier comes to port 22 by port 8022, others do not."""
        site, _ = office
        assert site.tcp("wan0", "198.18.20.8", "203.0.113.2", 8022) == "198.18.20.8"
        assert site.tcp("wan0", "198.18.5.9", "203.0.113.2", 8022) == SILENCE

    def test_monitor_rules_and_lists_count(self, office: tuple[Site, Daemon]) -> None:
        """What is only monitored passes, and is counted."""
        site, daemon = office
        before = daemon.get("/status")["lists"]
        assert site.ping("wan0", "198.18.8.8", "203.0.113.2")
        after = daemon.get("/status")["lists"]
        matched = [
            next(each["matched_packets"] for each in rows if each["name"] == "suspects")
            for rows in (before, after)
        ]
        assert matched[1] > matched[0]


@pytest.fixture(scope="class")
def office(run: Run) -> Iterator[tuple[Site, Daemon]]:
    """The example in force."""
    segments = {
        "wan0": Segment(
            ["203.0.113.2/24", "203.0.113.3/24", "203.0.113.25/24", "2001:db8:0:1::2/64"],
            INTERNET,
            ["2001:db8:1::/64", "2001:db8:2::/64", "2001:db8:3::/64", "192.0.2.0/24", "198.51.100.0/24"],
            True,
        ),
        "lan0": Segment(
            ["192.0.2.1/25", "2001:db8:1::1/64"],
            [f"{TestOffice.CLIENT}/25", f"{TestOffice.ADMIN}/25", f"{TestOffice.CLIENT6}/64"],
        ),
        "guest0": Segment(
            ["192.0.2.129/25", "2001:db8:3::1/64"], [f"{TestOffice.GUEST}/25", f"{TestOffice.GUEST6}/64"]
        ),
        "dmz0": Segment(
            ["198.51.100.1/24", "2001:db8:2::1/64"],
            [f"{TestOffice.WEB}/24", f"{TestOffice.MAIL}/24", f"{TestOffice.WEB6}/64"],
        ),
    }
    with enforced(run, "office-dmz", segments) as (site, daemon):
        for address, ports in (
            (TestOffice.WEB, (22, 80, 443, 3306)),
            (TestOffice.WEB6, (443, 3306)),
            (TestOffice.MAIL, (25, 80)),
        ):
            for port in ports:
                site.server("dmz0", address, port)
        for port in (25, 80, 443, 4000):
            site.server("wan0", FAR, port)
        site.server("wan0", FAR6, 443)
        for address in (TestOffice.CLIENT, TestOffice.CLIENT6):
            site.server("lan0", address, 445)
        yield site, daemon


class TestHosting:
    """Two uplinks, customers' servers, a management network."""

    SERVER, SERVER6, NAMES, PRIVATE = "198.51.100.10", "2001:db8:2::10", "198.51.100.53", "192.0.2.133"
    OPERATOR, MONITOR = "192.0.2.9", "192.0.2.20"

    @pytest.mark.parametrize(
        ("place", "source", "target", "port", "expected"),
        [
            ("wan0", FAR, SERVER, 80, FAR),
            ("wan0", FAR6, SERVER6, 80, FAR6),
            ("wan1", "203.0.113.17", SERVER, 80, "203.0.113.17"),
            ("wan0", FAR, SERVER, 445, SILENCE),
            ("wan0", LISTED, SERVER, 80, SILENCE),
            ("wan0", "198.18.9.9", SERVER, 80, "198.18.9.9"),  # allowed inside a listed network
            ("wan0", "198.51.100.200", NAMES, 53, SILENCE),  # our own source from outside
            ("wan0", FAR, "203.0.113.2", 22, SILENCE),
            ("wan0", FAR, OPERATOR, 80, SILENCE),
            ("srv0", SERVER, FAR, 80, SERVER),
            ("srv0", SERVER, FAR, 25, "refused"),
            ("srv0", SERVER, LISTED, 80, SILENCE),  # a taken server reaches nobody listed
            ("srv0", SERVER, OPERATOR, 80, SILENCE),
            ("mgmt0", OPERATOR, SERVER, 80, OPERATOR),
            ("mgmt0", OPERATOR, "192.0.2.1", 22, OPERATOR),
            ("mgmt0", OPERATOR, "192.0.2.1", 9100, SILENCE),
            ("mgmt0", MONITOR, "192.0.2.1", 9100, MONITOR),
            ("mgmt0", OPERATOR, FAR, 80, "198.51.100.1"),
        ],
    )
    def test_who_reaches_whom(
        self, hosting: tuple[Site, Daemon], place: str, source: str, target: str, port: int, expected: str
    ) -> None:
        """Servers are reached but for what should not be public; nobody reaches management."""
        site, _ = hosting
        assert site.tcp(place, source, target, port) == expected

    def test_amplifiers_are_not_reached(self, hosting: tuple[Site, Daemon]) -> None:
        """Names are asked of the name servers only."""
        site, _ = hosting
        assert site.udp("wan0", FAR, self.NAMES, 53) == FAR
        assert site.udp("wan0", FAR, self.SERVER, 53) == SILENCE
        assert site.udp("wan0", FAR, self.SERVER, 80) == FAR

    def test_a_prefix_is_translated_one_to_one(self, hosting: tuple[Site, Daemon]) -> None:
        """The fifth private machine is the fifth public address, both ways."""
        site, _ = hosting
        assert site.tcp("wan0", FAR, "198.51.100.245", 80) == FAR
        assert site.tcp("srv0", self.PRIVATE, FAR, 80) == "198.51.100.245"


@pytest.fixture(scope="class")
def hosting(run: Run) -> Iterator[tuple[Site, Daemon]]:
    """The example in force."""
    inside = ["198.51.100.0/24", "2001:db8:2::/48", "2001:db8:9::/64", "192.0.2.0/24"]
    segments = {
        "wan0": Segment(
            ["203.0.113.2/28", "2001:db8:0:1::2/64"],
            ["203.0.113.1/28", *INTERNET[1:], "198.51.100.200/32"],
            inside,
            True,
        ),
        "wan1": Segment(["203.0.113.18/28"], ["203.0.113.17/28", "198.18.30.7/32"], inside),
        "srv0": Segment(
            ["198.51.100.1/24", "192.0.2.142/28", "2001:db8:2::1/64"],
            [
                f"{TestHosting.SERVER}/24",
                f"{TestHosting.NAMES}/24",
                f"{TestHosting.SERVER6}/64",
                f"{TestHosting.PRIVATE}/28",
            ],
        ),
        "mgmt0": Segment(
            ["192.0.2.1/25", "2001:db8:9::1/64"],
            [f"{TestHosting.OPERATOR}/25", f"{TestHosting.MONITOR}/25", "2001:db8:9::9/64"],
        ),
    }
    with enforced(run, "hosting-edge", segments) as (site, daemon):
        for address in (TestHosting.SERVER, TestHosting.SERVER6, TestHosting.NAMES, TestHosting.PRIVATE):
            for port in (53, 80, 445):
                site.server("srv0", address, port)
        for port in (22, 9100):
            site.server(GATEWAY, "0.0.0.0", port)
        site.server("mgmt0", TestHosting.OPERATOR, 80)
        for address in (FAR, LISTED):
            for port in (25, 80):
                site.server("wan0", address, port)
        yield site, daemon


class TestSingleServer:
    """One server that is its own gateway."""

    OWN, OWN6, OPERATOR = "203.0.113.10", "2001:db8:0:1::10", "198.18.5.9"

    def test_what_comes_in(self, single: tuple[Site, Daemon]) -> None:
        """The web for all, SSH for operators, a quick no for identification, silence for the rest."""
        site, _ = single
        assert site.tcp("wan0", FAR, self.OWN, 443) == FAR
        assert site.tcp("wan0", FAR6, self.OWN6, 443) == FAR6
        assert site.udp("wan0", FAR, self.OWN, 443) == FAR
        assert site.tcp("wan0", self.OPERATOR, self.OWN, 22) == self.OPERATOR
        assert site.tcp("wan0", FAR, self.OWN, 22) == SILENCE
        assert site.tcp("wan0", FAR, self.OWN, 113) == "refused"
        assert site.tcp("wan0", FAR, self.OWN, 8080) == SILENCE
        assert site.tcp("wan0", LISTED, self.OWN, 443) == SILENCE
        assert site.ping("wan0", FAR, self.OWN)
        assert site.ping("wan0", FAR6, self.OWN6)

    def test_what_goes_out(self, single: tuple[Site, Daemon]) -> None:
        """Updates, lookups at the known resolvers and pings; whatever calls home gets a no."""
        site, _ = single
        assert site.tcp(GATEWAY, self.OWN, FAR, 443) == self.OWN
        assert site.udp(GATEWAY, self.OWN, "203.0.113.53", 53) == self.OWN
        assert site.tcp(GATEWAY, self.OWN, FAR, 6667) not in (self.OWN, SILENCE)
        assert site.ping(GATEWAY, self.OWN, FAR)

    def test_the_operator_gets_in_when_listed(self, single: tuple[Site, Daemon]) -> None:
        """A list that holds the operator cuts everything but the failsafe."""
        site, daemon = single
        daemon.post("block", "198.18.5.0/24")
        assert site.tcp("wan0", self.OPERATOR, self.OWN, 22) == self.OPERATOR
        assert site.tcp("wan0", self.OPERATOR, self.OWN, 443) == SILENCE
        daemon.post("unblock", "198.18.5.0/24")
        assert site.tcp("wan0", self.OPERATOR, self.OWN, 443) == self.OPERATOR


@pytest.fixture(scope="class")
def single(run: Run) -> Iterator[tuple[Site, Daemon]]:
    """The example in force."""
    segments = {
        "wan0": Segment(
            [f"{TestSingleServer.OWN}/24", f"{TestSingleServer.OWN6}/64"],
            [*INTERNET, "203.0.113.53/24"],
            ["192.0.2.0/24"],
            True,
        )
    }
    with enforced(run, "single-server", segments) as (site, daemon):
        for port in (22, 113, 443, 8080):
            site.server(GATEWAY, "0.0.0.0", port)
        site.server(GATEWAY, TestSingleServer.OWN6, 443)
        for address, port in ((FAR, 443), (FAR, 6667), ("203.0.113.53", 53)):
            site.server("wan0", address, port)
        yield site, daemon


def _hits(daemon: Daemon) -> dict[str, int]:
    return {row["name"]: row["packets"] for row in daemon.get("/rules")["rules"]}


def _matched(lists: list[dict[str, Any]], name: str) -> int:
    return int(next(each["matched_packets"] for each in lists if each["name"] == name))
