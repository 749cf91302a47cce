# SPDX-License-Identifier: Apache-2.0
"""Changes of lists at run time: single addresses, for good or for a time, and whole lists."""

import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from neurowall.logic.commit import Committer
from neurowall.logic.imperative import Action, Term, ended, outcomes, plan, read_addresses
from neurowall.logic.requests import check_new_list, check_ttl, refusal, unchanged_record
from neurowall.logic.resolve import Parse
from neurowall.logic.results import ListInfo, ListPage, Result
from neurowall.logic.snapshot import Snapshot, info_of, page_of
from neurowall.model.entries import EntrySet
from neurowall.model.errors import GenerationChanged, ListConflict
from neurowall.model.intent import HeldList, ListRecord
from neurowall.model.listfile import ParsedList
from neurowall.model.policy import Policy


class ListRequests(ABC):
    """Checked, planned and committed one at a time, under the lock that policies share."""

    def __init__(self, committer: Committer, parser: Parse, clock: Callable[[], float]) -> None:
        self._committer = committer
        self._parser = parser
        self._clock = clock
        self._lock = threading.RLock()  # at_generation and in_turn hold it around a change

    @property
    @abstractmethod
    def policy(self) -> Policy:
        """The policy in force."""

    @property
    def generation_now(self) -> int:
        """The generation in force. Never waits."""
        return self._now.generation

    @contextmanager
    def at_generation(self, numbers: Iterable[int]) -> Iterator[None]:
        """Hold the changes of other threads up, if one of these generations is in force.

        Raises GenerationChanged if another one is.
        """
        with self._lock:
            if self.generation_now not in numbers:
                raise GenerationChanged(self.generation_now)
            yield

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Hold the changes of other threads up, whatever is in force."""
        with self._lock:
            yield

    def block(self, addresses: Sequence[str], ttl: float | None = None, *, dry_run: bool = False) -> Result:
        """Add to the built-in block list, for *ttl* seconds if it is given; the kernel ends it by itself.

        A re-offence lasts longer, see Bans. What is blocked for good stays so. Raises ListInvalid, ListError
        for a ttl that cannot be, CapacityError, StateError, ApplyError. dry_run, here and below: all is
        checked, the answer says what would be done, and nothing is changed.
        """
        return self._edit("block", addresses, ttl, dry_run=dry_run)

    def allow(self, addresses: Sequence[str], ttl: float | None = None, *, dry_run: bool = False) -> Result:
        """Add to the built-in allow list, which beats every block list. Otherwise as block, never longer."""
        return self._edit("allow", addresses, ttl, dry_run=dry_run)

    def unblock(self, addresses: Sequence[str], *, dry_run: bool = False) -> Result:
        """Remove from the built-in block lists, timed or not, and forget earlier blocks. Raises as block.

        The answer says what still blocks.
        """
        return self._edit("unblock", addresses, dry_run=dry_run)

    def unallow(self, addresses: Sequence[str], *, dry_run: bool = False) -> Result:
        """Remove from the built-in allow lists, timed or not. Raises as block."""
        return self._edit("unallow", addresses, dry_run=dry_run)

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

    def load_list(
        self,
        name: str,
        verdict: str,
        text: str | bytes,
        *,
        skip_invalid: bool = False,
        monitor: bool = False,
        dry_run: bool = False,
    ) -> Result:
        """Add a new list. Raises ListConflict, ListInvalid, CapacityError, ApplyError."""
        checked = check_new_list(name, verdict)
        parsed = self._parse(name, text, skip_invalid=skip_invalid)
        with self._lock:
            if any(held.record.name == name for held in self._now.lists):
                raise ListConflict(f"there is a list '{name}' already: replace it, or choose another name")
            record = ListRecord(name, checked, "runtime", "", monitor=monitor)
            return self._put_list(HeldList(record, parsed.entries), EntrySet.empty(), parsed, dry_run=dry_run)

    def replace_list(
        self, name: str, text: str | bytes, *, skip_invalid: bool = False, dry_run: bool = False
    ) -> Result:
        """Give a list other entries; a declared one keeps them until its declaration changes."""
        parsed = self._parse(name, text, skip_invalid=skip_invalid)
        with self._lock:
            held = self._now.find(name)
            if held.record.timed:
                raise ListConflict(
                    f"list '{name}' is built in, and each entry has its own end: block or allow them"
                )
            record = replace(held.record, sha256="", override=held.record.origin == "policy")
            return self._put_list(HeldList(record, parsed.entries), held.entries, parsed, dry_run=dry_run)

    def set_monitor(self, name: str, monitor: bool, *, dry_run: bool = False) -> Result:  # noqa: FBT001 - the only thing to say
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
                now = self._full(now.with_lists([replace(held, record=record)]), dry_run=dry_run)
            return Result(now.generation, unchanged=len(held.entries), dry_run=dry_run)

    def remove_list(self, name: str, *, dry_run: bool = False) -> Result:
        """Remove a list that was loaded at run time. Raises ListMissing, ListConflict, ApplyError."""
        with self._lock:
            held = self._now.find(name)
            if held.record.origin == "operator":
                raise ListConflict(f"list '{name}' is built in: empty it with unblock or unallow")
            if held.record.origin == "policy":
                raise ListConflict(f"list '{name}' is declared in the policy: remove it there and reload")
            lists = tuple(item for item in self._now.lists if item is not held)
            after = self._full(lists, dry_run=dry_run)
            return Result(after.generation, removed=len(held.entries), dry_run=dry_run)

    def show_list(self, name: str, limit: int = 1000, after: str | None = None) -> ListPage:
        """Some entries of a list. Raises ListMissing; ListInvalid if *after* is no entry."""
        return page_of(self._now.find(name), limit, after)

    def lists(self) -> tuple[ListInfo, ...]:
        """All lists, in the order that decides which names a hit."""
        return tuple(info_of(held) for held in self._now.lists)

    @property
    def _now(self) -> Snapshot:
        return self._committer.current

    def _full(self, lists: tuple[HeldList, ...], *, dry_run: bool) -> Snapshot:
        return self._committer.plan_full(lists) if dry_run else self._committer.full(lists)

    def _edit(
        self, action: Action, addresses: Sequence[str], ttl: float | None = None, *, dry_run: bool
    ) -> Result:
        entries = read_addresses(addresses)
        check_ttl(ttl)
        with self._lock:
            clock, snapshot = self._clock(), self._now
            term = None if ttl is None else Term(ttl, self.policy.bans)
            made = plan(action, entries, snapshot, term, clock)
            if made.changes:
                edit = self._committer.plan_edit if dry_run else self._committer.edit
                snapshot = edit(made.changes)
        counts = Counter(made.outcomes)
        return Result(
            snapshot.generation,
            counts["added"],
            counts["removed"],
            counts["unchanged"],
            outcomes(action, entries, made, snapshot, clock),
            dry_run=dry_run,
        )

    def _parse(self, name: str, text: str | bytes, *, skip_invalid: bool) -> ParsedList:
        parsed = self._parser(text)
        if parsed.problems and (not skip_invalid or not len(parsed.entries)):
            raise refusal(name, parsed)
        return parsed

    def _put_list(self, wanted: HeldList, before: EntrySet, parsed: ParsedList, *, dry_run: bool) -> Result:
        """Put one list in force and count what that changes; *before* are its entries so far."""
        now = self._now
        added = len(wanted.entries.minus(before))
        removed = len(before.minus(wanted.entries))
        same = not added and not removed and unchanged_record(now, wanted.record)
        snapshot = now if same else self._full(now.with_lists([wanted]), dry_run=dry_run)
        return Result(
            snapshot.generation,
            added,
            removed,
            len(wanted.entries) - added,
            problems=parsed.problems,
            duplicates=parsed.duplicates,
            host_bits=parsed.host_bits,
            dry_run=dry_run,
        )
