# SPDX-License-Identifier: Apache-2.0
"""Who may ask what: the gate and the scopes, without a network."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, Response
from starlette.requests import Request

from neurowall.logic.engine import Engine
from neurowall.management.api import asked, attempts
from neurowall.management.api.answers import About
from neurowall.management.api.app import create_app
from neurowall.management.api.attempts import Attempts
from neurowall.management.api.auth import needs
from neurowall.management.api.gate import source_of
from neurowall.model.tokens import TokenRecord, digest_of, new_text, split_text
from tests.unit.management.conftest import Api, done, refused


class Held:
    """Tokens in memory."""

    def __init__(self) -> None:
        self.records: dict[str, TokenRecord] = {}
        self.touched: list[tuple[str, str]] = []

    def make(self, *scopes: str) -> str:
        """A new one; its text."""
        text = new_text()
        parts = split_text(text)
        assert parts
        made = TokenRecord(parts[0], "ci", digest_of(parts[1]), frozenset(scopes), 1.0, "uid:0 root")
        self.records[made.id] = made
        return text

    def change(self, text: str, **more: Any) -> None:
        """Have one end."""
        parts = split_text(text)
        assert parts
        self.records[parts[0]] = replace(self.records[parts[0]], **more)

    def snapshot(self) -> Mapping[str, TokenRecord]:
        """All."""
        return self.records

    def touch(self, token_id: str, when: float, source: str) -> None:
        """Remember."""
        assert when
        self.touched.append((token_id, source))


class Remote:
    """A client somewhere in the network."""

    def __init__(self, app: FastAPI, host: str = "198.51.100.7") -> None:
        self._app, self._host = app, host

    def get(self, path: str, token: str = "", method: str = "GET", **more: Any) -> Response:
        """One request with a token."""
        headers = more.pop("headers", {}) | ({"authorization": f"Bearer {token}"} if token else {})

        async def ask() -> Response:
            transport = ASGITransport(self._app, raise_app_exceptions=False, client=(self._host, 40000))
            async with AsyncClient(transport=transport, base_url="http://neurowall") as client:
                return await client.request(method, path, headers=headers, **more)

        return asyncio.run(ask())


@pytest.fixture
def held() -> Held:
    """The tokens there are."""
    return Held()


@pytest.fixture
def app(engine: Engine, about: About, held: Held) -> FastAPI:
    """The API, and two routes for those with a scope."""
    app = create_app(engine, about, tokens=held)

    @app.get("/seen", dependencies=[needs("read")])
    async def seen() -> dict[str, str]:
        actor = asked.actor()
        assert actor
        return {"actor": actor.name, "source": actor.source}

    @app.post("/made", dependencies=[needs("rules:write")])
    async def made(request: Request) -> dict[str, int]:
        return {"bytes": len(await request.body())}

    return app


@pytest.fixture
def remote(app: FastAPI) -> Remote:
    """A client in the network."""
    return Remote(app)


def test_strangers_see_that_it_lives_and_nothing_else(remote: Remote) -> None:
    """Unknown paths too: what there is, is nobody's business."""
    for path in ("/liveness", "/health", "/readiness"):
        assert remote.get(path).status_code == 200
    for path in ("/status", "/seen", "/openapi.json", "/nothing", "/metrics", "/consoles"):
        answer = remote.get(path)
        refused(answer, 401, "not-authenticated")
        assert answer.headers["www-authenticate"] == 'Bearer realm="neurowall"'
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    refused(remote.get("/liveness", method="POST"), 401, "not-authenticated")


def test_a_token_is_known_in_either_header(remote: Remote, held: Held) -> None:
    """The actor is the token, from its address; its use is noted."""
    text = held.make("read")
    token_id = text.split("_")[1]
    expected = {"actor": f"token:{token_id} ci", "source": "198.51.100.7"}
    assert done(remote.get("/seen", text)) == expected
    assert done(remote.get("/seen", headers={"x-api-key": text})) == expected
    assert held.touched == [(token_id, "198.51.100.7")] * 2


def test_a_scope_that_is_missing(remote: Remote, held: Held) -> None:
    """403 names it; no scope implies another."""
    for have, path, method in (("read", "/made", "POST"), ("rules:write", "/seen", "GET")):
        wanted = {"read": "rules:write", "rules:write": "read"}[have]
        answer = remote.get(path, held.make(have), method)
        assert refused(answer, 403, "insufficient-scope")["scope"] == wanted
        assert f'scope="{wanted}"' in answer.headers["www-authenticate"]
    assert done(remote.get("/made", held.make("rules:write"), "POST", content=b"123")) == {"bytes": 3}


