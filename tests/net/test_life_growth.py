# SPDX-License-Identifier: Apache-2.0
"""A list that outgrows the kernel's maps gets larger ones, while what they hold stays in force."""

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from bench.testbed.chain import Chain
from bench.testbed.run import Run
from tests.net.daemon import Daemon, until
from tests.net.engines import ENGINES, started
from tests.net.probes import Probes

pytestmark = pytest.mark.root

DECLARED = 1000  # hosts that the maps are first made for
CAPACITY = "capacity: {hosts4: %d}\n"
BEFORE = ("203.0.113.7", "2001:db8:bad::1")
LISTED, FREE = ("10.0.0.1", "10.0.7.207"), ("10.0.7.208", "203.0.113.8")
TEXT = "".join(f"10.0.{index >> 8}.{index & 255}\n" for index in range(2000))


@pytest.fixture(params=ENGINES)
def daemon(request: pytest.FixtureRequest, run: Run, chain: Chain) -> Iterator[Daemon]:
    """A daemon of each engine, with something listed and counted."""
    with started(run, chain, request.param, CAPACITY % DECLARED) as daemon:
        daemon.post("block", BEFORE[0], "2001:db8:bad::/48")
        yield daemon


def hosts4(daemon: Daemon) -> Any:
    """The row of that table in the status."""
    return next(each for each in daemon.get("/status")["tables"] if each["table"] == "hosts4")


def test_a_list_grows_the_maps(daemon: Daemon, probes: Probes) -> None:
    """It is in force, what was listed and counted before still is, and the next daemon adopts all of it."""
    assert probes.blocked(*BEFORE, *LISTED, *FREE) == set(BEFORE)
    dropped = daemon.packets("block-list")
    daemon.ok("lists", "load", "-", "--name", "feed", stdin=TEXT)
    assert hosts4(daemon)["capacity"] >= 2001
    assert hosts4(daemon)["grown_from"] == DECLARED
    assert "grown from 1,000" in daemon.cli("status").stdout
    assert probes.blocked(*BEFORE, *LISTED, *FREE) == {*BEFORE, *LISTED}
    assert daemon.packets("block-list") == dropped + len(BEFORE) + len(LISTED)
    before = hosts4(daemon)
    daemon.kill()
    assert probes.blocked(*BEFORE, *LISTED, *FREE) == {*BEFORE, *LISTED}
    daemon.start()
    assert "adopted" in daemon.log()
    assert hosts4(daemon) == before
    assert probes.blocked(*BEFORE, *LISTED, *FREE) == {*BEFORE, *LISTED}


def test_a_larger_capacity_in_the_policy_grows_them(daemon: Daemon, probes: Probes) -> None:
    """By SIGHUP, without a restart; the status then compares with the new policy."""
    assert daemon.process
    text = daemon.config.read_text()
    daemon.config.write_text(text.replace(CAPACITY % DECLARED, CAPACITY % (5 * DECLARED)))
    daemon.process.signal(signal.SIGHUP)
    until(lambda: hosts4(daemon)["capacity"] == 5 * DECLARED, 20)
    daemon.wait_for("policy reloaded", 20)
    assert hosts4(daemon)["grown_from"] is None
    assert probes.blocked(*BEFORE, *FREE) == set(BEFORE)
