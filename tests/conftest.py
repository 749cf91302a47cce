# SPDX-License-Identifier: Apache-2.0
"""What all tests share: markers that skip with a reason, and hypothesis profiles.

`@pytest.mark.root` and `@pytest.mark.tool("nft", "tcpdump")` skip a test where it cannot run and say why;
a missing tool names the package lists, so that a skip is an instruction and not a shrug.
"""

import os
import shutil
import signal
from collections.abc import Iterator

import hypothesis
import pytest

from tests import parallel

# Two cores are shared with whatever else runs: time limits on single examples would only make noise.
hypothesis.settings.register_profile("default", deadline=None, print_blob=True)
hypothesis.settings.register_profile("soak", deadline=None, print_blob=True, max_examples=100_000)
hypothesis.settings.load_profile("default")


# A shell starts what it puts into the background with SIGINT ignored, which all programs would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def why_not_root() -> str | None:
    """The reason for which tests marked `root` cannot run here, or None."""
    if os.geteuid() != 0:
        return "needs root (network namespaces, BPF): run `sudo make test`"
    return None


def why_not_tools(names: tuple[str, ...]) -> str | None:
    """The reason for which tests that call these programs cannot run here, or None."""
    absent = [name for name in names if shutil.which(name) is None]
    if absent:
        return f"not installed: {', '.join(absent)}; `make setup-test` installs what the tests need"
    return None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """How `-n` shares tests out."""
    return parallel.scheduler(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose markers ask for what this machine has not."""
    parallel.take_turns(item)
    if item.get_closest_marker("root") and (reason := why_not_root()):
        pytest.skip(reason)
    for marker in item.iter_markers("tool"):
        if reason := why_not_tools(marker.args):
            pytest.skip(reason)


@pytest.fixture(autouse=True)
def cpus() -> Iterator[None]:
    """A test gives the CPUs back: with one only, later tests of what happens at once would prove nothing."""
    before = os.sched_getaffinity(0)
    yield
    after = os.sched_getaffinity(0)
    os.sched_setaffinity(0, before)
    assert after == before, "this process may run on other CPUs than before the test"