def test_tokens_end_at_once(remote: Remote, held: Held) -> None:
    """Revoked or over: only who has the secret is told which."""
    for change, said in (({"revoked": 2.0}, "was revoked"), ({"expires": 2.0}, "has expired")):
        text = held.make("read")
        assert remote.get("/seen", text).status_code == 200
        held.change(text, **change)
        assert said in refused(remote.get("/seen", text), 401, "not-authenticated")["detail"]
        wrong = refused(
            remote.get("/seen", text[:-1] + ("x" if text[-1] != "x" else "y")), 401, "not-authenticated"
        )
        assert "not a valid token" in wrong["detail"]


@pytest.mark.parametrize("header", ["Basic cm9vdDpyb290", "Bearer", "Bearer nw_x_y", "Token nw_x_y", "é"])
def test_what_is_no_token(remote: Remote, header: str) -> None:
    """An answer, whatever it is."""
    answer = remote.get("/seen", headers={"authorization": header.encode("latin-1")})
    refused(answer, 401, "not-authenticated")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


def test_guessing_ends_soon(app: FastAPI, held: Held) -> None:
    """Ten wrong tokens, then 429; who comes from elsewhere, or has one that is good, goes on."""
    text = held.make("read")
    remote = Remote(app)
    for _ in range(10):
        refused(remote.get("/seen", new_text()), 401, "not-authenticated")
    answer = remote.get("/seen", new_text())
    refused(answer, 429, "too-many-attempts")
    assert answer.headers["retry-after"] in ("1", "2")
    assert remote.get("/seen", text).status_code == 200
    assert Remote(app, "198.51.100.8").get("/seen", new_text()).status_code == 401


def test_guessing_the_secret_of_a_known_id(app: FastAPI, held: Held) -> None:
    """Then wrong ones have to wait; who has the right one is not kept out by others at his address."""
    text = held.make("read")
    remote = Remote(app)
    guess = text[:16] + "x" * 43
    for _ in range(10):
        refused(remote.get("/seen", guess), 401, "not-authenticated")
    refused(remote.get("/seen", guess), 429, "too-many-attempts")
    assert remote.get("/seen", text).status_code == 200
    refused(remote.get("/seen", guess), 429, "too-many-attempts")


def test_a_token_that_ended_waits_as_a_wrong_one_does(remote: Remote, held: Held) -> None:
    """It is a failure too."""
    text = held.make("read")
    held.change(text, revoked=2.0)
    for _ in range(10):
        refused(remote.get("/seen", text), 401, "not-authenticated")
    refused(remote.get("/seen", text), 429, "too-many-attempts")


def test_an_ipv6_source_is_its_whole_64(app: FastAPI) -> None:
    """Its holder has all these addresses."""
    for host in range(10):
        Remote(app, f"2001:db8::{host + 1}").get("/seen", new_text())
    refused(Remote(app, "2001:db8::ffff:1").get("/seen", new_text()), 429, "too-many-attempts")
    assert Remote(app, "2001:db8:0:1::1").get("/seen", new_text()).status_code == 401


def test_attempts_come_back() -> None:
    """One a second."""
    now = [100.0]
    bucket = Attempts(lambda: now[0])
    for _ in range(10):
        assert bucket.wait("a") == 0
        bucket.failed("a")
    assert bucket.wait("a") == pytest.approx(1.0)
    now[0] += 0.75
    assert bucket.wait("a") == pytest.approx(0.25)
    now[0] += 0.25
    assert bucket.wait("a") == 0
    bucket.failed("a")
    assert bucket.wait("a") == pytest.approx(1.0)
    now[0] += 3600
    for _ in range(10):
        assert bucket.wait("a") == 0
        bucket.failed("a")
    assert bucket.wait("a") > 0


