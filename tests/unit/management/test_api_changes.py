# SPDX-License-Identifier: Apache-2.0
"""The way of every change, over a real store: idempotency, If-Match, audit, history, tokens."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from httpx import ASGITransport, AsyncClient, Response

from neurowall.data.store.store import Store
from neurowall.logic.engine import Engine
from neurowall.management.api import gate
from neurowall.management.api.answers import About
from neurowall.management.api.app import create_app
from neurowall.model.errors import StorageUnavailable
from neurowall.model.tokens import SCOPES
from tests.unit.management.conftest import POLICY, Api, Json, described, done, refused
from tests.unit.management.test_api_auth import Remote

HOST = "198.51.100.7"


@pytest.fixture
def app(engine: Engine, about: About, store: Store) -> FastAPI:
    """The whole API."""
    return create_app(engine, about, store=store)


@pytest.fixture
def api(app: FastAPI) -> Api:
    """As root on the unix socket."""
    return Api(app)


def block(api: Api, *hosts: str, **headers: str) -> Response:
    """Block some."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer: Response = api.post("/block", json={"addresses": hosts or [HOST]}, headers=named)
    return answer


def audit(api: Api, wanted: int, **query: str) -> list[Json]:
    """So many rows of the audit, oldest first, as soon as they are written."""
    deadline = time.monotonic() + 5
    while True:
        rows: list[Json] = done(api.get("/audit", params=query))["audit"]
        if len(rows) >= wanted:
            assert len(rows) == wanted
            return rows[::-1]
        assert time.monotonic() < deadline, rows
        time.sleep(0.01)


def token(api: Api, *scopes: str, **more: Any) -> tuple[str, str]:
    """A new token: its id and its text."""
    made = done(api.post("/tokens", json={"name": f"t-{time.monotonic_ns()}", "scopes": scopes, **more}))
    return made["id"], made["token"]


