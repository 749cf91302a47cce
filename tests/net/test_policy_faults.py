# SPDX-License-Identifier: Apache-2.0
"""Other tools and a bad library between a policy in force and the kernel."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.testbed.chain import Chain
from bench.testbed.run import Run
from tests.net.administrator import (
    BASE,
    FOREIGN,
    HELD_BY_NFTABLES,
    World,
    administrator,
    applied,
    apply,
    repairs,
    taken_down,
)
from tests.net.conftest import MakeDaemon
from tests.net.daemon import POLICY, Daemon, until
from tests.net.nftfaults import COMPLAINT
from tests.net.probes import Probes
from tests.net.twopolicies import EVERY, ONE, SEEN, TWO

pytestmark = [pytest.mark.root, pytest.mark.tool("nft")]

FAULTS = str(Path(__file__).with_name("nftfaults.py"))
MANY = 100  # calls, more than any apply takes
SECOND = 1.0
QUIET = 0.5  # seconds in which a repair would have come: it takes a tenth of that
LISTED, FREE = "203.0.113.7", "203.0.113.8"


@pytest.fixture
def world(chain: Chain) -> Iterator[World]:
    """With the tables of others."""
    with administrator(chain) as world:
        yield world


@pytest.fixture
def make(make_daemon: MakeDaemon, world: World) -> Iterator[MakeDaemon]:
    """Makes daemons; afterwards they and the table are gone."""
    with taken_down(make_daemon, world) as make:
        yield make


def _first(world: World, where: Callable[[dict[str, Any]], Any], *kinds: str) -> dict[str, Any]:
    """The first thing of such a kind, such as a rule or a set."""
    return next(thing for kind, thing in world.listed() if kind in kinds and where(thing))


def _filled(world: World) -> dict[str, Any]:
    return _first(world, lambda each: each.get("elem"), "set", "map")


def _forward(world: World) -> dict[str, Any]:
    return _first(world, lambda each: each.get("hook") == "forward", "chain")


def _delete_rule(world: World) -> str:
    rule = _first(world, lambda rule: "accept" in json.dumps(rule["expr"]), "rule")
    return f"delete rule inet neurowall {rule['chain']} handle {rule['handle']}"


def _delete_element(world: World) -> str:
    held = _filled(world)
    named = {key: held[key] for key in ("family", "table", "name")}
    return json.dumps({"nftables": [{"delete": {"element": {**named, "elem": held["elem"][:1]}}}]})


def _flush_set(world: World) -> str:
    held = _filled(world)
    kind = "map" if "map" in held else "set"
    return f"flush {kind} inet neurowall {held['name']}"


def _policy(world: World) -> str:
    chain = _forward(world)
    head = f"type filter hook forward priority {chain['prio']}"
    other = {"accept": "drop", "drop": "accept"}[chain["policy"]]
    return f"add chain inet neurowall {chain['name']} {{ {head}; policy {other}; }}"


def _accept_all(world: World) -> str:
    return f"insert rule inet neurowall {_forward(world)['name']} accept"


HARM: dict[str, Callable[[World], str]] = {
    "flush the table": lambda _: "flush table inet neurowall",
    "delete the table": lambda _: "delete table inet neurowall",
    "make it dormant": lambda _: "add table inet neurowall { flags dormant; }",
    "delete a rule": _delete_rule,
    "add a rule": _accept_all,
    "delete an element": _delete_element,
    "empty a set": _flush_set,
    "change a chain's policy": _policy,
    "add a chain": lambda _: (
        "add chain inet neurowall evil { type filter hook forward priority -500; policy drop; }"
    ),
    "add a set": lambda _: "add set inet neurowall more { type ipv4_addr; }",
    "flush all, and load another": lambda _: f"flush ruleset; {FOREIGN}",
}


@pytest.mark.parametrize("policy", [BASE, HELD_BY_NFTABLES], ids=["rules", "rules and lists"])
def test_what_others_do_to_our_table_is_put_right(
    make: MakeDaemon, world: World, probes: Probes, policy: str
) -> None:
    """Within a second, counted once each, and what belongs to others is as they left it."""
    daemon = make(policy + f"lists: [{{name: feed, verdict: block, entries: [{LISTED}, 198.51.100.0/24]}}]\n")
    daemon.start()
    good = world.table()
    time.sleep(QUIET)
    for number, (name, script) in enumerate(HARM.items()):
        assert repairs(daemon) == number, f"before: {name}"
        command = script(world)
        world.nft(command)
        others, begun = world.others(), time.monotonic()
        until(lambda: world.table() == good, 5)
        assert time.monotonic() - begun < SECOND, name
        until(lambda seen=number: repairs(daemon) > seen)  # type: ignore[misc]
        assert world.others() == others
        assert probes.arrived(LISTED, FREE, "203.0.113.1") == {"203.0.113.1"}, name
    time.sleep(QUIET)
    assert repairs(daemon) == len(HARM)
    assert daemon.get("/status")["problems"] == []


@pytest.mark.parametrize("policy", [BASE, HELD_BY_NFTABLES], ids=["rules", "rules and lists"])
def test_our_own_changes_and_those_of_other_tables_are_no_drift(
    make: MakeDaemon, world: World, policy: str
) -> None:
    """Neither a start, a ban, an apply, a rollback, a restart nor somebody else's table is counted."""
    daemon = make(policy)
    daemon.start()
    applied(daemon, policy.replace("203.0.113.16/29", "203.0.113.24/29"))
    world.nft("add element inet other friends { 198.51.100.0/24 }")
    daemon.post("block", "198.51.100.9")
    world.nft("delete element inet other friends { 198.51.100.0/24 }")
    daemon.post("unblock", "198.51.100.9")
    assert daemon.ask("POST", "/policy/rollback").status_code == 200
    time.sleep(QUIET)
    assert repairs(daemon) == 0
    daemon.kill()
    daemon.start()
    time.sleep(QUIET)
    assert repairs(daemon) == 0


