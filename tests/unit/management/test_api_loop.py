# SPDX-License-Identifier: Apache-2.0
"""The event loop answers, whatever the engine is busy with."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from httpx import Response
from starlette.responses import JSONResponse

from neurowall.logic.engine import Engine
from neurowall.management.api.changes import CHANGES_AT_ONCE
from tests.unit.management.conftest import Api, done

POOL = 40  # threads of the event loop's pool


@pytest.fixture
def gate(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> "Gate":
    """Changes that are under way until the test lets them go."""
    gate = Gate()
    for name in ("replace_list", "block", "reload_program"):
        monkeypatch.setattr(engine, name, gate.before(getattr(engine, name)))
    return gate


class Gate:
    """Holds calls up; entered counts them."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()

    def before(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """*call*, held up."""

        def held(*arguments: Any, **options: Any) -> Any:
            self.entered.release()
            assert self.open.wait(20)
            return call(*arguments, **options)

        return held


def test_questions_are_answered_while_a_list_is_applied(api: Api, gate: Gate) -> None:
    """An apply that takes its time blocks neither liveness nor questions."""

    async def scenario() -> Response:
        async with api.client() as client:
            put = asyncio.create_task(client.put("/lists/declared", content="198.51.100.1"))
            assert await asyncio.to_thread(gate.entered.acquire, timeout=10)
            assert done(await client.get("/liveness")) == {"alive": True}
            assert done(await client.get("/explain/203.0.113.9"))["verdict"] == "drop"
            assert done(await client.get("/status"))["generation"] == 1
            assert not put.done()
            gate.open.set()
            answer: Response = await put
            return answer

    assert done(asyncio.run(asyncio.wait_for(scenario(), 20)))["generation"] == 2


def test_changes_that_queue_leave_threads_for_questions(api: Api, gate: Gate) -> None:
    """A hundred bans may wait for one slow apply; the status does not wait with them."""

    async def scenario() -> list[Response]:
        async with api.client() as client:
            bodies = [{"addresses": [f"198.51.100.{index}"]} for index in range(100)]
            bans = [asyncio.create_task(client.post("/block", json=body)) for body in bodies]
            bans += [asyncio.create_task(client.post("/reload")) for _ in range(POOL)]
            for _ in range(CHANGES_AT_ONCE):
                assert await asyncio.to_thread(gate.entered.acquire, timeout=10)
            assert done(await client.get("/status"))["generation"] == 1
            assert done(await client.get("/readiness"))["ready"]
            assert not gate.entered.acquire(blocking=False)
            gate.open.set()
            return await asyncio.gather(*bans)

    answers = asyncio.run(asyncio.wait_for(scenario(), 20))
    assert [done(answer).get("added", 0) for answer in answers] == [1] * 100 + [0] * POOL


def test_liveness_needs_no_thread(api: Api, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if every thread of the pool hangs, in a system call say."""
    gate = Gate()
    monkeypatch.setattr(engine, "status", gate.before(engine.status))

    async def scenario() -> None:
        async with api.client() as client:
            stuck = [asyncio.create_task(client.get("/health")) for _ in range(POOL)]
            for _ in range(POOL):
                assert await asyncio.to_thread(gate.entered.acquire, timeout=10)
            assert done(await client.get("/liveness")) == {"alive": True}
            gate.open.set()
            await asyncio.gather(*stuck)

    asyncio.run(asyncio.wait_for(scenario(), 20))


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/block", {"addresses": ["198.51.100.1"]}),
        ("GET", "/status", None),
        ("GET", "/lists", None),
        ("GET", "/lists/declared", None),
        ("PATCH", "/lists/declared", {"monitor": True}),
    ],
)
def test_large_answers_are_written_outside_the_loop(
    api: Api, monkeypatch: pytest.MonkeyPatch, method: str, path: str, body: Any
) -> None:
    """A page of ten thousand entries, or what became of a hundred thousand addresses, takes its time."""
    threads = []
    render = JSONResponse.render

    def noted(self: JSONResponse, content: Any) -> bytes:
        threads.append(threading.current_thread())
        return render(self, content)

    monkeypatch.setattr(JSONResponse, "render", noted)
    done(api.request(method, path, json=body))
    assert threads
    assert threading.main_thread() not in threads
