# SPDX-License-Identifier: Apache-2.0
"""Counters of lists from counters of classes. The kernel counts by class id, whatever it means."""

from collections import defaultdict
from collections.abc import Mapping

from neurowall.model.counters import Counter
from neurowall.model.image import ClassDef

ListKey = tuple[str, str]  # name of the list that decides, verdict


class ListCounters:
    """Adds up class counters by list; what an id counted before it got a new meaning stays with the old list.

    That memory ends with the process, so a reused id may move old counts to its new list when the daemon
    restarts. Ids are reused only after `capacity.classes` different ones.
    """

    def __init__(self) -> None:
        self._before: dict[int, Counter] = {}
        self._carried: dict[ListKey, Counter] = {}

    def redefine(self, old: Mapping[int, ClassDef], ids: list[int], now: Mapping[int, Counter]) -> None:
        """Note that *ids* lose the meaning they have in *old*; *now* is what the kernel has counted."""
        for class_id in ids:
            definition, counted = old[class_id], now.get(class_id, Counter())
            key = (definition.list, definition.verdict)
            since = counted - self._before.get(class_id, Counter())
            self._carried[key] = self._carried.get(key, Counter()) + since
            self._before[class_id] = counted

    def fold(self, defs: Mapping[int, ClassDef], now: Mapping[int, Counter]) -> dict[ListKey, Counter]:
        """The counters of every list that has or had a class."""
        total: defaultdict[ListKey, Counter] = defaultdict(Counter, self._carried)
        for class_id, definition in defs.items():
            counted = now.get(class_id, Counter()) - self._before.get(class_id, Counter())
            total[definition.list, definition.verdict] += counted
        return dict(total)
