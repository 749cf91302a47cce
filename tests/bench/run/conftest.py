# SPDX-License-Identifier: Apache-2.0
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from bench.netns import NetnsLab
from bench.result import Result
from bench.scenario import Scenario
from bench.session import Session
from bench.testbed.base import Run
from bench.traffic.wire import generator

Measure = Callable[[Scenario | dict[str, Any]], Result]


@pytest.fixture
def measure(tmp_path: Path) -> Iterator[Measure]:
    """Run a scenario in namespaces and answer its result; this process gets its CPUs back."""
    if why := generator().available():
        pytest.skip(why)
    cpus = os.sched_getaffinity(0)

    def run(described: Scenario | dict[str, Any]) -> Result:
        session = Session(tmp_path, "ci", 1, None, lambda _: None)
        planned = session.plan("small", Scenario.model_validate(described), lambda *_: None)
        with TemporaryDirectory(prefix="nwb-") as runs, Run.begin(Path(runs), signals=False) as begun:
            return session.measure(planned, NetnsLab(begun))

    yield run
    os.sched_setaffinity(0, cpus)


@pytest.fixture
def rng() -> np.random.Generator:
    """The same probes in every test run."""
    return np.random.default_rng(2)
