# SPDX-License-Identifier: Apache-2.0
"""Scenarios of operations small enough for a test, run in namespaces of their own."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from bench.operations.run import measure
from bench.operations.scenario import Operations
from bench.progress import Event
from bench.result import Result
from bench.session import Session
from bench.testbed.base import Chain, Run
from bench.traffic.wire import generator, release

Measure = Callable[..., Result]


@pytest.fixture
def runs() -> Iterator[Path]:
    """A directory with a short name: a unix socket's name may have 107 bytes."""
    if why := generator().available():
        pytest.skip(why)
    with TemporaryDirectory(prefix="nwb-") as name:
        yield Path(name)


@pytest.fixture
def chain(runs: Path) -> Iterator[Chain]:
    """Client, gateway and server."""
    with Run.begin(runs, signals=False) as run, Chain(run, "ops").build() as built:
        yield built
        release(built)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """The session of `run_scenario`; its results stay here when a run is ended early."""
    return Session(tmp_path, "ci", 1, None, lambda _: None)


@pytest.fixture
def run_scenario(runs: Path, tmp_path: Path, session: Session) -> Measure:
    """Measure a document's ci profile and answer its result; this process gets its CPUs back."""

    def run(tell: Callable[[Event], None] = lambda _: None, **document: Any) -> Result:
        scenario = Operations.model_validate(
            {
                "purpose": "Does the operation do what it says on this machine?",
                "kind": "operations",
                "profiles": dict.fromkeys(("ci", "quick", "standard", "rfc"), document.pop("profile")),
                **document,
            }
        )
        (tmp_path / "small").mkdir()
        cpus = os.sched_getaffinity(0)
        with Run.begin(runs, signals=False) as session.testbed:
            found = measure(scenario, "small", "ci", tmp_path / "small", session, tell)
        assert os.sched_getaffinity(0) == cpus
        return found

    return run
