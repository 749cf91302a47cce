# SPDX-License-Identifier: Apache-2.0
"""Timed blocks and allows end by themselves, on the wire, with a daemon or without one.

No test assumes that it runs in time: that an entry holds is asked of one with an hour left, and that one ends
is waited for, and must not come true too early.
"""

import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest

from bench.testbed.chain import Chain
from bench.testbed.run import Run
from tests.net.daemon import Daemon, until
from tests.net.engines import ENGINES, started
from tests.net.probes import Probes
from tests.sampling import some

pytestmark = pytest.mark.root

SHORT = 2  # seconds
LONG = 3600
SOON = 20.0  # seconds until something happens that is due, on a busy machine
FACTOR = 3
CLOCKS = 0.1  # seconds by which the kernel's clock may differ from ours
TIMED = {"operator-block-timed": "unblock", "operator-allow-timed": "unallow"}

_NUMBERS = itertools.count(1)


class Sources:
    """Hosts and prefixes of both families, and others beside them; a test's own, for bans are remembered."""

    def __init__(self) -> None:
        number = next(_NUMBERS)
        v4, v6 = f"10.{number}", f"2001:db8:{number:x}"
        self.hosts = (f"{v4}.1.7", f"{v6}:1::7")
        self.prefixes = (f"{v4}.2.0/24", f"{v6}:2::/64")
        self.inside = (f"{v4}.2.200", f"{v6}:2:1::5")
        self.free = (f"{v4}.1.8", f"{v4}.3.1", f"{v6}:1::8", f"{v6}:3::1")
        self.around = (f"{v4}.0.0/16", f"{v6}::/48")


@pytest.fixture(scope="module", params=some(ENGINES, every=2))
def running(request: pytest.FixtureRequest, run: Run, chain: Chain) -> Iterator[Daemon]:
    """A daemon of each engine."""
    with started(run, chain, request.param, f"bans: {{repeat_factor: {FACTOR}}}\n") as daemon:
        yield daemon


@pytest.fixture
def sources() -> Sources:
    """What this test blocks and what it does not."""
    return Sources()


@pytest.fixture
def daemon(running: Daemon) -> Iterator[Daemon]:
    """The daemon, alive, with nothing listed."""
    if not (running.process and running.process.alive()):
        running.start()
    yield running
    if not (running.process and running.process.alive()):
        running.start()
    running.forget()
    for name, verb in TIMED.items():
        if items := running.get(f"/lists/{name}")["items"]:
            running.post(verb, *items)


def timed(daemon: Daemon, verb: str, seconds: int, *sources: str) -> tuple[Any, float]:
    """Block or allow for a time; the answer, and the Unix time before which it must not end."""
    begun = time.time()
    return daemon.ok(verb, *sources, "--ttl", f"{seconds}s"), begun + seconds - CLOCKS


def passes_again(probes: Probes, *sources: str, end: float) -> None:
    """Return when packets of all of *sources* arrive; none may before *end*."""
    while True:
        arrived, now = probes.arrived(*sources), time.time()
        assert not arrived or now >= end, "it ended too early"
        if arrived == set(sources):
            return
        assert now < end + SOON, "still blocked"
        time.sleep(0.01)


def test_a_ban_ends_and_is_taken_out(daemon: Daemon, probes: Probes, sources: Sources) -> None:
    """Hosts and prefixes of both families; neighbours never notice; the list is empty soon after."""
    _, end = timed(daemon, "block", SHORT, *sources.hosts, *sources.prefixes)
    assert probes.arrived(*sources.free) == set(sources.free)
    passes_again(probes, *sources.hosts, *sources.inside, end=end)
    until(lambda: not daemon.get("/lists/operator-block-timed")["items"], SOON)
    assert daemon.get("/status")["timed"] == {
        "block": 0,
        "allow": 0,
        "next": {"expires": None, "remaining_seconds": None},
    }
    assert daemon.get("/status")["problems"] == []


def test_a_ban_holds_until_then(daemon: Daemon, probes: Probes, sources: Sources) -> None:
    """With the daemon alive, and with it killed; explain says until when."""
    every = (*sources.hosts, *sources.inside, *sources.free)
    timed(daemon, "block", LONG, *sources.hosts, *sources.prefixes)
    assert probes.arrived(*every) == set(sources.free)
    for source in (*sources.hosts, *sources.inside):
        found = daemon.get(f"/explain/{source}")
        assert (found["list"], found["kernel"]["as_intended"]) == ("operator-block-timed", True)
        assert 0 < found["remaining_seconds"] <= LONG
    daemon.kill()
    assert probes.arrived(*every) == set(sources.free)


def test_a_ban_ends_without_a_daemon(daemon: Daemon, probes: Probes, sources: Sources) -> None:
    """The kernel looks at the clock; what lasts longer goes on, and the next daemon takes out what ended."""
    timed(daemon, "block", LONG, *sources.free)
    _, end = timed(daemon, "block", SHORT, *sources.hosts, *sources.prefixes)
    daemon.kill()
    passes_again(probes, *sources.hosts, *sources.inside, end=end)
    assert probes.arrived(*sources.free) == set()
    daemon.start()
    until(lambda: daemon.get("/status")["timed"]["block"] == len(sources.free), SOON)
    ended = {*sources.hosts, *sources.inside}
    assert probes.arrived(*sources.free, *ended) == ended


