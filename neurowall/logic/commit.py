# SPDX-License-Identifier: Apache-2.0
"""One change, all or nothing: intent to disk, kernel steps, read back; on failure both are reverted."""

import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from neurowall.data.state import StateStore
from neurowall.logic import memory
from neurowall.logic.amend import Amendment, ListEdit, amend
from neurowall.logic.apply import Applier
from neurowall.logic.classes import Registry, complete, with_rests
from neurowall.logic.compile import Compiled, NamedList, compile_lists
from neurowall.logic.counting import ListCounters
from neurowall.logic.dataplane import DataPlane
from neurowall.logic.growth import enlarged
from neurowall.logic.snapshot import ListChange, Snapshot, named_lists
from neurowall.logic.timed import Found, TimeSteps, Timetable, check_room, time_steps
from neurowall.model.counters import Counter
from neurowall.model.entries import FAMILIES, Entries
from neurowall.model.errors import ApplyError, CapacityError, MapFull, StateError
from neurowall.model.image import ClassDef, Contents, Image
from neurowall.model.intent import HeldList, Intent
from neurowall.model.policy import Capacity, Policy

LARGE = 50_000  # entries
_IN_BUCKETS = ("hosts4", "hosts6", "prefixes6")  # bucket tables have more slots than they were asked for

log = logging.getLogger(__name__)

Compiler = Callable[[Sequence[NamedList], Registry, Capacity], Compiled]


class _Target(NamedTuple):
    """What the kernel is to hold, and the capacity of the maps for it."""

    compiled: Compiled
    timetable: Timetable
    capacity: Capacity


