# SPDX-License-Identifier: Apache-2.0
"""The one way of every change: its terms, the audit, the work, the history, and the answer that is kept.

    scope (auth) -> Idempotency-Key -> turn -> kept answer? -> If-Match -> audit begins -> work -> audit ends

What may wait or take long is done in one thread, one hop away from the loop. The audit's beginning is the
only commit that a change waits for: while the database is away there is none, and nothing is changed. What
follows the work is queued: the change is in force and is answered for, whatever becomes of the database.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response

from neurowall.management.api import problems
from neurowall.management.api.asked import Actor, Asked, asked
from neurowall.management.api.problems import ApiProblem
from neurowall.management.api.terms import Terms, terms_of
from neurowall.model.audit import Act, Entry, Outcome
from neurowall.model.history import BanChange, Reply

CHANGES_AT_ONCE = 16  # of the pool's 40 threads: changes wait for each other, questions do not
_KEPT_HEADERS = ("content-type", "etag", "location", "cache-control")
_NAMED = 5  # targets that the audit names

Json = dict[str, Any]


class Generations(Protocol):
    """What changes are made of: the engine."""

    @property
    def generation_now(self) -> int:
        """The one in force."""

    def at_generation(self, numbers: Iterable[int]) -> AbstractContextManager[None]:
        """Hold every other change up, if one of these is in force. Raises GenerationChanged."""

    def in_turn(self) -> AbstractContextManager[None]:
        """Hold every other change up."""


class Audit(Protocol):
    """What the store's audit does for changes."""

    def begin(self, act: Act) -> Entry:
        """Write that it begins, or raise StorageUnavailable."""

    def end(self, entry: Entry, outcome: Outcome) -> None:
        """Write how it ended. Never raises or waits."""

    def note(self, act: Act, outcome: Outcome) -> None:
        """Write what is no change, within a budget. Never raises or waits."""

    def fact(self, act: Act, outcome: Outcome) -> None:
        """Write what happened without a request, each time. Never raises or waits."""


class Replies(Protocol):
    """Answers that are kept."""

    def get(self, key: str, actor: str) -> Reply | None:
        """One of the last 24 hours. Raises StorageUnavailable."""

    def put(self, reply: Reply) -> None:
        """Keep one. Never raises or waits."""


class Bans(Protocol):
    """The history of bans."""

    def record(self, changes: Iterable[BanChange]) -> None:
        """Write what happened. Never raises or waits."""


class Keeper(Protocol):
    """What remembers: the store."""

    @property
    def audit(self) -> Audit:
        """Who did what."""

    @property
    def replies(self) -> Replies:
        """Kept answers."""

    @property
    def bans(self) -> Bans:
        """Past bans."""


@dataclass(frozen=True)
class Change:
    """What is asked for, as the audit names it.

    bans: what its answer says of bans, for the history. kept: what is kept of its answer where that itself
    must not be, since it holds a secret. of_generation: whether it changes what is in force; what does not
    takes no If-Match, as a generation says nothing of it.
    """

    action: str
    target: str = ""
    dry_run: bool = False
    detail: Mapping[str, Any] = field(default_factory=dict)
    bans: Callable[[Json, str], Iterable[BanChange]] | None = None
    kept: Callable[[Json], Response] | None = None
    of_generation: bool = True


