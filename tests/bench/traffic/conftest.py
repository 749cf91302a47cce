# SPDX-License-Identifier: Apache-2.0
"""A chain of its own for each test, and the process's generator."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from bench.testbed.base import Chain, Run
from bench.traffic.wire import generator, release
from bench.traffic.xdpgen import XdpGen


@pytest.fixture
def runs() -> Iterator[Path]:
    """A directory with a short name: a unix socket's name may have 107 bytes."""
    with TemporaryDirectory(prefix="nwb-") as name:
        yield Path(name)


@pytest.fixture
def chain(runs: Path) -> Iterator[Chain]:
    """Client, gateway and server without any firewall."""
    with Run.begin(runs, signals=False) as run, Chain(run, "traffic").build() as built:
        yield built
        release(built)


@pytest.fixture
def xdpgen() -> XdpGen:
    """The generator; skips where it cannot run."""
    if why := generator().available():
        pytest.skip(why)
    return generator()