class Committer:
    """Owns the current snapshot. Its callers see to it that one change is made at a time.

    kernel_known is false while the kernel may hold something else than the snapshot: before the start,
    during a change, and after one that could not be reverted. The next change then works from what the
    kernel really holds. problem says so in the last case, else it is None. may_grow: lists that outgrow the
    kernel maps get larger ones.
    """

    def __init__(
        self, dataplane: DataPlane, store: StateStore, policy: Policy, compiler: Compiler = compile_lists
    ) -> None:
        self._dataplane = dataplane
        self._store = store
        self._compiler = compiler
        self._applier = Applier(dataplane, _IN_BUCKETS if policy.engine == "buckets" else ())
        self._counters = ListCounters()
        self.may_grow = policy.capacity.grow
        self.now: Snapshot | None = None
        self.kernel_known = False
        self.problem: str | None = None

    @property
    def capacity(self) -> Capacity:
        """What the kernel maps in force were made for."""
        return self._dataplane.capacity

    def start(self, lists: tuple[HeldList, ...], saved: Intent) -> Snapshot:
        """Adopt or fill the kernel, so that it holds *lists*; what it holds already is not written again."""
        contents, times = self._dataplane.contents(), self._applier.times()
        registry = adopted(saved.classes, contents, self.capacity.classes)
        target = self._compile(lists, registry, self.capacity)
        after = Snapshot(saved.generation, self._stored(lists), target.compiled)
        if after.intent != saved:
            after = replace(after, generation=saved.generation + 1)
            self._save(after.intent, saved)
        before = Image(contents.v4, contents.v6, _known_of(registry))
        self._kernel_half(
            self._growing(target, lambda: self._recover(contents, times, target, registry)),
            lambda: self._go_back(before, times, target.compiled),
            saved,
        )
        return _lighter(self._done(after))

    def full(self, lists: tuple[HeldList, ...], capacity: Capacity | None = None) -> Snapshot:
        """Put *lists* in force: compile all of them anew; *capacity*: what kernel maps are to grow to."""
        now, wanted = self.current, capacity or self.capacity
        if not self.kernel_known:
            contents, held = self._dataplane.contents(), self._applier.times()
            registry = adopted(now.compiled.registry.defs, contents, wanted.classes)
            target = self._compile(lists, registry, wanted)
            forward = lambda: self._recover(contents, held, target, registry)  # noqa: E731
            return _lighter(self._commit(lists, target, forward))
        registry = replace(now.compiled.registry, limit=wanted.classes)
        target = self._compile(lists, registry, wanted)
        old, new = now.compiled.image, target.compiled.image
        times = time_steps(now.timetable, target.timetable)
        forward = lambda: self._applier.replace(old, new, registry.defs, times)  # noqa: E731
        return _lighter(self._commit(lists, target, forward))

    def edit(self, changes: Sequence[ListChange]) -> Snapshot:
        """Change lists by a few entries, or when they end; costs little, however much else is listed."""
        now = self.current
        lists = now.with_lists(change.held for change in changes)
        timetable = Timetable.of(lists)
        check_room(timetable)
        if not self.kernel_known:
            return self.full(lists)
        edits = [ListEdit(c.held.record.name, c.add, c.remove) for c in changes if len(c.add) + len(c.remove)]
        try:
            change = amend(now.compiled, edits, self.capacity) if edits else _unchanged(now.compiled)
        except CapacityError:
            return self.full(lists)  # which makes larger maps, if it may
        target = _Target(change.compiled, timetable, self.capacity)
        times, classes = _changed_times(now, target.timetable, changes), now.compiled.registry.defs
        whole = change.compiled.image
        return self._commit(
            lists, target, lambda: self._applier.amend(change.old, change.new, whole, classes, times)
        )

    @property
    def current(self) -> Snapshot:
        """The snapshot in force. Raises RuntimeError before the start."""
        if self.now is None:
            raise RuntimeError("the engine has not been started")
        return self.now

    def list_counters(self) -> tuple[Mapping[tuple[str, str], Counter], Mapping[str, Counter]]:
        """What each list decided, and what each covered."""
        defs, counted = self.current.compiled.registry.defs, self._dataplane.class_counters()
        return self._counters.fold(defs, counted), self._counters.matched(defs, counted)

    def _compile(self, lists: tuple[HeldList, ...], registry: Registry, capacity: Capacity) -> _Target:
        """The compiled lists, for that capacity, or for more if they need it and maps may grow."""
        while True:
            try:
                compiled = self._compiler(named_lists(lists), registry, capacity)
            except CapacityError as error:
                larger = self._enlarged(capacity, error.what, error.wanted)
                if larger is None:
                    raise
                capacity = larger
            else:
                return _Target(compiled, Timetable.of(lists), capacity)

    def _enlarged(self, capacity: Capacity, what: str, needed: int) -> Capacity | None:
        return enlarged(capacity, what, needed) if self.may_grow else None

    def _commit(self, lists: tuple[HeldList, ...], target: _Target, forward: Callable[[], None]) -> Snapshot:
        before, compiled = self.current, target.compiled
        after = Snapshot(before.generation + 1, self._stored(lists), compiled)
        self._save(after.intent, before.intent)
        self._carry_counters(before.compiled.registry, compiled.registry)
        self._kernel_half(
            self._growing(target, forward),
            lambda: self._go_back(before.compiled.image, before.timetable, compiled),
            before.intent,
        )
        return self._done(after)

    def _recover(self, contents: Contents, held: Found, target: _Target, registry: Registry) -> None:
        """Go on from what the kernel really holds."""
        compiled = target.compiled
        # Also those that it should know: of its class table not everything is read back.
        self._dataplane.set_classes(compiled.classes.values())
        times = time_steps(held, target.timetable)
        self._applier.replace(contents, compiled.image, registry.defs, times)

    def _go_back(self, before: Image, times: Timetable | Found, compiled: Compiled) -> None:
        """Put the kernel back, whatever it holds now."""
        meanings = {**compiled.registry.defs, **before.classes}
        steps = time_steps(self._applier.times(), times)
        self._applier.replace(self._dataplane.contents(), before, meanings, steps)

    def _growing(self, target: _Target, forward: Callable[[], None]) -> Callable[[], None]:
        """*forward*, but to larger maps where the target needs them or those in force turn out to be full."""

        def step() -> None:
            if target.capacity != self.capacity:
                self._grow(target)
                return
            try:
                forward()
            except MapFull as error:
                held = getattr(self.capacity, error.what, 0)
                larger = self._enlarged(self.capacity, error.what, held + 1)
                if larger is None:
                    raise
                log.warning("%s", error)
                self._grow(target._replace(capacity=larger))

        return step

    def _grow(self, target: _Target) -> None:
        """Make larger maps and fill them; the lists are switched with them."""
        before = self.capacity
        log.info("making larger kernel maps: %s", _growth(before, target.capacity))
        counted = self._dataplane.class_counters() if target.capacity.classes != before.classes else None
        image, times = target.compiled.image, target.timetable
        self._dataplane.grow(target.capacity, lambda: self._applier.fill(image, times))
        if counted is not None and self.now is not None:
            self._counters.restart(self.now.compiled.registry.defs, counted)

    def _kernel_half(self, forward: Callable[[], None], back: Callable[[], None], saved: Intent) -> None:
        self.kernel_known = False
        try:
            forward()
        except Exception as error:
            raise self._reverted(error, back, saved) from error
        self.kernel_known, self.problem = True, None

    def _reverted(self, error: Exception, back: Callable[[], None], saved: Intent) -> ApplyError:
        """Put kernel and disk back, and say how that went."""
        log.warning("the change failed and is reverted: %s", error)
        problems = []
        try:
            back()
            self.kernel_known, self.problem = self.now is not None, None
        except Exception as second:
            log.exception("the kernel could not be reverted")
            self.problem = f"the kernel could not be reverted ({second}); the next change or start repairs it"
            problems.append(self.problem)
        try:
            self._store.save(saved)
            self._store.collect({record.sha256 for record in saved.lists})
        except StateError as second:
            problems.append(f"the saved state could not be reverted ({second}); a restart tries it again")
        if problems:
            return ApplyError("; ".join([str(error), *problems]), reverted=False)
        return ApplyError(f"{error}; nothing was changed", reverted=True)

    def _done(self, after: Snapshot) -> Snapshot:
        """Make *after* current; ids that are no longer used may be given away from now on."""
        registry = after.compiled.registry.holding(after.compiled.classes)
        before, kept = self.now, {held.record.sha256 for held in after.lists}
        self.now = replace(after, compiled=replace(after.compiled, registry=registry))
        if before is None:
            self._store.collect(kept)
        else:
            self._store.forget({held.record.sha256 for held in before.lists} - kept)
        return self.now

    def _stored(self, lists: tuple[HeldList, ...]) -> tuple[HeldList, ...]:
        """The lists, those stored that were not yet."""
        return tuple(
            held if held.record.sha256 else replace(held, record=replace(held.record, sha256=self._put(held)))
            for held in lists
        )

    def _put(self, held: HeldList) -> str:
        if held.record.timed:
            return self._store.put_terms(held.terms)
        return self._store.put_entries(held.entries)

    def _save(self, intent: Intent, before: Intent) -> None:
        try:
            self._store.save(intent)
        except StateError:
            # It may have failed after the new state was in place already.
            with contextlib.suppress(StateError):
                self._store.save(before)
            raise

    def _carry_counters(self, old: Registry, new: Registry) -> None:
        reused = [i for i, definition in old.defs.items() if new.defs.get(i) != definition]
        if reused:
            self._counters.redefine(old.defs, reused, self._dataplane.class_counters())