class TestAudit:
    def test_a_change_is_two_rows(self, api: Api) -> None:
        """Who, from where, what, of which request, and which generations."""
        answer = block(api, HOST, "203.0.113.0/25", x_request_id="req-1")
        begin, end = audit(api, 2)
        assert (begin["phase"], end["phase"], end["begin"]) == ("begin", "end", begin["id"])
        for row in (begin, end):
            assert row["actor"] == "uid:0 root"
            assert row["source"] == "unix"
            assert row["action"] == "block"
            assert row["target"] == f"{HOST}, 203.0.113.0/25"
            assert row["request_id"] == "req-1"
        assert (begin["before"], end["after"]) == (1, done(answer)["generation"])
        assert (end["result"], end["status"]) == ("ok", 200)
        assert begin["details"]["count"] == 2
        verified = done(api.get("/audit/verify"))
        assert verified["ok"]
        assert (verified["rows"], verified["head"]) == (2, end["id"])

    def test_what_is_refused_is_there_too(self, api: Api) -> None:
        """With the status and the reason."""
        refused(api.delete("/lists/nothing"), 404, "no-such-list")
        _, end = audit(api, 2)
        assert (end["result"], end["status"]) == ("refused", 404)
        assert "nothing" in end["details"]["why"]

    def test_a_bug_is_a_failure(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        """The row ends although nobody foresaw this."""

        def broken(*_: object, **__: object) -> None:
            raise RuntimeError("no")

        monkeypatch.setattr(Engine, "remove_list", broken)
        refused(api.delete("/lists/nothing"), 500, "internal")
        _, end = audit(api, 2)
        assert (end["result"], end["status"]) == ("failed", 500)

    def test_dry_runs_and_questions_are_none(self, api: Api) -> None:
        """They change nothing."""
        done(api.post("/block", json={"addresses": [HOST]}, params={"dry_run": True}))
        done(api.get("/status"))
        block(api)
        assert {row["action"] for row in audit(api, 2)} == {"block"}

    def test_every_change_has_a_name(self, api: Api) -> None:
        """Of all routes that change something."""
        block(api)
        api.post("/unblock", json={"addresses": [HOST]})
        api.post("/allow", json={"addresses": [HOST]})
        api.post("/unallow", json={"addresses": [HOST]})
        api.put("/lists/x", content="192.0.2.1\n")
        api.patch("/lists/x", json={"monitor": True})
        api.delete("/lists/x")
        api.post("/reload")
        api.post("/policy/apply", content=POLICY.replace("203.0.113.0/24", "203.0.113.0/25"))
        api.post("/policy/confirm")
        api.post("/policy/rollback")
        made, _ = token(api, "read")
        api.delete(f"/tokens/{made}")
        assert [row["action"] for row in audit(api, 26) if row["phase"] == "begin"] == [
            "block", "unblock", "allow", "unallow", "list-put", "list-change", "list-remove", "reload",
            "policy-apply", "policy-confirm", "policy-rollback", "token-create", "token-revoke",
        ]  # fmt: skip

    def test_pages_and_filters(self, api: Api) -> None:
        """Newest first; `next` leads to older ones."""
        block(api)
        refused(api.delete("/lists/nothing"), 404, "no-such-list")
        audit(api, 4)
        first = done(api.get("/audit", params={"limit": 3}))
        rest = done(api.get("/audit", params={"limit": 3, "after": first["next"]}))
        assert [row["id"] for row in first["audit"] + rest["audit"]] == [4, 3, 2, 1]
        assert rest["next"] is None
        assert [row["action"] for row in audit(api, 1, result="refused")] == ["list-remove"]
        assert len(audit(api, 2, action="block")) == 2
        assert done(api.get("/audit", params={"actor": "uid:1 x"}))["audit"] == []
        refused(api.get("/audit", params={"result": "maybe"}), 422, "invalid-request")

    def test_who_is_refused_at_the_door_is_noted(self, app: FastAPI, api: Api) -> None:
        """As often as the audit bears, once per refusal at most."""
        _, text = token(api, "read")
        remote = Remote(app)
        remote.get("/status", "nw_nonsense")
        remote.get("/audit", text)
        first, second = audit(api, 4)[2:]
        assert (first["action"], first["phase"], first["source"]) == ("authentication-failed", "note", HOST)
        assert (second["action"], second["target"]) == ("not-allowed", "GET /audit")
        assert second["actor"].startswith("token:")


class TestStorageDown:
    @pytest.fixture
    def down(self, store: Store, tmp_path: Path) -> Iterator[None]:
        """The database is gone, and comes back with the test's end."""
        file = tmp_path / "neurowall.db"
        away = tmp_path / "away"
        file.rename(away)
        deadline = time.monotonic() + 5
        while store.problem is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield
        if not file.exists():
            away.rename(file)

    @pytest.mark.usefixtures("down")
    def test_nothing_is_changed(self, api: Api, engine: Engine) -> None:
        """A clear refusal, over the unix socket too; questions and dry runs go on."""
        before = engine.generation_now
        answer = block(api)
        refused(answer, 503, "storage-unavailable")
        assert answer.headers["retry-after"] == "1"
        assert engine.generation_now == before
        assert done(api.get("/status"))["generation"] == before
        done(api.post("/block", json={"addresses": [HOST]}, params={"dry_run": True}))
        refused(api.post("/tokens", json={"name": "x"}), 503, "storage-unavailable")
        refused(api.get("/audit"), 503, "storage-unavailable")

    def test_what_was_begun_ends_well(
        self, api: Api, engine: Engine, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The database goes while the change is made: it is made, and answered."""
        file, away, original = tmp_path / "neurowall.db", tmp_path / "away", Engine.block

        def slow(engine: Engine, *arguments: Any, **more: Any) -> Any:
            result = original(engine, *arguments, **more)
            file.rename(away)
            return result

        monkeypatch.setattr(Engine, "block", slow)
        done(block(api, HOST, idempotency_key="k"))
        away.rename(file)
        monkeypatch.undo()
        _, end = audit(api, 2)
        assert end["result"] == "ok"
        assert block(api, HOST, idempotency_key="k").headers["idempotency-replayed"] == "true"


class TestIdempotency:
    def test_the_same_request_is_done_once(self, api: Api, engine: Engine) -> None:
        """The same answer, which says that it is one."""
        first = block(api, HOST, idempotency_key="a-1")
        again = block(api, HOST, idempotency_key="a-1")
        assert first.json()["added"] == 1
        assert again.content == first.content
        assert again.headers["etag"] == first.headers["etag"]
        assert again.headers["idempotency-replayed"] == "true"
        assert "idempotency-replayed" not in first.headers
        assert engine.generation_now == 2
        assert len(audit(api, 2)) == 2

    @pytest.mark.parametrize("other", ["body", "path", "query"])
    def test_another_request_is_refused(self, api: Api, other: str) -> None:
        """The key is spent."""
        block(api, HOST, idempotency_key="a-1")
        body = {"addresses": ["192.0.2.1" if other == "body" else HOST]}
        path = "/allow" if other == "path" else "/block"
        url = path + ("?dry_run=false" if other == "query" else "")
        answer = api.post(url, json=body, headers={"idempotency-key": "a-1"})
        refused(answer, 422, "idempotency-mismatch")

    def test_a_refused_request_may_come_again(self, api: Api) -> None:
        """Nothing was done that should not be done twice."""
        for _ in range(2):
            answer = api.delete("/lists/nothing", headers={"idempotency-key": "a-1"})
            refused(answer, 404, "no-such-list")

    def test_keys_are_each_actor_s_own(self, app: FastAPI, api: Api) -> None:
        """What one was answered is no other's business."""
        _, text = token(api, "rules:write")
        block(api, HOST, idempotency_key="a-1")
        answer = Remote(app).get(
            "/block", text, "POST", json={"addresses": [HOST]}, headers={"idempotency-key": "a-1"}
        )
        assert done(answer)["unchanged"] == 1

    def test_two_at_once(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        """The second one is told to come again."""
        entered, go = threading.Event(), threading.Event()
        original = Engine.block

        def slow(engine: Engine, *arguments: Any, **more: Any) -> Any:
            entered.set()
            assert go.wait(5)
            return original(engine, *arguments, **more)

        monkeypatch.setattr(Engine, "block", slow)

        async def scenario() -> tuple[Response, Response]:
            async with api.client() as client:
                how: Any = {"json": {"addresses": [HOST]}, "headers": {"idempotency-key": "a-1"}}
                first = asyncio.create_task(client.post("/block", **how))
                await asyncio.to_thread(entered.wait, 5)
                second = await client.post("/block", **how)
                go.set()
                return await first, second

        first, second = asyncio.run(scenario())
        assert done(first)["added"] == 1
        refused(second, 409, "idempotency-in-progress")

    @pytest.mark.parametrize("key", ["", " ", "a b", "x" * 129, "\u00e9"])
    def test_keys_that_are_none(self, api: Api, key: str, engine: Engine) -> None:
        """Better refused than done twice."""
        answer = api.post(
            "/block", json={"addresses": [HOST]}, headers={"idempotency-key": key.encode("latin-1")}
        )
        refused(answer, 422, "invalid-request")
        assert engine.generation_now == 1

    def test_a_token_s_secret_is_not_kept(self, api: Api, tmp_path: Path) -> None:
        """Who asks again learns which token that was, and no file has its text."""
        body, key = {"name": "ci"}, {"idempotency-key": "a-1"}
        made = done(api.post("/tokens", json=body, headers=key))
        again = refused(api.post("/tokens", json=body, headers=key), 409, "token-shown")
        assert again["token_id"] == made["id"]
        secret = made["token"].encode().rpartition(b"_")[2][-20:]
        time.sleep(0.2)
        for file in tmp_path.rglob("*"):
            assert not file.is_file() or secret not in file.read_bytes()


class TestIfMatch:
    def test_only_at_that_generation(self, api: Api, engine: Engine) -> None:
        """The tag of what was looked at, or of the last change."""
        tag = api.get("/status").headers["etag"]
        assert tag == '"1"'
        first = block(api, HOST, if_match=tag)
        assert first.headers["etag"] == '"2"'
        problem = refused(block(api, "192.0.2.1", if_match=tag), 412, "generation-changed")
        assert problem["generation"] == 2
        done(block(api, "192.0.2.1", if_match='"7", "2"'))
        done(block(api, "192.0.2.2", if_match="*"))
        refused(block(api, "192.0.2.3", if_match='W/"4"'), 412, "generation-changed")
        assert engine.generation_now == 4

    def test_dry_runs_keep_to_it_too(self, api: Api) -> None:
        """They answer what the change would."""
        answer = api.post(
            "/block", json={"addresses": [HOST]}, params={"dry_run": True}, headers={"if-match": '"9"'}
        )
        refused(answer, 412, "generation-changed")

    @pytest.mark.parametrize("tag", ["", "1", '"1', "'1'", '"1" "2"'])
    def test_what_is_no_tag(self, api: Api, tag: str, engine: Engine) -> None:
        """Not ignored: the caller meant something."""
        refused(block(api, HOST, if_match=tag), 422, "invalid-request")
        assert engine.generation_now == 1

    def test_of_many_at_once_one_is_made(self, api: Api, engine: Engine) -> None:
        """The check and the change are one."""

        async def scenario() -> list[int]:
            async with api.client() as client:
                requests = [
                    client.post("/block", json={"addresses": [f"192.0.2.{n}"]}, headers={"if-match": '"1"'})
                    for n in range(12)
                ]
                return [answer.status_code for answer in await asyncio.gather(*requests)]

        assert sorted(asyncio.run(scenario())) == [200] + [412] * 11
        assert engine.generation_now == 2

    def test_answers_about_what_is_in_force_have_a_tag(self, api: Api) -> None:
        """Others have none, or their own."""
        for path in ("/status", "/lists", "/lists/declared", "/policy", "/bans", "/rules"):
            assert api.get(path).headers["etag"] == '"1"'
        assert "etag" not in api.get("/top").headers
        assert "etag" not in api.get("/lists/nothing").headers
        assert api.get("/console/").headers["etag"] != '"1"'


class TestBanHistory:
    def wait(self, api: Api, count: int) -> list[Json]:
        """So many rows, oldest first."""
        deadline = time.monotonic() + 5
        while len(rows := done(api.get("/bans/history"))["bans"]) < count:
            assert time.monotonic() < deadline, rows
            time.sleep(0.01)
        return list(rows[::-1])

    def test_who_banned_and_who_took_it_back(self, api: Api) -> None:
        """For good, for a time, and made longer."""
        done(api.post("/block", json={"addresses": [HOST], "ttl": "1h", "reason": "scans"}))
        (row,) = self.wait(api, 1)
        assert (row["entry"], row["kind"], row["list"]) == (HOST, "block", "operator-block-timed")
        assert (row["reason"], row["by"], row["ended"]) == ("scans", "uid:0 root", None)
        assert row["until"]
        (now,) = done(api.get("/bans"))["bans"]
        assert (now["by"], now["reason"], now["since"]) == ("uid:0 root", "scans", row["since"])
        done(block(api))
        timed, permanent = self.wait(api, 2)
        assert timed["ended"]
        assert (permanent["list"], permanent["until"]) == ("operator-block", None)
        done(api.post("/unblock", json={"addresses": [HOST]}))
        deadline = time.monotonic() + 5
        while not self.wait(api, 2)[1]["ended"]:
            assert time.monotonic() < deadline
        assert self.wait(api, 2)[1]["ended_by"] == "uid:0 root"


# Open to everybody, or to all whom the daemon knows.
WITHOUT_SCOPE = {*gate.OPEN, "/console/", "/console/{name}", "/whoami"}


def scopes_of(route: APIRoute) -> set[str]:
    """The scopes that a route needs."""
    found: set[str] = set()
    todo = list(route.dependant.dependencies)
    while todo:
        each = todo.pop()
        found |= set(each.own_oauth_scopes or ())
        todo += each.dependencies
    return found


def test_every_route_needs_one_scope(app: FastAPI) -> None:
    """The route table is walked: what changes something needs to write, all else to read."""
    for route in app.routes:
        assert isinstance(route, APIRoute), route
        needed = scopes_of(route)
        if route.path in WITHOUT_SCOPE:
            assert needed == set(), route.path
            assert route.methods == {"GET"}, route.path
            continue
        assert len(needed) == 1, route.path
        writes = next(iter(needed)) in ("rules:write", "tokens:write")
        assert writes or route.methods == {"GET"}, route.path
        assert needed <= SCOPES.keys()


def test_every_route_is_closed_to_other_scopes(app: FastAPI, api: Api) -> None:
    """Asked with a token that has every scope but that one, and without a token."""
    texts = {scope: token(api, *(SCOPES.keys() - {scope}))[1] for scope in SCOPES}

    async def scenario() -> None:
        transport = ASGITransport(app, raise_app_exceptions=False, client=(HOST, 1))
        async with AsyncClient(transport=transport, base_url="http://neurowall") as client:
            for route in app.routes:
                assert isinstance(route, APIRoute)
                if route.path in WITHOUT_SCOPE - {"/whoami"}:
                    continue
                path = route.path_format.replace("{number}", "1").replace("{", "").replace("}", "")
                for method in route.methods or ():
                    stranger = await client.request(method, path)
                    assert stranger.status_code == 401, (method, path)
                    for scope in scopes_of(route):
                        headers = {"authorization": f"Bearer {texts[scope]}"}
                        answer = await client.request(method, path, headers=headers)
                        problem = refused(answer, 403, "insufficient-scope")
                        assert problem["scope"] == scope, (method, path)
                        assert not described().problem_with(
                            method, path, answer.status_code, answer.headers, answer.content
                        )

    asyncio.run(scenario())


def test_strangers_are_not_told_what_is_wrong(app: FastAPI, api: Api, about: About) -> None:
    """Whether, but not what."""
    about.say_housekeeping("secret")
    assert Remote(app).get("/health").json() == {"state": "degraded"}
    assert done(api.get("/health"))["problems"] == ["secret"]


def test_a_store_that_cannot_begin_refuses_at_once(
    api: Api, engine: Engine, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the work is done."""

    def away(*_: object) -> None:
        raise StorageUnavailable("no")

    monkeypatch.setattr(store.audit, "begin", away)
    refused(block(api), 503, "storage-unavailable")
    assert engine.generation_now == 1
