# SPDX-License-Identifier: Apache-2.0
"""Class ids: which sets of lists have one, and what becomes of ids that are no longer used.

An id keeps its meaning as long as possible, since counters are kept by id: retired ids are reused only when
no fresh one is left, and never while the kernel may hold an entry of the old meaning.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import NamedTuple

from neurowall.model.errors import CapacityError
from neurowall.model.image import ClassDef


class ListHead(NamedTuple):
    """A list without its entries. verdict is "block" or "allow"."""

    name: str
    verdict: str


class Meaning(NamedTuple):
    """What a class says, apart from its id."""

    verdict: str
    list: str
    members: frozenset[str]


def meaning_of(mask: int, heads: Sequence[ListHead]) -> Meaning:
    """The meaning of being covered by the lists whose bits are set; bit i is list i.

    Allow beats block, whatever the lengths; the first list of the winning verdict gives its name.
    """
    members = [head for index, head in enumerate(heads) if mask >> index & 1]
    allows = [head.name for head in members if head.verdict == "allow"]
    names = frozenset(head.name for head in members)
    if allows:
        return Meaning("pass", allows[0], names)
    return Meaning("drop", members[0].name, names)


@dataclass(frozen=True)
class Registry:
    """Every class id that has a meaning, in use or retired.

    held: ids that the kernel may hold with a meaning of their own; none of them is given a new one. limit:
    ids are 1 to limit - 1, so that they index a kernel array of `capacity.classes` elements.
    """

    limit: int
    defs: Mapping[int, ClassDef] = field(default_factory=dict)
    held: frozenset[int] = frozenset()

    def assign(self, meanings: Sequence[Meaning]) -> tuple[list[int], "Registry"]:
        """An id for each meaning, and the registry that knows them. Raises CapacityError naming no list."""
        known = {Meaning(d.verdict, d.list, d.members): d.id for d in self.defs.values()}
        missing = [meaning for meaning in dict.fromkeys(meanings) if meaning not in known]
        wanted = {known[meaning] for meaning in meanings if meaning in known}
        fresh = self._free_ids(len(missing), wanted)
        if len(fresh) < len(missing):
            raise CapacityError("classes", self.limit, len(wanted | self.held) + len(missing), "")
        known.update(zip(missing, fresh, strict=True))
        added = {known[meaning]: ClassDef(known[meaning], *meaning) for meaning in missing}
        return [known[meaning] for meaning in meanings], Registry(
            self.limit, {**self.defs, **added}, self.held | frozenset(added)
        )

    def holding(self, ids: Collection[int]) -> "Registry":
        """The same registry, with *ids* as those that the kernel may hold."""
        return Registry(self.limit, self.defs, frozenset(ids))

    def without(self, ids: Collection[int]) -> "Registry":
        """The same registry without the meanings of *ids*."""
        return Registry(self.limit, {i: d for i, d in self.defs.items() if i not in ids}, self.held)

    def _free_ids(self, count: int, wanted: set[int]) -> list[int]:
        """Up to *count* ids: never used ones first, then retired ones."""
        every = range(1, self.limit)
        unused = (i for i in every if i not in self.defs and i not in self.held)
        retired = (i for i in every if i in self.defs and i not in self.held and i not in wanted)
        return list(islice(chain(unused, retired), count))
