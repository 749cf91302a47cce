# SPDX-License-Identifier: Apache-2.0
"""The engine: what the daemon can be asked and told.

A change: compile, check capacities, save the intent (synced to disk), kernel steps with grace periods, read
back, generation + 1. If the kernel half fails, kernel and saved intent are reverted. One change at a time;
answers come from the last complete change and never wait for one under way.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace

from neurowall.data.sources import read_source
from neurowall.data.state import StateStore
from neurowall.logic.commit import Committer
from neurowall.logic.dataplane import DataPlane
from neurowall.logic.explain import explain
from neurowall.logic.imperative import Action, outcomes, read_addresses
from neurowall.logic.resolve import Read, resolve
from neurowall.logic.results import Counters, Explanation, ListInfo, ListPage, Result, Status
from neurowall.logic.snapshot import Snapshot, info_of, page_of, usage_of
from neurowall.model.address import InvalidEntry, parse_address
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
    OPERATOR_ALLOW,
    OPERATOR_BLOCK,
    RESERVED,
    ListVerdict,
    Policy,
    check_list_name,
)

log = logging.getLogger(__name__)

_EDITS: dict[Action, tuple[str, bool]] = {
    "block": (OPERATOR_BLOCK, True),
    "unblock": (OPERATOR_BLOCK, False),
    "allow": (OPERATOR_ALLOW, True),
    "unallow": (OPERATOR_ALLOW, False),
}


_VERDICTS: dict[str, ListVerdict] = {"block": "block", "allow": "allow"}


class Engine:
    """Lists, imperative blocks and allows, and questions about them. Any thread may call."""

    def __init__(
        self, policy: Policy, dataplane: DataPlane, store: StateStore, read: Read = read_source
    ) -> None:
        self._policy = policy
        self._dataplane = dataplane
        self._store = store
        self._read = read
        self._lock = threading.Lock()
        self._committer = Committer(dataplane, store, policy.capacity)
        self._warnings: tuple[str, ...] = ()

    # -- life
    # ---------------------------------------------------------------------------------------------------

    def start(self) -> Result:
        """Bring the kernel to what policy and saved state intend. Raises NeurowallError."""
        with self._lock:
            self._store.acquire()
            saved = self._store.load()
            load = lambda record: self._store.get_entries(record.sha256, record.name)  # noqa: E731
            resolved = resolve(self._policy, saved.lists, load, self._read)
            snapshot = self._committer.start(resolved.lists, saved)
            self._warn(resolved.warnings)
            return Result(snapshot.generation, warnings=resolved.warnings)

    def reload_policy(self, policy: Policy) -> Result:
        """Put the lists of another policy in force. Raises PolicyError if more than lists differs."""
        fixed = [
            field
            for field in ("interfaces", "failsafe", "engine", "capacity")
            if getattr(policy, field) != getattr(self._policy, field)
        ]
        if fixed:
            raise PolicyError(
                [f"{', '.join(fixed)} changed: restart the daemon; enforcement goes on while it is away"]
            )
        with self._lock:
            before = self._now
            held = {item.record.name: item.entries for item in before.lists}
            resolved = resolve(policy, before.intent.lists, lambda record: held[record.name], self._read)
            snapshot = before
            if not _same_lists(resolved.lists, before.lists):
                snapshot = self._committer.full(resolved.lists)
            self._policy = policy
            self._warn(resolved.warnings)
            added, removed = _count_changes(before.lists, snapshot.lists)
            return Result(snapshot.generation, added, removed, warnings=resolved.warnings)

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

    def block(self, addresses: Sequence[str]) -> Result:
        """Add to the built-in block list. Raises ListInvalid, CapacityError, StateError, ApplyError."""
        return self._edit("block", addresses)

    def allow(self, addresses: Sequence[str]) -> Result:
        """Add to the built-in allow list, which beats every block list. Raises as block."""
        return self._edit("allow", addresses)

    def unblock(self, addresses: Sequence[str]) -> Result:
        """Remove from the built-in block list; the answer says what still blocks. Raises as block."""
        return self._edit("unblock", addresses)

    def unallow(self, addresses: Sequence[str]) -> Result:
        """Remove from the built-in allow list. Raises as block."""
        return self._edit("unallow", addresses)

    # -- lists
    # --------------------------------------------------------------------------------------------------

    def load_list(self, name: str, verdict: str, text: str | bytes, *, skip_invalid: bool = False) -> Result:
        """Add a new list. Raises ListConflict, ListInvalid, CapacityError, ApplyError."""
        checked = _check_new_list(name, verdict)
        parsed = _parse(name, text, skip_invalid=skip_invalid)
        with self._lock:
            if any(held.record.name == name for held in self._now.lists):
                raise ListConflict(f"there is a list '{name}' already: replace it, or choose another name")
            record = ListRecord(name, checked, "runtime", "")
            return self._put_list(HeldList(record, parsed.entries), EntrySet.empty(), parsed)

    def replace_list(self, name: str, text: str | bytes, *, skip_invalid: bool = False) -> Result:
        """Give a list other entries; a declared one keeps them until its declaration changes."""
        parsed = _parse(name, text, skip_invalid=skip_invalid)
        with self._lock:
            held = self._now.find(name)
            record = replace(held.record, sha256="", override=held.record.origin == "policy")
            return self._put_list(HeldList(record, parsed.entries), held.entries, parsed)

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
        held = self._dataplane.lookup(str(entry))
        return explain(entry, now.lists, now.compiled.image, held, now.generation)

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
            usage=usage_of(now.compiled, self._policy.capacity),
            problems=tuple(problems),
            warnings=self._warnings,
        )

    def counters(self) -> Counters:
        """What the kernel counted, by reason and by the list that decided. Raises KernelError."""
        return Counters(dict(self._dataplane.reason_counters()), self._committer.list_counters())

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

    def _edit(self, action: Action, addresses: Sequence[str]) -> Result:
        entries = read_addresses(addresses)
        name, adding = _EDITS[action]
        wanted, nothing = EntrySet.from_entries(entries), EntrySet.empty()
        with self._lock:
            snapshot = self._now
            held = snapshot.find(name)
            missing = wanted.minus(held.entries)
            changed = missing if adding else wanted.minus(missing)
            if len(changed):
                add, remove = (changed, nothing) if adding else (nothing, changed)
                snapshot = self._committer.edit(held, add, remove)
        added, removed = (len(changed), 0) if adding else (0, len(changed))
        results = outcomes(action, entries, changed, snapshot.compiled)
        return Result(snapshot.generation, added, removed, len(wanted) - len(changed), results)

    def _put_list(self, wanted: HeldList, before: EntrySet, parsed: ParsedList) -> Result:
        """Put one list in force and count what that changes; *before* are its entries so far."""
        now = self._now
        added = len(wanted.entries.minus(before))
        removed = len(before.minus(wanted.entries))
        same = not added and not removed and _unchanged_record(now, wanted.record)
        snapshot = now if same else self._committer.full(now.with_list(wanted))
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


def _same_lists(one: tuple[HeldList, ...], other: tuple[HeldList, ...]) -> bool:
    return len(one) == len(other) and all(
        replace(a.record, sha256="") == replace(b.record, sha256="") and a.entries == b.entries
        for a, b in zip(one, other, strict=True)
    )


def _count_changes(before: tuple[HeldList, ...], after: tuple[HeldList, ...]) -> tuple[int, int]:
    """Entries added and removed, over all lists."""
    old = {held.record.name: held.entries for held in before}
    new = {held.record.name: held.entries for held in after}
    empty = EntrySet.empty()
    names = {*old, *new}
    added = sum(len(new.get(name, empty).minus(old.get(name, empty))) for name in names)
    removed = sum(len(old.get(name, empty).minus(new.get(name, empty))) for name in names)
    return added, removed


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


def _parse(name: str, text: str | bytes, *, skip_invalid: bool) -> ParsedList:
    parsed = parse_list(text)
    if parsed.problems and (not skip_invalid or not len(parsed.entries)):
        first, count = parsed.problems[0], len(parsed.problems)
        lines = "line is no entry" if count == 1 else "lines are no entries"
        advice = "correct or skip invalid lines" if len(parsed.entries) else "the list holds nothing else"
        raise ListInvalid(
            f"list '{name[:60]}': {count} {lines}, the first is {first.line}: '{first.text}': {first.why}; "
            f"{advice}",
            parsed.problems,
        )
    return parsed
