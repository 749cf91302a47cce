# SPDX-License-Identifier: Apache-2.0
"""`/events` without a network: the application is called as a server would."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from neurowall.logic.engine import Engine
from neurowall.logic.events import MOST_SUBSCRIBERS, EventHub
from neurowall.management.api.answers_events import event as answer
from neurowall.management.api.events import messages
from neurowall.management.cli.render_events import line, lost
from neurowall.management.daemon.telemetry import Teller
from neurowall.model.errors import KernelError
from neurowall.model.events import Event, EventKind, Filter, Told
from neurowall.model.reasons import Reason
from tests.unit.management.conftest import Api, StandIn, done, refused

App = Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]
SOURCE, HOST = "203.0.113.9", "192.0.2.1"  # the source is in the list `declared`


def drop(dataplane: StandIn, reason: Reason = Reason.BLOCK_LIST, time: int = 0) -> Event:
    """A dropped UDP packet."""
    number = dataplane.class_of(SOURCE) if reason is Reason.BLOCK_LIST else 0
    return Event(time, EventKind.DROP, reason, 2, SOURCE, HOST, 17, 4711, 53, 60, number, 0, 0, 0x0800)


def happen(engine: Engine, dataplane: StandIn, *events: Event) -> None:
    """Have the kernel tell these."""
    dataplane.happened = list(events)
    assert engine.pass_on_events(0)


class Reader:
    """One client of the application; what it was sent."""

    def __init__(self, app: App, query: str = "") -> None:
        self._app, self._query = app, query
        self._asked = False
        self.status = 0
        self.type = ""
        self.text = ""
        self.arrived = asyncio.Event()
        self.gone = asyncio.Event()

    def start(self) -> asyncio.Task[None]:
        """Ask; the task ends with the answer."""
        scope = {
            "type": "http", "method": "GET", "path": "/events", "query_string": self._query.encode(),
            "headers": [], "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
        }  # fmt: skip
        return asyncio.create_task(self._app(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.type = dict(message["headers"])[b"content-type"].decode()
        self.text += message.get("body", b"").decode()
        self.arrived.set()

    async def until(self, text: str) -> None:
        """Return when *text* has arrived."""
        while text not in self.text:
            self.arrived.clear()
            await asyncio.wait_for(self.arrived.wait(), 5)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run it, with an end."""
    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_events_arrive_as_they_happen(api: Api, engine: Engine, dataplane: StandIn) -> None:
    """As text/event-stream, filtered, with names; a client that goes gives its place back."""

    async def scenario() -> None:
        reader = Reader(api.as_root, f"reason=block-list&address={SOURCE}&kind=drop")
        task = reader.start()
        await reader.until(": open\n\n")
        assert (reader.status, reader.type) == (200, "text/event-stream; charset=utf-8")
        happen(engine, dataplane, drop(dataplane, Reason.TRUNCATED), drop(dataplane))
        await reader.until("event: drop\n")
        _open, message, rest = reader.text.split("\n\n")
        assert rest == ""
        kind, data = message.split("\n")
        assert kind == "event: drop"
        told = json.loads(data.removeprefix("data: "))
        assert (told["source"], told["list"], told["interface"]) == (SOURCE, "declared", "wan0")
        assert engine.events.subscribers == 1
        reader.gone.set()
        await task
        assert engine.events.subscribers == 0

    run(scenario)


def test_the_end_of_the_daemon_ends_the_stream(api: Api, engine: Engine) -> None:
    """At once, without a client's doing."""

    async def scenario() -> None:
        reader = Reader(api.as_root)
        task = reader.start()
        await reader.until(": open")
        engine.events.close()
        await asyncio.wait_for(task, 2)
        assert engine.events.subscribers == 0

    run(scenario)


def test_one_client_too_many_is_refused(api: Api, engine: Engine) -> None:
    """503, until one goes."""
    made = [engine.events.subscribe(Filter(), lambda: None) for _ in range(MOST_SUBSCRIBERS)]
    problem = refused(api.get("/events"), 503, "too-many-subscribers")
    assert str(MOST_SUBSCRIBERS) in problem["detail"]
    assert done(api.get("/events/recent"))["events"] == []
    engine.events.unsubscribe(made[0])
    assert engine.events.subscribers == MOST_SUBSCRIBERS - 1


@pytest.mark.parametrize("path", ["/events", "/events/recent"])
@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("reason=rain", "block-list"),
        ("kind=dorp", "flow-open"),
        ("address=203.0.113.0/24", "address"),
        ("colour=red", "colour"),
    ],
)
def test_wrong_filters_are_refused(api: Api, path: str, query: str, words: str) -> None:
    """With what there is instead."""
    assert words in refused(api.get(f"{path}?{query}"), 422, "invalid-request")["detail"]


