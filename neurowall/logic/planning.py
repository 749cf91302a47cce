# SPDX-License-Identifier: Apache-2.0
"""What a change would come to: compiled, checked and judged, and nothing put in force."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from neurowall.logic import growth
from neurowall.logic.amend import Amendment, ListEdit, amend
from neurowall.logic.classes import Registry
from neurowall.logic.compile import Compiled, NamedList
from neurowall.logic.dataplane import DataPlane
from neurowall.logic.frame import Frame
from neurowall.logic.snapshot import ListChange, Snapshot, named_lists
from neurowall.logic.timed import Timetable, check_room
from neurowall.model.errors import CapacityError
from neurowall.model.image import Contents, Image
from neurowall.model.intent import HeldList
from neurowall.model.policy import Capacity, Policy

Compiler = Callable[[Sequence[NamedList], Registry, Capacity], Compiled]
Lists = tuple[HeldList, ...]


class Target(NamedTuple):
    """What the kernel is to hold, and the capacity of the maps for it."""

    image: Image
    timetable: Timetable
    capacity: Capacity


class Made(NamedTuple):
    """Lists as they were compiled, and what that makes of the kernel."""

    compiled: Compiled
    target: Target


class Planner:
    """Knows the current snapshot, and what other lists would make of it.

    may_grow: lists that outgrow the kernel maps get larger ones.
    """

    def __init__(
        self,
        dataplane: DataPlane,
        policy: Policy,
        frame: Frame,
        compiler: Compiler,
        clock: Callable[[], float],
    ) -> None:
        self._dataplane = dataplane
        self._policy = policy
        self._frame = frame
        self._compiler = compiler
        self._clock = clock
        self.may_grow = policy.capacity.grow
        self.now: Snapshot | None = None

    @property
    def capacity(self) -> Capacity:
        """What the kernel maps in force were made for."""
        return self._dataplane.capacity

    @property
    def current(self) -> Snapshot:
        """The snapshot in force. Raises RuntimeError before the start."""
        if self.now is None:
            raise RuntimeError("the engine has not been started")
        return self.now

    # -- dry runs

    def check(self, lists: tuple[HeldList, ...], capacity: Capacity, policy: Policy) -> int:
        """Whether a policy could be put in force; how many objects of the nftables table would change.

        Raises CapacityError, RulesetError; nothing was changed.
        """
        registry = replace(self.current.compiled.registry, limit=capacity.classes)
        self.compile(lists, registry, capacity)
        check_room(Timetable.of(lists))
        return self._frame.check(self._frame.framed(policy, lists, self._clock()))

    def plan_full(self, lists: Lists) -> Snapshot:
        """The snapshot that these lists would make, with the present generation.

        Raises CapacityError, RulesetError; nothing was changed.
        """
        registry = replace(self.current.compiled.registry, limit=self.capacity.classes)
        made = self.compile(lists, registry, self.capacity)
        check_room(made.target.timetable)
        return self._planned(lists, made.compiled)

    def plan_edit(self, changes: Sequence[ListChange]) -> Snapshot:
        """As plan_full, for a few entries."""
        lists, _ = self.edited(changes)
        try:
            return self._planned(lists, self.amended(changes).compiled)
        except CapacityError:
            return self.plan_full(lists)  # of larger maps, if they may grow

    def _planned(self, lists: Lists, compiled: Compiled) -> Snapshot:
        self._frame.check(self._frame.framed(self._policy, lists, self._clock()))
        return replace(self.current, lists=lists, compiled=compiled)

    # -- what a change is made of

    def edited(self, changes: Sequence[ListChange]) -> tuple[Lists, Timetable]:
        """All lists with some changed, and when their entries end. Raises CapacityError."""
        lists = self.current.with_lists(change.held for change in changes)
        timetable = Timetable.of(lists)
        check_room(timetable)
        return lists, timetable

    def amended(self, changes: Sequence[ListChange]) -> Amendment:
        """What a few entries change of what is compiled. Raises CapacityError."""
        compiled = self.current.compiled
        edits = [ListEdit(c.held.record.name, c.add, c.remove) for c in changes if len(c.add) + len(c.remove)]
        return amend(compiled, edits, self.capacity) if edits else _unchanged(compiled)

    def compile(self, lists: tuple[HeldList, ...], registry: Registry, capacity: Capacity) -> Made:
        """The compiled lists, for that capacity, or for more if they need it and maps may grow."""
        while True:
            try:
                compiled = self._compiler(named_lists(lists), registry, capacity)
            except CapacityError as error:
                larger = self.enlarged(capacity, error.what, error.wanted)
                if larger is None:
                    raise
                capacity = larger
            else:
                return Made(compiled, Target(compiled.image, Timetable.of(lists), capacity))

    def enlarged(self, capacity: Capacity, what: str, needed: int) -> Capacity | None:
        """The capacity with room for so many, None if maps may not grow or not so far."""
        return growth.enlarged(capacity, what, needed) if self.may_grow else None


def _unchanged(compiled: Compiled) -> Amendment:
    nothing = Image.empty()
    return Amendment(compiled, Contents(nothing.v4, nothing.v6), nothing)