@pytest.mark.parametrize(
    "harm",
    ["add a rule", *(pytest.param(each, marks=pytest.mark.soak) for each in HARM if each != "add a rule")],
)
def test_a_daemon_that_finds_its_table_changed_puts_it_right(
    make: MakeDaemon, world: World, probes: Probes, harm: str
) -> None:
    """What others did while it was away does not outlive its start."""
    daemon = make(BASE)
    daemon.start()
    good = world.table()
    daemon.kill()
    world.nft(HARM[harm](world))
    assert world.table() != good
    daemon.start()
    assert world.table() == good
    assert probes.arrived(FREE, "203.0.113.1") == {"203.0.113.1"}


# -- the library


def faulty(daemon: Daemon, says: str = "") -> Path:
    """Start it on a library that does as that file says; the file."""
    file = daemon.directory / "library"
    if says:
        file.write_text(says)
    daemon.start(launcher=(sys.executable, FAULTS, str(file)))
    return file


def test_without_the_library(make: MakeDaemon, run: Run, probes: Probes) -> None:
    """A policy without rules is enforced; one with rules is refused, and says which package is missing."""
    daemon = make(POLICY)
    faulty(daemon, "missing")
    daemon.post("block", LISTED)
    refused = apply(daemon, BASE)
    assert refused.status_code >= 400
    assert "python3-nftables" in refused.json()["detail"]
    assert apply(daemon, BASE, dry_run=True).status_code == refused.status_code
    assert probes.arrived(LISTED, FREE) == {FREE}
    status = daemon.get("/status")
    assert (status["stateful"]["table"], status["problems"]) == (False, [])
    assert daemon.get("/policy")["text"] == POLICY
    applied(daemon, POLICY + "lists: [{name: feed, verdict: block, entries: [203.0.113.8]}]\n")
    assert probes.arrived(LISTED, FREE, "203.0.113.9") == {"203.0.113.9"}
    daemon.stop()
    file = daemon.directory / "library"
    daemon.config.write_text(BASE)
    done = run.exec(daemon.argv(launcher=(sys.executable, FAULTS, str(file))), timeout=30)
    assert done.returncode != 0
    assert "python3-nftables" in done.stderr
    assert "Traceback" not in done.stderr
    assert probes.arrived(LISTED, FREE, "203.0.113.9") == {"203.0.113.9"}
    daemon.config.write_text(POLICY)
    file.unlink()
    daemon.start()


@pytest.mark.parametrize("how", ["answers", "raises", pytest.param("succeeds", marks=pytest.mark.soak)])
def test_a_library_that_fails_half_way(make: MakeDaemon, world: World, probes: Probes, how: str) -> None:
    """At whichever call: the apply is refused and the old policy whole, or it is done and the new one is."""
    daemon = make(ONE)
    file = faulty(daemon)
    tables = {ONE: world.table()}
    applied(daemon, TWO)
    tables[TWO] = world.table()
    applied(daemon, ONE)
    refusals = 0
    for call in range(1, MANY):
        file.write_text(f"{how} once {call}")
        answer = apply(daemon, TWO)
        if file.exists():  # it takes fewer calls than that
            assert answer.is_success
            break
        refusals += not answer.is_success
        if not answer.is_success:
            assert answer.status_code in {409, 422, 500, 503}, answer.text
            assert COMPLAINT in answer.json()["detail"], answer.text
        now = TWO if answer.is_success else ONE
        assert daemon.get("/policy")["text"] == now
        assert probes.arrived(*EVERY) == SEEN[now]
        until(lambda text=now: world.table() == tables[text])  # type: ignore[misc]
        assert daemon.get("/status")["problems"] == []
        applied(daemon, ONE)
    assert refusals
    file.unlink()
    if how != "succeeds":  # what was done against the library's word is one
        assert repairs(daemon) == 0


def test_a_library_that_fails_for_good(make: MakeDaemon, world: World, probes: Probes) -> None:
    """What neither policy passes is dropped all the time; once it works again, all is as it was."""
    daemon = make(ONE)
    file = faulty(daemon)
    good = world.table()
    for call in range(1, MANY):
        file.write_text(f"answers always {call}")
        answer = apply(daemon, TWO)
        assert probes.arrived(*EVERY) <= SEEN[ONE] | SEEN[TWO]
        file.unlink()
        if answer.is_success:  # it takes fewer calls than that
            assert call > 1
            break
        assert daemon.get("/policy")["text"] == ONE
        daemon.post("block", "198.51.100.99")  # any next change repairs what could not be reverted
        daemon.post("unblock", "198.51.100.99")
        assert probes.arrived(*EVERY) == SEEN[ONE]
        assert world.table() == good
        assert daemon.get("/status")["problems"] == []
