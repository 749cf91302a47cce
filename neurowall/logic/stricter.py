# SPDX-License-Identifier: Apache-2.0
"""The image between two images: a packet passes by it only if it passes by both.

Two layers cannot be switched at one moment. While nftables goes from the old rules to the new ones, the
lists are at this image: what it passes, both policies' lists pass, so the verdict is that of the rules in
force; what it drops, one of the policies drops.
"""

from collections.abc import Mapping

import numpy as np

from neurowall.logic.cover import match
from neurowall.model.entries import FAMILIES, Array, Bools
from neurowall.model.image import CLASS, ClassDef, Contents, Image, Table

_Classes = Mapping[int, ClassDef]


def stricter(old: Image | Contents, new: Image, known: _Classes) -> Image:
    """Every entry of both, with the class of the image that drops it, else of the new one if it has any.

    known: what the ids of *old* mean; one that is unknown drops. For an address whose longest match is an
    entry of the result, the longest match of *old*, and of *new*, covers that entry: a longer one would be
    here too.
    """
    v4, v6 = (_table(old.family(family), new.family(family), known, new.classes) for family in FAMILIES)
    used = {int(i) for table in (v4, v6) for i in np.unique(table.class_id)}
    meanings = {**known, **new.classes}
    return Image(v4, v6, {i: meanings[i] for i in _with_rests(used, meanings)})


def _table(old: Table, new: Table, known: _Classes, classes: _Classes) -> Table:
    union = old.entries.union(new.entries)
    before, after = (
        _classes_at(old, union.address, union.length),
        _classes_at(new, union.address, union.length),
    )
    take_old = _drops(before, known) | ((after == 0) & ~_drops(after, classes))
    return Table(union.family, union.address, union.length, np.where(take_old, before, after).astype(CLASS))


def _classes_at(table: Table, address: Array, length: Array) -> Array:
    """The class of each prefix as a whole, 0 where no entry covers it."""
    rows = match(table.entries, address, length)
    if not len(table):
        return np.zeros(len(address), CLASS)
    return np.asarray(np.where(rows >= 0, table.class_id[rows], 0).astype(CLASS))


def _drops(ids: Array, known: _Classes) -> Bools:
    used = [int(i) for i in np.unique(ids) if i]
    dropping = [i for i in used if i not in known or known[i].verdict == "drop"]
    return np.asarray(np.isin(ids, dropping))


def _with_rests(used: set[int], meanings: _Classes) -> list[int]:
    """The ids and those that come after them, without any whose meaning nobody knows."""
    found, waiting = set[int](), list(used)
    while waiting:
        class_id = waiting.pop()
        if class_id in found or class_id not in meanings:
            continue
        found.add(class_id)
        waiting.append(meanings[class_id].rest)
    return sorted(found)
