# SPDX-License-Identifier: Apache-2.0
"""Honest people at work while their gateway's operator changes everything, and while its daemon dies."""

import time
from collections.abc import Iterator
from contextlib import suppress
from threading import Thread

import httpx
import pytest

from bench.testbed.run import Run
from neurowall.model.reasons import Reason
from tests.net.attackpackets import from_one
from tests.net.attackscene import BASE, CLIENT, FAR, FORWARDED, GATEWAY, OUTSIDE, SSH, TARGET, Scene, scene
from tests.net.keepers import Idle
from tests.sampling import some

pytestmark = [pytest.mark.root, pytest.mark.tool("nft", "iperf3", "conntrack")]

SMALL = "capacity: {hosts4: 1000, prefixes4: 100, hosts6: 100, prefixes6: 100, classes: 64}\n"
LIMITS = """\
limits:
  - {name: syn, key: source, match: tcp-syn, packets_per_second: 100}
  - {name: all, key: source-prefix, packets_per_second: 100000}
"""
OTHER_LIMITS = """\
limits:
  - {name: all, key: global, bytes_per_second: 100000000}
  - {name: syn, key: source, match: tcp-syn, packets_per_second: 50, burst: 10, action: monitor}
  - {name: web, key: destination-port, ports: [22, 8443], packets_per_second: 100000, new_only: true}
"""
START = BASE + SMALL
POLICIES = {
    "strict": "flows: {mode: strict, adopt: 1s}\n",
    "strict and limits": "flows: {mode: strict, adopt: 1s}\n" + LIMITS,
    "strict and other limits": "flows: {mode: strict, adopt: 1s}\n" + OTHER_LIMITS,
    "loose": "flows: {mode: loose}\nevents: {per_second: 0}\n" + OTHER_LIMITS,
    "strict again": "flows: {mode: strict, adopt: 1s}\n" + OTHER_LIMITS,
    "other timeouts": "flows: {mode: strict, adopt: 1s, timeouts: {tcp_established: 2h}}\n" + OTHER_LIMITS,
    "nothing": "",
}
STRICT = START + POLICIES["strict and limits"]
_ADOPTED = 1.2  # seconds: longer than `adopt`


@pytest.fixture
def at(run: Run) -> Iterator[Scene]:
    """The gateway without flows and limits, honest people at work."""
    with scene(run, START) as at:
        yield at


def change(at: Scene, policy: str) -> None:
    """Put it in force."""
    answer = at.daemon.ask("POST", "/policy/apply", content=policy)
    assert answer.status_code == 200, answer.text


def is_strict(at: Scene) -> bool:
    """Whether what belongs to nothing is dropped."""
    return at.attack(from_one(TARGET.tcp("A"), 20)) == {Reason.OUT_OF_STATE: 20}


def test_policies_come_and_go_and_nobody_notices(at: Scene) -> None:
    """Not one packet of the honest is dropped, whatever is switched on or off under them."""
    with at.dropped() as dropped:
        for policy in POLICIES.values():
            change(at, START + policy)
            time.sleep(_ADOPTED)
            assert at.casualties() == []
    assert dropped == {}


def test_silent_connections_are_known_when_strict_begins(at: Scene) -> None:
    """From conntrack: who says nothing until `adopt` is over can still be spoken to, from both sides."""
    with (
        Idle(at.inside, CLIENT, (OUTSIDE, SSH), beat=4.0) as ours,
        Idle(at.outside, FAR, (GATEWAY, FORWARDED), beat=4.0) as theirs,
    ):
        change(at, STRICT)
        time.sleep(_ADOPTED)
        assert is_strict(at)
        time.sleep(4)
        assert (ours.beats, ours.error) == (1, "")
        assert (theirs.beats, theirs.error) == (1, "")


def test_strict_outlives_its_daemon(at: Scene) -> None:
    """Killed, and back, with another policy too: the honest go on, and what belongs to nothing is dropped."""
    change(at, STRICT)
    time.sleep(_ADOPTED)
    with at.dropped() as dropped:
        at.daemon.kill()
        assert at.casualties() == []
        at.daemon.start()
        assert at.casualties() == []
        at.daemon.stop()
        at.daemon.config.write_text(START + POLICIES["strict and other limits"])
        at.daemon.start()
        assert at.casualties() == []
    assert dropped == {}
    assert is_strict(at)


@pytest.mark.parametrize("milliseconds", some([20, 60, 120, 250]))
def test_killed_in_the_middle_of_a_change(at: Scene, milliseconds: int) -> None:
    """Wherever it was: the honest go on, and the next daemon puts one of the two in force, whole."""
    change(at, STRICT)
    time.sleep(_ADOPTED)
    with at.dropped() as dropped:
        applying = Thread(target=_attempt, args=(at, START + POLICIES["strict and other limits"]))
        applying.start()
        time.sleep(milliseconds / 1000)
        at.daemon.kill()
        applying.join()
        assert at.casualties() == []
        at.daemon.start()
        assert at.casualties() == []
    assert dropped == {}
    names = {each["name"] for each in at.daemon.get("/limits")["limits"]}
    assert names in ({"syn", "all"}, {"syn", "all", "web"})
    assert is_strict(at)


def _attempt(at: Scene, policy: str) -> None:
    with suppress(httpx.TransportError):
        at.daemon.ask("POST", "/policy/apply", content=policy)


def test_flows_outlive_growing_lists(at: Scene) -> None:
    """New maps for lists, the same for flows: strict all the time, also right after."""
    change(at, STRICT)
    time.sleep(_ADOPTED)
    with at.dropped() as dropped:
        hosts = [f"198.51.{i // 250}.{i % 250}" for i in range(5000)]
        at.daemon.put("many", "\n".join(hosts))
        assert at.casualties() == []
    assert dropped == {}
    assert is_strict(at)
    assert at.casualties() == []


def test_down_leaves_nothing(at: Scene) -> None:
    """No program at either hook, no pins; and the honest go on, now unguarded."""
    change(at, STRICT)
    at.daemon.ok("down")
    links = at.site.gateway.exec(["ip", "-d", "link"]).stdout
    assert "xdp" not in links
    for direction in ("ingress", "egress"):
        filters = at.site.gateway.exec(["tc", "filter", "show", "dev", "wan0", direction]).stdout
        assert filters.strip() == ""
    assert "clsact" not in at.site.gateway.exec(["tc", "qdisc", "show", "dev", "wan0"]).stdout
    assert "nw_" not in at.site.gateway.exec(["bpftool", "net", "show"]).stdout
    assert not at.daemon.bpffs.exists()
