# SPDX-License-Identifier: Apache-2.0
"""Policies over time: apply, wait for a confirmation, go back. Callers hold the engine's lock."""

import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from neurowall.data.generations import GenerationStore
from neurowall.data.state import digest_of
from neurowall.kernel import bootclock
from neurowall.logic.commit import Committer
from neurowall.logic.declared import Declared, config_digest, declare_generation, is_over
from neurowall.logic.growth import larger_of, shrunk
from neurowall.logic.policydiff import difference_of
from neurowall.logic.policyresults import GenerationInfo, Pending, PolicyChange, PolicyInForce, Source
from neurowall.logic.resolve import Load, Resolved, check_files
from neurowall.logic.snapshot import Snapshot, count_changes, same_lists
from neurowall.model.errors import PendingError, PolicyError, StateError
from neurowall.model.intent import GenerationRecord, HeldList, ListRecord, PendingRecord, PolicyState
from neurowall.model.policy import Capacity, Policy
from neurowall.model.policywarnings import warnings_of

Resolve = Callable[[Declared, tuple[ListRecord, ...], Load], Resolved]
Check = Callable[[Policy, tuple[HeldList, ...]], None]
"""Raises LockOut for a policy with these lists."""

MAX_CONFIRM = 24 * 3600.0
FEW_RULES = 200


