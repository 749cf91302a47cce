# SPDX-License-Identifier: Apache-2.0
"""The daemon is killed at every step of an apply, and must come back with one whole policy."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from bench.testbed.chain import Chain
from bench.testbed.run import Run
from neurowall.data import tablememo
from neurowall.data.tablememo import TableMemo
from neurowall.kernel.nft import Nftables
from tests.net.conftest import daemons, prober
from tests.net.daemon import Daemon, until
from tests.net.probes import Probes
from tests.net.twopolicies import EVERY, NEVER, ONE, PASSED, SEEN, TWO

KILLER = str(Path(__file__).with_name("killpoints.py"))
SAMPLES = 6  # points in CI; the soak run dies at all of them
MAX_POINTS = 400

pytestmark = pytest.mark.root


class Mortal:
    """A daemon that dies where it is told, between two policies."""

    def __init__(self, daemon: Daemon, chain: Chain, probes: Probes) -> None:
        self.daemon = daemon
        self.probes = probes
        self._chain = chain
        self._armed = daemon.directory / "steps"
        daemon.config.write_text(ONE)
        daemon.start(launcher=(sys.executable, KILLER, str(self._armed)))
        self.tables = {ONE: self.table()}
        self.apply(TWO)
        self.tables[TWO] = self.table()
        assert self.tables[ONE] != self.tables[TWO]

    def apply(self, text: str) -> None:
        """As an operator does; wait until the daemon has read the table back: that has points of its own."""
        answer = self.daemon.ask("POST", "/policy/apply", content=text)
        assert answer.status_code == 200, answer.text
        memo = TableMemo(self.daemon.run_dir / "main" / tablememo.NAME)
        until(lambda: bool((made := memo.read()) and made.fingerprint))

    def table(self) -> str:
        """What the kernel's table is."""
        with self._chain.gateway.enter():
            return Nftables().fingerprint()

    def points(self, text: str) -> int:
        """How many points an apply of *text* has."""
        counting = self._armed.with_name(f"steps.{MAX_POINTS}")
        counting.touch()
        self.apply(text)
        found = counting.stat().st_size
        counting.unlink()
        assert 10 < found < MAX_POINTS
        return found

    def die_at(self, point: int, old: str, new: str) -> str:
        """Apply *new* over *old* and die at *point*; the policy that is in force after the next start."""
        self.must_be(old)
        armed = self._armed.with_name(f"steps.{point}")
        armed.touch()
        with suppress(httpx.TransportError):  # the last points come after the answer
            self.daemon.ask("POST", "/policy/apply", content=new)
        assert self.daemon.process
        assert self.daemon.process.wait(10) == -9
        armed.unlink()
        self.must_not_leak()
        self.daemon.start(launcher=(sys.executable, KILLER, str(self._armed)))
        self.must_not_leak()
        text = str(self.daemon.get("/policy")["text"])
        self.must_be(text)
        return text

    def must_not_leak(self) -> None:
        """What both policies drop is dropped, and what both pass passes, also with the daemon dead."""
        arrived = self.probes.arrived(*NEVER, *PASSED)
        assert arrived == set(PASSED)

    def must_be(self, text: str) -> None:
        """Packets and the table say that this policy is in force, whole."""
        assert self.probes.arrived(*EVERY) == SEEN[text]
        assert self.table() == self.tables[text]


@pytest.fixture(scope="module")
def mortal(run: Run) -> Iterator[Mortal]:
    """A daemon in a chain of its own."""
    with Chain(run, "kill").build() as chain, prober(chain) as probes, daemons(run, chain) as make:
        yield Mortal(make(), chain, probes)


def _die(mortal: Mortal, chosen: int | None) -> set[str]:
    """Die at *chosen* points of an apply, evenly spread, or at all of them; what was in force after."""
    mortal.apply(ONE)
    mortal.apply(TWO)
    points = mortal.points(ONE)
    mortal.apply(TWO)
    step = 1 if chosen is None else max(1, (points - 1) // (chosen - 1))
    found = set()
    for point in range(1, points + 1, step):
        found.add(mortal.die_at(point, TWO, ONE))
        mortal.apply(TWO)
    return found


def test_one_whole_policy_after_each_death(mortal: Mortal) -> None:
    """At points spread over the apply; early ones end with the old policy, late ones with the new one."""
    assert _die(mortal, SAMPLES) == {ONE, TWO}


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_every_point(mortal: Mortal) -> None:
    """The same at all of them."""
    assert _die(mortal, None) == {ONE, TWO}
