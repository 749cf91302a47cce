# SPDX-License-Identifier: Apache-2.0
"""`GET /events`: what happens, as server-sent events; and what happened last.

A client that reads too slowly holds nobody up: its connection's buffer fills, its queue loses its own oldest
events, and a message `lost` says how many.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from typing import Annotated

from fastapi import FastAPI, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from neurowall.logic.engine import Engine
from neurowall.logic.events import MOST_SUBSCRIBERS, RECENT, EventHub, Subscription, TooManySubscribers
from neurowall.management.api.answers_events import event, server_sent, told_message
from neurowall.management.api.asked import Actor, actor
from neurowall.management.api.auth import READ
from neurowall.management.api.problems import ApiProblem
from neurowall.model.events import EventKind, Filter
from neurowall.model.reasons import Reason

HEARTBEAT_SECONDS = 15.0
LOOK_SECONDS = 1.0  # between two looks whether who follows may do so still
BATCH = 100  # events made into text at once: the loop has others to answer


def _one_of(what: str, known: list[str]) -> Callable[[object], str]:
    def check(given: object) -> str:
        if given not in known:
            raise ValueError(f"no such {what}; there are {', '.join(known)}")
        return str(given)

    return check


def _address(given: object) -> str:
    try:
        return str(ip_address(str(given)))
    except ValueError:
        raise ValueError("expected an IPv4 or IPv6 address") from None


class Wanted(BaseModel):
    """Which events: all that are given must fit. An address is that of either end."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, BeforeValidator(_one_of("reason", [each.label for each in Reason]))] = ""
    kind: Annotated[str, BeforeValidator(_one_of("kind", [each.label for each in EventKind]))] = ""
    address: Annotated[str, BeforeValidator(_address)] = ""

    @property
    def filter(self) -> Filter:
        """The same for the hub."""
        return Filter(self.reason, self.kind, self.address)


class WantedRecent(Wanted):
    """The same, and how many at most."""

    limit: int = Field(default=100, ge=1, le=RECENT)


class EventStream(StreamingResponse):
    """The response whose end gives the subscriber's place back, however it ends."""

    def __init__(
        self,
        hub: EventHub,
        subscription: Subscription,
        changed: asyncio.Event,
        is_allowed: Callable[[], bool],
    ) -> None:
        super().__init__(
            messages(subscription, changed, is_allowed=is_allowed),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )
        self._give_back = partial(hub.unsubscribe, subscription)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._give_back()


def add_events(app: FastAPI, engine: Engine, is_valid: Callable[[Actor | None], bool]) -> None:
    """Serve the engine's events, to each actor as long as he is valid."""

    @app.get("/events", dependencies=[READ])
    async def events(query: Annotated[Wanted, Query()]) -> Response:
        """What happens from now on, as text/event-stream, until one side ends it."""
        _check_told(engine)
        changed, loop = asyncio.Event(), asyncio.get_running_loop()
        try:
            subscription = engine.events.subscribe(query.filter, partial(_wake, loop, changed))
        except TooManySubscribers:
            detail = f"{MOST_SUBSCRIBERS} clients follow events already: end one, or try again later"
            raise ApiProblem(503, "too-many-subscribers", detail) from None
        return EventStream(engine.events, subscription, changed, partial(is_valid, actor()))

    @app.get("/events/recent", dependencies=[READ])
    async def recent(query: Annotated[WantedRecent, Query()]) -> Response:
        """The last events, oldest first."""
        _check_told(engine)
        found = engine.events.recent(query.filter, query.limit)
        answer = {"per_second": engine.policy.events.per_second, "events": [event(each) for each in found]}
        return JSONResponse(answer)


def _check_told(engine: Engine) -> None:
    if not engine.tells_events:
        raise ApiProblem(
            501,
            "no-events",
            "this kernel has no BPF ring buffers (Linux 5.8): it tells of nothing, and counts as ever",
        )


def _wake(loop: asyncio.AbstractEventLoop, changed: asyncio.Event) -> None:
    with suppress(RuntimeError):  # the loop has ended, and with it whoever waited
        loop.call_soon_threadsafe(changed.set)


async def messages(
    subscription: Subscription,
    changed: asyncio.Event,
    heartbeat: float = HEARTBEAT_SECONDS,
    is_allowed: Callable[[], bool] = lambda: True,
) -> AsyncIterator[str]:
    """The messages of one stream; it begins with a comment, which says that it is open.

    It ends within LOOK_SECONDS once it is not allowed any more; nothing is sent from that moment on.
    """
    yield ": open\n\n"
    loop = asyncio.get_running_loop()
    quiet_since = loop.time()
    while not subscription.is_closed and is_allowed():
        changed.clear()  # before looking: what comes after that wakes us again
        lost, told = subscription.take(BATCH)
        if lost:
            yield server_sent("lost", {"lost": lost})
        if told:
            yield "".join(map(told_message, told))
            quiet_since = loop.time()
            continue
        left = quiet_since + heartbeat - loop.time()
        if left <= 0:
            yield ": heartbeat\n\n"
            quiet_since = loop.time()
            continue
        with suppress(TimeoutError):
            await asyncio.wait_for(changed.wait(), min(left, LOOK_SECONDS))
