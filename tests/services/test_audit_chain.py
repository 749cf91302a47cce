# SPDX-License-Identifier: Apache-2.0
"""Whatever is done to the rows of the audit is found; whatever retention does is not mistaken for it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, create_engine, text

from neurowall.data.store.database import Database
from neurowall.data.store.retention import Keep
from neurowall.data.store.store import Store
from neurowall.model.audit import Act, Outcome
from tests.sampling import some
from tests.services.conftest import MakeStore
from tests.services.waiting import settled, until

CHANGES = 6  # two rows each
Tamper = Callable[[Connection], object]


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """The intruder's connection."""
    engine = create_engine(Database(url, 5.0).url)
    yield engine
    engine.dispose()


def written(store: Store, changes: int = CHANGES) -> Store:
    """The store with as many changes in its audit."""
    for number in range(changes):
        entry = store.audit.begin(Act("block", "uid:0 root", target=f"192.0.2.{number}", before=number))
        store.audit.end(entry, Outcome("ok", 200, number + 1))
    settled(store)
    return store


def do(*statements: str) -> Tamper:
    """Statements as a change of the rows."""
    return lambda connection: [connection.execute(text(each)) for each in statements]


def _copy(connection: Connection, source: int, target: int) -> None:
    row = dict(connection.execute(text(f"SELECT * FROM audit WHERE id = {source}")).mappings().one())
    columns = ", ".join(f'"{name}"' for name in row)
    marks = ", ".join(f":{name}" for name in row)
    connection.execute(text(f"INSERT INTO audit ({columns}) VALUES ({marks})"), {**row, "id": target})


def _insert(connection: Connection) -> None:
    """A row between two, the later ones moved on."""
    for row in range(12, 5, -1):
        connection.execute(text(f"UPDATE audit SET id = {row + 1} WHERE id = {row}"))
    _copy(connection, 5, 6)


CHANGED = {
    "when": '"when" = "when" + 1',
    "phase": "phase = 'note'",
    "begin": "begin = 1",
    "request_id": "request_id = 'other'",
    "actor": "actor = 'uid:1000 eve'",
    "source": "source = '192.0.2.66'",
    "action": "action = 'allow'",
    "target": "target = '203.0.113.1'",
    "before": "before = 99",
    "after": '"after" = 99',
    "result": "result = 'refused'",
    "status": "status = 403",
    "late": "late = NOT late",
    "detail": "detail = '[]'",
    "prev": "prev = hash",
    "hash": "hash = prev",
}
_POINT = """INSERT INTO audit_checkpoints (node, id, hash, "when")
    SELECT node, id, hash, 0 FROM audit WHERE id = {}"""
TAMPERED: dict[str, tuple[Tamper, int]] = {
    "removed": (do("DELETE FROM audit WHERE id = 5"), 5),
    "first removed": (do("DELETE FROM audit WHERE id = 1"), 1),
    "inserted": (_insert, 6),
    "appended": (lambda connection: _copy(connection, 12, 13), 13),
    "reordered": (
        do(*(f"UPDATE audit SET id = {new} WHERE id = {old}" for old, new in ((5, 99), (6, 5), (99, 6)))),
        5,
    ),
    "another node's": (do("UPDATE audit SET node = 'other' WHERE id = 5"), 5),
    "last removed": (do("DELETE FROM audit WHERE id = 12"), 12),
    "tail cut": (do("DELETE FROM audit WHERE id > 7"), 8),
    "all removed": (do("DELETE FROM audit"), 1),
    "front cut behind a checkpoint": (
        do(
            _POINT.format(4),
            "DELETE FROM audit WHERE id <= 4",
        ),
        4,
    ),
    "all cut behind a checkpoint": (
        do(
            _POINT.format(12),
            "DELETE FROM audit",
        ),
        12,
    ),
}
CASES = {
    **TAMPERED,
    **{f"{name} changed": (do(f"UPDATE audit SET {how} WHERE id = 8"), 8) for name, how in CHANGED.items()},
}


def test_every_column_has_its_case(store: Store) -> None:
    """A column that is added later must not be forgotten here, nor in the hash."""
    settled(written(store, 1))
    columns = set(store.audit.page(1).rows[0].__dataclass_fields__) - {"node", "id"}
    assert columns == set(CHANGED)


