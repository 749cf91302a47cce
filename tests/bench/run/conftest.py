# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
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
from bench.traffic.wire import generator, own_cpus

Measure = Callable[[Scenario | dict[str, Any]], Result]


@pytest.fixture
def measure(tmp_path: Path) -> Measure:
    """Run a scenario in namespaces and answer its result."""
    if why := generator().available():
        pytest.skip(why)

    def run(described: Scenario | dict[str, Any]) -> Result:
        session = Session(tmp_path, "ci", 1, None, lambda _: None)
        planned = session.plan("small", Scenario.model_validate(described), lambda *_: None)
        with (
            TemporaryDirectory(prefix="nwb-") as runs,
            Run.begin(Path(runs), signals=False) as begun,
            own_cpus(),
        ):
            return session.measure(planned, NetnsLab(begun))

    return run


@pytest.fixture
def rng() -> np.random.Generator:
    """The same probes in every test run."""
    return np.random.default_rng(2)
