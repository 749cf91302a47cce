# SPDX-License-Identifier: Apache-2.0
"""Limits through the real daemon: in force, changed at run time, watched, and told of."""

import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from pyroute2 import IPRoute

from bench.testbed.chain import Chain
from bench.testbed.run import Run
from tests.net.conftest import daemons
from tests.net.daemon import POLICY, Daemon, until
from tests.net.probes import Probes

pytestmark = pytest.mark.root

SOURCES = ("203.0.113.7", "2001:db8::7")
LIMITS = """
limits:
  - {name: udp-per-source, key: source, match: udp, packets_per_second: 1, burst: 5}
  - {name: watched, key: global, match: udp, packets_per_second: 1, burst: 2, action: monitor}
"""


@pytest.fixture(scope="module")
def daemon(run: Run, chain: Chain) -> Iterator[Daemon]:
    """A running daemon with LIMITS."""
    with daemons(run, chain) as make:
        daemon = make(POLICY + LIMITS)
        daemon.start()
        yield daemon


def limit(daemon: Daemon, name: str) -> dict[str, Any]:
    """One limit of `neurowall limits`."""
    row: dict[str, Any] = next(each for each in daemon.ok("limits")["limits"] if each["name"] == name)
    return row


def counted(daemon: Daemon, name: str) -> tuple[int, int, int]:
    """The packets that a limit let pass, dropped and would have dropped."""
    row = limit(daemon, name)
    return row["passed"]["packets"], row["dropped"]["packets"], row["would_drop"]["packets"]


def apply(daemon: Daemon, limits: str) -> Any:
    """Put a policy with these limits in force."""
    return daemon.ok("apply", "-", stdin=POLICY + limits)


def programs(chain: Chain) -> list[int]:
    """The ids of the programs in the gateway."""
    found = []
    for name in ("g0", "g1"):
        with chain.gateway.enter(), IPRoute() as route:
            (link,) = route.link("get", ifname=name)
        found.append(int(link.get_attr("IFLA_XDP").get_attr("IFLA_XDP_PROG_ID")))
    return found


def settled(daemon: Daemon, name: str, packets: int) -> tuple[int, int, int]:
    """What a limit counted once that are so many packets in all."""
    until(lambda: sum(counted(daemon, name)) >= packets, 10)
    return counted(daemon, name)


def test_a_limit_is_in_force_and_counts(daemon: Daemon, probes: Probes) -> None:
    """Each source has its burst; what is over is counted, and the other one counts what it would drop."""
    probes.sent(*SOURCES * 20)
    assert settled(daemon, "udp-per-source", 40)[:2] in [(10, 30), (11, 29), (12, 28)]  # it may take a second
    assert limit(daemon, "udp-per-source")["over"] == limit(daemon, "udp-per-source")["dropped"]
    assert daemon.packets("limited") == limit(daemon, "udp-per-source")["dropped"]["packets"]
    passed, dropped, would = counted(daemon, "watched")
    assert (passed in (2, 3), dropped, would >= 36) == (True, 0, True)
    assert re.search("udp-per-source .* drop", daemon.cli("limits").stdout)
    metrics = daemon.ask("GET", "/metrics").text
    assert re.search(r'neurowall_limit_packets_total\{limit="watched",outcome="would_drop"\} [1-9]', metrics)


def test_a_rate_is_changed_without_a_new_program(daemon: Daemon, probes: Probes, chain: Chain) -> None:
    """What sources used, and what was counted, goes on; every packet meets the old limit or the new one."""
    before, loaded = counted(daemon, "udp-per-source"), programs(chain)
    probes.sent(*SOURCES[:1] * 5)
    used = settled(daemon, "udp-per-source", sum(before) + 5)
    apply(daemon, LIMITS.replace("burst: 5", "burst: 105"))
    assert programs(chain) == loaded
    assert counted(daemon, "udp-per-source") == used
    probes.sent(*SOURCES[:1] * 150)
    after = settled(daemon, "udp-per-source", sum(used) + 150)
    assert after[0] - used[0] in range(100, 105)  # 105 would be a burst that was forgotten
    apply(daemon, LIMITS)
    assert programs(chain) == loaded


def test_monitor_becomes_drop_and_the_last_limit_goes(daemon: Daemon, probes: Probes, chain: Chain) -> None:
    """An action changes in place; without limits the program does not ask any more."""
    loaded = programs(chain)
    before = counted(daemon, "watched")
    apply(daemon, LIMITS.replace(", action: monitor", ""))
    assert programs(chain) == loaded
    probes.sent(*(f"198.51.100.{i}" for i in range(50)))
    after = settled(daemon, "watched", sum(before) + 50)
    assert after[1] - before[1] >= 47
    assert after[2] == before[2]
    apply(daemon, "")
    assert daemon.ok("limits")["limits"] == []
    assert probes.arrived(*[SOURCES[0]] * 20) == {SOURCES[0]}
    apply(daemon, LIMITS)
    assert counted(daemon, "udp-per-source") == (0, 0, 0)


def test_a_restart_keeps_what_was_used_and_counted(daemon: Daemon, probes: Probes) -> None:
    """The daemon dies; the limit holds, and its counters are those of before."""
    apply(daemon, LIMITS.replace("burst: 5", "burst: 300"))
    before = sum(counted(daemon, "udp-per-source"))
    source = "198.51.100.77"
    probes.sent(*[source] * 300)
    used = settled(daemon, "udp-per-source", before + 300)
    daemon.kill()
    probes.sent(*[source] * 50)
    daemon.start()
    assert sum(settled(daemon, "udp-per-source", before + 350)) == before + 350
    assert counted(daemon, "udp-per-source")[1] - used[1] >= 40


def test_a_dry_run_says_what_changes(daemon: Daemon) -> None:
    """In the words of the policy; nothing changes."""
    answer = daemon.ok("apply", "-", "--dry-run", stdin=POLICY + LIMITS.replace("burst: 2", "burst: 9"))
    assert [
        (each["part"], each["name"], each["text"])
        for each in answer["differences"]
        if each["name"] == "watched"
    ] == [("limits", "watched", "burst: 2 -> 9")]
    assert limit(daemon, "watched")["burst"] == 2


def test_without_xdp_nobody_asks_and_it_is_said(daemon: Daemon) -> None:
    """As a warning of `status` and of `limits`."""
    policy = POLICY.replace("{name: g0, zone: external}", "{name: g0, zone: external, xdp: off}")
    daemon.ok("apply", "-", stdin=policy + LIMITS)
    said = "limit 'watched' is not enforced on g0: no XDP program is there"
    assert said in daemon.ok("limits")["warnings"]
    assert said in daemon.get("/status")["warnings"]
    assert limit(daemon, "watched")["unguarded"] == ["g0"]
    apply(daemon, LIMITS)
    assert daemon.ok("limits")["warnings"] == []


def test_an_internal_zone_has_limits_too(daemon: Daemon, chain: Chain) -> None:
    """A limit of the internal zone, asked by the program of such interfaces."""
    inside = "{name: inside, zones: internal, key: global, match: udp, packets_per_second: 1, burst: 1}"
    apply(daemon, f"limits: [{inside}]\n")
    with chain.server.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        for _ in range(5):
            sending.sendto(b"x", (chain.client_if.v4, 4711))
    passed, dropped, _ = settled(daemon, "inside", 5)
    assert (passed, dropped) in [(1, 4), (2, 3)]
