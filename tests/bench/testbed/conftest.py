# SPDX-License-Identifier: Apache-2.0
"""A run in a directory of its own, torn down whatever happens."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.testbed.base import Chain, Run


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """A run that is removed after the test."""
    with Run.begin(tmp_path / "runs", signals=False) as begun:
        yield begun


@pytest.fixture
def chain(run: Run) -> Iterator[Chain]:
    """A built chain of that run."""
    with Chain(run, "test").build() as built:
        yield built
