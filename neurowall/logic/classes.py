# SPDX-License-Identifier: Apache-2.0
"""Class ids: which sets of lists have one, and what becomes of ids that are no longer used.

An id keeps its meaning as long as possible, since counters are kept by id: retired ids are reused only when
no fresh one is left, and never while the kernel may hold an entry of the old meaning.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import NamedTuple

from neurowall.model.errors import CapacityError
from neurowall.model.fields import TIMED
from neurowall.model.image import ClassDef


class ListHead(NamedTuple):
    """A list without its entries. verdict is "block" or "allow"; monitor: counted only."""

    name: str
    verdict: str
    monitor: bool = False

    @property
    def timed(self) -> bool:
        """Whether its entries end by themselves."""
        return self.name in TIMED


class Meaning(NamedTuple):
    """What a class says, apart from its id. rest: what holds after a timed one has ended, None if nothing."""

    verdict: str
    list: str
    members: frozenset[str]
    timed: str = ""
    rest: "Meaning | None" = None

    @property
    def chain(self) -> "tuple[Meaning, ...]":
        """Itself and the meanings that come after it, in that order."""
        return (self, *(self.rest.chain if self.rest else ()))


def meaning_of(mask: int, heads: Sequence[ListHead]) -> Meaning:
    """The meaning of being covered by the lists whose bits are set; bit i is list i.

    Allow beats block, whatever the lengths, and of each kind what has no end beats what has one; the first
    list of the winning kind gives its name. Monitor lists decide nothing: if there are no others, the first
    of them gives the name.
    """
    members = [(index, head) for index, head in enumerate(heads) if mask >> index & 1]
    names = frozenset(head.name for _, head in members)
    for kind, verdict in (("allow", "pass"), ("block", "drop")):
        deciding = [each for each in members if each[1].verdict == kind and not each[1].monitor]
        permanent = next((head for _, head in deciding if not head.timed), None)
        if permanent:
            return Meaning(verdict, permanent.name, names)
        if deciding:
            index, head = deciding[0]
            without = mask & ~(1 << index)
            return Meaning(verdict, head.name, names, kind, meaning_of(without, heads) if without else None)
    return Meaning("none", members[0][1].name, names)


def with_rests(ids: Iterable[int], defs: Mapping[int, ClassDef]) -> frozenset[int]:
    """The ids, and those of all classes that come after one of them."""
    found: set[int] = set()
    waiting = list(ids)
    while waiting:
        class_id = waiting.pop()
        if class_id and class_id not in found:
            found.add(class_id)
            waiting.append(defs[class_id].rest if class_id in defs else 0)
    return frozenset(found)


def complete(defs: Mapping[int, ClassDef]) -> dict[int, ClassDef]:
    """Those definitions for which every class that comes after is defined too."""
    return {i: d for i, d in defs.items() if all(rest in defs for rest in with_rests([i], defs))}


@dataclass(frozen=True)
class Registry:
    """Every class id that has a meaning, in use or retired.

    held: ids that the kernel may hold with a meaning of their own, and those that come after one of them;
    none of them is given a new one. limit: ids are 1 to limit - 1, so that they index a kernel array of
    `capacity.classes` elements.
    """

    limit: int
    defs: Mapping[int, ClassDef] = field(default_factory=dict)
    held: frozenset[int] = frozenset()

    def assign(self, meanings: Sequence[Meaning]) -> tuple[list[int], "Registry"]:
        """An id for each meaning, and the registry that knows them. Raises CapacityError naming no list."""
        # What comes after is numbered before what it comes after.
        every: list[Meaning] = []
        for meaning in meanings:
            every += reversed(meaning.chain)
        every = list(dict.fromkeys(every))
        known = self._known(every)
        missing = [meaning for meaning in every if meaning not in known]
        fresh = self._free_ids(len(missing), set(known.values()))
        if len(fresh) < len(missing):
            wanted = len(self.held.union(known.values())) + len(missing)
            raise CapacityError("classes", self.limit, wanted, "")
        ids = {**known, **dict(zip(missing, fresh, strict=True))}
        added = {ids[meaning]: _definition(meaning, ids) for meaning in missing}
        return [ids[meaning] for meaning in meanings], Registry(
            self.limit, {**self.defs, **added}, self.held | frozenset(added)
        )

    def holding(self, ids: Iterable[int]) -> "Registry":
        """The same registry, with *ids* and what comes after them as those that the kernel may hold."""
        return Registry(self.limit, self.defs, with_rests(ids, self.defs))

    def _known(self, every: Sequence[Meaning]) -> dict[Meaning, int]:
        """The meanings among *every* that have an id. A rest stands in it before what it comes after."""
        by_definition = {_without_id(definition): i for i, definition in self.defs.items()}
        known: dict[Meaning, int] = {}
        for meaning in every:
            if meaning.rest and meaning.rest not in known:
                continue
            rest = known[meaning.rest] if meaning.rest else 0
            class_id = by_definition.get((*meaning[:3], meaning.timed, rest))
            if class_id:
                known[meaning] = class_id
        return known

    def _free_ids(self, count: int, wanted: set[int]) -> list[int]:
        """Up to *count* ids: never used ones first, then retired ones."""
        every = range(1, self.limit)
        unused = (i for i in every if i not in self.defs and i not in self.held)
        retired = (i for i in every if i in self.defs and i not in self.held and i not in wanted)
        return list(islice(chain(unused, retired), count))


def _definition(meaning: Meaning, ids: Mapping[Meaning, int]) -> ClassDef:
    rest = ids[meaning.rest] if meaning.rest else 0
    return ClassDef(ids[meaning], *meaning[:3], meaning.timed, rest)


def _without_id(definition: ClassDef) -> tuple[str, str, frozenset[str], str, int]:
    return definition.verdict, definition.list, definition.members, definition.timed, definition.rest