def named(targets: Sequence[str]) -> str:
    """Some targets as one line."""
    more = len(targets) - _NAMED
    return ", ".join(targets[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")


class Changes:
    """Makes changes, CHANGES_AT_ONCE of them. keeper: None where nothing remembers."""

    def __init__(self, generations: Generations, keeper: Keeper | None) -> None:
        self._generations = generations
        self._keeper = keeper
        self._turns = asyncio.Semaphore(CHANGES_AT_ONCE)
        self._under_way: set[tuple[str, str]] = set()  # key and actor; the loop's alone

    async def __call__(self, change: Change, work: Callable[..., Json], *arguments: Any) -> Response:
        """Answer with what *work* gives. Raises what it raises, ApiProblem, StorageUnavailable."""
        now = asked()
        if now is None or now.actor is None:
            raise RuntimeError("a change that nobody asks for")
        terms, actor = terms_of(now.headers, of_generation=change.of_generation), now.actor
        with self._claimed(terms.key if not change.dry_run else None, actor.name):
            async with self._turns:
                return await run_in_threadpool(self._answer, change, terms, now, actor, work, arguments)

    @contextmanager
    def _claimed(self, key: str | None, actor: str) -> Iterator[None]:
        """Keep others from making the same change meanwhile."""
        if key is None:
            yield
            return
        if (key, actor) in self._under_way:
            detail = "the first request with this Idempotency-Key is still under way: ask again in a second"
            raise ApiProblem(409, "idempotency-in-progress", detail, headers={"retry-after": "1"})
        self._under_way.add((key, actor))
        try:
            yield
        finally:
            self._under_way.discard((key, actor))

    def _answer(
        self,
        change: Change,
        terms: Terms,
        now: Asked,
        actor: Actor,
        work: Callable[..., Json],
        arguments: tuple[Any, ...],
    ) -> Response:
        """In a thread: the kept answer, or a new one."""
        if self._keeper is None or change.dry_run:
            with self._at(terms):
                return self._tagged(change, JSONResponse(work(*arguments)))
        kept = self._kept(self._keeper, terms, now, actor)
        if kept:
            return kept
        with self._at(terms):  # not held from here on: nobody waits for the database
            before = self._generations.generation_now
        act = Act(change.action, actor.name, actor.source, change.target, now.id, before, change.detail)
        entry = self._keeper.audit.begin(act)
        try:
            # In turn, so that the history has bans in the order in which they were made.
            with self._at(terms), self._generations.in_turn() if change.bans else nullcontext():
                answer = work(*arguments)
                after = self._generations.generation_now
                if change.bans:
                    self._keeper.bans.record(change.bans(answer, actor.name))
        except Exception as error:
            self._keeper.audit.end(entry, self._failed(error))
            raise
        response = self._tagged(change, JSONResponse(answer), after)
        self._keeper.audit.end(entry, Outcome("ok", response.status_code, after))
        if terms.key:
            reply = change.kept(answer) if change.kept else response
            self._keeper.replies.put(_reply(terms.key, now, actor, reply))
        return response

    def _at(self, terms: Terms) -> AbstractContextManager[None]:
        return (
            nullcontext() if terms.generations is None else self._generations.at_generation(terms.generations)
        )

    def _failed(self, error: Exception) -> Outcome:
        status = problems.status_of(error)
        why = {"why": str(error) or type(error).__name__}
        return Outcome("refused" if status < 500 else "failed", status, self._generations.generation_now, why)

    def _tagged(self, change: Change, response: Response, generation: int | None = None) -> Response:
        if change.of_generation:
            now = self._generations.generation_now if generation is None else generation
            response.headers["etag"] = f'"{now}"'
        return response

    def _kept(self, keeper: Keeper, terms: Terms, now: Asked, actor: Actor) -> Response | None:
        """The answer to the same request, if there was one. Raises ApiProblem if it was another request."""
        reply = keeper.replies.get(terms.key, actor.name) if terms.key else None
        if reply is None:
            return None
        if reply.digest != now.digest():
            detail = "this Idempotency-Key was used for another request in the last 24 hours: take a new one"
            raise ApiProblem(422, "idempotency-mismatch", detail)
        if reply.cut:
            detail = (
                "this request was carried out; its answer was too long to be kept: ask for what is in force"
            )
            raise ApiProblem(409, "idempotency-answer-lost", detail)
        headers = {**reply.headers, "idempotency-replayed": "true"}
        return Response(reply.body, reply.status, headers=headers)


def _reply(key: str, now: Asked, actor: Actor, response: Response) -> Reply:
    """What is kept of an answer, under the key that it was asked for with."""
    given = Headers(raw=response.raw_headers)
    headers = {name: given[name] for name in _KEPT_HEADERS if name in given}
    return Reply(
        key, actor.name, now.digest(), time.time(), response.status_code, headers, bytes(response.body)
    )
