# SPDX-License-Identifier: Apache-2.0
"""A thread with a connection of its own: work with a deadline, and work that waits for the database.

Whoever asks waits no longer than the deadline, whatever the database does: locked, frozen, its disk stuck.
Work that nobody waits for any more is not committed. After a failure every request is refused at once with
the reason, and the lane tries again each second by itself.
"""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeVar, cast

from sqlalchemy import Connection

from neurowall.data.store.database import Database
from neurowall.data.store.faults import explain, is_fault
from neurowall.model.errors import NeurowallError, StorageUnavailable

TICK = 1.0  # seconds: how often a lane looks after its database, and tries again
UNITS = (64, 4)  # works of each backlog in one transaction: who waits for a change waits for at most one
CARRIED = (64, 2)  # of each backlog together with a work that somebody waits for
LINGER = 0.02  # seconds: what nobody waits for is written with what comes next, if that comes soon
Work = Callable[[Connection], Any]
Result = TypeVar("Result")

log = logging.getLogger(__name__)


class _At(Enum):
    WAITING, RUNNING, COMMITTING, DONE, GIVEN_UP = range(5)


class _Job(Generic[Result]):
    """A work that somebody waits for."""

    def __init__(
        self, work: Callable[[Connection], Result], orphaned: Callable[[Result], None] | None
    ) -> None:
        self.work, self.orphaned = work, orphaned
        self.result: Result | None = None
        self.error: Exception | None = None
        self._lock = threading.Lock()
        self._at = _At.WAITING
        self._done = threading.Event()
        self._is_left = False  # nobody waits any more, though it may have been committed

    def enter(self, step: _At) -> bool:
        """Go on to *step*; False if nobody waits any more."""
        with self._lock:
            if self._at is _At.GIVEN_UP:
                return False
            self._at = step
            return True

    def finish(self) -> bool:
        """Tell who waits; False if nobody does."""
        with self._lock:
            self._at = _At.DONE
            self._done.set()
            return not self._is_left

    def wait(self, seconds: float) -> _At | None:
        """None if it is done in time, else how far it was when it was given up."""
        if self._done.wait(seconds):
            return None
        with self._lock:
            if self._at is _At.DONE:
                return None
            was, self._is_left = self._at, True
            if was is not _At.COMMITTING:
                self._at = _At.GIVEN_UP
            return was


def _nothing(_connection: Connection) -> None:
    """No work: whether a transaction can begin and end."""


@dataclass(frozen=True)
class Hooks:
    """What a lane calls, in its thread. begin: with a new connection; probe: with one that may not work.

    settle(committed): after each transaction. tick: every second while the database works.
    """

    begin: Work = _nothing
    probe: Work = _nothing
    settle: Callable[[bool], None] = lambda _committed: None
    tick: Callable[[], None] = lambda: None


