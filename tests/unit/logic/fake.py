# SPDX-License-Identifier: Apache-2.0
"""A data plane in memory. It outlives engines, as pinned maps outlive daemons."""

import time
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Any

import numpy as np

from neurowall.model.counters import Counter
from neurowall.model.dryrun import DryRun
from neurowall.model.entries import Entries
from neurowall.model.errors import KernelError, MapFull
from neurowall.model.events import Event, EventKind, Tally
from neurowall.model.flows import Flow, FlowCounts, FlowEvent, FlowQuery, FlowState
from neurowall.model.guards import Guards
from neurowall.model.image import ClassDef, Contents, Expiries, Table
from neurowall.model.interfaces import InterfaceStatus
from neurowall.model.limits import LimitBan, LimitCounters
from neurowall.model.policy import Capacity
from neurowall.model.reasons import Reason

BITS = {4: 32, 6: 128}
Key = tuple[int, int, int]  # family, length, address
Held = tuple[dict[Key, int], dict[Key, tuple[float, float]], dict[int, ClassDef]]


class FakeLimiter:
    """Limits in memory: what they counted and whom they banned is as the test says."""

    def __init__(self) -> None:
        self.counted: dict[str, LimitCounters] = {}
        self.banned: dict[str, LimitBan] = {}
        self.clock: Callable[[], float] = time.time

    def names(self) -> dict[int, str]:
        """One."""
        return {0: "syn"}

    def counters(self) -> dict[str, LimitCounters]:
        """As the test says."""
        return self.counted

    def bans(self) -> list[LimitBan]:
        """By their end."""
        return sorted(self.banned.values(), key=lambda ban: ban.until)

    def ban(self, address: str) -> LimitBan | None:
        """Of one address."""
        return self.banned.get(address)

    def ban_count(self) -> int:
        """All of them."""
        return len(self.banned)

    def lift(self, address: str) -> bool:
        """Take one out."""
        return self.banned.pop(address, None) is not None

    def tend(self) -> int:
        """Take out what is over."""
        ended = [ban.address for ban in self.bans() if ban.until <= self.clock()]
        return sum(self.lift(address) for address in ended)


class FakeFlows:
    """Flows in memory, as the test says."""

    def __init__(self) -> None:
        self.known: list[Flow] = []
        self.counted = FlowCounts(dict.fromkeys(FlowState, 0), dict.fromkeys(FlowEvent, 0), 0, 0.0, False)
        self.queries: list[FlowQuery] = []

    def counts(self) -> FlowCounts:
        """As the test says."""
        return self.counted

    def find(self, query: FlowQuery) -> tuple[list[Flow], int]:
        """All of them, up to the limit; the query is kept."""
        self.queries.append(query)
        return self.known[: query.limit], len(self.known)


