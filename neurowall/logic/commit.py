# SPDX-License-Identifier: Apache-2.0
"""One change, all or nothing: intent to disk, kernel steps, read back; on failure both are reverted."""

import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from neurowall.data.state import StateStore
from neurowall.logic import memory
from neurowall.logic.adopt import adopted, known_of
from neurowall.logic.apply import Applier
from neurowall.logic.classes import Registry
from neurowall.logic.compile import Compiled, compile_lists
from neurowall.logic.counting import ListCounters
from neurowall.logic.dataplane import DataPlane
from neurowall.logic.frame import Frame, Framed, Move, Seen
from neurowall.logic.planning import Compiler, Made, Planner, Target
from neurowall.logic.snapshot import ListChange, Snapshot
from neurowall.logic.stricter import stricter
from neurowall.logic.timed import Found, TimeSteps, Timetable, time_steps
from neurowall.model.counters import Counter
from neurowall.model.entries import FAMILIES, Entries
from neurowall.model.errors import ApplyError, CapacityError, MapFull, StateError
from neurowall.model.image import ClassDef, Contents, Image
from neurowall.model.intent import HeldList, Intent, PolicyState
from neurowall.model.policy import Capacity, Policy

LARGE = 50_000  # entries
_IN_BUCKETS = ("hosts4", "hosts6", "prefixes6")  # bucket tables have more slots than they were asked for

log = logging.getLogger(__name__)

Put = Callable[[Snapshot], PolicyState]
"""Keeps the policy that a snapshot puts in force, before that is saved; answers what is saved of it."""


