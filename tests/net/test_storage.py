# SPDX-License-Identifier: Apache-2.0
"""The daemon and its database: what is there, and that enforcement goes on without it."""

import contextlib
import json
import sqlite3

import pytest

from tests.net.conftest import MakeDaemon
from tests.net.daemon import Daemon, until

pytestmark = pytest.mark.root


def test_each_policy_is_copied_into_the_database(make_daemon: MakeDaemon) -> None:
    """At the start, and after a change."""
    daemon = make_daemon()
    daemon.start()
    file = daemon.state_dir / "main/neurowall.db"

    def numbers() -> list[int]:
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as link:
            return [row[0] for row in link.execute("SELECT number FROM generations ORDER BY number")]

    until(lambda: numbers() == [1])
    answer = daemon.ask("POST", "/policy/apply", content=daemon.config.read_text() + "# again\n")
    assert answer.status_code == 200, answer.text
    until(lambda: numbers() == [1, answer.json()["generation"]])
    assert file.stat().st_mode & 0o777 == 0o600


def test_status_and_metrics_tell_of_it(daemon: Daemon) -> None:
    """Healthy: no warning, the engine's name, its size."""
    until(lambda: daemon.get("/status")["storage"]["bytes"] is not None)
    storage = daemon.get("/status")["storage"]
    assert (storage["backend"], storage["problem"], storage["audit_queued"]) == ("sqlite", None, 0)
    text = daemon.ask("GET", "/metrics").text
    assert "neurowall_storage_up 1.0" in text
    assert "neurowall_storage_audit_queued 0.0" in text


def test_a_url_for_which_there_is_no_driver_is_refused_with_a_reason(make_daemon: MakeDaemon) -> None:
    """Before anything is enforced."""
    failed = make_daemon().fails("--database", "mysql://root@localhost/x")
    assert failed.returncode == 4
    assert "use sqlite:///... or postgresql://" in failed.stderr


def test_doctor_asks_a_daemon_that_runs(daemon: Daemon) -> None:
    """And says nothing of a database where none does."""

    def found() -> list[str]:
        findings = json.loads(daemon.cli("doctor", "-o", "json").stdout)["findings"]
        return [each["found"] for each in findings if each["area"] == "database"]

    until(lambda: found() != [] and "sqlite, " in found()[0])
    assert daemon.stop() == 0
    assert found() == []