@pytest.mark.parametrize("case", [*TAMPERED, *some([name for name in CASES if name not in TAMPERED], 4)])
def test_found_while_the_daemon_does_not_run(
    url: str, make_store: MakeStore, engine: Engine, case: str
) -> None:
    """By the next one, at its first row that is wrong; and still when more rows are written."""
    store = written(make_store(url))
    assert store.audit.verify().ok
    store.close()
    tamper, first = CASES[case]
    with engine.begin() as connection:
        tamper(connection)
    again = make_store(url)
    found = again.audit.verify()
    assert (found.ok, found.first_bad) == (False, first), found
    written(again, 2)
    assert not again.audit.verify().ok


@pytest.mark.parametrize(
    "case", ["hash changed", "removed", "tail cut", "all removed", "all cut behind a checkpoint"]
)
def test_found_while_it_runs(url: str, make_store: MakeStore, engine: Engine, case: str) -> None:
    """At once, though the daemon goes on writing behind it."""
    store = written(make_store(url))
    tamper, first = CASES[case]
    with engine.begin() as connection:
        tamper(connection)
    found = store.audit.verify()
    assert (found.ok, found.first_bad) == (False, first), found
    written(store, 2)
    assert not store.audit.verify().ok


def test_a_row_of_nobody_is_found_while_it_runs(url: str, make_store: MakeStore, engine: Engine) -> None:
    """It takes the place of the next row: that one is written behind it, and the chain is broken."""
    store = written(make_store(url))
    with engine.begin() as connection:
        _copy(connection, 12, 13)
    written(store, 1)
    assert not store.audit.verify().ok


def test_a_lost_file_of_the_head_is_told(url: str, make_store: MakeStore, tmp_path: Path) -> None:
    """The chain is whole, and the auditor hears why a cut tail would not have been seen."""
    written(make_store(url)).close()
    (tmp_path / "gw-head.json").unlink()
    found = make_store(url).audit.verify()
    assert found.ok
    assert "was not there" in found.note


def test_a_database_that_is_begun_anew_says_so(tmp_path: Path, make_store: MakeStore) -> None:
    """Where the old one was, a new chain goes on from the old head: nobody can hide that rows are gone."""
    file = tmp_path / "x.db"
    written(make_store(f"sqlite:///{file}")).close()
    for each in tmp_path.glob("x.db*"):
        each.unlink()
    store = written(make_store(f"sqlite:///{file}"), 1)
    found = store.audit.verify()
    assert (found.ok, found.head.id) == (True, 15)
    assert "begun anew behind row 12" in found.note
    assert store.audit.page(9).rows[-1].action == "audit-anew"


class TestRetention:
    KEEP = Keep(audit=20, batch=5)

    def test_prunes_and_stays_verifiable(self, url: str, make_store: MakeStore, engine: Engine) -> None:
        """The chain begins behind its checkpoint, of which it tells."""
        store = written(make_store(url, keep=self.KEEP), 30)
        store.close()
        store = make_store(url, keep=self.KEEP)  # looks at once
        until(lambda: _rows(engine) <= 25)
        found = store.audit.verify()
        assert found.ok, found
        assert (found.head.id, found.rows) == (61, 21)
        assert store.audit.page(1).rows[0].action == "audit-prune"

    @pytest.mark.parametrize(
        "tamper",
        [
            do(
                "UPDATE audit_checkpoints SET id = 50, hash = (SELECT hash FROM audit WHERE id = 50)",
                "DELETE FROM audit WHERE id <= 50",
            ),
            do("DELETE FROM audit_checkpoints"),
            do("UPDATE audit_checkpoints SET hash = 'x'"),
            do("DELETE FROM audit WHERE id = 41"),
        ],
    )
    def test_does_not_cover_what_others_take_out(
        self, url: str, make_store: MakeStore, engine: Engine, tamper: Tamper
    ) -> None:
        """A checkpoint that was moved, taken away or changed is found."""
        written(make_store(url, keep=self.KEEP), 30).close()
        store = make_store(url, keep=self.KEEP)
        until(lambda: _rows(engine) <= 25)
        with engine.begin() as connection:
            tamper(connection)
        assert not store.audit.verify().ok


def _rows(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM audit")).scalar_one())
