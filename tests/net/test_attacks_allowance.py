# SPDX-License-Identifier: Apache-2.0
"""An allowance that is used up stays so, whatever happens to the daemon or is changed about other things."""

from collections.abc import Callable, Iterator

import pytest

from bench.testbed.run import Run
from neurowall.model.reasons import Reason
from tests.net.attackpackets import from_one
from tests.net.attackscene import BASE, TARGET, Scene, scene

pytestmark = [pytest.mark.root, pytest.mark.tool("nft")]

POLICY = (
    BASE
    + """\
capacity: {hosts4: 1000, prefixes4: 100, hosts6: 100, prefixes6: 100, classes: 64}
limits:
  - {name: slow, key: source, match: udp, packets_per_second: 1, burst: 100}
"""
)
BURST, COUNT = 100, 60
SLACK = 30  # seconds that a test may take: so many packets are given back


@pytest.fixture(scope="module")
def at(run: Run) -> Iterator[Scene]:
    """A gateway with one slow limit."""
    with scene(run, POLICY, honest=False) as at:
        yield at


# What happens. Each has a name of another length, and so sources of its own.
def killed(at: Scene) -> None:
    """The daemon dies and comes back."""
    at.daemon.kill()
    at.daemon.start()


def lists_grown(at: Scene) -> None:
    """Lists outgrow their maps."""
    at.daemon.put("many", "\n".join(f"10.{i // 250}.{i % 250}.1" for i in range(3000)))


def policy_reloaded(at: Scene) -> None:
    """The same policy again."""
    at.daemon.ok("reload")


def other_limits_changed(at: Scene) -> None:
    """Another limit comes and goes, and so does the action of this one."""
    more = "  - {name: other, key: global, packets_per_second: 100000}\n"
    for policy in (POLICY + more, POLICY.replace("burst: 100", "burst: 100, action: monitor"), POLICY):
        answer = at.daemon.ask("POST", "/policy/apply", content=policy)
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("event", [killed, lists_grown, policy_reloaded, other_limits_changed])
def test_nobody_gets_a_new_allowance(at: Scene, event: Callable[[Scene], None]) -> None:
    """All of a second flood is dropped, but for what time gives back."""
    sources = [f"198.18.67.{len(event.__name__)}", f"2001:2:0:67::{len(event.__name__)}"]
    for source in sources:
        dropped = at.attack(from_one(TARGET.udp, BURST + COUNT, source))
        assert COUNT - SLACK <= dropped.pop(Reason.LIMITED) <= COUNT
        assert dropped == {}
    event(at)
    for source in sources:
        dropped = at.attack(from_one(TARGET.udp, COUNT, source))
        assert COUNT - SLACK <= dropped.pop(Reason.LIMITED) <= COUNT
        assert dropped == {}
