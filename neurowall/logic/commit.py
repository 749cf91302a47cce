# SPDX-License-Identifier: Apache-2.0
"""One change, all or nothing: intent to disk, kernel steps, read back; on failure both are reverted."""

import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from neurowall.data.state import StateStore
from neurowall.logic.amend import amend
from neurowall.logic.apply import Applier
from neurowall.logic.classes import Registry
from neurowall.logic.compile import Compiled, compile_lists
from neurowall.logic.counting import ListCounters
from neurowall.logic.dataplane import DataPlane
from neurowall.logic.snapshot import Snapshot, changed_list, named_lists
from neurowall.model.counters import Counter
from neurowall.model.entries import EntrySet
from neurowall.model.errors import ApplyError, StateError
from neurowall.model.image import ClassDef, Contents, Image
from neurowall.model.intent import HeldList, Intent
from neurowall.model.policy import Capacity

log = logging.getLogger(__name__)


class Committer:
    """Owns the current snapshot. Its callers see to it that one change is made at a time.

    kernel_known is false while the kernel may hold something else than the snapshot: before the start,
    during a change, and after one that could not be reverted. The next change then works from what the
    kernel really holds. problem says so in the last case, else it is None.
    """

    def __init__(self, dataplane: DataPlane, store: StateStore, capacity: Capacity) -> None:
        self._dataplane = dataplane
        self._store = store
        self._capacity = capacity
        self._applier = Applier(dataplane, capacity)
        self._counters = ListCounters()
        self.now: Snapshot | None = None
        self.kernel_known = False
        self.problem: str | None = None

    def start(self, lists: tuple[HeldList, ...], saved: Intent) -> Snapshot:
        """Adopt or fill the kernel, so that it holds *lists*; what it holds already is not written again."""
        contents = self._dataplane.contents()
        registry = adopted(saved.classes, contents, self._capacity.classes)
        compiled = compile_lists(named_lists(lists), registry, self._capacity)
        after = Snapshot(saved.generation, self._stored(lists), compiled)
        if after.intent != saved:
            after = replace(after, generation=saved.generation + 1)
            self._save(after.intent, saved)
        before = Image(contents.v4, contents.v6, _known_of(registry))
        self._kernel_half(lambda: self._recover(contents, compiled, registry), before, saved, compiled)
        return self._done(after)

    def full(self, lists: tuple[HeldList, ...]) -> Snapshot:
        """Put *lists* in force: compile all of them anew."""
        registry, old = self.current.compiled.registry, self.current.compiled.image
        if self.kernel_known:
            compiled = compile_lists(named_lists(lists), registry, self._capacity)
            return self._commit(
                lists, compiled, lambda: self._applier.replace(old, compiled.image, registry.defs)
            )
        contents = self._dataplane.contents()
        registry = adopted(registry.defs, contents, self._capacity.classes)
        compiled = compile_lists(named_lists(lists), registry, self._capacity)
        return self._commit(lists, compiled, lambda: self._recover(contents, compiled, registry))

    def edit(self, held: HeldList, add: EntrySet, remove: EntrySet) -> Snapshot:
        """Change one list by a few entries; costs little, however much else is listed."""
        now = self.current
        lists = now.with_list(changed_list(held, held.entries.minus(remove).union(add)))
        if not self.kernel_known:
            return self.full(lists)
        change = amend(now.compiled, held.record.name, add, remove, self._capacity)
        whole, classes = change.compiled.image, now.compiled.registry.defs
        return self._commit(
            lists, change.compiled, lambda: self._applier.amend(change.old, change.new, whole, classes)
        )

    @property
    def current(self) -> Snapshot:
        """The snapshot in force. Raises RuntimeError before the start."""
        if self.now is None:
            raise RuntimeError("the engine has not been started")
        return self.now

    def list_counters(self) -> Mapping[tuple[str, str], Counter]:
        """What each list decided."""
        return self._counters.fold(self.current.compiled.registry.defs, self._dataplane.class_counters())

    def _commit(
        self, lists: tuple[HeldList, ...], compiled: Compiled, forward: Callable[[], None]
    ) -> Snapshot:
        before = self.current
        after = Snapshot(before.generation + 1, self._stored(lists), compiled)
        self._save(after.intent, before.intent)
        self._carry_counters(before.compiled.registry, compiled.registry)
        self._kernel_half(forward, before.compiled.image, before.intent, compiled)
        return self._done(after)

    def _recover(self, contents: Contents, compiled: Compiled, registry: Registry) -> None:
        """Go on from what the kernel really holds."""
        # Also those that it should know: of its class table only the verdicts are read back.
        self._dataplane.set_classes(compiled.classes.values())
        self._applier.replace(contents, compiled.image, registry.defs)

    def _kernel_half(
        self, forward: Callable[[], None], before: Image, saved: Intent, compiled: Compiled
    ) -> None:
        self.kernel_known = False
        try:
            forward()
        except Exception as error:
            raise self._reverted(error, before, saved, compiled) from error
        self.kernel_known, self.problem = True, None

    def _reverted(self, error: Exception, before: Image, saved: Intent, compiled: Compiled) -> ApplyError:
        """Put kernel and disk back, and say how that went."""
        log.warning("the change failed and is reverted: %s", error)
        problems = []
        try:
            meanings = {**compiled.registry.defs, **before.classes}
            self._applier.replace(self._dataplane.contents(), before, meanings)
            self.kernel_known, self.problem = self.now is not None, None
        except Exception as second:
            log.exception("the kernel could not be reverted")
            self.problem = f"the kernel could not be reverted ({second}); the next change or start repairs it"
            problems.append(self.problem)
        try:
            self._store.save(saved)
        except StateError as second:
            problems.append(f"the saved state could not be reverted ({second}); a restart tries it again")
        if problems:
            return ApplyError("; ".join([str(error), *problems]), reverted=False)
        return ApplyError(f"{error}; nothing was changed", reverted=True)

    def _done(self, after: Snapshot) -> Snapshot:
        """Make *after* current; ids that are no longer used may be given away from now on."""
        registry = after.compiled.registry.holding(after.compiled.classes)
        self.now = replace(after, compiled=replace(after.compiled, registry=registry))
        self._store.collect({held.record.sha256 for held in after.lists})
        return self.now

    def _stored(self, lists: tuple[HeldList, ...]) -> tuple[HeldList, ...]:
        """The lists, those stored that were not yet."""
        return tuple(
            held
            if held.record.sha256
            else replace(held, record=replace(held.record, sha256=self._store.put_entries(held.entries)))
            for held in lists
        )

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

    Every id that it holds keeps its meaning. One that the saved classes do not know, or whose verdict is
    another in the kernel, has no meaning that we could use: it is left alone until its entries are gone.
    """
    held = {
        int(i) for table in (contents.v4, contents.v6) for i in np.flatnonzero(np.bincount(table.class_id))
    }
    strange = {
        i for i in held if i in saved and contents.verdicts.get(i, saved[i].verdict) != saved[i].verdict
    }
    known = {i: definition for i, definition in saved.items() if i not in strange and i < limit}
    return Registry(limit, known, frozenset(held))


def _known_of(registry: Registry) -> dict[int, ClassDef]:
    return {i: definition for i, definition in registry.defs.items() if i in registry.held}