class Committer(Planner):
    """Owns the current snapshot. Its callers see to it that one change is made at a time.

    kernel_known is false while the kernel may hold something else than the snapshot: before the start,
    during a change, and after one that could not be reverted. The next change then works from what the
    kernel really holds. problem says so in the last case, else it is None. history: the stored lists that
    earlier generations need.
    """

    def __init__(
        self,
        dataplane: DataPlane,
        store: StateStore,
        policy: Policy,
        frame: Frame,
        *,
        compiler: Compiler = compile_lists,
        clock: Callable[[], float] = time.time,
        history: Callable[[], Collection[str]] = set,
    ) -> None:
        super().__init__(dataplane, policy, frame, compiler, clock)
        self._store = store
        self._history = history
        self._applier = Applier(dataplane, _IN_BUCKETS if policy.engine == "buckets" else ())
        self._counters = ListCounters()
        self.objects = 0  # of the last change of the table by a policy
        self.kernel_known = False
        self.problem: str | None = None

    def start(
        self, lists: tuple[HeldList, ...], saved: Intent, policy: Policy, put: Put | None = None
    ) -> Snapshot:
        """Adopt or fill the kernel, so that it holds *lists*; what it holds already is not written again.

        put: keeps *policy*, if it is another than the saved one.
        """
        contents, times = self._dataplane.contents(), self._applier.times()
        registry = adopted(saved.classes, contents, self.capacity.classes)
        made = self.compile(lists, registry, self.capacity)
        framed = self._framed(policy, lists)
        after = Snapshot(saved.generation, self._stored(lists), made.compiled, saved.policy)
        if put or after.intent != saved:
            after = replace(after, generation=saved.generation + 1)
            after = replace(after, policy=put(after)) if put else after
            self._save(after.intent, saved)
        before = Image(contents.v4, contents.v6, known_of(registry))
        move = self._frame.move(framed)
        self._kernel_half(
            lambda: self._recover(contents, times, made, registry, move),
            lambda: self._go_back(before, times, made.compiled, move.reversed()),
            saved,
        )
        self._policy = policy
        return _lighter(self._done(after))

    def full(
        self,
        lists: tuple[HeldList, ...],
        capacity: Capacity | None = None,
        policy: Policy | None = None,
        put: Put | None = None,
    ) -> Snapshot:
        """Put *lists* in force: compile all of them anew; *capacity*: what kernel maps are to grow to.

        policy: the one to put in force with them; *put* keeps it.
        """
        now, wanted = self.current, capacity or self.capacity
        move: Move
        if not self.kernel_known:
            contents, held = self._dataplane.contents(), self._applier.times()
            registry = adopted(now.compiled.registry.defs, contents, wanted.classes)
            made = self.compile(lists, registry, wanted)
            forward = lambda: self._recover(contents, held, made, registry, move)  # noqa: E731
        else:
            registry = replace(now.compiled.registry, limit=wanted.classes)
            if _are_the_same(lists, now.lists) and registry == now.compiled.registry:
                made = Made(now.compiled, Target(now.compiled.image, now.timetable, wanted))
            else:
                made = self.compile(lists, registry, wanted)
            old, times = now.compiled.image, time_steps(now.timetable, made.target.timetable)
            forward = lambda: self._through(old, made.target, registry.defs, times, move)  # noqa: E731
        # Last, since it may leave something in the kernel: what does not fit is refused before.
        move = self._frame.move(self._framed(policy or self._policy, lists))
        return _lighter(self._commit(lists, made, forward, move, put))

    def edit(self, changes: Sequence[ListChange]) -> Snapshot:
        """Change lists by a few entries, or when they end; costs little, however much else is listed."""
        now = self.current
        lists, timetable = self.edited(changes)
        if not self.kernel_known:
            return self.full(lists)
        try:
            change = self.amended(changes)
        except CapacityError:
            return self.full(lists)  # which makes larger maps, if it may
        made = Made(change.compiled, Target(change.compiled.image, timetable, self.capacity))
        times, classes = _changed_times(now, timetable, changes), now.compiled.registry.defs
        whole, move = change.compiled.image, self._frame.move(self._framed(self._policy, lists))

        def forward() -> None:
            move.tighten()
            self._growing(
                made.target, lambda: self._applier.amend(change.old, change.new, whole, classes, times)
            )
            move.switch()
            move.relax()

        return self._commit(lists, made, forward, move)

    def is_saved(self, generation: int) -> bool:
        """Whether the disk says, or may say, that this generation's policy is in force."""
        try:
            return self._store.load().policy.generation == generation
        except StateError:
            return True

    def save_policy(self, state: PolicyState) -> Snapshot:
        """Save another state of the policy in force: it was confirmed."""
        after = replace(self.current, policy=state)
        self._save(after.intent, self.current.intent)
        self.now = after
        return after

    def settle(self) -> None:
        """Give nftables the lists of interfaces that turned out to take no XDP program, or take them away."""
        if self.now is None or not self.kernel_known or self._frame.is_settled:
            return
        move = self._frame.move(self._frame.framed(self._policy, self.now.lists, self._clock()))
        move.tighten()
        move.switch()
        move.relax()

    def forward(self) -> None:
        """Set forwarding of interfaces that came since the policy was put in force. Raises KernelError."""
        if self.now is not None and self.kernel_known:
            self._frame.forward(self._policy)

    def repair(self, seen: Seen) -> bool:
        """Put the table back if another program changed it; whether one did. Raises RulesetError."""
        if self.now is None or not self.kernel_known or not self._frame.has_drifted(seen):
            return False
        self._frame.repair(self._frame.framed(self._policy, self.now.lists, self._clock()), seen)
        return True

    def _framed(self, policy: Policy, lists: tuple[HeldList, ...]) -> Framed:
        framed = self._frame.framed(policy, lists, self._clock())
        if self._frame.now is None or policy is not self._policy:
            self.objects = self._frame.prepare(framed)
        return framed

    def list_counters(self) -> tuple[Mapping[tuple[str, str], Counter], Mapping[str, Counter]]:
        """What each list decided, and what each covered."""
        defs, counted = self.current.compiled.registry.defs, self._dataplane.class_counters()
        return self._counters.fold(defs, counted), self._counters.matched(defs, counted)

    def _commit(
        self,
        lists: tuple[HeldList, ...],
        made: Made,
        forward: Callable[[], None],
        move: Move,
        put: Put | None = None,
    ) -> Snapshot:
        before, compiled = self.current, made.compiled
        try:
            after = Snapshot(before.generation + 1, self._stored(lists), compiled, before.policy)
            after = replace(after, policy=put(after)) if put else after
            self._save(after.intent, before.intent)
        except StateError:
            self._frame.unprepare()
            raise
        self._carry_counters(before.compiled.registry, compiled.registry)
        self._kernel_half(
            forward,
            lambda: self._go_back(before.compiled.image, before.timetable, compiled, move.reversed()),
            before.intent,
        )
        self._policy = move.policy
        return self._done(after)

    def _recover(self, contents: Contents, held: Found, made: Made, registry: Registry, move: Move) -> None:
        """Go on from what the kernel really holds."""
        # Also those that it should know: of its class table not everything is read back.
        self._dataplane.set_classes(made.compiled.classes.values())
        times = time_steps(held, made.target.timetable)
        self._through(contents, made.target, registry.defs, times, move)

    def _go_back(self, before: Image, times: Timetable | Found, compiled: Compiled, move: Move) -> None:
        """Put the kernel back, whatever it holds now."""
        meanings = {**compiled.registry.defs, **before.classes}
        steps = time_steps(self._applier.times(), times)
        move.tighten()
        if move.switches:
            # The table and the lists do not go back at one moment either. Rather a gap than no way back.
            held, first = self._dataplane.contents(), replace(steps, lowered=(), gone=())
            with contextlib.suppress(MapFull):
                self._applier.replace(held, stricter(held, before, meanings), meanings, first)
        move.switch()
        self._applier.replace(self._dataplane.contents(), before, meanings, steps)
        move.relax()

    def _through(
        self,
        old: Image | Contents,
        target: Target,
        known: Mapping[int, ClassDef],
        times: TimeSteps,
        move: Move,
    ) -> None:
        """From *old* to the target, together with what is around the lists: see frame.py."""
        new = target.image
        move.tighten()
        if move.switches and (old.v4 != new.v4 or old.v6 != new.v6):
            start, middle, first = old, stricter(old, new, known), replace(times, lowered=(), gone=())
            self._growing(
                target._replace(image=middle),
                lambda: self._applier.replace(start, middle, known, first),
            )
            old, known, times = middle, {**known, **new.classes}, replace(times, raised=())
        move.switch()
        self._growing(target, lambda: self._applier.replace(old, new, known, times))
        move.relax()

    def _growing(self, target: Target, forward: Callable[[], None]) -> None:
        """*forward*, but to larger maps where the target needs them or those in force turn out to be full."""
        if _exceeds(target.capacity, self.capacity):
            self._grow(target)
            return
        try:
            forward()
        except MapFull as error:
            held = getattr(self.capacity, error.what, 0)
            larger = self.enlarged(self.capacity, error.what, held + 1)
            if larger is None:
                raise
            log.warning("%s", error)
            self._grow(target._replace(capacity=larger))

    def _grow(self, target: Target) -> None:
        """Make larger maps and fill them; the lists are switched with them."""
        before = self.capacity
        log.info("making larger kernel maps: %s", _growth(before, target.capacity))
        counted = self._dataplane.class_counters() if target.capacity.classes != before.classes else None
        image, times = target.image, target.timetable
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
            self._store.collect({record.sha256 for record in saved.lists}.union(self._history()))
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
            self._store.collect(kept.union(self._history()))
        elif gone := {held.record.sha256 for held in before.lists} - kept:
            self._store.forget(gone.difference(self._history()))
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


def _lighter(done: Snapshot) -> Snapshot:
    """Give the memory back that a large compilation needed; a small change shall not pay for that."""
    if len(done.compiled.v4.table) + len(done.compiled.v6.table) > LARGE:
        memory.give_back_soon()
    return done


def _are_the_same(one: tuple[HeldList, ...], other: tuple[HeldList, ...]) -> bool:
    """Whether two sequences of lists compile to the same."""
    return len(one) == len(other) and all(
        a.entries is b.entries
        and a.terms is b.terms
        and (a.record.name, a.record.verdict, a.record.monitor)
        == (b.record.name, b.record.verdict, b.record.monitor)
        for a, b in zip(one, other, strict=True)
    )


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


def _exceeds(wanted: Capacity, held: Capacity) -> bool:
    """Whether maps are to be larger than those in force; those may have grown meanwhile."""
    sizes = wanted.model_dump(exclude={"grow"})
    return any(size > getattr(held, name) for name, size in sizes.items())


def _growth(before: Capacity, after: Capacity) -> str:
    return ", ".join(
        f"{name} {getattr(before, name):,} -> {value:,}"
        for name, value in after.model_dump(exclude={"grow"}).items()
        if value != getattr(before, name)
    )
