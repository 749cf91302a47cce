# SPDX-License-Identifier: Apache-2.0
"""A daemon's life: it may end in any way, and enforcement goes on until `down` ends it.

Packets that leak in between are measured under flood in test_no_leak_*.py.
"""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.testbed.chain import Chain
from bench.testbed.run import Run
from neurowall.kernel import netlink
from tests.net.conftest import daemons
from tests.net.daemon import POLICY, Daemon, until
from tests.net.probes import Probes

pytestmark = pytest.mark.root

LISTED = ("203.0.113.7", "198.51.100.9", "2001:db8:bad::1")
FREE = ("203.0.113.8", "2001:db8::1")


@pytest.fixture(scope="module")
def shared(run: Run, chain: Chain) -> Iterator[Daemon]:
    """One daemon, started, killed and taken down again and again."""
    with daemons(run, chain) as make:
        yield make()


@pytest.fixture
def daemon(shared: Daemon) -> Daemon:
    """It runs, with the plain policy, and blocks LISTED."""
    shared.config.write_text(POLICY)
    if not (shared.process and shared.process.alive()):
        shared.start()
    shared.forget()
    shared.put("feed", "198.51.100.0/24\n2001:db8:bad::/48\n")
    shared.post("block", "203.0.113.7")
    return shared


def pins(daemon: Daemon) -> list[str]:
    """The names of all pins."""
    return sorted(str(path) for path in daemon.bpffs.rglob("*"))


def test_enforcement_outlives_sigkill(daemon: Daemon, probes: Probes) -> None:
    """The next start adopts what is there: pins, lists, and what was counted while no daemon ran."""
    before, generation = pins(daemon), daemon.get("/status")["generation"]
    counted = daemon.packets("block-list")
    daemon.kill()
    assert probes.arrived(*LISTED, *FREE) == set(FREE)
    assert daemon.cli("status").returncode == 3
    daemon.start()
    assert probes.arrived(*LISTED, *FREE) == set(FREE)
    assert pins(daemon) == before
    assert daemon.get("/status")["generation"] == generation
    assert daemon.packets("block-list") == counted + 2 * len(LISTED)
    daemon.post("unblock", "203.0.113.7")
    assert probes.arrived(*LISTED) == {"203.0.113.7"}


def test_enforcement_outlives_sigterm(daemon: Daemon, probes: Probes) -> None:
    """A clean exit, code 0, that removes the socket and nothing else."""
    before = pins(daemon)
    assert daemon.stop() == 0
    assert "enforcement goes on" in daemon.log()
    assert not daemon.socket.exists()
    assert pins(daemon) == before
    assert probes.arrived(*LISTED, *FREE) == set(FREE)


def test_a_second_daemon_is_refused(daemon: Daemon, probes: Probes) -> None:
    """Exit 1 naming the pid; the first one does not notice."""
    assert daemon.process
    done = daemon.fails()
    assert done.returncode == 1
    assert f"pid {daemon.process.pid}" in done.stderr
    assert daemon.get("/readiness")
    assert probes.arrived(*LISTED, *FREE) == set(FREE)


def test_reload_replaces_the_program_in_place(daemon: Daemon, probes: Probes) -> None:
    """The same pins; test_no_leak_reload.py measures that there is no window."""
    before = pins(daemon)
    assert [each["attached"] for each in daemon.ok("reload")["interfaces"]] == [True, True]
    assert pins(daemon) == before
    assert probes.arrived(*LISTED, *FREE) == set(FREE)


def test_sighup_reads_the_policy_again(daemon: Daemon, probes: Probes) -> None:
    """New lists are in force; a broken file changes nothing and is said in status until it is mended."""
    assert daemon.process
    good = f"{POLICY}lists:\n  - {{name: declared, verdict: block, entries: [203.0.113.8]}}\n"
    daemon.config.write_text(good)
    daemon.process.signal(signal.SIGHUP)
    daemon.wait_for("policy reloaded")
    assert probes.blocked(*LISTED, *FREE) == {*LISTED, "203.0.113.8"}
    daemon.config.write_text(good.replace("block", "blok"))
    daemon.process.signal(signal.SIGHUP)
    daemon.wait_for("policy not reloaded")
    assert "policy.yaml:5: lists[0].verdict" in daemon.get("/status")["warnings"][0]
    assert probes.blocked(*LISTED, *FREE) == {*LISTED, "203.0.113.8"}
    daemon.config.write_text(POLICY)
    daemon.process.signal(signal.SIGHUP)
    until(lambda: not daemon.get("/status")["warnings"])
    assert probes.blocked(*LISTED, *FREE) == set(LISTED)


def test_a_restart_keeps_changes_and_reads_the_policy_again(daemon: Daemon, probes: Probes) -> None:
    """State on disk for what was done at run time, the policy for what is declared."""
    daemon.stop()
    daemon.config.write_text(f"{POLICY}lists:\n  - {{name: new, verdict: block, entries: ['2001:db8::1']}}\n")
    daemon.start()
    assert probes.blocked(*LISTED, *FREE) == {*LISTED, "2001:db8::1"}


def test_down_removes_everything(daemon: Daemon, probes: Probes) -> None:
    """Daemon, programs, pins, mount and run directory; the intended state stays for the next start."""
    done = daemon.ok("down")["done"]
    assert daemon.process
    assert daemon.process.wait(5) == 0
    for expected in (f"pid {daemon.process.pid}", "detached from g0", "detached from g1", "maps and pins"):
        assert any(expected in each for each in done)
    assert probes.arrived(*LISTED, *FREE) == {*LISTED, *FREE}
    assert list(daemon.run_dir.iterdir()) == []
    assert str(daemon.directory) not in Path("/proc/mounts").read_text()
    daemon.start()
    assert probes.arrived(*LISTED, *FREE) == set(FREE)


def test_down_works_without_a_daemon_and_twice(daemon: Daemon, probes: Probes) -> None:
    """After a crash the operator must still be able to end enforcement."""
    daemon.kill()
    assert daemon.cli("down").returncode == 0
    assert probes.arrived(*LISTED) == set(LISTED)
    again = daemon.cli("down")
    assert (again.returncode, again.stdout) == (0, "nothing was up for instance main\n")


def test_down_gives_offloads_back(run: Run) -> None:
    """Attaching turned receive VLAN offload off, a bypass; down turns it on again."""
    feature = "rx-vlan-hw-parse"
    with Chain(run, "offloads").build() as chain, daemons(run, chain) as make:

        def state() -> bool:
            with chain.gateway.enter():
                return netlink.features("g0")[feature]

        with chain.gateway.enter():
            netlink.set_features("g0", {feature: True})
        daemon = make()
        daemon.start()
        assert state() is False
        daemon.kill()
        daemon.start()  # which must not take the switched-off state for the original one
        assert state() is False
        daemon.ok("down")
        assert state() is True


def test_down_after_the_namespace_has_gone(run: Run) -> None:
    """Its interfaces went with it; pins and mount have not."""
    with Chain(run, "gone").build() as chain, daemons(run, chain) as make:
        daemon = make()
        daemon.start()
        daemon.kill()
        chain.close()
        done = daemon.cli("down")
        assert done.returncode == 0, done.stderr
        assert list(daemon.run_dir.iterdir()) == []
