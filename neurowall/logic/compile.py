# SPDX-License-Identifier: Apache-2.0
"""The policy compiler: lists in, desired kernel image out. Pure.

The class of an entry is the set of all lists that hold it or a prefix that covers it. So the longest match
alone decides, a host hit is final, and nothing has to be cut into disjoint prefixes. Memberships are masks
of at most 64 bits, bit i being list i, in the smallest type that has a bit for every list. Timed lists are
compiled like all others: when an entry ends is no matter of its class, but of the expiries beside it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurowall.logic.classes import ListHead, Registry, meaning_of, with_rests
from neurowall.logic.cover import spread
from neurowall.model.address import BITS
from neurowall.model.entries import (
    FAMILIES,
    Array,
    Entries,
    EntrySet,
    read_only,
    sorted_unique,
    split_keys,
)
from neurowall.model.errors import CapacityError
from neurowall.model.image import CLASS, MAX_CLASS, ClassDef, Image, Table
from neurowall.model.policy import Capacity

MAX_LISTS = 64


@dataclass(frozen=True)
class NamedList:
    """One list to compile. verdict is "block" or "allow"; monitor: it is counted and decides nothing."""

    name: str
    verdict: str
    entries: EntrySet
    monitor: bool = False

    @property
    def head(self) -> ListHead:
        """The list without its entries."""
        return ListHead(self.name, self.verdict, self.monitor)


@dataclass(frozen=True, eq=False)
class Memberships:
    """One family: the table for the kernel, and for each row the mask of the lists that hold the entry."""

    table: Table
    direct: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "direct", read_only(self.direct))


@dataclass(frozen=True, eq=False)
class Compiled:
    """Compiled lists, with what an incremental change needs. usage counts the rows of each class id."""

    heads: tuple[ListHead, ...]
    v4: Memberships
    v6: Memberships
    usage: Array
    registry: Registry

    @property
    def classes(self) -> dict[int, ClassDef]:
        """The classes in use, and those that come after one of them."""
        used = with_rests(np.flatnonzero(self.usage).tolist(), self.registry.defs)
        return {class_id: self.registry.defs[class_id] for class_id in sorted(used)}

    @property
    def image(self) -> Image:
        """What the kernel is to hold."""
        return Image(self.v4.table, self.v6.table, self.classes)

    def family(self, family: int) -> Memberships:
        """The rows of one family."""
        return self.v4 if family == 4 else self.v6


def compile_image(
    lists: Sequence[NamedList], known: Mapping[int, ClassDef], capacity: Capacity, held: Iterable[int] = ()
) -> Image:
    """The image for *lists*, reusing the ids of *known* and giving none of *held* a new meaning.

    Raises CapacityError naming what is too much and the list that crosses the limit.
    """
    return compile_lists(lists, Registry(capacity.classes, dict(known), frozenset(held)), capacity).image


def compile_lists(lists: Sequence[NamedList], registry: Registry, capacity: Capacity) -> Compiled:
    """As compile_image, with memberships and registry."""
    heads = tuple(item.head for item in lists)
    if len({head.name for head in heads}) != len(heads):
        raise ValueError("two lists of the same name")
    if len(heads) > MAX_LISTS:
        raise CapacityError("lists", MAX_LISTS, len(heads), heads[MAX_LISTS].name)
    unions = {family: _union([item.entries.family(family) for item in lists], family) for family in FAMILIES}
    for family, (entries, direct) in unions.items():
        check_capacity(entries, direct, heads, capacity, family)
    masks = {family: closure(*unions[family]) for family in FAMILIES}
    class_ids, registry = assign_classes([masks[4], masks[6]], heads, registry)
    v4, v6 = (
        Memberships(Table(family, entries.address, entries.length, ids), direct)
        for (family, (entries, direct)), ids in zip(unions.items(), class_ids, strict=True)
    )
    usage = sum(np.bincount(ids, minlength=MAX_CLASS + 1) for ids in class_ids)
    return Compiled(heads, v4, v6, np.asarray(usage), registry)


def closure(entries: Entries, direct: Array) -> Array:
    """For each entry the mask of the lists that hold it or a prefix that covers it."""
    mask = direct.copy()
    prefixes = slice(0, len(entries) - entries.hosts)
    spread(entries.take(prefixes), direct[prefixes], entries, mask)
    return mask


def assign_classes(
    masks: Sequence[Array], heads: Sequence[ListHead], registry: Registry
) -> tuple[list[Array], Registry]:
    """Class ids for arrays of masks. Raises CapacityError if they are too many."""
    distinct = sorted_unique(np.concatenate([sorted_unique(part) for part in masks]))
    meanings = [meaning_of(mask, heads) for mask in distinct.tolist()]
    try:
        ids, registry = registry.assign(meanings)
    except CapacityError as error:
        culprit = _crossing_list(distinct, heads, registry.limit - 1)
        raise CapacityError("classes", error.limit, error.wanted, culprit) from error
    lookup = np.array(ids, dtype=CLASS)
    return [lookup[np.searchsorted(distinct, part)] for part in masks], registry


def check_capacity(
    entries: Entries, direct: Array, heads: Sequence[ListHead], capacity: Capacity, family: int
) -> None:
    """Raise CapacityError if there are more hosts or prefixes of a family than configured."""
    hosts = entries.hosts
    for kind, count in (("hosts", hosts), ("prefixes", len(entries) - hosts)):
        what = f"{kind}{family}"
        limit = getattr(capacity, what)
        if count > limit:
            of_kind = (entries.length == BITS[family]) == (kind == "hosts")
            raise CapacityError(what, limit, count, _crossing_list(direct[of_kind], heads, limit, rows=True))


def mask_type(lists: int) -> "np.dtype[Any]":
    """The smallest unsigned type with a bit for each of so many lists."""
    return np.dtype(next(t for t in (np.uint8, np.uint16, np.uint32, np.uint64) if lists <= np.iinfo(t).bits))


def _crossing_list(masks: Array, heads: Sequence[ListHead], limit: int, *, rows: bool = False) -> str:
    """The first list with which more than *limit* distinct masks, or rows that have one, are there."""
    for index, head in enumerate(heads):
        so_far = masks & masks.dtype.type((2 << index) - 1)
        if (np.count_nonzero(so_far) if rows else np.count_nonzero(sorted_unique(so_far))) > limit:
            return head.name
    return heads[-1].name if heads else ""


def _union(lists: Sequence[Entries], family: int) -> tuple[Entries, Array]:
    """All entries of the lists, and for each the mask of those that hold it."""
    dtype = mask_type(len(lists))
    keys = [entries.keys for entries in lists if len(entries)]
    if not keys:
        return Entries.empty(family), np.empty(0, dtype)
    merged = sorted_unique(np.concatenate(keys)) if len(keys) > 1 else keys[0]
    direct = np.zeros(len(merged), dtype)
    remaining = iter(keys)
    for index, entries in enumerate(lists):
        if len(entries):
            direct[np.searchsorted(merged, next(remaining))] |= dtype.type(1 << index)
    return Entries(family, *split_keys(family, merged)), direct
