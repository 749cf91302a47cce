# SPDX-License-Identifier: Apache-2.0
"""A client, a gateway with the real daemon, and a server, in namespaces that always go away."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from bench.testbed.chain import Chain
from bench.testbed.errors import TestbedError
from bench.testbed.run import Run
from neurowall.kernel.nft import Nftables
from tests.conftest import why_not_root
from tests.net.daemon import POLICY, Daemon
from tests.net.installed import Installed, install
from tests.net.probes import Probes
from tests.net.site import Site

MakeDaemon = Callable[..., Daemon]


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """The journal of everything made here: what a killed test run leaves, `neurowall-bench reap` removes."""
    if reason := why_not_root():
        pytest.skip(reason)
    with Run.begin(logs=tmp_path_factory.mktemp("logs"), signals=False) as run:
        yield run


@contextmanager
def prober(chain: Chain) -> Iterator[Probes]:
    """Packets from any source through the gateway."""
    probes = Probes(chain)
    try:
        yield probes
    finally:
        probes.close()


@contextmanager
def daemons(run: Run, chain: Chain | Site) -> Iterator[MakeDaemon]:
    """Makes daemons that are not started yet; whatever they leave is taken away."""
    made: list[Daemon] = []

    def make(policy: str = POLICY) -> Daemon:
        made.append(Daemon(run, chain, policy))
        return made[-1]

    try:
        yield make
    finally:
        for daemon in made:
            if daemon.process and daemon.process.alive():
                daemon.process.kill()
            run.remove_directory(daemon.directory)
        # Without a run directory nobody owns the table any more: the next daemon would refuse to touch it.
        if made:
            with suppress(TestbedError), chain.gateway.enter():  # it may have gone, and the table with it
                Nftables().delete_table()


@pytest.fixture(scope="session")
def installed(run: Run) -> Installed:
    """The wheel in an environment of its own, in a folder that other users may enter."""
    for folder in (run.directory.parent, run.directory):
        folder.chmod(folder.stat().st_mode | 0o011)
    return install(run.make_directory("installed"))


@pytest.fixture(scope="module")
def chain(run: Run) -> Iterator[Chain]:
    """Client, gateway and server, for a whole file: its tests leave them as they were."""
    with Chain(run, "net").build() as chain:
        yield chain


@pytest.fixture(scope="module")
def probes(chain: Chain) -> Iterator[Probes]:
    """Packets from any source through the gateway."""
    with prober(chain) as probes:
        yield probes


@pytest.fixture
def make_daemon(run: Run, chain: Chain) -> Iterator[MakeDaemon]:
    """Makes daemons in the chain's gateway, not started yet."""
    with daemons(run, chain) as make:
        yield make


@pytest.fixture
def daemon(make_daemon: MakeDaemon) -> Daemon:
    """A running daemon with no lists."""
    daemon = make_daemon()
    daemon.start()
    return daemon
