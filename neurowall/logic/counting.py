# SPDX-License-Identifier: Apache-2.0
"""Counters of lists from counters of classes. The kernel counts by class id, whatever it means."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from neurowall.model.counters import Counter
from neurowall.model.image import ClassDef

ListKey = tuple[str, str]  # name of the list that decides, verdict
Key = ListKey | str  # or the name of a list that covers


class ListCounters:
    """Adds up class counters by list; what an id counted under another meaning stays with the lists of that.

    That memory ends with the process, so a reused id may move old counts to its new list when the daemon
    restarts. Ids are reused only after `capacity.classes` different ones.
    """

    def __init__(self) -> None:
        self._before: dict[int, Counter] = {}
        self._carried: dict[Key, Counter] = {}

    def redefine(self, old: Mapping[int, ClassDef], ids: Iterable[int], now: Mapping[int, Counter]) -> None:
        """Note that *ids* lose the meaning they have in *old*; *now* is what the kernel has counted."""
        for class_id in ids:
            counted = now.get(class_id, Counter())
            since = counted - self._before.get(class_id, Counter())
            for key in _keys(old[class_id]):
                self._carried[key] = self._carried.get(key, Counter()) + since
            self._before[class_id] = counted

    def restart(self, defs: Mapping[int, ClassDef], now: Mapping[int, Counter]) -> None:
        """Note that the kernel counts from 0 again; *now* is what it had counted."""
        self.redefine(defs, defs, now)
        self._before.clear()

    def fold(self, defs: Mapping[int, ClassDef], now: Mapping[int, Counter]) -> dict[ListKey, Counter]:
        """What every list decided that has or had a class."""
        return {key: total for key, total in self._fold(defs, now).items() if not isinstance(key, str)}

    def matched(self, defs: Mapping[int, ClassDef], now: Mapping[int, Counter]) -> dict[str, Counter]:
        """What every list covered that has or had a class, whoever decided."""
        return {key: total for key, total in self._fold(defs, now).items() if isinstance(key, str)}

    def _fold(self, defs: Mapping[int, ClassDef], now: Mapping[int, Counter]) -> dict[Key, Counter]:
        total: defaultdict[Key, Counter] = defaultdict(Counter, self._carried)
        for class_id, definition in defs.items():
            counted = now.get(class_id, Counter()) - self._before.get(class_id, Counter())
            for key in _keys(definition):
                total[key] += counted
        return dict(total)


def _keys(definition: ClassDef) -> list[Key]:
    """What the packets of a class are counted under."""
    decided: list[Key] = [] if definition.verdict == "none" else [(definition.list, definition.verdict)]
    return [*decided, *definition.members]
