# SPDX-License-Identifier: Apache-2.0
"""Tokens over a real store: who makes which, for how long, and what ends with what."""

import time
from datetime import datetime, timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import Response

from neurowall.data.store.store import Store
from neurowall.logic.engine import Engine
from neurowall.management.api.answers import About
from neurowall.management.api.app import create_app
from neurowall.model.errors import StorageRefused
from neurowall.model.tokens import SCOPES, TokenRecord
from tests.unit.management.conftest import Api, Json, done, refused
from tests.unit.management.test_api_auth import Remote
from tests.unit.management.test_api_changes import token


@pytest.fixture
def app(engine: Engine, about: About, store: Store) -> FastAPI:
    """The whole API."""
    return create_app(engine, about, store=store)


@pytest.fixture
def api(app: FastAPI) -> Api:
    """As root on the unix socket."""
    return Api(app)


class TestTokens:
    def test_made_used_listed_and_revoked(self, app: FastAPI, api: Api) -> None:
        """Its whole life."""
        made = done(api.post("/tokens", json={"name": "ci", "scopes": ["read"], "expires": "90d"}))
        remote = Remote(app)
        assert remote.get("/status", made["token"]).status_code == 200
        (row,) = done(api.get("/tokens"))["tokens"]
        assert (row["id"], row["name"], row["scopes"]) == (made["id"], "ci", ["read"])
        assert row["created_by"] == "uid:0 root"
        assert "token" not in row
        assert done(api.delete(f"/tokens/{made['id']}"))["revoked"]
        refused(remote.get("/status", made["token"]), 401, "not-authenticated")
        assert not done(api.delete(f"/tokens/{made['id']}"))["revoked"]
        assert done(api.get("/tokens"))["tokens"][0]["revoked"]
        refused(api.delete("/tokens/aaaaaaaaaaaa"), 404, "no-such-token")

    def test_nobody_gives_what_he_has_not(self, app: FastAPI, api: Api) -> None:
        """A token that makes tokens makes none that may more."""
        _, text = token(api, "tokens:write", "read")
        remote = Remote(app)

        def make(*scopes: str) -> Response:
            return remote.get("/tokens", text, "POST", json={"name": "-".join(scopes), "scopes": scopes})

        done(make("read"))
        assert refused(make("read", "rules:write"), 403, "insufficient-scope")["scope"] == "rules:write"

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"name": ""},
            {"name": " x"},
            {"name": "x" * 65},
            {"name": "a\nb"},
            {"name": "x", "scopes": []},
            {"name": "x", "scopes": ["root"]},
            {"name": "x", "expires": "0s"},
            {"name": "x", "expires": 5},
            {"name": "x", "expires": "99999d"},
            {"name": "x", "more": 1},
        ],
    )
    def test_what_is_no_token(self, api: Api, body: Json) -> None:
        """422, and nothing is made."""
        refused(api.post("/tokens", json=body), 422, "invalid-request")
        assert done(api.get("/tokens"))["tokens"] == []

    def test_a_name_is_used_once(self, api: Api) -> None:
        """Until that one is revoked: the audit names it."""
        made = done(api.post("/tokens", json={"name": "ci"}))
        refused(api.post("/tokens", json={"name": "ci"}), 409, "storage-refused")
        done(api.delete(f"/tokens/{made['id']}"))
        done(api.post("/tokens", json={"name": "ci"}))

    def test_a_dry_run_makes_none(self, api: Api) -> None:
        """It says what it would be."""
        answer = done(api.post("/tokens", json={"name": "ci"}, params={"dry_run": True}))
        assert (answer["token"], answer["dry_run"]) == (None, True)
        assert done(api.get("/tokens"))["tokens"] == []

    def test_pages(self, api: Api) -> None:
        """Each token once."""
        made = {token(api, "read")[0] for _ in range(5)}
        seen: list[str] = []
        after: str | None = None
        while True:
            query = {"limit": 2} | ({"after": after} if after else {})
            page = done(api.get("/tokens", params=query))
            seen += [each["id"] for each in page["tokens"]]
            after = page["next"]
            if after is None:
                break
        assert len(seen) == 5
        assert set(seen) == made


