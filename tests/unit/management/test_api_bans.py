# SPDX-License-Identifier: Apache-2.0
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from neurowall.data.store.store import Store
from neurowall.logic.banlist import BanQuery
from neurowall.logic.engine import Engine
from neurowall.management.api.answers import About
from neurowall.management.api.app import create_app
from neurowall.model.history import BanChange
from neurowall.model.limits import LimitBan
from tests.unit.management.conftest import Api, StandIn, done, refused


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A real database, which is there."""
    store = Store(f"sqlite:///{tmp_path}/neurowall.db", "gateway")
    store.open()
    assert store.problem is None
    yield store
    store.close()


def until(wanted: Callable[[], bool]) -> None:
    """Return when that is true: bans are written behind the change."""
    deadline = time.monotonic() + 10
    while not wanted():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


class TestBans:
    def test_tell_of_every_kind(self, api: Api, dataplane: StandIn) -> None:
        """What the engine has, in pages."""
        done(api.post("/block", json={"addresses": ["198.51.100.7"], "reason": "scans"}))
        done(api.post("/block", json={"addresses": ["198.51.100.8"], "ttl": "1h"}))
        done(api.post("/allow", json={"addresses": ["203.0.113.0/28"]}))
        end = dataplane.limiter.clock() + 60
        dataplane.limiter.banned["192.0.2.66"] = LimitBan("192.0.2.66", end, "")
        answer = done(api.get("/bans"))
        assert [(each["entry"], each["kind"], each["list"]) for each in answer["bans"]] == [
            ("198.51.100.7", "block", "operator-block"),
            ("198.51.100.8", "block", "operator-block-timed"),
            ("203.0.113.0/28", "allow", "operator-allow"),
            ("192.0.2.66", "limit", None),
        ]
        assert answer["next"] is None
        assert answer["bans"][0]["expires"] is None
        assert 3500 < answer["bans"][1]["seconds_left"] <= 3600
        first = done(api.get("/bans?limit=3"))
        rest = done(api.get("/bans", params={"limit": 3, "after": first["next"]}))
        both = [each["entry"] for each in first["bans"] + rest["bans"]]
        assert both == [each["entry"] for each in answer["bans"]]
        assert rest["next"] is None

    def test_may_be_asked_by_kind_and_address(self, api: Api) -> None:
        """Whoever looks for one address sees what holds it."""
        done(api.post("/block", json={"addresses": ["198.51.100.0/24", "192.0.2.1"]}))
        found = done(api.get("/bans?kind=block&address=198.51.100.9"))["bans"]
        assert [each["entry"] for each in found] == ["198.51.100.0/24"]
        assert done(api.get("/bans?kind=allow"))["bans"] == []

    def test_refuse_what_cannot_be(self, api: Api) -> None:
        """Each wrong parameter by its name."""
        for query, field in (
            ("address=nobody", "query.address"),
            ("kind=ban", "query.kind"),
            ("limit=0", "query.limit"),
            ("page=2", "query.page"),
        ):
            problem = refused(api.get(f"/bans?{query}"), 422, "invalid-request")
            assert [each["field"] for each in problem["errors"]] == [field]
        refused(api.get("/bans?after=somewhere"), 422, "invalid-list")

    def test_a_reason_has_an_end(self, api: Api) -> None:
        """Two hundred characters."""
        body = {"addresses": ["198.51.100.7"], "reason": "x" * 201}
        problem = refused(api.post("/block", json=body), 422, "invalid-request")
        assert [each["field"] for each in problem["errors"]] == ["reason"]


class TestHistory:
    def test_without_a_database_bans_are_told_all_the_same(self, api: Api) -> None:
        """The engine knows them; only their past is not told."""
        done(api.post("/block", json={"addresses": ["198.51.100.7"]}))
        answer = done(api.get("/bans"))
        assert answer["history"] == "unavailable"
        assert answer["bans"][0]["by"] is None
        refused(api.get("/bans/history"), 503, "storage-unavailable")

    def test_tells_who_when_and_why(self, engine: Engine, about: About, store: Store) -> None:
        """From a real database, in pages."""
        api = Api(create_app(engine, about, store=store))
        engine.block(["198.51.100.7", "198.51.100.8"])
        store.bans.record(
            [
                BanChange("198.51.100.7", "block", "operator-block", "uid:0 root", 1000.0, "scans"),
                BanChange("192.0.2.9", "limit", "syn", "limit:syn", 1001.0, until=1061.0),
            ]
        )
        until(lambda: len(store.bans.page(10).rows) == 2)
        answer = done(api.get("/bans"))
        first, second = answer["bans"]
        assert (answer["history"], first["by"], first["reason"]) == ("ok", "uid:0 root", "scans")
        assert first["since"] == "1970-01-01T00:16:40Z"
        assert (second["by"], second["since"], second["reason"]) == (None, None, None)
        page = done(api.get("/bans/history?limit=1"))
        assert [(each["entry"], each["kind"], each["list"], each["limit"]) for each in page["bans"]] == [
            ("192.0.2.9", "limit", None, "syn")
        ]
        rest = done(api.get("/bans/history", params={"limit": 1, "after": page["next"]}))
        assert [each["entry"] for each in rest["bans"]] == ["198.51.100.7"]
        assert rest["next"] is None
        found = done(api.get("/bans/history?address=198.51.100.7"))
        assert [each["entry"] for each in found["bans"]] == ["198.51.100.7"]

    def test_tells_who_lifted_a_ban_by_a_limit(
        self, engine: Engine, about: About, store: Store, dataplane: StandIn
    ) -> None:
        """An unblock ends those too."""
        api = Api(create_app(engine, about, store=store))
        end = dataplane.limiter.clock() + 60
        for host in ("192.0.2.66", "192.0.2.67", "203.0.113.1"):
            dataplane.limiter.banned[host] = LimitBan(host, end, "syn")
            until_then = time.time() + 60
            store.bans.record([BanChange(host, "limit", "syn", "daemon", 1000.0, until=until_then)])

        def lifted() -> set[str]:
            return {row.entry for row in store.bans.page(10).rows if row.ended_by == "uid:0 root"}

        done(api.post("/unblock", json={"addresses": ["192.0.2.66"]}))
        until(lambda: lifted() == {"192.0.2.66"})
        done(api.post("/unblock", json={"addresses": ["192.0.2.0/24"]}))
        until(lambda: lifted() == {"192.0.2.66", "192.0.2.67"})

    def test_has_changes_in_their_order(
        self, engine: Engine, about: About, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No other change is made between one and its record."""
        api = Api(create_app(engine, about, store=store))
        real, was_made, others = store.bans.record, threading.Event(), list[threading.Thread]()

        def unblock() -> None:
            engine.unblock(["198.51.100.7"])
            was_made.set()

        def record(changes: Iterable[BanChange]) -> None:
            others.append(threading.Thread(target=unblock))
            others[0].start()
            assert not was_made.wait(0.3)
            real(changes)

        monkeypatch.setattr(store.bans, "record", record)
        done(api.post("/block", json={"addresses": ["198.51.100.7"]}))
        others[0].join(10)
        assert was_made.is_set()
        assert engine.bans(BanQuery()).bans == ()

    def test_of_a_database_that_is_away_is_unavailable(
        self, engine: Engine, about: About, store: Store
    ) -> None:
        """And the bans are told."""
        api = Api(create_app(engine, about, store=store))
        engine.block(["198.51.100.7"])
        store.close()
        assert done(api.get("/bans"))["history"] == "unavailable"
        refused(api.get("/bans/history"), 503, "storage-unavailable")