class FakeDataPlane:
    """Tables as a dict. The hooks let tests watch and break it.

    after_row is called after every single entry or expiry changed. before is called with the name of each
    operation, and may raise. limits bounds maps by name; a put stops half-way with MapFull. clock: Unix time
    in seconds, as its programs see it. ends: the end of an allow and that of a block, by entry.
    """

    def __init__(self, capacity: Capacity | None = None) -> None:
        self.rows: dict[Key, int] = {}
        self.ends: dict[Key, tuple[float, float]] = {}
        self.classes: dict[int, ClassDef] = {}
        self.clock: Callable[[], float] = time.time
        self.held_capacity = capacity or Capacity()
        self.limits: dict[str, int] = {}
        self.limiter = FakeLimiter()
        self.flows = FakeFlows()
        self.counted: dict[int, Counter] = {}
        self.dry_answer: DryRun | None = None
        self.framed: list[tuple[str, bytes]] = []
        self.happened: list[Event] = []
        self.tallies: dict[EventKind, Tally] = {each: Tally() for each in EventKind}
        self.operations: list[str] = []
        self.after_row: Callable[[], None] = lambda: None
        self.before: Callable[[str], None] = lambda _: None
        self.lose_put: Callable[[Key], bool] = lambda _: False
        self.states: list[InterfaceStatus] = []
        self.guards: Guards | None = None
        self.without_xdp: frozenset[str] = frozenset()
        self.in_force: Held | None = None

    def _begin(self, operation: str) -> None:
        self.operations.append(operation)
        self.before(operation)

    @property
    def capacity(self) -> Capacity:
        """As the test says, or as it was made to grow."""
        return self.held_capacity

    def grow(self, capacity: Capacity, fill: Callable[[], None]) -> None:
        """Empty tables, filled; then they are in force. Until then `in_force` is what packets meet."""
        self._begin("grow")
        before, limits = (self.rows, self.ends, self.classes), self.limits
        self.in_force = before
        self.rows, self.ends, self.classes, self.limits = {}, {}, {}, {}
        try:
            fill()
            self._begin("switch")
        except BaseException:
            self.rows, self.ends, self.classes = before
            self.limits = limits
            raise
        finally:
            self.in_force = None
        self.held_capacity = capacity

    def dry_run(self, interface: str, frame: bytes) -> DryRun | None:
        """As the test says; no program anywhere unless it does."""
        self._begin("dry_run")
        self.framed.append((interface, frame))
        return self.dry_answer

    @property
    def written(self) -> list[str]:
        """The operations that changed tables."""
        return [name for name in self.operations if name in ("put", "delete")]

    def put(self, table: Table) -> None:
        """Insert or replace, row by row."""
        self._begin("put")
        for row, class_id in zip(table.entries.rows(), table.class_id.tolist(), strict=True):
            key = (row.family, row.length, row.value)
            if class_id not in self.classes:
                raise AssertionError(f"class {class_id} was put before it was set")
            self._check_full(key)
            if not self.lose_put(key):
                self.rows[key] = class_id
            self.after_row()

    def _check_full(self, key: Key) -> None:
        family, length, _ = key
        name = f"{'hosts' if length == BITS[family] else 'prefixes'}{family}"
        full = (length == BITS[family], family)
        held = sum((n == BITS[f], f) == full for f, n, _ in self.rows)
        if key not in self.rows and held >= self.limits.get(name, 1 << 30):
            raise MapFull(name, self.limits[name])

    def delete(self, entries: Entries) -> None:
        """Remove, row by row."""
        self._begin("delete")
        for row in entries.rows():
            self.rows.pop((row.family, row.length, row.value), None)
            self.after_row()

    def set_classes(self, defs: Iterable[ClassDef]) -> None:
        """Set meanings, one by one."""
        self._begin("set_classes")
        for definition in defs:
            self.classes[definition.id] = definition
            self.after_row()

    def put_expiries(self, expiries: Expiries) -> None:
        """Insert or replace, row by row."""
        self._begin("put_expiries")
        ends = zip(expiries.allow_until.tolist(), expiries.block_until.tolist(), strict=True)
        for row, pair in zip(expiries.entries.rows(), ends, strict=True):
            self.ends[row.family, row.length, row.value] = pair
            self.after_row()

    def delete_expiries(self, entries: Entries) -> None:
        """Remove, row by row."""
        self._begin("delete_expiries")
        for row in entries.rows():
            self.ends.pop((row.family, row.length, row.value), None)
            self.after_row()

    def expiries(self, family: int) -> Expiries:
        """All of them, a little off, as after a conversion between clocks."""
        rows = [(key, ends) for key, ends in self.ends.items() if key[0] == family]
        return Expiries.make(
            family,
            _addresses(family, [a for (_, _, a), _ in rows]),
            np.array([length for (_, length, _), _ in rows], np.uint8),
            np.array([allow and allow + 0.01 for _, (allow, _) in rows], np.float64),
            np.array([block and block + 0.01 for _, (_, block) in rows], np.float64),
        )

    def grace(self) -> None:
        """Note the wait."""
        self._begin("grace")

    def contents(self) -> Contents:
        """All rows, and the verdicts of classes in use and of those that come after them."""
        self._begin("contents")
        used: dict[int, ClassDef] = {}
        waiting = set(self.rows.values())
        while waiting:
            class_id = waiting.pop()
            if class_id in self.classes and class_id not in used:
                used[class_id] = self.classes[class_id]
                waiting.add(used[class_id].rest)
        verdicts = {i: known.verdict for i, known in used.items()}
        rests = {i: known.rest for i, known in used.items() if known.timed}
        return Contents(self._table(4), self._table(6), verdicts, rests)

    def _table(self, family: int) -> Table:
        rows = [(key, class_id) for key, class_id in self.rows.items() if key[0] == family]
        return Table.make(
            family,
            _addresses(family, [a for (_, _, a), _ in rows]),
            np.array([length for (_, length, _), _ in rows], np.uint8),
            np.array([class_id for _, class_id in rows], np.uint16),
        )

    def lookup(self, address: str) -> tuple[int, int] | None:
        """Longest match."""
        self.before("lookup")
        key = self._match(self.rows, address)
        return (self.rows[key], key[1]) if key else None

    def _match(self, rows: Iterable[Key], address: str) -> Key | None:
        held, wanted = set(rows), ip_address(address)
        bits = BITS[wanted.version]
        for length in range(bits, 0, -1):
            key = (wanted.version, length, int(wanted) >> (bits - length) << (bits - length))
            if key in held:
                return key
        return None

    def verdict(self, address: str) -> str | None:
        """What a packet from *address* gets now; None also if its class decides nothing."""
        decides = self.decides(address)
        return decides.verdict if decides and decides.verdict != "none" else None

    def decides(self, address: str) -> ClassDef | None:
        """The class that a packet from *address* is counted under now."""
        rows, ends, classes = self.in_force or (self.rows, self.ends, self.classes)
        key = self._match(rows, address)
        if not key:
            return None
        covering = self._match(ends, address)
        # An expiry that is missing is a fault: a block is then on, an allow is not.
        allow, block = ends[covering] if covering else (0.0, float("inf"))
        found = classes[rows[key]]
        for _ in range(3):
            if not found.timed or self.clock() < (allow if found.timed == "allow" else block):
                return found
            if not found.rest:
                return None
            found = classes[found.rest]
        raise AssertionError("more classes come after each other than the kernel follows")

    def class_counters(self) -> dict[int, Counter]:
        """What the test says was counted."""
        return dict(self.counted)

    def reason_counters(self) -> dict[Reason, Counter]:
        """One reason."""
        return {Reason.BLOCK_LIST: Counter(3, 180)}

    @property
    def tells_events(self) -> bool:
        """As the test says."""
        return bool(self.tallies)

    def read_events(self, seconds: float) -> list[Event] | None:
        """What the test put there."""
        found, self.happened = self.happened, []
        if not found:
            time.sleep(min(seconds, 0.01))
        return found

    def event_tallies(self) -> dict[EventKind, Tally]:
        """What the test says."""
        return dict(self.tallies)

    def interface_names(self) -> dict[int, str]:
        """Two, as two tests need them."""
        return {2: "wan0", 3: "lan0"}

    def configure(self, guards: Guards) -> None:
        """Guard the interfaces so."""
        self._begin("configure")
        self.guards = guards

    def fallback(self) -> frozenset[str]:
        """What the test says takes no program, of those that are guarded."""
        guarded = self.guards.interfaces if self.guards else ()
        return self.without_xdp.intersection(guard.name for guard in guarded)

    def interfaces(self) -> list[InterfaceStatus]:
        """What the test says."""
        self.before("interfaces")
        return self.states

    def reload_program(self) -> None:
        """Note the call."""
        self._begin("reload_program")

    def close(self) -> None:
        """Note the call."""
        self._begin("close")

    def detach(self) -> None:
        """Note the call."""
        self._begin("detach")


def _addresses(family: int, values: list[int]) -> "np.ndarray[tuple[int], np.dtype[Any]]":
    held = [value if family == 4 else value.to_bytes(16, "big") for value in values]
    return np.array(held, np.uint32 if family == 4 else "S16")


def broken(operation: str, after: int = 0) -> Callable[[str], None]:
    """A `before` that fails the operation, the first *after* times excepted."""
    seen = 0

    def fail(name: str) -> None:
        nonlocal seen
        if name == operation:
            seen += 1
            if seen > after:
                raise KernelError(f"{operation} failed: Bad address")

    return fail
