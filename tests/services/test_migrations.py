# SPDX-License-Identifier: Apache-2.0
"""The chain of migrations against the tables that the code knows, on both engines."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, text

from neurowall.data.store import migrate, schema
from neurowall.data.store.database import Database
from neurowall.model.audit import Act
from neurowall.model.errors import StorageUnavailable
from tests.services.conftest import MakeStore
from tests.services.waiting import until

TABLES = {table.name for table in schema.metadata.sorted_tables}


@pytest.fixture
def full_url(url: str) -> str:
    """The URL with its driver, and the directory of its file."""
    database = Database(url, 5.0)
    if database.is_sqlite:
        Path(database.url.database or "").parent.mkdir()
    return database.url.render_as_string(hide_password=False)


@pytest.fixture
def engine(full_url: str) -> Iterator[Engine]:
    """A connection of the test's own."""
    engine = create_engine(full_url)
    yield engine
    engine.dispose()


def differences(engine: Engine) -> list[object]:
    """What autogenerate would write into the next migration."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, schema.metadata))


def tables(engine: Engine) -> set[str]:
    """All tables but alembic's own."""
    return set(inspect(engine).get_table_names()) - {"alembic_version"}


def test_up_is_what_the_code_knows_and_down_is_nothing(full_url: str, engine: Engine) -> None:
    """Twice, since what down leaves behind would be in the way of up."""
    for _ in range(2):
        migrate.move(full_url, "head")
        assert tables(engine) == TABLES
        assert differences(engine) == []
        migrate.move(full_url, "base")
        assert tables(engine) == set()


def test_each_step_up_can_be_taken_back(full_url: str, engine: Engine) -> None:
    """One revision at a time, up, down and up again."""
    for revision in schema.REVISIONS:
        migrate.move(full_url, revision)
        migrate.move(full_url, "-1")
        migrate.move(full_url, revision)
    assert tables(engine) == TABLES


def test_the_comparison_can_fail(full_url: str, engine: Engine) -> None:
    """A column more, one less and another type are seen."""
    migrate.move(full_url, "head")
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE bans ADD COLUMN more INTEGER"))
        connection.execute(text("ALTER TABLE audit DROP COLUMN late"))
    assert len(differences(engine)) == 2


def test_a_new_database_gets_the_same_tables_at_once(url: str, make_store: MakeStore, engine: Engine) -> None:
    """Without alembic, and with its mark; as after a downgrade too."""
    assert make_store(url).problem is None
    assert differences(engine) == []
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == [
            schema.HEAD
        ]


def test_the_head_that_the_code_knows_is_that_of_the_chain() -> None:
    """So that a start need not import alembic to learn it."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).with_name("migrations")))
    script = ScriptDirectory.from_config(config)
    assert script.get_heads() == [schema.HEAD]
    assert tuple(each.revision for each in script.walk_revisions())[::-1] == schema.REVISIONS


def test_an_empty_schema_is_brought_up_by_a_child(full_url: str, engine: Engine) -> None:
    """As a start does with an older one."""
    migrate.upgrade_in_child(full_url, "it")
    assert differences(engine) == []


def test_a_start_never_imports_alembic(tmp_path: Path) -> None:
    """Neither the first one nor the next: it would stay in memory."""
    program = (
        "import sys, json; from neurowall.data.store.store import Store\n"
        f"url = 'sqlite:///{tmp_path}/x.db'\n"
        "for _ in range(2):\n    s = Store(url, 'n'); s.open(); assert s.problem is None; s.close()\n"
        "heavy = ('alembic', 'psycopg', 'greenlet')\n"
        "print(json.dumps([name for name in sys.modules if name.split('.')[0] in heavy]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_a_newer_schema_is_refused_until_it_is_gone(url: str, make_store: MakeStore, engine: Engine) -> None:
    """With what to do; nothing is written. The store resumes when the schema is ours again."""
    make_store(url).close()
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    store = make_store(url)
    with pytest.raises(StorageUnavailable, match=r"schema 9999, newer than .*: install the newer Neurowall"):
        store.audit.begin(Act("block", "uid:0 root"))
    with pytest.raises(StorageUnavailable, match="newer"):
        store.tokens.all()
    assert tables(engine) == TABLES
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :head"), {"head": schema.HEAD})
    until(lambda: store.problem is None)
    store.audit.begin(Act("block", "uid:0 root"))


def test_a_migration_that_fails_is_told(
    url: str, make_store: MakeStore, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child's last line is in the message, and all is as before."""
    make_store(url).close()
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    monkeypatch.setattr(schema, "REVISIONS", ("0000", *schema.REVISIONS))
    store = make_store(url)
    until(lambda: "cannot be updated" in (store.problem or ""))
    assert "0000" in (store.problem or "")
    assert tables(engine) == TABLES
