# SPDX-License-Identifier: Apache-2.0
"""The same tests over both engines."""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.testbed.chain import Chain
from bench.testbed.run import Run
from tests.net.conftest import daemons
from tests.net.daemon import POLICY, Daemon

ENGINES = ("buckets", "classic")


@contextmanager
def started(run: Run, chain: Chain, engine: str, policy: str) -> Iterator[Daemon]:
    """A running daemon of that engine, with *policy* beside the interfaces; taken down at the end."""
    with daemons(run, chain) as make:
        daemon = make(f"{POLICY}engine: {engine}\n{policy}")
        daemon.start()
        yield daemon
        daemon.ok("down")
