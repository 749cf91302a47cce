# SPDX-License-Identifier: Apache-2.0
"""Lists that only count, and lists that lie over each other, on the wire."""

import threading
from collections.abc import Iterator

import pytest

from bench.testbed.chain import Chain
from bench.testbed.run import Run
from tests.net.daemon import Daemon
from tests.net.engines import ENGINES, started
from tests.net.probes import Probes
from tests.sampling import some

pytestmark = pytest.mark.root

DECLARED = "lists:\n  - {name: declared, verdict: block, monitor: true, entries: [192.0.2.0/28]}\n"
SOURCES = ("203.0.113.7", "198.51.100.200", "2001:db8::7", "2001:db8:bad:1::5")
ENTRIES = "203.0.113.7\n198.51.100.0/24\n2001:db8::7\n2001:db8:bad::/48\n"
FREE = ("203.0.113.8", "198.51.101.1", "2001:db8::8")


@pytest.fixture(scope="module", params=some(ENGINES, every=2))
def running(request: pytest.FixtureRequest, run: Run, chain: Chain) -> Iterator[Daemon]:
    """A daemon of each engine."""
    with started(run, chain, request.param, DECLARED) as daemon:
        yield daemon


@pytest.fixture
def daemon(running: Daemon) -> Iterator[Daemon]:
    """The daemon, with nothing but what is declared."""
    yield running
    running.forget()


def load(daemon: Daemon, name: str, text: str, *options: str) -> None:
    """A new list. Each test has its own names, since what a removed list counted stays."""
    daemon.ok("lists", "load", "-", "--name", name, *options, stdin=text)


def counted(daemon: Daemon, name: str) -> tuple[int, int]:
    """The packets that a list decided and matched."""
    row = next(each for each in daemon.get("/lists")["lists"] if each["name"] == name)
    return row["packets"], row["matched_packets"]


def test_a_monitor_list_counts_and_does_not_drop(daemon: Daemon, probes: Probes) -> None:
    """Hosts and prefixes of both families, each packet once; other packets are not counted."""
    load(daemon, "counting", ENTRIES, "--monitor")
    default = daemon.packets("default")
    for _ in range(3):
        assert probes.arrived(*SOURCES, *FREE) == {*SOURCES, *FREE}
    assert counted(daemon, "counting") == (0, 3 * len(SOURCES))
    fences = 2  # one of each family
    assert daemon.packets("default") - default == 3 * (len(SOURCES) + len(FREE) + fences)


def test_a_declared_list_may_monitor(daemon: Daemon, probes: Probes) -> None:
    """By the policy's `monitor: true`."""
    _, before = counted(daemon, "declared")
    assert probes.arrived("192.0.2.5") == {"192.0.2.5"}
    assert counted(daemon, "declared") == (0, before + 1)
    assert daemon.get("/explain/192.0.2.5")["monitored_by"] == ["declared"]


def test_monitor_and_enforce_under_traffic(daemon: Daemon, probes: Probes) -> None:
    """Each change is in force when the command returns, and neighbours never notice."""
    load(daemon, "switched", ENTRIES, "--monitor")
    for option, blocked in (("--enforce", set(SOURCES)), ("--monitor", set()), ("--enforce", set(SOURCES))):
        daemon.ok("lists", "set", "switched", option)
        assert probes.blocked(*SOURCES, *FREE) == blocked
    decided, matched = counted(daemon, "switched")
    assert (decided, matched) == (2 * len(SOURCES), 3 * len(SOURCES))


def test_switching_under_traffic_has_no_window(daemon: Daemon, probes: Probes) -> None:
    """Each source turns once; what another list blocks never passes, and what none holds always does."""
    many = "".join(f"10.0.{index >> 8}.{index & 255}\n" for index in range(5000))
    load(daemon, "turning", f"{ENTRIES}192.0.2.97\n192.0.2.98\n{many}", "--monitor")
    load(daemon, "steady", "192.0.2.97\n192.0.2.96/30\n")
    steady = ("192.0.2.97", "192.0.2.98")
    for enforced in (True, False) * 4:
        body = {"monitor": not enforced}
        switch = threading.Thread(target=daemon.ask, args=("PATCH", "/lists/turning"), kwargs={"json": body})
        rounds = []
        switch.start()
        while switch.is_alive():
            rounds.append(probes.arrived(*SOURCES, *steady, *FREE))
        rounds.append(probes.arrived(*SOURCES, *steady, *FREE))
        assert all(arrived >= set(FREE) and not arrived & set(steady) for arrived in rounds)
        assert rounds[-1] & set(SOURCES) == (set() if enforced else set(SOURCES))
        for source in SOURCES:
            passed = [source in arrived for arrived in rounds]
            assert passed == sorted(passed, reverse=enforced), source


