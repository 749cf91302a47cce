# SPDX-License-Identifier: Apache-2.0
"""What the rest of the harness imports of a testbed: `from bench.testbed.base import Chain, Run`."""

from bench.testbed.chain import Chain, Interface
from bench.testbed.errors import TestbedError
from bench.testbed.journal import DEFAULT_RUNS_DIR, Journal
from bench.testbed.namespace import Namespace
from bench.testbed.process import HERE, Completed, Place, Process
from bench.testbed.run import Run

Testbed = Chain
"""The only kind of testbed so far; VMs and real hosts will share its members through a protocol."""

__all__ = [
    "DEFAULT_RUNS_DIR",
    "HERE",
    "Chain",
    "Completed",
    "Interface",
    "Journal",
    "Namespace",
    "Place",
    "Process",
    "Run",
    "Testbed",
    "TestbedError",
]
