# SPDX-License-Identifier: Apache-2.0
"""The engine: what the daemon can be asked and told.

A change: compile, check capacities, save the intent (synced to disk), kernel steps with grace periods, read
back, generation + 1. If the kernel half fails, kernel and saved intent are reverted. One change at a time;
answers come from the last complete change and never wait for one under way.
"""

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from neurowall.data.sources import read_source
from neurowall.data.state import StateStore
from neurowall.logic.commit import Committer, Compiler
from neurowall.logic.compile import compile_lists
from neurowall.logic.dataplane import DataPlane
from neurowall.logic.explain import explain
from neurowall.logic.growth import larger_of, shrunk
from neurowall.logic.imperative import Action, Term, ended, outcomes, plan, read_addresses
from neurowall.logic.resolve import Load, Parse, Read, Resolved, Sources, resolve
from neurowall.logic.results import Counters, Explanation, ListInfo, ListPage, Result, Status
from neurowall.logic.snapshot import Snapshot, count_changes, info_of, page_of, same_lists, usage_of
from neurowall.model.address import InvalidEntry, parse_address
from neurowall.model.duration import MAX_TTL, format_duration
from neurowall.model.entries import EntrySet
from neurowall.model.errors import (
    KernelError,
    ListConflict,
    ListError,
    ListInvalid,
    PolicyError,
)
from neurowall.model.intent import HeldList, ListRecord
from neurowall.model.interfaces import InterfaceStatus
from neurowall.model.listfile import ParsedList, parse_list
from neurowall.model.policy import (
    RESERVED,
    ListVerdict,
    Policy,
    check_list_name,
)

log = logging.getLogger(__name__)

_VERDICTS: dict[str, ListVerdict] = {"block": "block", "allow": "allow"}