class Lane:
    """One thread, one connection. dropped: works of the backlog that the database refused for good."""

    def __init__(
        self,
        database: Database,
        deadline: float,
        *,
        writes: bool,
        hooks: Hooks | None = None,
    ) -> None:
        self.dropped = 0  # works of the backlog that failed for a reason of their own
        self.failures = 0  # so far: of transactions, for want of a working database
        self.first_try = threading.Event()
        self._database, self._deadline, self._writes = database, deadline, writes
        self._hooks = hooks or Hooks()
        self._problem: str | None = None
        self._jobs: deque[_Job[Any]] = deque()
        self._backlogs: tuple[deque[Work], deque[Work]] = (deque(), deque())
        self._connection: Connection | None = None
        self._since: float | None = None  # when the transaction began that is under way
        self._wake = threading.Condition()
        self._may_begin = threading.Event()
        self._stopping = False
        name = "store-writer" if writes else "store-reader"
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread, which touches nothing before `begin`."""
        self._thread.start()

    def begin(self) -> None:
        """Let it use the database."""
        self._may_begin.set()

    def stop(self, seconds: float) -> None:
        """Write the backlog as far as *seconds* allow, and end the thread."""
        until = time.monotonic() + seconds
        while any(self._backlogs) and self.problem is None and time.monotonic() < until:
            time.sleep(0.01)
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._may_begin.set()
        self._thread.join(timeout=max(until - time.monotonic(), 0.1))

    @property
    def problem(self) -> str | None:
        """Why work is refused now, None if it is not. Also finds a transaction that hangs."""
        since = self._since
        if since is not None and time.monotonic() - since > self._deadline:
            self._interrupt()
        return self._problem

    @property
    def is_alive(self) -> bool:
        """Whether its thread has not ended."""
        return self._thread.is_alive()

    @property
    def in_thread(self) -> bool:
        """Whether the caller is this lane."""
        return threading.current_thread() is self._thread

    def run(
        self, work: Callable[[Connection], Result], orphaned: Callable[[Result], None] | None = None
    ) -> Result:
        """What *work* gives, in a transaction. Raises StorageUnavailable within the deadline.

        orphaned: called with the result if it was committed although the caller was told that it was not.
        """
        if self.in_thread:
            return self._transact(work)
        if problem := self.problem:
            raise StorageUnavailable(problem)
        job = _Job(work, orphaned)
        with self._wake:
            if self._stopping:
                raise StorageUnavailable("the daemon is exiting: ask again when it is back")
            self._jobs.append(job)
            self._wake.notify()
        stuck = job.wait(self._deadline)
        if stuck is None:
            if job.error is not None:
                raise job.error
            return cast("Result", job.result)
        raise StorageUnavailable(self._no_answer(stuck))

    def later(self, work: Work, *, first: bool = False) -> None:
        """Do *work* when the database can. Never waits. first: before all that is not *first*."""
        with self._wake:
            self._backlogs[0 if first else 1].append(work)
            self._wake.notify()

    def catch_up(self) -> None:
        """Have what waits now written, so that who reads next sees it. Never raises: else he sees less."""
        if any(self._backlogs) and not self.in_thread:
            with contextlib.suppress(StorageUnavailable):
                self.run(_nothing)

    def waiting(self, *, first: bool) -> int:
        """How many works of one backlog are not done yet."""
        return len(self._backlogs[0 if first else 1])

    def _no_answer(self, stuck: _At) -> str:
        if stuck is not _At.WAITING:
            self._interrupt()
        where, seconds = self._database.where, f"{self._deadline:g} s"
        return self.problem or f"{where} is busy and did not come to this within {seconds}: try again"

    def _interrupt(self) -> None:
        where, seconds = self._database.where, f"{self._deadline:g} s"
        self._problem = f"{where} did not answer within {seconds}: look at its server, load and disk"
        if (connection := self._connection) is not None:
            self._database.interrupt(connection)

    def _loop(self) -> None:
        self._may_begin.wait()
        due = 0.0
        while not self._stopping:
            if time.monotonic() >= due:
                self._look()
                due = time.monotonic() + TICK
            with self._wake:
                if not (self._jobs or self._stopping or (any(self._backlogs) and self._problem is None)):
                    self._wake.wait(max(due - time.monotonic(), 0.0))
                if not (self._jobs or self._stopping):
                    self._wake.wait_for(lambda: bool(self._jobs or self._stopping), LINGER)
                if self._stopping:
                    break
                job = self._jobs.popleft() if self._jobs else None
            if job is not None:
                self._do(job)
            elif self._problem is None:
                self._carry_on()
        self._disconnect()

    def _look(self) -> None:
        """Once a second: whether the database is there; after a failure, whether it can be written again."""
        doubtful = self._problem is not None or not self.first_try.is_set()
        try:
            self._transact(self._hooks.probe if doubtful else _nothing)
            self._hooks.tick()
        except StorageUnavailable:
            pass  # noted, and in the log
        except Exception:
            log.exception("looking after %s failed", self._database.where)
        self.first_try.set()

    def _do(self, job: _Job[Any]) -> None:
        if not job.enter(_At.RUNNING):
            return
        try:
            job.result = self._carry(job)
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to who asked
            job.error = error
        if not job.finish() and job.error is None and job.orphaned:
            job.orphaned(job.result)

    def _carry(self, job: "_Job[Result]") -> Result:
        """Do a job, and some of what waits in the backlogs with it: one sync to disk for all."""
        units = [
            [backlog[number] for number in range(min(most, len(backlog)))]
            for backlog, most in zip(self._backlogs, CARRIED, strict=True)
        ]

        def all_of_it(connection: Connection) -> Result:
            for unit in units:
                for work in unit:
                    work(connection)
            return job.work(connection)

        def may_commit() -> bool:
            return job.enter(_At.COMMITTING)

        try:
            result = self._transact(all_of_it, may_commit)
        except StorageUnavailable:
            raise
        except Exception:
            if not any(units):
                raise
            return self._transact(job.work, may_commit)  # one of the others may be to blame
        for backlog, unit in zip(self._backlogs, units, strict=True):
            for _ in unit:
                backlog.popleft()
        return result

    def _carry_on(self) -> None:
        """Do the next part of the backlog."""
        for backlog, most in zip(self._backlogs, UNITS, strict=True):
            if not backlog:
                continue
            unit = [backlog[number] for number in range(min(most, len(backlog)))]
            try:
                self._transact(lambda connection, unit=unit: [work(connection) for work in unit])  # type: ignore[misc]
            except StorageUnavailable:
                return
            except Exception:  # noqa: BLE001 - told apart below
                self._one_by_one(backlog, len(unit))
            else:
                for _ in unit:
                    backlog.popleft()
            return

    def _one_by_one(self, backlog: "deque[Work]", number: int) -> None:
        """One of them can never be done: it must not hold the others up."""
        for _ in range(number):
            try:
                self._transact(backlog[0])
            except StorageUnavailable:
                return
            except Exception:
                self.dropped += 1
                log.exception("a row was not written to %s", self._database.where)
            backlog.popleft()

    def _transact(
        self, work: Callable[[Connection], Result], may_commit: Callable[[], bool] = lambda: True
    ) -> Result:
        """Do *work* in a transaction of its own. Raises StorageUnavailable, or what *work* raises."""
        committed = False
        try:
            connection = self._connected()
            self._since = time.monotonic()
            with connection.begin():
                result = work(connection)
                if not may_commit():
                    raise StorageUnavailable(  # noqa: TRY301 - what takes the transaction back
                        self._problem or f"{self._database.where} was too slow: try again"
                    )
            committed = True
        except Exception as error:
            self._failed(error)
            if isinstance(error, NeurowallError) or not is_fault(error):
                raise
            raise StorageUnavailable(self._problem or explain(error, self._database.where)) from error
        finally:
            self._since = None
            self._hooks.settle(committed)
        if self._problem is not None:
            log.warning("%s works again", self._database.where)
            self._problem = None
        return result

    def _connected(self) -> Connection:
        if self._connection is not None:
            if self._database.is_same(self._connection):
                return self._connection
            log.warning("%s was replaced: it is opened again", self._database.where)
            self._disconnect()
        connection = self._database.connect(writes=self._writes)
        self._connection, self._since = connection, time.monotonic()
        with connection.begin():
            self._hooks.begin(connection)
        self._hooks.settle(True)
        return connection

    def _failed(self, error: Exception) -> None:
        """Note what is wrong, and begin with a new connection next time."""
        if not is_fault(error):
            return
        problem = explain(error, self._database.where)
        if self._problem is None:
            log.error("%s", problem)
        self._problem = problem
        self.failures += 1
        self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.invalidate()
            with contextlib.suppress(Exception):
                connection.close()
