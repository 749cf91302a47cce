# SPDX-License-Identifier: Apache-2.0
"""Policies that must not be, or not for long: no room, a full disk, nobody confirms; and the end."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.testbed.chain import Chain
from bench.testbed.run import Run
from tests.net.administrator import (
    BASE,
    HELD_BY_NFTABLES,
    World,
    administrator,
    applied,
    apply,
    taken_down,
)
from tests.net.conftest import MakeDaemon
from tests.net.daemon import Daemon, until
from tests.net.probes import Probes
from tests.net.twopolicies import EVERY, ONE, SEEN, TWO

pytestmark = [pytest.mark.root, pytest.mark.tool("nft")]

STEPS = str(Path(__file__).with_name("killpoints.py"))
NEVER = 9999  # a step that no change reaches
FREE = "203.0.113.8"


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


# -- no room


def counted(daemon: Daemon) -> Path:
    """Start it so that steps on disk and in the kernel leave bytes in the file."""
    daemon.start(launcher=(sys.executable, STEPS, str(daemon.directory / "steps")))
    file = daemon.directory / f"steps.{NEVER}"
    file.touch()
    return file


@pytest.mark.parametrize(
    ("before", "more", "field", "limit"),
    [
        (BASE, "capacity: {hosts4: 10, grow: false}\n", "hosts4", 10),
        (BASE, "capacity: {prefixes6: 4, grow: false}\n", "prefixes6", 4),
        (HELD_BY_NFTABLES, "fallback: {max_entries: 10}\n", "fallback", 10),
    ],
)
def test_more_than_there_is_room_for(
    make: MakeDaemon, world: World, before: str, more: str, field: str, limit: int
) -> None:
    """Refused with list and limit before disk or kernel are touched, by apply, by a dry run and by a ban."""
    steps = counted(daemon := make(before + more))
    table = world.table()
    entries = [f"2001:db8:{i:x}::/48" for i in range(1, 20)] if field == "prefixes6" else []
    entries = entries or [f"203.0.113.{i}" for i in range(1, 40, 2)]
    lists = [{"name": "small", "verdict": "allow", "entries": ["192.0.2.1"]}]
    lists += [{"name": "too-long", "verdict": "block", "entries": entries}]
    wanted = f"{before}{more}lists: {json.dumps(lists)}\n"
    steps.write_bytes(b"")
    asked = [apply(daemon, wanted), apply(daemon, wanted, dry_run=True)]
    asked.append(daemon.ask("PUT", "/lists/too-long", content="\n".join(entries)))
    for answer in asked:
        said = answer.json()
        assert not answer.is_success
        assert (said["capacity"], said["limit"], said["list"]) == (field, limit, "too-long")
        assert "'too-long'" in said["detail"]
        assert f"{limit:,}" in said["detail"]
    assert steps.read_bytes() == b""
    assert world.table() == table
    assert daemon.get("/policy")["text"] == before + more
    assert daemon.get("/status")["problems"] == []


# -- the disk


def _limited(run: Run, daemon: Daemon, size: int | str) -> None:
    """No file of the daemon may become longer than that many bytes."""
    assert daemon.process
    run.exec(["prlimit", f"--pid={daemon.process.pid}", f"--fsize={size}:"]).check()


def _blocked(path: Path) -> Path:
    """Nothing can be written there any more: a directory is in the way."""
    path.mkdir()
    return path


def test_a_full_disk(make: MakeDaemon, run: Run, world: World, probes: Probes) -> None:
    """Whichever file does not get written: the apply is refused and the old policy whole."""
    daemon = make(ONE)
    daemon.start()
    good = world.table()
    padding = "".join(f"# {i:060}\n" for i in range(200))  # makes the generation the longest file
    for size, text in ((0, TWO), (1000, TWO + padding), (4000, TWO + padding)):
        _limited(run, daemon, size)
        answer = apply(daemon, text)
        assert answer.status_code in {500, 507, 503}, answer.text
        assert "daemon stopped" not in answer.text
        _limited(run, daemon, "unlimited")
        _must_be_whole(daemon, world, probes, good)
        assert len(daemon.get("/policy/generations")["generations"]) == 1
        until(lambda: apply(daemon, ONE).status_code == 200)  # the database too takes a second to come back
    applied(daemon, TWO)
    assert probes.arrived(*EVERY) == SEEN[TWO]


@pytest.mark.parametrize("name", ["state/main/.state.json.new", "run/main/table.new"])
def test_a_file_that_cannot_be_written(make: MakeDaemon, world: World, probes: Probes, name: str) -> None:
    """The same of one file alone, on the disk or in the run directory."""
    daemon = make(ONE)
    daemon.start()
    good = world.table()
    way = _blocked(daemon.directory / name)
    apply(daemon, TWO, dry_run=True)
    assert world.table() == good
    answer = apply(daemon, TWO)
    assert not answer.is_success
    assert "Traceback" not in answer.text
    _must_be_whole(daemon, world, probes, good)
    way.rmdir()
    _must_be_whole(daemon, world, probes, good)
    applied(daemon, TWO)
    assert probes.arrived(*EVERY) == SEEN[TWO]


def _must_be_whole(daemon: Daemon, world: World, probes: Probes, good: str) -> None:
    """Policy ONE is in force by every account."""
    assert daemon.get("/policy")["text"] == ONE
    assert probes.arrived(*EVERY) == SEEN[ONE]
    assert world.table() == good
    assert daemon.get("/status")["problems"] == []


# -- nobody confirms


def _confirming(daemon: Daemon, text: str, duration: str) -> None:
    file = daemon.directory / "next.yaml"
    file.write_text(text)
    assert daemon.ok("apply", str(file), "--confirm", duration)["pending"]["seconds"] > 0


def test_confirmed(make: MakeDaemon, probes: Probes) -> None:
    """`neurowall confirm` keeps it beyond its time, and beyond a restart; meanwhile no other is taken."""
    daemon = make(ONE)
    daemon.start()
    _confirming(daemon, TWO, "1s")
    busy = apply(daemon, ONE)
    assert busy.status_code == 409
    assert "confirm" in busy.json()["detail"]
    assert daemon.cli("confirm").returncode == 0
    assert daemon.get("/status")["pending"] is None
    time.sleep(2)
    daemon.kill()
    daemon.start()
    assert daemon.get("/policy")["text"] == TWO
    assert probes.arrived(*EVERY) == SEEN[TWO]
    assert daemon.cli("confirm").returncode != 0  # nothing waits


def test_not_confirmed(make: MakeDaemon, world: World, probes: Probes) -> None:
    """Taken back on time, with the bans that were made meanwhile; history says why."""
    daemon = make(ONE)
    daemon.start()
    good, begun = world.table(), time.monotonic()
    _confirming(daemon, TWO, "2s")
    assert probes.arrived(*EVERY) == SEEN[TWO]
    daemon.post("block", "198.51.100.99")
    until(lambda: daemon.get("/policy")["text"] == ONE, 10)
    assert 2 <= time.monotonic() - begun < 4
    assert probes.arrived(*EVERY) == SEEN[ONE]
    assert world.table() == good
    now = daemon.get("/policy")
    assert (now["source"], now["pending"]) == ("unconfirmed", None)
    assert "not confirmed" in now["note"]
    assert daemon.get("/lists/operator-block")["items"] == ["198.51.100.99"]
    assert daemon.cli("confirm").returncode != 0


@pytest.mark.parametrize(
    "away", [pytest.param(0.0, marks=pytest.mark.soak, id="in time"), pytest.param(2.5, id="too late")]
)
def test_not_confirmed_and_killed(make: MakeDaemon, world: World, probes: Probes, away: float) -> None:
    """The time runs on while the daemon is dead; the policy goes on being enforced until it is taken back."""
    daemon = make(ONE)
    daemon.start()
    good, begun = world.table(), time.monotonic()
    _confirming(daemon, TWO, "2s")
    daemon.kill()
    time.sleep(away)
    assert probes.arrived(*EVERY) == SEEN[TWO]
    daemon.start()
    until(lambda: daemon.get("/policy")["text"] == ONE, 10)
    assert time.monotonic() - begun >= 2
    assert probes.arrived(*EVERY) == SEEN[ONE]
    assert world.table() == good
    daemon.kill()
    daemon.start()
    assert daemon.get("/policy")["text"] == ONE


# -- the end


@pytest.mark.parametrize(
    "running",
    [pytest.param(True, marks=pytest.mark.soak, id="with a daemon"), pytest.param(False, id="without one")],
)
def test_down(make: MakeDaemon, world: World, probes: Probes, running: bool) -> None:
    """Table gone, forwarding as before, what is others' as it was to the byte; a second time does nothing."""
    world.nft("flush chain inet other forward")
    tables, others, sysctls = world.tables(), world.others(), world.sysctls()
    daemon = make(BASE + "forwarding: [ipv4, ipv6]\n")
    daemon.start()
    assert "table inet neurowall" in world.tables()
    assert probes.arrived(FREE) == set()
    if not running:
        daemon.kill()
    daemon.ok("down")
    assert (world.tables(), world.others(), world.sysctls()) == (tables, others, sysctls)
    assert probes.arrived(FREE) == {FREE}
    assert daemon.ok("down")["done"] == []
    assert (world.tables(), world.others(), world.sysctls()) == (tables, others, sysctls)