class Engine:
    """Lists, imperative blocks and allows, and questions about them. Any thread may call."""

    def __init__(
        self,
        policy: Policy,
        dataplane: DataPlane,
        store: StateStore,
        read: Read = read_source,
        *,
        parser: Parse = parse_list,
        compiler: Compiler = compile_lists,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._policy = policy
        self._dataplane = dataplane
        self._store = store
        self._read = read
        self._parser = parser
        self._clock = clock
        self._lock = threading.Lock()
        self._committer = Committer(dataplane, store, policy, compiler)
        self._warnings: tuple[str, ...] = ()

    # -- life
    # ---------------------------------------------------------------------------------------------------

    def start(self) -> Result:
        """Bring the kernel to what policy and saved state intend. Raises NeurowallError."""
        with self._lock:
            self._store.acquire()
            saved = self._store.load()
            resolved = self._resolve(self._policy, saved.lists, self._load)
            snapshot = self._committer.start(resolved.lists, saved)
            self._warn(resolved.warnings)
            return Result(snapshot.generation, warnings=resolved.warnings)

    def reload_policy(self, policy: Policy) -> Result:
        """Put the lists, bans and larger capacities of another policy in force.

        Raises PolicyError if more than these differs.
        """
        fixed = [
            field
            for field in ("interfaces", "failsafe", "engine")
            if getattr(policy, field) != getattr(self._policy, field)
        ]
        if fixed:
            raise PolicyError(
                [f"{', '.join(fixed)} changed: restart the daemon; enforcement goes on while it is away"]
            )
        with self._lock:
            before = self._now
            held = {item.record.name: item for item in before.lists}
            resolved = self._resolve(policy, before.intent.lists, lambda record: held[record.name])
            grew = self._committer.may_grow
            self._committer.may_grow = policy.capacity.grow
            try:
                snapshot = self._reload(resolved.lists, policy)
            except Exception:
                self._committer.may_grow = grew
                raise
            notes = _said_of_capacity(self._policy, policy)
            self._policy = policy
            self._warn(resolved.warnings)
            added, removed = count_changes(before.lists, snapshot.lists)
            return Result(snapshot.generation, added, removed, warnings=(*resolved.warnings, *notes))

    def _reload(self, lists: tuple[HeldList, ...], policy: Policy) -> Snapshot:
        before, capacity = self._now, self._committer.capacity
        wanted = larger_of(capacity, policy.capacity)
        if wanted == capacity and same_lists(lists, before.lists):
            return before
        return self._committer.full(lists, wanted)

    def reload_program(self) -> None:
        """Replace the attached programs in place."""
        with self._lock:
            self._dataplane.reload_program()

    def detach(self) -> None:
        """End enforcement; the intended state stays saved."""
        with self._lock:
            self._dataplane.detach()

    def close(self) -> None:
        """Give up files and locks; enforcement goes on."""
        with self._lock:
            self._dataplane.close()
            self._store.close()

    # -- single addresses and prefixes
    # --------------------------------------------------------------------------

    def block(self, addresses: Sequence[str], ttl: float | None = None) -> Result:
        """Add to the built-in block list, for *ttl* seconds if it is given; the kernel ends it by itself.

        A re-offence lasts longer, see Bans. What is blocked for good stays so. Raises ListInvalid, ListError
        for a ttl that cannot be, CapacityError, StateError, ApplyError.
        """
        return self._edit("block", addresses, ttl)

    def allow(self, addresses: Sequence[str], ttl: float | None = None) -> Result:
        """Add to the built-in allow list, which beats every block list. Otherwise as block, never longer."""
        return self._edit("allow", addresses, ttl)

    def unblock(self, addresses: Sequence[str]) -> Result:
        """Remove from the built-in block lists, timed or not, and forget earlier blocks. Raises as block.

        The answer says what still blocks.
        """
        return self._edit("unblock", addresses)

    def unallow(self, addresses: Sequence[str]) -> Result:
        """Remove from the built-in allow lists, timed or not. Raises as block."""
        return self._edit("unallow", addresses)

    def expire(self) -> int:
        """Take entries out whose time is over, and count them; the kernel honours none of them any more.

        Raises StateError, ApplyError.
        """
        with self._lock:
            clock, now = self._clock(), self._now
            found = [ended(held, clock) for held in now.lists if held.record.timed]
            changes = [change for change in found if change]
            if changes:
                self._committer.edit(changes)
            return sum(len(change.remove) for change in changes)

    def next_expiry(self) -> float | None:
        """When the next entry ends, Unix time in seconds; None if none does. Never waits for a change."""
        return self._now.next_end

    # -- lists
    # --------------------------------------------------------------------------------------------------

    def load_list(
        self, name: str, verdict: str, text: str | bytes, *, skip_invalid: bool = False, monitor: bool = False
    ) -> Result:
        """Add a new list. Raises ListConflict, ListInvalid, CapacityError, ApplyError."""
        checked = _check_new_list(name, verdict)
        parsed = self._parse(name, text, skip_invalid=skip_invalid)
        with self._lock:
            if any(held.record.name == name for held in self._now.lists):
                raise ListConflict(f"there is a list '{name}' already: replace it, or choose another name")
            record = ListRecord(name, checked, "runtime", "", monitor=monitor)
            return self._put_list(HeldList(record, parsed.entries), EntrySet.empty(), parsed)

    def replace_list(self, name: str, text: str | bytes, *, skip_invalid: bool = False) -> Result:
        """Give a list other entries; a declared one keeps them until its declaration changes."""
        parsed = self._parse(name, text, skip_invalid=skip_invalid)
        with self._lock:
            held = self._now.find(name)
            if held.record.timed:
                raise ListConflict(
                    f"list '{name}' is built in, and each entry has its own end: block or allow them"
                )
            record = replace(held.record, sha256="", override=held.record.origin == "policy")
            return self._put_list(HeldList(record, parsed.entries), held.entries, parsed)

    def set_monitor(self, name: str, monitor: bool) -> Result:  # noqa: FBT001 - the only thing to say
        """Have a list only count, or decide again. Raises ListMissing, ListConflict, StateError, ApplyError.

        A declared list keeps this until the policy declares another value.
        """
        with self._lock:
            now, held = self._now, self._now.find(name)
            if held.record.origin == "operator":
                raise ListConflict(
                    f"list '{name}' is built in: what an operator blocks or allows is enforced"
                )
            if held.record.monitor != monitor:
                record = replace(held.record, monitor=monitor)
                now = self._committer.full(now.with_lists([replace(held, record=record)]))
            return Result(now.generation, unchanged=len(held.entries))

    def remove_list(self, name: str) -> Result:
        """Remove a list that was loaded at run time. Raises ListMissing, ListConflict, ApplyError."""
        with self._lock:
            held = self._now.find(name)
            if held.record.origin == "operator":
                raise ListConflict(f"list '{name}' is built in: empty it with unblock or unallow")
            if held.record.origin == "policy":
                raise ListConflict(f"list '{name}' is declared in the policy: remove it there and reload")
            lists = tuple(item for item in self._now.lists if item is not held)
            return Result(self._committer.full(lists).generation, removed=len(held.entries))

    def show_list(self, name: str, limit: int = 1000, after: str | None = None) -> ListPage:
        """Some entries of a list. Raises ListMissing; ListInvalid if *after* is no entry."""
        return page_of(self._now.find(name), limit, after)

    def lists(self) -> tuple[ListInfo, ...]:
        """All lists, in the order that decides which names a hit."""
        return tuple(info_of(held) for held in self._now.lists)

    # -- questions
    # ----------------------------------------------------------------------------------------------

    def explain(self, address: str) -> Explanation:
        """Why packets from *address* get their verdict, by intent and in the kernel. Raises ListInvalid."""
        try:
            entry = parse_address(address.strip())
        except InvalidEntry as error:
            raise ListInvalid(f"'{address[:60]}': {error}") from error
        now = self._now
        return explain(entry, now, self._dataplane.lookup(str(entry)), self._clock())

    def status(self) -> Status:
        """How the daemon is doing; asks the kernel about interfaces only."""
        now = self._now
        interfaces, problems = self._interfaces()
        if self._committer.problem:
            problems.append(self._committer.problem)
        return Status(
            generation=now.generation,
            engine=self._policy.engine,
            lists=self.lists(),
            interfaces=tuple(interfaces),
            usage=usage_of(now.compiled, self._committer.capacity),
            problems=tuple(problems),
            warnings=self._warnings,
        )

    def counters(self) -> Counters:
        """What the kernel counted, by reason and by list. Raises KernelError."""
        return Counters(dict(self._dataplane.reason_counters()), *self._committer.list_counters())

    # -- inside
    # -------------------------------------------------------------------------------------------------

    @property
    def _now(self) -> Snapshot:
        return self._committer.current

    def _warn(self, warnings: tuple[str, ...]) -> None:
        self._warnings = warnings
        for warning in warnings:
            log.warning("%s", warning)

    def _interfaces(self) -> tuple[list[InterfaceStatus], list[str]]:
        try:
            interfaces = self._dataplane.interfaces()
        except KernelError as error:
            return [], [f"interfaces cannot be read: {error}"]
        return interfaces, [f"{i.name}: {i.problem}" for i in interfaces if i.problem]

    def _load(self, record: ListRecord) -> HeldList:
        """A saved list; entries that ended while the daemon was away are not in force any more."""
        if not record.timed:
            return HeldList(record, self._store.get_entries(record.sha256, record.name))
        clock, saved = self._clock(), self._store.get_terms(record.sha256, record.name)
        terms = saved.remembered(clock)
        if len(terms) < len(saved):
            record = replace(record, sha256="")
        return HeldList(record, terms.running(clock), terms)

    def _resolve(self, policy: Policy, saved: tuple[ListRecord, ...], load: Load) -> Resolved:
        return resolve(policy, saved, Sources(load, self._read, self._parser))

    def _edit(self, action: Action, addresses: Sequence[str], ttl: float | None = None) -> Result:
        entries = read_addresses(addresses)
        _check_ttl(ttl)
        with self._lock:
            clock, snapshot = self._clock(), self._now
            term = None if ttl is None else Term(ttl, self._policy.bans)
            made = plan(action, entries, snapshot, term, clock)
            if made.changes:
                snapshot = self._committer.edit(made.changes)
        counts = Counter(made.outcomes)
        return Result(
            snapshot.generation,
            counts["added"],
            counts["removed"],
            counts["unchanged"],
            outcomes(action, entries, made, snapshot, clock),
        )

    def _parse(self, name: str, text: str | bytes, *, skip_invalid: bool) -> ParsedList:
        parsed = self._parser(text)
        if parsed.problems and (not skip_invalid or not len(parsed.entries)):
            raise _refusal(name, parsed)
        return parsed

    def _put_list(self, wanted: HeldList, before: EntrySet, parsed: ParsedList) -> Result:
        """Put one list in force and count what that changes; *before* are its entries so far."""
        now = self._now
        added = len(wanted.entries.minus(before))
        removed = len(before.minus(wanted.entries))
        same = not added and not removed and _unchanged_record(now, wanted.record)
        snapshot = now if same else self._committer.full(now.with_lists([wanted]))
        return Result(
            snapshot.generation,
            added,
            removed,
            len(wanted.entries) - added,
            problems=parsed.problems,
            duplicates=parsed.duplicates,
            host_bits=parsed.host_bits,
        )


def _unchanged_record(now: Snapshot, record: ListRecord) -> bool:
    return any(replace(held.record, sha256="") == record for held in now.lists)


def _check_new_list(name: str, verdict: str) -> ListVerdict:
    try:
        check_list_name(name)
    except ValueError as error:
        raise ListError(str(error)) from error
    if name in RESERVED:
        raise ListConflict(f"list '{name}' is built in: choose another name")
    if verdict not in _VERDICTS:
        raise ListError(f"verdict '{verdict[:60]}': expected 'block' or 'allow'")
    return _VERDICTS[verdict]


def _check_ttl(ttl: float | None) -> None:
    if ttl is not None and not (math.isfinite(ttl) and 0 < ttl <= MAX_TTL):
        most = format_duration(MAX_TTL)
        raise ListError(f"nothing was changed: a TTL of {ttl:g} s: give more than 0 and at most {most}")


def _said_of_capacity(before: Policy, after: Policy) -> list[str]:
    """What an operator who made capacities smaller should know."""
    fields = [f"capacity.{name}" for name in shrunk(before.capacity, after.capacity)]
    if not fields:
        return []
    return [f"{', '.join(fields)}: smaller than before; nothing to do, it holds for maps that are made anew"]


def _refusal(name: str, parsed: ParsedList) -> ListInvalid:
    first, count = parsed.problems[0], len(parsed.problems)
    lines = "line is no entry" if count == 1 else "lines are no entries"
    advice = "correct or skip invalid lines" if len(parsed.entries) else "the list holds nothing else"
    return ListInvalid(
        f"list '{name[:60]}': {count} {lines}, the first is {first.line}: '{first.text}': {first.why}; "
        f"{advice}",
        parsed.problems,
    )
