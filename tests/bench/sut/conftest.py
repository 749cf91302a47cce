# SPDX-License-Identifier: Apache-2.0
"""A chain of its own for each test, and rules of every kind."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from bench.sut.base import Rules
from bench.testbed.base import Chain, Run
from bench.traffic.wire import generator, release
from neurowall.model.entries import EntrySet

UNLISTED = frozenset({"xdp-lru-limiter", "xdp-lru-flows"})
"""Systems that have no lists: test_limiters.py."""


@pytest.fixture
def runs() -> Iterator[Path]:
    """A directory with a short name: a unix socket's name may have 107 bytes."""
    with TemporaryDirectory(prefix="nwb-") as name:
        yield Path(name)


@pytest.fixture
def chain(runs: Path) -> Iterator[Chain]:
    """Client, gateway and server; skips where the generator cannot run."""
    if why := generator().available():
        pytest.skip(why)
    with Run.begin(runs, signals=False) as run, Chain(run, "sut").build() as built:
        yield built
        release(built)


@pytest.fixture
def rng() -> np.random.Generator:
    """The same probes in every test run."""
    return np.random.default_rng(2)


@pytest.fixture
def rules(rng: np.random.Generator) -> Rules:
    """Hosts and prefixes of both families, some of them inside or beside each other."""
    hosts = [f"8.8.{a}.{b}" for a, b in rng.integers(0, 256, (300, 2)).tolist()]
    prefixes = [
        f"9.{a}.{b}.0/{length}" for a, b, length in rng.integers((0, 0, 17), (256, 256, 31), (60, 3)).tolist()
    ]
    hosts6 = [f"2600:1::{a:x}" for a in rng.integers(0, 65536, 60).tolist()]
    prefixes6 = [
        f"2600:2:{a:x}::/{length}" for a, length in rng.integers((0, 40), (65536, 65), (40, 2)).tolist()
    ]
    nested = ["8.8.4.0/24", "8.8.4.4", "9.9.0.0/16", "9.9.9.9", "2600:1::/120", "2600:1::7"]
    return Rules(EntrySet.from_strings([*hosts, *prefixes, *hosts6, *prefixes6, *nested]))