def test_a_kernel_that_tells_nothing_says_so(api: Api, engine: Engine, dataplane: StandIn) -> None:
    """501 in both places."""
    dataplane.tallies = {}
    for path in ("/events", "/events/recent"):
        assert "Linux 5.8" in refused(api.get(path), 501, "no-events")["detail"]


def test_the_last_events_are_answered(api: Api, engine: Engine, dataplane: StandIn) -> None:
    """Oldest first, as many as asked for."""
    happen(engine, dataplane, *(drop(dataplane, time=number * 10**9) for number in range(5)))
    found = done(api.get("/events/recent?limit=2"))
    assert found["per_second"] == 100
    seconds = [each["time"][17:19] for each in found["events"]]
    assert len(seconds) == 2
    assert (int(seconds[1]) - int(seconds[0])) % 60 == 1


def test_a_slow_reader_is_told_what_it_lost() -> None:
    """Before what comes next; and a silence is filled with heartbeats."""

    async def scenario() -> None:
        hub, changed = EventHub(), asyncio.Event()
        subscription = hub.subscribe(Filter(), changed.set, size=2)
        stream = messages(subscription, changed, heartbeat=0.01)
        assert await anext(stream) == ": open\n\n"
        assert await anext(stream) == ": heartbeat\n\n"
        event = Event(0, EventKind.BAN, Reason.LIMITED, 2, SOURCE, HOST, 6, 1, 2, 60, 3)
        hub.publish([Told(event, 0.0, "wan0", "syn")] * 5)
        assert await anext(stream) == 'event: lost\ndata: {"lost":3}\n\n'
        both = await anext(stream)
        assert both.count("event: ban\n") == 2
        assert await anext(stream) == ": heartbeat\n\n"
        subscription.close()
        assert [each async for each in stream] == []

    run(scenario)


def test_answers_say_what_applies_and_null_for_the_rest() -> None:
    """A listed TCP packet, a frame that is not IP, a ban, the end of a flow."""
    tcp = Event(0, EventKind.DROP, Reason.BLOCK_LIST, 2, "2001:db8::7", HOST, 6, 1, 2, 60, 3, 0, 0x12, 0x86DD)
    first = answer(Told(tcp, 1.5, "wan0", "abuse"))
    assert first["time"] == "1970-01-01T00:00:01.500000Z"
    assert (first["protocol"], first["flags"], first["list"], first["number"]) == (
        "tcp",
        ["syn", "ack"],
        "abuse",
        None,
    )
    assert line(first) == (
        "1970-01-01 00:00:01.500  drop        block-list    wan0      "
        "tcp [2001:db8::7]:1 -> 192.0.2.1:2 [syn ack]  60 B  list abuse"
    )
    odd = Event(0, EventKind.DROP, Reason.UNPARSED_DROP, 2, "", "", 0, 0, 0, 60, 0, 0, 0, 0x8864)
    second = answer(Told(odd, 1.5, "wan0", ""))
    absent = (
        "protocol",
        "source",
        "destination",
        "source_port",
        "destination_port",
        "flags",
        "list",
        "limit",
    )
    assert [second[name] for name in absent] == [None] * 8
    assert line(second).endswith("ethertype 0x8864  60 B")
    ban = answer(
        Told(Event(0, EventKind.BAN, Reason.LIMITED, 2, SOURCE, HOST, 17, 1, 2, 60, 3, 9), 1.5, "wan0", "syn")
    )
    assert (ban["limit"], ban["list"], ban["verdict"], ban["number"], ban["extra"]) == (
        "syn",
        None,
        None,
        3,
        9,
    )
    assert line(ban).endswith("limit syn")
    flow = answer(
        Told(Event(0, EventKind.FLOW_CLOSE, Reason.FLOW, 2, SOURCE, HOST, 99, 0, 0, 60, 3, 9), 1.5, "w", "")
    )
    assert (flow["protocol"], flow["source_port"], flow["limit"]) == ("99", None, None)
    assert line(flow).endswith("99 203.0.113.9 -> 192.0.2.1  60 B  3 9")
    assert lost({"lost": 1234}).startswith("... 1,234 events lost")


class Kernel:
    """Tells, or fails, as often as it is told."""

    def __init__(self, *answers: bool | Exception) -> None:
        self._answers = list(answers)
        self.calls = 0

    def pass_on_events(self, seconds: float) -> bool:
        """The next answer; the last one is the end."""
        assert 0 < seconds <= 1
        self.calls += 1
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_reading_goes_on_after_a_failure() -> None:
    """And ends where there is nothing to read."""
    kernel = Kernel(True, KernelError("the ring is gone"), True, False)
    teller = Teller(kernel, pause=0.001)
    teller.start()
    teller._thread.join(5)
    assert not teller._thread.is_alive()
    assert kernel.calls == 4
    teller.stop()


def test_reading_ends_with_the_daemon(engine: Engine) -> None:
    """Within the time that one wait takes."""
    teller = Teller(engine)
    teller.start()
    teller.stop()
    assert not teller._thread.is_alive()
