# SPDX-License-Identifier: Apache-2.0
"""What the kernel maps of a gateway with everything on take, at the capacities by default."""

import pytest

from bench.measure.memory import kernel_maps
from bench.testbed.run import Run
from tests.net.attackscene import STRICT, scene

pytestmark = [pytest.mark.root, pytest.mark.tool("nft")]

MOST = 100 << 20  # N7


def test_the_maps_of_everything_fit(run: Run) -> None:
    """100 MiB at most."""
    with scene(run, STRICT, honest=False) as at:
        assert at.daemon.process
        held = sum(kernel_maps(at.daemon.process.pid, at.daemon.directory).values())
        assert (16 << 20) < held <= MOST