def test_a_restart_keeps_the_end(daemon: Daemon, probes: Probes, sources: Sources) -> None:
    """Neither longer nor shorter, however the daemon ended."""
    answer, _ = timed(daemon, "block", LONG, *sources.hosts, *sources.prefixes)
    before = {each["address"]: each["expires"] for each in answer["addresses"]}
    daemon.kill()
    daemon.start()
    daemon.stop()
    daemon.start()
    page = daemon.get("/lists/operator-block-timed")
    assert {each["entry"]: each["expires"] for each in page["timed"]} == before
    every = (*sources.hosts, *sources.inside, *sources.free)
    assert probes.arrived(*every) == set(sources.free)


def test_a_ban_that_ends_between_two_daemons(daemon: Daemon, probes: Probes, sources: Sources) -> None:
    """The next one does not bring it back."""
    _, end = timed(daemon, "block", SHORT, *sources.hosts)
    assert daemon.stop() == 0
    passes_again(probes, *sources.hosts, end=end)
    daemon.start()
    assert probes.arrived(*sources.hosts) == set(sources.hosts)
    until(lambda: daemon.get("/status")["timed"]["block"] == 0, SOON)


def test_a_repeated_offence_lasts_longer(daemon: Daemon, probes: Probes, sources: Sources) -> None:
    """By the policy's factor, on the wire too: the first end passes, and it is still blocked."""
    host = sources.hosts[0]
    timed(daemon, "block", SHORT, host)
    begun = time.time()
    second, _ = timed(daemon, "block", SHORT, host)
    assert second["addresses"][0]["outcome"] == "extended"
    passes_again(probes, host, end=begun + FACTOR * SHORT - CLOCKS)
    third, _ = timed(daemon, "block", SHORT, host)  # it ended, but is remembered
    assert FACTOR * SHORT < third["addresses"][0]["remaining_seconds"] <= FACTOR * FACTOR * SHORT


def test_a_ban_for_good_has_no_end(daemon: Daemon, probes: Probes, sources: Sources) -> None:
    """A permanent block of a timed one makes it permanent, and a timed one of that changes nothing."""
    host, other = sources.hosts[0], sources.free[0]
    _, end = timed(daemon, "block", SHORT, host)
    daemon.post("block", host)
    assert timed(daemon, "block", SHORT, host)[0]["addresses"][0]["outcome"] == "unchanged"
    timed(daemon, "block", SHORT, other)
    passes_again(probes, other, end=end)
    assert probes.blocked(host) == {host}
    assert daemon.get(f"/explain/{host}")["expires"] is None


def test_a_timed_allow_opens_a_block_for_a_while(daemon: Daemon, probes: Probes, sources: Sources) -> None:
    """Hosts and prefixes inside blocked prefixes; after it the block holds again, daemon or not."""
    inside = {*sources.hosts, *sources.inside}
    daemon.post("block", *sources.around)
    timed(daemon, "allow", LONG, sources.free[0], sources.free[2])
    _, end = timed(daemon, "allow", SHORT, *sources.hosts, *sources.prefixes)
    daemon.kill()
    while not (blocked := probes.blocked(*inside)):
        assert time.time() < end + SOON, "they still pass"
    assert time.time() >= end, f"{blocked} were allowed for longer"
    until(lambda: probes.blocked(*inside) == inside, SOON)
    assert probes.arrived(*sources.free) == {sources.free[0], sources.free[2]}


def test_what_else_lists_a_source_holds_after_its_ban(
    daemon: Daemon, probes: Probes, sources: Sources
) -> None:
    """A list inside timed prefixes, and longer bans around timed hosts."""
    daemon.put("feed", "\n".join(sources.inside))
    timed(daemon, "block", LONG, *sources.free)
    _, end = timed(daemon, "block", SHORT, *sources.around, sources.free[0], sources.free[2])
    passes_again(probes, *sources.hosts, end=end)
    listed = {*sources.inside, *sources.free}
    assert probes.blocked(*listed, *sources.hosts) == listed
    until(lambda: daemon.get("/status")["timed"]["block"] == len(sources.free), SOON)
    assert probes.blocked(*listed, *sources.hosts) == listed


def test_unblock_ends_a_ban_at_once(daemon: Daemon, probes: Probes, sources: Sources) -> None:
    """Both kinds with one command, which says how long it would have lasted."""
    one, other = sources.hosts
    daemon.post("block", other)
    timed(daemon, "block", LONG, one)
    assert probes.blocked(one, other) == {one, other}
    done = daemon.cli("unblock", one, other)
    assert f"{one}: removed, it had another " in done.stdout
    assert f"{other}: removed\n" in done.stdout
    assert probes.arrived(one, other) == {one, other}