class Policies:
    """Which policy is in force, and which were. in_force is replaced as a whole by each change."""

    def __init__(
        self,
        declared: Declared,
        committer: Committer,
        generations: GenerationStore,
        resolve: Resolve,
        load: Load,
        clock: Callable[[], float],
        config: Path | None,
    ) -> None:
        self.declared = declared
        self.warnings: tuple[str, ...] = ()
        self._info: GenerationInfo | None = None
        self._committer = committer
        self._generations = generations
        self._resolve = resolve
        self._load = load
        self._clock = clock
        self._config = config

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self.declared.policy

    def start(self, saved: PolicyState) -> Declared | None:
        """Forget generations that never came into force; the declared policy if it is a new one."""
        for number in self._generations.numbers():
            if number > saved.generation:
                self._generations.discard(number)
        declared = self.declared
        if declared.source is None and saved.generation:
            return None
        return replace(declared, source=declared.source or "start")

    def put(
        self, declared: Declared, pending: PendingRecord | None = None
    ) -> Callable[[Snapshot], PolicyState]:
        """What keeps the generation once its number is known, see commit.Put."""

        def keep(after: Snapshot) -> PolicyState:
            lists = tuple(held.record for held in after.lists if held.record.origin == "policy")
            self._generations.put(
                GenerationRecord(
                    generation=after.generation,
                    when=self._clock(),
                    source=declared.source or "start",
                    filename=declared.filename,
                    note=declared.note,
                    text=declared.text,
                    rules=len(declared.policy.rules or ()),
                    lists=lists,
                )
            )
            # Whatever somebody puts in force is a newer word than what the file says now.
            seen = after.policy.config_sha256
            digest = seen if declared.source == "unconfirmed" else config_digest(self._config)
            return PolicyState(after.generation, digest, pending)

        return keep

    def took_over(self, declared: Declared, resolved: Resolved) -> None:
        """Note what is in force now."""
        self.declared = declared
        # To compare each rule with all others takes longer than all the rest: `validate` does it for many.
        few = len(declared.policy.rules or ()) <= FEW_RULES
        self.warnings = (
            *declared.warnings,
            *resolved.warnings,
            *(warnings_of(declared.policy) if few else ()),
        )

    # -- changes

    def apply(
        self, declared: Declared, check: Check, *, confirm: float | None = None, dry_run: bool = False
    ) -> PolicyChange:
        """Put a policy in force. Raises as Engine.apply_policy."""
        begun = time.perf_counter()
        if self.pending and declared.source not in ("rollback", "unconfirmed"):
            raise PendingError(self._busy())
        _check_confirm(confirm)
        self._check_engine(declared.policy)
        if declared.confined:
            check_files(declared.policy, self._config)
        before, policy = self._committer.current, declared.policy
        resolved = self._wanted(declared)
        check(policy, resolved.lists)
        differences = difference_of(self.policy, policy)
        added, removed = count_changes(before.lists, resolved.lists)
        same = not differences and self._is_same(before, declared, resolved) and not self.pending
        capacity = larger_of(self._committer.capacity, policy.capacity)
        told = _said_of_capacity(self.policy, policy)
        notes = (*resolved.warnings, *told)
        change = PolicyChange(
            before.generation, dry_run, differences, added, removed, 0, 0.0, self.pending, notes
        )
        if dry_run:
            objects = self._checked(resolved, capacity, policy)
            change = replace(change, objects=objects, warnings=(*notes, *warnings_of(policy)))
        elif not same:
            pending = self._pending_record(confirm)
            snapshot = self._put_in_force(declared, resolved, capacity, pending)
            change = replace(
                change,
                generation=snapshot.generation,
                objects=self._committer.objects,
                pending=self.pending,
                warnings=(*self.warnings, *told),
            )
        return replace(change, seconds=time.perf_counter() - begun)

    def _put_in_force(
        self, declared: Declared, resolved: Resolved, capacity: Capacity, pending: PendingRecord | None
    ) -> Snapshot:
        grew, number = self._committer.may_grow, self._committer.current.generation + 1
        self._committer.may_grow = declared.policy.capacity.grow
        try:
            snapshot = self._committer.full(
                resolved.lists, capacity, declared.policy, self.put(declared, pending)
            )
        except Exception:
            self._committer.may_grow = grew
            if not self._committer.is_saved(number):
                self._generations.discard(number)
            raise
        self.took_over(declared, resolved)
        return snapshot

    def _checked(self, resolved: Resolved, capacity: Capacity, policy: Policy) -> int:
        grew, self._committer.may_grow = self._committer.may_grow, policy.capacity.grow
        try:
            return self._committer.check(resolved.lists, capacity, policy)
        finally:
            self._committer.may_grow = grew

    def rollback(
        self, generation: int | None, check: Check, *, dry_run: bool = False, confined: bool = False
    ) -> PolicyChange:
        """Put the policy of a generation in force again; None: the one before, of one that waits its own.

        Raises StateError if it is not kept.
        """
        state = self._committer.current.policy
        if generation is None and state.pending:
            number: int | None = state.pending.revert_to
        elif generation is None:
            number = self._generations.at(state.generation - 1)
        else:
            number = self._generations.at(generation)
        if number is None:
            kept = ", ".join(map(str, self._generations.numbers())) or "none"
            raise StateError(f"no earlier policy is kept; generations that put one in force: {kept}")
        declared = declare_generation(
            self._generations.get(number), "rollback", f"back to generation {number}"
        )
        return self.apply(replace(declared, confined=confined), check, dry_run=dry_run)

    def confirm(self, *, dry_run: bool = False) -> None:
        """Keep the policy that waits. Raises PendingError if none does, StateError."""
        state = self._committer.current.policy
        if state.pending is None:
            raise PendingError("no policy waits to be confirmed")
        if not dry_run:
            self._committer.save_policy(replace(state, pending=None))

    def take_back_unconfirmed(self) -> bool:
        """Go back if a policy was not confirmed in time; whether that happened."""
        state = self._committer.current.policy
        if state.pending is None or not is_over(state.pending):
            return False
        note = f"generation {state.generation} was not confirmed"
        record = self._generations.get(state.pending.revert_to)
        self.apply(declare_generation(record, "unconfirmed", note), lambda *_: None)
        return True

    # -- questions

    @property
    def pending(self) -> Pending | None:
        """The policy that waits to be confirmed."""
        state = self._committer.current.policy
        if state.pending is None:
            return None
        left = max(0.0, state.pending.until - bootclock.now())
        return Pending(left, state.generation, state.pending.revert_to)

    def now(self) -> PolicyInForce:
        """The policy in force."""
        number = self._committer.current.policy.generation
        if self._info is None or self._info.generation != number:  # asked with every scrape, so it is kept
            self._info = info_of(self._generations.get(number), text=True)
        return PolicyInForce(self._info, self.pending, self.warnings)

    def kept(self) -> tuple[int, ...]:
        """The numbers of all that are kept, oldest first."""
        return tuple(self._generations.numbers())

    def generations(self, limit: int | None = None, before: int | None = None) -> tuple[GenerationInfo, ...]:
        """Those that are kept, oldest first; damaged ones are left out.

        limit: the last so many; before: of those that are older than this one.
        """
        found: list[GenerationInfo] = []
        for number in reversed(self._generations.numbers()):
            if limit is not None and len(found) >= limit:
                break
            if before is None or number < before:
                with suppress(StateError):
                    found.insert(0, info_of(self._generations.get(number)))
        return tuple(found)

    def generation(self, number: int) -> GenerationInfo:
        """One of them with its text. Raises StateError."""
        return info_of(self._generations.get(number), text=True)

    # -- inside

    def _wanted(self, declared: Declared) -> Resolved:
        """The lists by this policy and by what is in force."""
        held = {item.record.name: item for item in self._committer.current.lists}
        load = lambda record: held.get(record.name) or self._load(record)  # noqa: E731
        return self.resolved(declared, self._committer.current.intent.lists, load)

    def resolved(self, declared: Declared, saved: tuple[ListRecord, ...], load: Load) -> Resolved:
        """The lists by this policy; those of a generation that it brings back as they were then."""
        if declared.restores is None:
            return self._resolve(declared, saved, load)
        then = {record.name: record for record in declared.restores.lists}
        known = {record.name for record in saved}
        added = tuple(record for name, record in then.items() if name not in known)
        resolved = self._resolve(declared, (*saved, *added), load)
        lists = tuple(self._as_then(item, then.get(item.record.name)) for item in resolved.lists)
        lost = [new.record.name for new in lists if self._is_lost(new, then.get(new.record.name))]
        told = tuple(
            f"list '{name}' is not kept as it was then: its present content is in force" for name in lost
        )
        return replace(resolved, lists=lists, warnings=(*resolved.warnings, *told))

    @staticmethod
    def _is_lost(now: HeldList, then: ListRecord | None) -> bool:
        return bool(then and now.record.origin == "policy" and digest_of(now.entries) != then.sha256)

    def _as_then(self, now: HeldList, then: ListRecord | None) -> HeldList:
        """A declared list with the content that it had, until its declaration changes again."""
        if then is None or now.record.origin != "policy" or digest_of(now.entries) == then.sha256:
            return now
        try:
            loaded = self._load(then)
        except StateError:
            return now  # so old that its lists are not kept: what is declared now
        record = replace(now.record, sha256="", override=True, monitor=then.monitor)
        return HeldList(record, loaded.entries)

    def _is_same(self, before: Snapshot, declared: Declared, resolved: Resolved) -> bool:
        return declared.text == self.declared.text and same_lists(before.lists, resolved.lists)

    def _check_engine(self, policy: Policy) -> None:
        if policy.engine != self.policy.engine:
            raise PolicyError(["engine changed: restart the daemon; enforcement goes on while it is away"])

    def _pending_record(self, confirm: float | None) -> PendingRecord | None:
        if confirm is None:
            return None
        revert_to = self._committer.current.policy.generation
        return PendingRecord(bootclock.now() + confirm, bootclock.boot_id(), confirm, revert_to)

    def _busy(self) -> str:
        pending = self.pending
        left = f"{pending.seconds:.0f} s" if pending else "a moment"
        return (
            f"the policy in force waits another {left} to be confirmed: `neurowall confirm` it, or go back "
            "with `neurowall rollback`, first"
        )


def info_of(record: GenerationRecord, *, text: bool = False) -> GenerationInfo:
    """What to tell of a generation."""
    source: Source = record.source  # type: ignore[assignment]
    return GenerationInfo(
        generation=record.generation,
        when=record.when,
        source=source,
        filename=record.filename,
        note=record.note,
        sha256=hashlib.sha256(record.text.encode()).hexdigest(),
        rules=record.rules,
        lists=len(record.lists),
        text=record.text if text else "",
    )


def _check_confirm(confirm: float | None) -> None:
    if confirm is not None and not 1 <= confirm <= MAX_CONFIRM:
        raise PolicyError([f"a time to confirm of {confirm:g} s: give 1 s to 24 h"])


def _said_of_capacity(before: Policy, after: Policy) -> list[str]:
    """What an operator who made capacities smaller should know."""
    fields = [f"capacity.{name}" for name in shrunk(before.capacity, after.capacity)]
    if not fields:
        return []
    return [f"{', '.join(fields)}: smaller than before; nothing to do, it holds for maps that are made anew"]