def adopted(saved: Mapping[int, ClassDef], contents: Contents, limit: int) -> Registry:
    """A registry for a kernel that holds *contents*.

    Every id that it holds keeps its meaning. One that the saved classes do not know, or that means something
    else in the kernel, has no meaning that we could use: it is left alone until its entries are gone.
    """
    tables = (contents.v4, contents.v6)
    used = {int(i) for table in tables for i in np.flatnonzero(np.bincount(table.class_id))}
    held = used.union(contents.verdicts, contents.rests or (), (contents.rests or {}).values()) - {0}
    strange = {i for i in held if i in saved and not _agrees(saved[i], contents)}
    known = complete({i: d for i, d in saved.items() if i not in strange and i < limit})
    return Registry(limit, known, with_rests(held, saved))


def _agrees(definition: ClassDef, contents: Contents) -> bool:
    """Whether a class means in the kernel what its definition says, as far as that was read."""
    i, rest = definition.id, definition.rest if definition.timed else None
    return contents.verdicts.get(i, definition.verdict) == definition.verdict and (
        contents.rests is None or i not in contents.verdicts or contents.rests.get(i) == rest
    )


def _known_of(registry: Registry) -> dict[int, ClassDef]:
    return {i: definition for i, definition in registry.defs.items() if i in registry.held}


def _lighter(done: Snapshot) -> Snapshot:
    """Give the memory back that a large compilation needed; a small change shall not pay for that."""
    if len(done.compiled.v4.table) + len(done.compiled.v6.table) > LARGE:
        memory.give_back_soon()
    return done


def _unchanged(compiled: Compiled) -> Amendment:
    nothing = Image.empty()
    return Amendment(compiled, Contents(nothing.v4, nothing.v6), nothing)


def _changed_times(now: Snapshot, after: Timetable, changes: Iterable[ListChange]) -> TimeSteps:
    """The steps for the expiries around a few changed entries."""
    changed = {family: Entries.empty(family) for family in FAMILIES}
    for change in changes:
        if change.held.record.timed:
            before = now.find(change.held.record.name).terms
            for family, rows in changed.items():
                moved = change.held.terms.family(family).differing(before.family(family))
                edited = change.add.family(family).union(change.remove.family(family))
                changed[family] = rows.union(moved).union(edited)
    return time_steps(now.timetable, after, changed)


def _growth(before: Capacity, after: Capacity) -> str:
    return ", ".join(
        f"{name} {getattr(before, name):,} -> {value:,}"
        for name, value in after.model_dump(exclude={"grow"}).items()
        if value != getattr(before, name)
    )
