# SPDX-License-Identifier: Apache-2.0
"""A real engine on a data plane in memory, and the API over it."""

import asyncio
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partialmethod
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, Response
from starlette.types import Receive, Scope, Send

from neurowall.data.state import StateStore
from neurowall.data.store.store import Store
from neurowall.logic.around import Around
from neurowall.logic.declared import declare
from neurowall.logic.engine import Engine
from neurowall.management import session
from neurowall.management.api import server, sockets
from neurowall.management.api.answers import About
from neurowall.management.api.app import Application, create_app
from neurowall.management.api.asked import Peer
from neurowall.management.api.openapi.document import published
from neurowall.management.api.server import Listener
from neurowall.management.instance import Instance
from neurowall.model.counters import Counter
from neurowall.model.interfaces import InterfaceStatus
from neurowall.model.policy import load_policy
from neurowall.model.reasons import Reason
from tests.conformance import Description
from tests.unit.logic.fake import FakeDataPlane
from tests.unit.logic.faketables import FakeTables
from tests.unit.management.commands import Cli

POLICY = """
interfaces:
  - {name: wan0, zone: external}
  - {name: lan0, zone: internal}
lists:
  - {name: declared, verdict: block, entries: [203.0.113.0/24, "2001:db8:bad::/48"]}
capacity: {hosts4: 1000, prefixes4: 100, hosts6: 100, prefixes6: 100, classes: 64, grow: false}
"""


class StandIn(FakeDataPlane):
    """The data plane in memory with two healthy interfaces, and reason counters as the test sets them."""

    def __init__(self) -> None:
        super().__init__(load_policy(POLICY, "policy.yaml").capacity)
        self.reasons: dict[Reason, Counter] = dict.fromkeys(Reason, Counter())
        self.states = [
            InterfaceStatus("wan0", 2, "native", "the fastest, and the device takes it", attached=True),
            InterfaceStatus("lan0", 3, "generic", "native refused: Operation not supported", attached=True),
        ]

    def lose_interface(self) -> None:
        """Take wan0 away."""
        self.states[0] = InterfaceStatus("wan0", None, "none", "", attached=False, problem="it has gone")

    def class_of(self, address: str) -> int:
        """The class id of a listed address."""
        found = self.lookup(address)
        assert found
        return found[0]

    def reason_counters(self) -> dict[Reason, Counter]:
        """As the test says."""
        return self.reasons


Json = dict[str, Any]


@pytest.fixture(autouse=True)
def _no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests over SSH has a session that is not the tests'."""
    monkeypatch.delenv(session.VARIABLE, raising=False)
    monkeypatch.setattr(session, "own_session", lambda: os.environ.get(session.VARIABLE))


@pytest.fixture
def dataplane() -> StandIn:
    """The kernel's stand-in."""
    return StandIn()


@pytest.fixture
def engine(dataplane: StandIn, tmp_path: Path) -> Iterator[Engine]:
    """A started engine with POLICY in force."""
    declared = declare(POLICY, "policy.yaml", "start")
    around = Around(tables=FakeTables())
    engine = Engine(declared, dataplane, StateStore(tmp_path / "state"), around=around)
    engine.start()
    yield engine
    engine.close()


@pytest.fixture
def about() -> About:
    """What the daemon tells of itself."""
    return About("main", "1.2.3", {"wan0": "external", "lan0": "internal"}, capacity={"hosts4": 1000})


@cache
def described() -> Description:
    """What the API promises; each answer that a test gets is held against it."""
    return Description(published())


@dataclass
class Api:
    """An application as its clients see it; a bug in it is an answer, not an exception.

    Every call has an event loop of its own, as if the daemon did nothing else; `client` serves tests
    that need one loop for several requests.
    """

    app: FastAPI

    async def as_root(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What the server does for root's connection to the unix socket."""
        scope["state"], scope["client"] = {"peer": Peer(0, 1, "root")}, None
        await self.app(scope, receive, send)

    def client(self) -> AsyncClient:
        """A client inside the caller's event loop, who is root on the unix socket."""
        transport = ASGITransport(self.as_root, raise_app_exceptions=False)
        return AsyncClient(transport=transport, base_url="http://neurowall")

    def request(self, method: str, url: str, **more: Any) -> Response:
        """One request and its answer."""

        async def ask() -> Response:
            async with self.client() as client:
                return await client.request(method, url, **more)

        answer = asyncio.run(ask())
        path = answer.request.url.path
        if not isinstance(self.app, Application) or self.app.gate is None:
            return answer  # the listener that has metrics only
        wrong = described().problem_with(method, path, answer.status_code, answer.headers, answer.content)
        assert not wrong, f"{wrong}; see management/api/openapi, and `make openapi`"
        return answer

    get = partialmethod(request, "GET")
    post = partialmethod(request, "POST")
    put = partialmethod(request, "PUT")
    patch = partialmethod(request, "PATCH")
    delete = partialmethod(request, "DELETE")


@pytest.fixture
def api(engine: Engine, about: About) -> Api:
    """The API over the engine."""
    return Api(create_app(engine, about))


def refused(answer: Response, status: int, kind: str) -> Json:
    """The problem document of an answer that must be one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: Json = answer.json()
    assert problem["type"] == f"urn:neurowall:problem:{kind}"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    return problem


def done(answer: Response) -> Json:
    """The body of an answer that must be a success."""
    assert answer.status_code == 200, answer.text
    body: Json = answer.json()
    return body


@pytest.fixture
def served(engine: Engine, about: About, tmp_path: Path) -> Iterator[Path]:
    """A run directory whose instance `main` answers."""
    instance = Instance("main", tmp_path / "run")
    instance.create()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    with sockets.unix_socket(instance.socket) as listener:
        serving = server.run([Listener(create_app(engine, about), listener)], stop, verbose=False)
        thread = threading.Thread(target=loop.run_until_complete, args=(serving,))
        thread.start()
        yield instance.run_dir
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
    loop.close()


@pytest.fixture
def cli(served: Path) -> Cli:
    """`neurowall` with a daemon."""
    return Cli(served)


@pytest.fixture
def alone(tmp_path: Path) -> Cli:
    """`neurowall` without one."""
    return Cli(tmp_path / "none")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A real one in a file."""
    store = Store(f"sqlite:///{tmp_path}/neurowall.db", "here/main", head_file=tmp_path / "head.json")
    store.start()
    store.open()
    assert store.problem is None
    yield store
    store.close()
