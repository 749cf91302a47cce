# SPDX-License-Identifier: Apache-2.0
"""Two workers: tests that need the machine's network one after the other, all others beside them.

`make test` runs pytest with two. What measures, floods or waits in namespaces (FIRST) stays in one worker, in
order, and goes before the rest: it is timed, and much of its time is waiting. The others only compute, at
a lower priority: a tenth of a CPU that the first ones want, and all that they leave. Databases and what asks
one daemon alone (SERVERS) have deadlines, but share nothing with the first ones: they go beside them at the
normal priority.
"""

import os

import pytest
from xdist.scheduler.loadscope import LoadScopeScheduling

FIRST = ("tests/bench/", "tests/net/")
SERVERS = (
    "tests/services/",
    *(f"tests/net/test_{name}.py" for name in ("api_description", "storage_faults", "tutorial")),
)
NORMAL, LOWER = os.getpriority(os.PRIO_PROCESS, 0), 10


def is_first(nodeid: str) -> bool:
    """Whether a test is one of those that do not share the machine with each other."""
    return nodeid.startswith(FIRST) and not nodeid.startswith(SERVERS)


def is_timed(nodeid: str) -> bool:
    """Whether a test has deadlines, and so needs its share of the processor."""
    return is_first(nodeid) or nodeid.startswith(SERVERS)


class Scheduling(LoadScopeScheduling):
    """One unit of work for all of FIRST; else a file is a unit, so that its fixtures are made once."""

    def _split_scope(self, nodeid: str) -> str:
        return "first" if is_first(nodeid) else nodeid.partition("::")[0]


def scheduler(config: pytest.Config, log: object) -> Scheduling:
    """The scheduler of `-n`; units go out as they were collected, FIRST in front."""
    config.option.loadscopereorder = False
    return Scheduling(config, log)


def take_turns(item: pytest.Item) -> None:
    """Give a test of a worker its priority. Only root may raise it, and nobody else can run FIRST."""
    if hasattr(item.config, "workerinput") and os.geteuid() == 0:
        os.setpriority(os.PRIO_PROCESS, 0, NORMAL if is_timed(item.nodeid) else LOWER)
