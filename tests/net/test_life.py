# SPDX-License-Identifier: Apache-2.0
"""A daemon's life: it may end in any way, and enforcement goes on until `down` ends it."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.testbed.chain import Chain
from neurowall.kernel import netlink
from tests.net.conftest import MakeDaemon
from tests.net.daemon import POLICY, Daemon
from tests.net.probes import Probes

pytestmark = pytest.mark.root

LISTED = ("203.0.113.7", "198.51.100.9", "2001:db8:bad::1")
FREE = ("203.0.113.8", "2001:db8::1")


@pytest.fixture
def daemon(daemon: Daemon) -> Daemon:
    """A running daemon that blocks LISTED."""
    daemon.put("feed", "198.51.100.0/24\n2001:db8:bad::/48\n")
    daemon.post("block", "203.0.113.7")
    return daemon


@pytest.mark.parametrize("end", [Daemon.kill, Daemon.stop], ids=["SIGKILL", "SIGTERM"])
def test_enforcement_outlives_the_daemon(
    daemon: Daemon, probes: Probes, end: Callable[[Daemon], object]
) -> None:
    """And the next start adopts what is there, with the same program links and the same lists."""
    before = sorted(path.name for path in daemon.bpffs.rglob("*"))
    generation = daemon.get("/status")["generation"]
    end(daemon)
    assert probes.arrived(*LISTED, *FREE) == set(FREE)
    assert daemon.cli("status").returncode == 3
    daemon.start()
    assert probes.arrived(*LISTED, *FREE) == set(FREE)
    assert sorted(path.name for path in daemon.bpffs.rglob("*")) == before
    assert daemon.get("/status")["generation"] >= generation
    daemon.post("unblock", "203.0.113.7")
    assert probes.arrived(*LISTED) == {"203.0.113.7"}


def test_sigterm_is_a_clean_exit(daemon: Daemon) -> None:
    """Exit code 0, the socket gone, the pins and what was counted still there."""
    assert daemon.stop() == 0
    assert not daemon.socket.exists()
    assert (daemon.bpffs / "links/g0").exists()
    assert "enforcement goes on" in daemon.log()


def test_counters_go_on_after_a_restart(daemon: Daemon, probes: Probes) -> None:
    """They are the kernel's: packets dropped while no daemon ran are in them."""
    daemon.kill()
    probes.arrived(*LISTED)
    daemon.start()
    assert daemon.packets("block-list") == 3


def test_a_second_daemon_is_refused(daemon: Daemon, probes: Probes) -> None:
    """Exit 1 naming the pid; the first one does not notice."""
    assert daemon.process
    done = daemon.fails()
    assert done.returncode == 1
    assert f"pid {daemon.process.pid}" in done.stderr
    assert daemon.get("/readiness")
    assert probes.arrived(*LISTED, *FREE) == set(FREE)


def test_reload_replaces_the_program_in_place(daemon: Daemon, probes: Probes) -> None:
    """The same links, and no window (tests/net/test_no_leak_reload.py measures that)."""
    assert [each["attached"] for each in daemon.ok("reload")["interfaces"]] == [True, True]
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


def test_run_time_changes_survive_and_declared_lists_are_read_again(daemon: Daemon, probes: Probes) -> None:
    """State on disk for the first, the policy for the second."""
    daemon.stop()
    daemon.config.write_text(f"{POLICY}lists:\n  - {{name: new, verdict: block, entries: ['2001:db8::1']}}\n")
    daemon.start()
    assert probes.blocked(*LISTED, *FREE) == {*LISTED, "2001:db8::1"}


class TestDown:
    def test_it_removes_everything(self, daemon: Daemon, probes: Probes) -> None:
        """Daemon, programs, pins, mount and run directory; the intended state stays for the next start."""
        done = daemon.ok("down")["done"]
        assert len(done) == 5
        assert daemon.process
        assert daemon.process.wait(5) == 0
        assert probes.arrived(*LISTED, *FREE) == {*LISTED, *FREE}
        assert list(daemon.run_dir.iterdir()) == []
        assert str(daemon.directory) not in Path("/proc/mounts").read_text()
        daemon.start()
        assert probes.arrived(*LISTED, *FREE) == set(FREE)

    def test_it_works_without_a_daemon_and_twice(self, daemon: Daemon, probes: Probes) -> None:
        """After a crash the operator must still be able to end enforcement."""
        daemon.kill()
        assert daemon.cli("down").returncode == 0
        assert probes.arrived(*LISTED) == set(LISTED)
        again = daemon.cli("down")
        assert (again.returncode, again.stdout) == (0, "nothing was up for instance main\n")

    def test_offloads_are_as_before(self, make_daemon: MakeDaemon, chain: Chain) -> None:
        """Attaching turned receive VLAN offload off, a bypass; down turns it on again."""
        feature = "rx-vlan-hw-parse"

        def state() -> bool:
            with chain.gateway.enter():
                return netlink.features("g0")[feature]

        with chain.gateway.enter():
            netlink.set_features("g0", {feature: True})
        daemon = make_daemon()
        daemon.start()
        assert state() is False
        daemon.kill()
        daemon.start()  # which must not take the switched-off state for the original one
        assert state() is False
        daemon.ok("down")
        assert state() is True

    def test_a_namespace_that_has_gone_is_no_obstacle(self, daemon: Daemon, chain: Chain) -> None:
        """Its interfaces went with it; pins and mount have not."""
        daemon.kill()
        chain.close()
        done = daemon.cli("down")
        assert done.returncode == 0, done.stderr
        assert list(daemon.run_dir.iterdir()) == []
