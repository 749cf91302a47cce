# SPDX-License-Identifier: Apache-2.0
"""How alembic reaches the database: all of it in one transaction, under a lock, on both engines."""

from alembic import context
from sqlalchemy import create_engine, event, text
from sqlalchemy.pool import NullPool

from neurowall.data.store.schema import metadata

LOCK_KEY = 0x6E77616C6C  # the same as where a schema is made


def run() -> None:
    """Migrate what `url` among the configuration's attributes names."""
    engine = create_engine(context.config.attributes["url"], poolclass=NullPool)
    is_sqlite = engine.dialect.name == "sqlite"
    if is_sqlite:
        # sqlite3 would commit before each change of a table: a migration that dies must leave nothing behind.
        @event.listens_for(engine, "connect")
        def _by_hand(raw, _record):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            raw.isolation_level = None

        @event.listens_for(engine, "begin")
        def _begin(connection):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    with engine.connect() as connection, connection.begin():
        if not is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
        context.configure(
            connection=connection,
            target_metadata=metadata,
            render_as_batch=True,
            transactional_ddl=True,
            compare_type=True,
        )
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


run()
