# SPDX-License-Identifier: Apache-2.0
"""The audit of a daemon that does not run: read, never written."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from neurowall.data.store.offline import verify_offline
from neurowall.data.store.store import Store
from neurowall.model.audit import Act, Outcome
from neurowall.model.errors import StorageUnavailable

ROWS = 6  # three changes that began and ended


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database with an audit, its daemon gone."""
    address = f"sqlite:///{tmp_path}/neurowall.db"
    store = Store(address, "gateway", head_file=tmp_path / "audit-head")
    store.open()
    for number in range(ROWS // 2):
        entry = store.audit.begin(Act("block", "uid:0 root", target=f"192.0.2.{number}"))
        store.audit.end(entry, Outcome("ok", 200))
    store.close()
    return address


@pytest.fixture
def change(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Somebody with another program."""
    connection = sqlite3.connect(tmp_path / "neurowall.db", isolation_level=None)
    yield connection
    connection.close()


class TestVerifyOffline:
    def test_an_audit_that_is_whole(self, url: str, tmp_path: Path) -> None:
        """Node, rows and head; nothing is written, and no file appears beside it."""
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        node, found = verify_offline(url, tmp_path / "audit-head")
        assert (node, found.ok, found.rows, found.head.id) == ("gateway", True, ROWS, ROWS)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before

    @pytest.mark.parametrize(
        ("statement", "bad", "why"),
        [
            ("UPDATE audit SET actor = 'uid:0 nobody' WHERE id = 3", 3, "row 3 was changed"),
            ("DELETE FROM audit WHERE id = 2", 2, "row 2 is missing"),
            ("DELETE FROM audit WHERE id > 4", 5, "rows 5 to 6 are missing"),
        ],
    )
    def test_tampering_shows(
        self, url: str, tmp_path: Path, change: sqlite3.Connection, statement: str, bad: int, why: str
    ) -> None:
        """A changed row, one taken out of the middle, and a cut tail."""
        change.execute(statement)
        change.close()
        found = verify_offline(url, tmp_path / "audit-head")[1]
        assert (found.ok, found.first_bad, found.why) == (False, bad, why)

    def test_without_the_file_of_the_head_it_says_so(self, url: str, tmp_path: Path) -> None:
        """A cut tail would not show; the node is the only one there is."""
        (tmp_path / "audit-head").unlink()
        node, found = verify_offline(url, tmp_path / "audit-head")
        assert (node, found.ok) == ("gateway", True)
        assert "head" in found.note

    def test_after_a_daemon_that_was_killed(self, url: str, tmp_path: Path) -> None:
        """What is in the log of the database counts."""
        writer = sqlite3.connect(tmp_path / "neurowall.db", isolation_level=None)
        writer.execute("UPDATE audit SET actor = 'x' WHERE id = 1")
        assert (tmp_path / "neurowall.db-wal").stat().st_size
        copy = tmp_path / "copy"
        copy.mkdir()
        for name in ("neurowall.db", "neurowall.db-wal", "neurowall.db-shm"):
            (copy / name).write_bytes((tmp_path / name).read_bytes())
        writer.close()
        found = verify_offline(f"sqlite:///{copy}/neurowall.db", tmp_path / "audit-head")[1]
        assert found.first_bad == 1

    def test_what_is_no_database_of_ours(self, url: str, tmp_path: Path, change: sqlite3.Connection) -> None:
        """Each with what to do; nothing is made."""
        with pytest.raises(StorageUnavailable, match="is not there"):
            verify_offline(f"sqlite:///{tmp_path}/none.db", tmp_path / "audit-head")
        assert not (tmp_path / "none.db").exists()
        (tmp_path / "text.db").write_text("hello\n" * 100)
        with pytest.raises(StorageUnavailable, match="damaged"):
            verify_offline(f"sqlite:///{tmp_path}/text.db", tmp_path / "audit-head")
        sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE t (a)").connection.close()
        with pytest.raises(StorageUnavailable, match="nothing of Neurowall"):
            verify_offline(f"sqlite:///{tmp_path}/other.db", tmp_path / "audit-head")
        change.execute("UPDATE alembic_version SET version_num = '9999'")
        change.close()
        with pytest.raises(StorageUnavailable, match="has schema 9999"):
            verify_offline(url, tmp_path / "audit-head")

    def test_several_nodes_and_no_head(self, url: str, tmp_path: Path) -> None:
        """Which one must be said."""
        other = Store(url, "standby")
        other.open()
        other.audit.end(other.audit.begin(Act("block", "uid:0 root")), Outcome("ok", 200))
        other.close()
        with pytest.raises(StorageUnavailable, match="several nodes"):
            verify_offline(url, tmp_path / "none")
        assert verify_offline(url, tmp_path / "none", "standby")[1].rows == 2
        assert verify_offline(url, tmp_path / "audit-head")[0] == "gateway"