def test_a_list_that_is_on_trial_survives_a_restart(daemon: Daemon, probes: Probes) -> None:
    """It must not start to drop because the daemon did."""
    load(daemon, "surviving", ENTRIES, "--monitor")
    daemon.kill()
    assert probes.arrived(*SOURCES) == set(SOURCES)
    daemon.start()
    assert probes.arrived(*SOURCES) == set(SOURCES)
    assert counted(daemon, "surviving") == (0, 2 * len(SOURCES))


def test_a_monitor_list_counts_what_others_decide(daemon: Daemon, probes: Probes) -> None:
    """Blocked, allowed and timed sources that it holds too."""
    load(daemon, "watching", "203.0.113.0/24\n", "--monitor")
    daemon.post("block", "203.0.113.7")
    daemon.ok("block", "203.0.113.9", "--ttl", "1h")
    daemon.post("allow", "203.0.113.8")
    sources = tuple(f"203.0.113.{index}" for index in range(6, 11))
    assert probes.blocked(*sources) == {"203.0.113.7", "203.0.113.9"}
    assert counted(daemon, "watching") == (0, len(sources))
    daemon.post("unblock", "203.0.113.9")


def test_allow_inside_block_inside_allow(daemon: Daemon, probes: Probes) -> None:
    """Allow beats block whatever the lengths, through any number of lists."""
    load(daemon, "wide", "203.0.0.0/16\n2001:db8::/32\n", "--verdict", "allow")
    load(daemon, "bad", "203.0.113.0/24\n198.51.0.0/16\n2001:db8:bad::/48\n2001:ba8::/32\n")
    load(daemon, "worse", "198.51.100.0/24\n2001:ba8:1::/48\n")
    load(daemon, "partners", "203.0.113.7\n198.51.100.64/26\n2001:ba8:1:1::/64\n", "--verdict", "allow")
    load(daemon, "fine", "198.51.100.64\n203.0.113.7\n2001:ba8:1:1::5\n", "--monitor")
    passing = {
        "203.0.113.7",
        "203.0.113.8",
        "198.51.100.64",
        "198.51.100.127",
        "2001:db8:bad::1",
        "2001:ba8:1:1::5",
    }
    dropped = {"198.51.99.1", "198.51.100.63", "198.51.100.128", "2001:ba8::1", "2001:ba8:1::1"}
    assert probes.blocked(*passing, *dropped) == dropped
    daemon.ok("lists", "remove", "wide")
    assert probes.blocked(*passing, *dropped) == {*dropped, "203.0.113.8", "2001:db8:bad::1"}
    daemon.ok("lists", "remove", "partners")
    assert probes.arrived(*passing, *dropped) == set()


def test_a_removed_list_leaves_its_neighbours_theirs(daemon: Daemon, probes: Probes) -> None:
    """Entries that another list holds too stay, and are named after that one from then on."""
    load(daemon, "one", "203.0.113.7\n198.51.100.0/24\n2001:db8::7\n192.0.2.99\n")
    load(daemon, "two", "203.0.113.7\n198.51.100.0/25\n2001:db8::/64\n")
    load(daemon, "three", "203.0.113.0/29\n", "--monitor")
    every = {"203.0.113.7", "198.51.100.1", "198.51.100.200", "2001:db8::7", "192.0.2.99"}
    assert probes.blocked(*every) == every
    daemon.ok("lists", "remove", "one")
    assert probes.blocked(*every) == {"203.0.113.7", "198.51.100.1", "2001:db8::7"}
    assert daemon.get("/explain/203.0.113.7")["list"] == "two"
    assert counted(daemon, "two") == (3, 6)
    daemon.ok("lists", "remove", "two")
    assert probes.arrived(*every) == every
    assert counted(daemon, "three") == (0, 3)
