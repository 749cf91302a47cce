# SPDX-License-Identifier: Apache-2.0
"""Where one form of the filter takes over from the other, or from itself, no listed source gets through."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from bench.testbed.chain import Chain
from tests.net.conftest import MakeDaemon
from tests.net.daemon import Daemon, until
from tests.net.probes import Probes

pytestmark = pytest.mark.root

LISTED = "198.51.100.1", "203.0.113.7", "2001:db8:bad::1"
FREE = "203.0.113.8", "2001:db8:9::1"


def policy(xdp: str) -> str:
    """One interface with one list."""
    feed = {"name": "feed", "verdict": "block", "entries": ["198.51.100.0/24", *LISTED[1:]]}
    return json.dumps({"interfaces": [{"name": "g0", "zone": "external", "xdp": xdp}], "lists": [feed]})


def mode(daemon: Daemon) -> str:
    """What guards the interface, by the daemon's own word."""
    return str(daemon.get("/status")["interfaces"][0]["mode"])


@contextmanager
def watched(probes: Probes) -> Iterator[None]:
    """Listed sources are tried all the time; none may get through, and others do before and after."""
    assert probes.arrived(*LISTED, *FREE) == set(FREE)
    with ThreadPoolExecutor(1) as executor:
        ended: list[bool] = []

        def try_all() -> tuple[int, int]:
            rounds = leaks = 0
            while not ended:
                rounds, leaks = rounds + 1, leaks + len(probes.arrived(*LISTED))
                time.sleep(0.0005)  # the daemon needs the processor too
            return rounds, leaks

        trying = executor.submit(try_all)
        try:
            yield
        finally:
            ended.append(True)
        rounds, leaks = trying.result()
    assert rounds > 10
    assert leaks == 0
    assert probes.arrived(*LISTED, *FREE) == set(FREE)


def apply(daemon: Daemon, xdp: str) -> None:
    """Put the policy with that form in force."""
    answer = daemon.ask("POST", "/policy/apply", content=policy(xdp))
    assert answer.status_code == 200, answer.text


@pytest.fixture
def guarded(make_daemon: MakeDaemon, chain: Chain) -> Iterator[Callable[[str], Daemon]]:
    """Starts a daemon with that form, and takes everything away in the end."""
    made: list[Daemon] = []

    def start(xdp: str) -> Daemon:
        made.append(make_daemon(policy(xdp)))
        made[-1].start()
        return made[-1]

    yield start
    for daemon in made:
        daemon.ok("down")
    tables = chain.gateway.exec(["nft", "list", "tables"]).check().stdout
    assert "neurowall" not in tables


@pytest.mark.parametrize(("before", "after"), [("native", "off"), ("off", "generic")])
def test_a_policy_that_changes_the_form_leaks_nothing(
    guarded: Callable[[str], Daemon], probes: Probes, before: str, after: str
) -> None:
    """Back and forth, and again."""
    daemon = guarded(before)
    with watched(probes):
        for _ in range(2):
            apply(daemon, after)
            until(lambda: mode(daemon) == after.replace("off", "nftables"))
            apply(daemon, before)
            until(lambda: mode(daemon) == before.replace("off", "nftables"))


def test_a_restart_with_the_nftables_form_leaks_nothing(
    guarded: Callable[[str], Daemon], probes: Probes
) -> None:
    """The table stays in force without a daemon, and the next one leaves it there."""
    daemon = guarded("off")
    with watched(probes):
        for end in (daemon.kill, daemon.stop):
            end()
            assert daemon.process
            assert not daemon.process.alive()
            daemon.start()
