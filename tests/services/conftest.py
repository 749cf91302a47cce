# SPDX-License-Identifier: Apache-2.0
"""Both databases, real ones: the same tests run against each."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from neurowall.data.store.store import Store
from tests.conftest import why_not_root
from tests.services import postgres
from tests.services.postgres import Postgres

MakeStore = Callable[..., Store]


@pytest.fixture(scope="session")
def pg() -> Iterator[Postgres]:
    """A PostgreSQL server for all tests that leave it running."""
    if reason := why_not_root():
        pytest.skip(reason)
    if postgres.programs() is None:
        pytest.skip("not installed: postgresql; `make setup-test` installs what the tests need")
    with postgres.server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/db/neurowall.db"
    server: Postgres = request.getfixturevalue("pg")
    return server.database()


@pytest.fixture
def make_store(tmp_path: Path) -> Iterator[MakeStore]:
    """Makes stores and opens them; they are closed at the end."""
    made: list[Store] = []

    def make(url: str, node: str = "gw", **more: Any) -> Store:
        more.setdefault("head_file", tmp_path / f"{node}-head.json")
        store = Store(url, node, **more)
        store.open()
        made.append(store)
        return store

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(url: str, make_store: MakeStore) -> Store:
    """A store on an empty database."""
    return make_store(url)