def test_attempts_of_many_sources_take_no_more_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that failed longest ago is forgotten."""
    monkeypatch.setattr(attempts, "REMEMBERED", 100)
    bucket = Attempts()
    for source in range(1000):
        bucket.failed(source)
    assert len(bucket._buckets) == 100
    assert next(iter(bucket._buckets)) == 900


def test_root_on_the_unix_socket_may_everything(app: FastAPI, held: Held) -> None:
    """Unless it brings a token: then that decides, or a proxy before the socket would lend all it has."""
    api = Api(app)
    assert done(api.get("/seen")) == {"actor": "uid:0 root", "source": "unix"}
    text = held.make("rules:write")
    refused(api.get("/seen", headers={"authorization": f"Bearer {text}"}), 403, "insufficient-scope")
    refused(api.get("/seen", headers={"authorization": "Bearer nonsense"}), 401, "not-authenticated")


def test_a_stranger_s_body_is_not_read(app: FastAPI) -> None:
    """He is answered by what his headers say."""

    async def scenario() -> list[Any]:
        sent: list[Any] = []

        async def receive() -> Any:
            pytest.fail("the body was asked for")

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": "POST", "path": "/block", "query_string": b"", "http_version": "1.1",
            "headers": [(b"content-length", b"1000000")], "client": ("198.51.100.7", 1),
        }  # fmt: skip
        await app(scope, receive, send)
        return sent

    assert asyncio.run(scenario())[0]["status"] == 401


class TestRequestId:
    def test_it_is_made(self, remote: Remote) -> None:
        """Each request has another; the problem names it as the header does."""
        first, second = remote.get("/status"), remote.get("/status")
        assert first.headers["x-request-id"] != second.headers["x-request-id"]
        assert first.json()["instance"] == f"urn:neurowall:request:{first.headers['x-request-id']}"

    def test_it_is_taken_over(self, remote: Remote) -> None:
        """Also where nothing went wrong."""
        answer = remote.get("/liveness", headers={"x-request-id": "ticket-4711.a_b"})
        assert answer.headers["x-request-id"] == "ticket-4711.a_b"

    @pytest.mark.parametrize("given", ["", "a b", "x" * 65, "a\tb", "é", "<script>"])
    def test_not_if_it_is_odd(self, remote: Remote, given: str) -> None:
        """It goes into logs."""
        answer = remote.get("/liveness", headers={"x-request-id": given.encode("latin-1")})
        assert len(answer.headers["x-request-id"]) == 16

    def test_a_bug_has_one_too(self, app: FastAPI) -> None:
        """The answer to what nobody foresaw."""

        @app.get("/bug", dependencies=[needs("read")])
        async def bug() -> None:
            raise RuntimeError("no")

        answer = Api(app).get("/bug", headers={"x-request-id": "bug-1"})
        assert refused(answer, 500, "internal")["instance"] == "urn:neurowall:request:bug-1"
        assert answer.headers["x-request-id"] == "bug-1"


@pytest.mark.parametrize(
    ("client", "source"),
    [
        (None, "unix"),
        (("::ffff:192.0.2.1", 1), "192.0.2.1"),
        (("2001:DB8::1", 1), "2001:db8::1"),
        (("fe80::1%eth0", 1), "fe80::1%eth0"),
        (("testclient", 1), "testclient"),
    ],
)
def test_sources_are_named_alike(client: tuple[str, int] | None, source: str) -> None:
    """However the socket puts it."""
    assert source_of({"client": client}) == source


def test_openapi_names_the_scopes(app: FastAPI) -> None:
    """Of each route that has one."""
    paths = app.openapi()["paths"]
    assert paths["/made"]["post"]["security"] == [{"token": ["rules:write"]}, {"apiKey": ["rules:write"]}]
    assert set(app.openapi()["components"]["securitySchemes"]) == {"token", "apiKey"}


def test_scopes_are_spelt_right() -> None:
    """A route of a scope that nobody can have is a mistake."""
    with pytest.raises(ValueError, match="no scope"):
        needs("rules")


def test_who_asks_is_told_who_he_is(remote: Remote, held: Held, api: Api) -> None:
    """A token with any scope or none, a peer of the unix socket; nobody else."""
    text = held.make("rules:write", "read")
    found = done(remote.get("/whoami", text))
    token_id = text.split("_")[1]
    assert found == {
        "actor": f"token:{token_id} ci",
        "source": "198.51.100.7",
        "token": token_id,
        "scopes": ["read", "rules:write"],
        "expires": None,
    }
    held.change(text, expires=4_102_444_800.0)
    assert done(remote.get("/whoami", text))["expires"] == "2100-01-01T00:00:00Z"
    assert done(remote.get("/whoami", held.make()))["scopes"] == []
    refused(remote.get("/whoami"), 401, "not-authenticated")
    peer = done(api.get("/whoami"))
    assert (peer["source"], peer["token"], peer["expires"]) == ("unix", None, None)
    assert "tokens:write" in peer["scopes"]
