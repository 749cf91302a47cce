# SPDX-License-Identifier: Apache-2.0
"""`neurowall audit verify` where no daemon runs."""

import json
import sqlite3
from pathlib import Path

import pytest

from neurowall.management.daemon.storage import FILE, store_for
from neurowall.management.errors import ExitCode
from neurowall.management.instance import Instance, Record, locked
from neurowall.model.audit import Act, Outcome
from tests.unit.management.commands import Cli


@pytest.fixture
def state_dir(tmp_path: Path, alone: Cli) -> Path:
    """Where a daemon kept its state that does not run any more; the run directory says so."""
    state = tmp_path / "state/main"
    store = store_for(None, state, "main")
    store.start()
    store.open()
    store.audit.end(store.audit.begin(Act("block", "uid:0 root")), Outcome("ok", 200))
    store.close()
    instance = Instance("main", alone.run_dir)
    instance.create()
    instance.record(Record(None, str(state), ""))
    return tmp_path / "state"


def tamper(state_dir: Path) -> None:
    """Somebody puts the blame on another one."""
    connection = sqlite3.connect(state_dir / "main" / FILE)
    with connection:
        connection.execute("UPDATE audit SET actor = 'uid:1000 alice' WHERE id = 1")
    connection.close()


class TestOffline:
    def test_it_looks_at_the_database_itself(self, alone: Cli, state_dir: Path) -> None:
        """Where the run directory says that it is."""
        text = alone.ok("audit", "verify")
        assert text.startswith("the audit is whole: 2 rows, the last is 2, hash ")
        answer = alone.json("audit", "verify")
        assert (answer["ok"], answer["rows"], answer["head"]) == (True, 2, 2)

    def test_a_state_directory_or_a_database_may_be_named(self, tmp_path: Path, state_dir: Path) -> None:
        """A copy in a backup, say; the run directory is not asked."""
        elsewhere = Cli(tmp_path / "elsewhere")
        assert elsewhere.json("audit", "verify", "--state-dir", str(state_dir))["ok"]
        url = f"sqlite:///{state_dir}/main/{FILE}"
        answer = elsewhere.json("audit", "verify", "--database", url)
        assert answer["ok"]
        assert "head" in answer["note"]  # there is no file of it there

    def test_tampering_is_exit_1(self, alone: Cli, state_dir: Path) -> None:
        """As an answer, for people and for programs."""
        tamper(state_dir)
        done = alone("audit", "verify")
        assert done.exit_code == ExitCode.FAILED
        assert done.stdout.startswith("the audit was tampered with: row 1 was changed")
        done = alone("audit", "verify", "-o", "json")
        assert done.exit_code == ExitCode.FAILED
        assert json.loads(done.stdout)["first_bad"] == 1

    def test_nothing_to_verify(self, tmp_path: Path) -> None:
        """Exit 1, with both reasons."""
        text = Cli(tmp_path).error(ExitCode.FAILED, "audit", "verify", "--state-dir", str(tmp_path))
        assert f"{tmp_path}/main/{FILE} is not there" in text
        assert "no URL" in Cli(tmp_path).error(ExitCode.CANNOT_RUN, "audit", "verify", "--database", "x")

    def test_a_daemon_that_runs_is_not_gone_behind(self, alone: Cli, state_dir: Path) -> None:
        """Its lock is held: that its socket does not answer is another trouble."""
        with locked(Instance("main", alone.run_dir)):
            alone.error(ExitCode.UNREACHABLE, "audit", "verify")

    def test_an_audit_elsewhere_is_not_looked_for_here(
        self, alone: Cli, state_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With --url there is only the daemon there."""
        monkeypatch.setenv("NEUROWALL_TOKEN", "nw_abcdefghijkl_" + "s" * 43)
        from typer.testing import CliRunner

        from neurowall.management.cli.main import app

        done = CliRunner().invoke(app, ["audit", "verify", "--url", "https://127.0.0.1:1"])
        assert done.exit_code == ExitCode.UNREACHABLE