class TestLifetime:
    """A token lives on in none that it makes."""

    def make(self, app: FastAPI, text: str, name: str = "made", **more: Any) -> Response:
        """What a token gets that asks for another."""
        body = {"name": name, "scopes": ["tokens:write"], **more}
        return Remote(app).get("/tokens", text, "POST", json=body)

    def test_asked_for_longer_than_the_maker(self, app: FastAPI, api: Api) -> None:
        """Refused, and none is made."""
        _, text = token(api, "tokens:write", expires="1h")
        problem = refused(self.make(app, text, expires="2h"), 422, "invalid-request")
        assert problem["errors"][0]["field"] == "expires"
        assert len(done(api.get("/tokens"))["tokens"]) == 1

    def test_shorter_than_the_maker(self, app: FastAPI, api: Api) -> None:
        """As asked for; of a maker without an end too."""
        for number, more in enumerate(({"expires": "1h"}, {})):
            _, text = token(api, "tokens:write", **more)
            made = done(self.make(app, text, f"short-{number}", expires="1m"))
            begin, end = (datetime.fromisoformat(made[each]) for each in ("created", "expires"))
            assert timedelta(seconds=59) <= end - begin <= timedelta(seconds=61)

    def test_not_asked_for(self, app: FastAPI, api: Api) -> None:
        """The end is the maker's, over generations; none if that has none."""
        _, text = token(api, "tokens:write", expires="1h")
        end = done(api.get("/tokens"))["tokens"][0]["expires"]
        child = done(self.make(app, text, "child"))
        assert child["expires"] == end
        assert done(self.make(app, child["token"], "grandchild"))["expires"] == end
        _, forever = token(api, "tokens:write")
        assert done(self.make(app, forever, "other"))["expires"] is None

    def test_what_it_made_is_revoked_with_it(self, app: FastAPI, api: Api) -> None:
        """And what that made; a dry run says so, and nobody else's end."""
        parent, text = token(api, "tokens:write")
        child = done(self.make(app, text, "child"))
        grandchild = done(self.make(app, child["token"], "grandchild"))
        ended = done(self.make(app, text, "ended"))
        other, _ = token(api, "read")
        done(api.delete(f"/tokens/{ended['id']}"))
        named = [{"id": each["id"], "name": each["name"]} for each in (child, grandchild)]
        told = done(api.delete(f"/tokens/{parent}", params={"dry_run": True}))
        assert (told["revoked"], told["also"]) == (True, named)
        assert Remote(app).get("/whoami", grandchild["token"]).status_code == 200
        answer = done(api.delete(f"/tokens/{parent}"))
        assert (answer["revoked"], answer["also"]) == (True, named)
        refused(Remote(app).get("/whoami", child["token"]), 401, "not-authenticated")
        refused(Remote(app).get("/whoami", grandchild["token"]), 401, "not-authenticated")
        alive = [each["id"] for each in done(api.get("/tokens"))["tokens"] if not each["revoked"]]
        assert alive == [other]
        again = done(api.delete(f"/tokens/{parent}"))
        assert (again["revoked"], again["also"]) == (False, [])

    def test_none_is_made_behind_a_revocation(self, store: Store) -> None:
        """A maker that ended while its request was under way makes none."""
        now = time.time()

        def record(letter: str, by: str, expires: float | None = None) -> TokenRecord:
            return TokenRecord(letter * 12, letter, "0" * 64, frozenset(SCOPES), now, by, expires)

        store.tokens.create(record("a", "uid:0 root"))
        store.tokens.create(record("b", "uid:0 root", now))
        store.tokens.revoke("a" * 12)
        for maker in "abc":
            with pytest.raises(StorageRefused, match="not valid any more"):
                store.tokens.create(record("d", f"token:{maker * 12} {maker}"))


class TestNoGeneration:
    """What no generation holds is not bound to one."""

    @pytest.mark.parametrize("tag", ['"1"', '"7"', "*"])
    def test_if_match_is_refused(self, api: Api, tag: str) -> None:
        """Not ignored, nor waited for with the engine's lock; in a dry run too."""
        made, _ = token(api, "read")
        for query in ({}, {"dry_run": True}):
            how: Json = {"headers": {"if-match": tag}, "params": query}
            problem = refused(api.post("/tokens", json={"name": "x"}, **how), 422, "invalid-request")
            assert problem["errors"][0]["field"] == "if-match"
            refused(api.delete(f"/tokens/{made}", **how), 422, "invalid-request")
        assert [each["revoked"] for each in done(api.get("/tokens"))["tokens"]] == [None]

    def test_the_engine_is_not_held(self, api: Api, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        """No tag comes either, which one could name."""
        monkeypatch.setattr(type(engine), "at_generation", lambda *_: pytest.fail("the lock was taken"))
        answer = api.post("/tokens", json={"name": "x"})
        assert "etag" not in answer.headers
        assert "etag" not in api.delete(f"/tokens/{done(answer)['id']}").headers
