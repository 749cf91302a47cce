# SPDX-License-Identifier: Apache-2.0
"""Starts that must not be: one clear error, its exit code, and nothing half-applied."""

import re
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest

from bench.testbed.process import Completed
from bench.testbed.run import Run
from neurowall.kernel import objects
from tests.net.conftest import MakeDaemon
from tests.net.daemon import POLICY, Daemon
from tests.net.probes import Probes

pytestmark = pytest.mark.root

DECLARED = POLICY + "lists:\n  - {name: feed, verdict: block, file: feed.txt}\n"


def refused(done: Completed, code: int, *expected: str) -> None:
    """It ended with *code*, said what is expected, and showed no traceback."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    for text in expected:
        assert text in done.stderr


def untouched(daemon: Daemon) -> bool:
    """Whether there are neither pins nor a mount nor a socket of this daemon."""
    mounted = str(daemon.directory) in Path("/proc/mounts").read_text()
    return not (mounted or daemon.bpffs.exists() or daemon.socket.exists())


def test_a_malformed_declared_list(make_daemon: MakeDaemon, probes: Probes) -> None:
    """Exit 2 with file and line."""
    daemon = make_daemon(DECLARED)
    (daemon.directory / "feed.txt").write_text("203.0.113.7\nnonsense\n")
    refused(daemon.fails(), 2, "feed.txt:2:", "nonsense")
    assert untouched(daemon)
    assert probes.arrived("203.0.113.7")


def test_a_missing_declared_list(make_daemon: MakeDaemon) -> None:
    """Exit 2 with the path; not an empty list."""
    daemon = make_daemon(DECLARED)
    refused(daemon.fails(), 2, "feed.txt", "No such file")
    assert untouched(daemon)


def test_a_list_that_went_bad_keeps_the_last_good_copy(make_daemon: MakeDaemon, probes: Probes) -> None:
    """A restart must not lose a list because its feed wrote rubbish; status says so."""
    daemon = make_daemon(DECLARED)
    (daemon.directory / "feed.txt").write_text("203.0.113.7\n")
    daemon.start()
    daemon.stop()
    (daemon.directory / "feed.txt").write_text("<html>\n")
    daemon.start()
    assert probes.blocked("203.0.113.7", "203.0.113.8") == {"203.0.113.7"}
    assert "feed" in daemon.get("/status")["warnings"][0]


def test_more_declared_than_the_capacity(make_daemon: MakeDaemon) -> None:
    """Exit 1 with the key to raise."""
    daemon = make_daemon(DECLARED + "capacity: {hosts4: 10, grow: false}\n")
    (daemon.directory / "feed.txt").write_text("".join(f"203.0.113.{i}\n" for i in range(1, 20)))
    refused(daemon.fails(), 1, "capacity.hosts4")
    assert untouched(daemon)


def test_damaged_state(make_daemon: MakeDaemon, probes: Probes) -> None:
    """Exit 1 naming the file and the next step; enforcement of before goes on."""
    daemon = make_daemon()
    daemon.start()
    daemon.post("block", "203.0.113.7")
    daemon.kill()
    state = next(daemon.state_dir.rglob("state.json"))
    good = state.read_text()
    state.write_text(good[: len(good) // 2])
    refused(daemon.fails(), 1, str(state), "damaged")
    assert probes.blocked("203.0.113.7", "203.0.113.8") == {"203.0.113.7"}
    state.write_text(good)
    daemon.start()
    assert probes.blocked("203.0.113.7", "203.0.113.8") == {"203.0.113.7"}


def test_an_unknown_namespace(make_daemon: MakeDaemon) -> None:
    """Exit 4 naming those that exist."""
    daemon = make_daemon()
    real, daemon.netns = daemon.netns, "nwtest-nowhere"
    refused(daemon.fails(), 4, "nwtest-nowhere", real)
    assert untouched(daemon)


def test_a_private_mount_namespace(make_daemon: MakeDaemon, run: Run) -> None:
    """Exit 4: its pins would die with it."""
    daemon = make_daemon()
    refused(run.exec(("unshare", "--mount", *daemon.argv())), 4, "private mount namespace", "--netns")
    assert untouched(daemon)


@pytest.mark.parametrize(
    ("drop", "expected"),
    [("-all", "CAP_NET_ADMIN"), ("-bpf,-sys_admin", "CAP_SYS_ADMIN")],
    ids=["no-capabilities", "no-bpf"],
)
def test_no_capabilities(make_daemon: MakeDaemon, run: Run, drop: str, expected: str) -> None:
    """Exit 4 naming what is missing, before anything is made."""
    daemon = make_daemon()
    done = run.exec(("setpriv", f"--bounding-set={drop}", "--inh-caps=-all", *daemon.argv()))
    refused(done, 4, expected, "root")
    assert not daemon.run_dir.exists()


def test_no_root(make_daemon: MakeDaemon, run: Run) -> None:
    """An ordinary user is told to use root, exit 4."""
    ordinary = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    if run.exec((*ordinary, sys.executable, "-c", "import neurowall.management.cli.main")).returncode:
        pytest.skip("other users cannot read this source tree or its .venv")
    daemon = make_daemon()
    with TemporaryDirectory() as open_to_all:
        Path(open_to_all).chmod(0o755)
        daemon.config = Path(open_to_all, "policy.yaml")
        daemon.config.write_text(POLICY)
        refused(run.exec((*ordinary, *daemon.argv())), 4, "CAP_NET_ADMIN", "sudo")
    assert not daemon.run_dir.exists()


def test_no_object(make_daemon: MakeDaemon, run: Run, tmp_path: Path) -> None:
    """Exit 4 naming where it was searched and what builds it."""
    daemon = make_daemon()
    done = run.exec(daemon.argv(), env={"NEUROWALL_OBJECTS": str(tmp_path)})
    refused(done, 4, str(tmp_path), "make objects")
    assert untouched(daemon)


def test_a_stale_object(make_daemon: MakeDaemon, run: Run, tmp_path: Path) -> None:
    """An object of other structs refuses to attach instead of filtering nothing."""
    shutil.copy(objects.path("xdpnull"), tmp_path / "neurowall.bpf.o")
    daemon = make_daemon()
    done = run.exec(daemon.argv(), env={"NEUROWALL_OBJECTS": str(tmp_path)})
    refused(done, 1, "does not match this version", "struct nw_config")
    assert untouched(daemon)


def test_metrics_beyond_loopback(make_daemon: MakeDaemon) -> None:
    """Exit 2, before anything is attached."""
    daemon = make_daemon()
    refused(daemon.fails("--metrics-listen", "0.0.0.0:9469"), 2, "--metrics-listen", "127.0.0.1")
    assert untouched(daemon)


def test_metrics_on_the_hosts_loopback(make_daemon: MakeDaemon) -> None:
    """The listener is outside the guarded namespace, where Prometheus is; it serves metrics only."""
    daemon = make_daemon()
    daemon.start("--metrics-listen", "127.0.0.1:0")
    found = re.search(r"metrics on (http://127\.0\.0\.1:\d+)/metrics", daemon.log())
    assert found
    assert "neurowall_generation" in httpx.get(f"{found[1]}/metrics").text
    assert httpx.get(f"{found[1]}/status").status_code == 404
