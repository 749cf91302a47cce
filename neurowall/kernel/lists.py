# SPDX-License-Identifier: Apache-2.0
"""The list maps of one data plane: entries and classes in, packets' classes out.

One owner of every list map of the kernel, whichever engine is selected; what each map means is in
bpf/maps.h. One writer at a time: the caller holds a lock.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from neurowall.kernel import layout
from neurowall.kernel.bucketlists import BucketLists
from neurowall.kernel.buckets import Seeds
from neurowall.kernel.classiclists import ClassicLists
from neurowall.kernel.maps import GracePeriod, Map
from neurowall.kernel.timed import TimedMaps
from neurowall.model.counters import Counter
from neurowall.model.entries import Entries
from neurowall.model.image import ClassDef, Contents, Expiries, Table
from neurowall.model.reasons import Verdict

SWEEP_AFTER = 1024  # deleted entries before filters and counts are swept: a stale bit costs a lookup, no more


class ListMaps:
    """All list maps, by name as in bpf/maps.h; *seeds* is None for the classic engine."""

    def __init__(self, maps: Mapping[str, Map], seeds: Seeds | None) -> None:
        self._maps = maps
        self._engine = BucketLists(maps, seeds) if seeds else ClassicLists(maps)
        self._timed = TimedMaps(maps)
        self._grace = GracePeriod()
        self._deleted = 0
        self.sweep()  # a crash may have come between an entry and its bit

    def close(self) -> None:
        """Give the grace-period maps back; the list maps belong to whoever passed them."""
        self._grace.close()

    # -- writing

    def put(self, table: Table) -> None:
        """Insert entries or change their class in place; MapFull if a map takes no more of them."""
        self._engine.put(table)

    def delete(self, entries: Entries) -> None:
        """Take entries out; those that are not there are passed over."""
        self._deleted += len(entries)
        self._engine.delete(entries)

    def set_classes(self, definitions: Iterable[ClassDef]) -> None:
        """Say what class ids mean, before the first entry that uses one."""
        for definition in definitions:
            value = layout.Class(
                verdict=Verdict[definition.verdict.upper()],
                is_defined=1,
                timed=layout.Timed[definition.timed.upper() or "NO"],
                rest=definition.rest,
            )
            self._maps["classes"].update(definition.id.to_bytes(4, "little"), bytes(value))

    def put_expiries(self, expiries: Expiries) -> None:
        """Say until when timed entries hold, before the entries are put; or change it."""
        self._timed.put(expiries)

    def delete_expiries(self, entries: Entries) -> None:
        """Forget expiries, after the entries and a grace period."""
        self._timed.delete(entries)

    def expiries(self, family: int) -> Expiries:
        """The expiries that the kernel holds."""
        return self._timed.read(family)

    def grace(self) -> None:
        """Return when no running program sees what was taken out; its slots may then be used again."""
        self._grace.wait()
        self._engine.after_grace()
        if self._deleted >= SWEEP_AFTER:
            self.sweep()

    def sweep(self) -> None:
        """Clear the filters' stale bits and correct the counts, from what the maps really hold."""
        for family in (4, 6):
            self._engine.sweep(self._engine.read(family))
        self._deleted = 0

    # -- reading

    def contents(self) -> Contents:
        """What the maps really hold, read back element by element."""
        v4, v6 = self._engine.read(4), self._engine.read(6)
        waiting = np.flatnonzero(np.bincount(v4.class_id, minlength=1 << 16)).tolist()
        waiting += np.flatnonzero(np.bincount(v6.class_id, minlength=1 << 16)).tolist()
        verdicts: dict[int, str] = {}
        rests: dict[int, int] = {}
        while waiting:
            class_id = waiting.pop()
            if class_id and class_id not in verdicts:
                held = self._class(class_id)
                verdicts[class_id] = Verdict(held.verdict).label if held.is_defined else Verdict.DROP.label
                if held.is_defined and held.timed:
                    rests[class_id] = held.rest
                    waiting.append(held.rest)
        return Contents(v4, v6, verdicts, rests)

    def _class(self, class_id: int) -> layout.Class:
        raw = self._maps["classes"].lookup(class_id.to_bytes(4, "little"))
        return layout.Class.from_buffer_copy(raw) if raw else layout.Class()

    def lookup(self, family: int, packed: bytes) -> tuple[int, int] | None:
        """(class id, length) of the longest match as the kernel would find it, None if there is none.

        *packed* is the address in network order.
        """
        return self._engine.lookup(family, packed)

    def class_counters(self) -> dict[int, Counter]:
        """Packets by class id, those that ever matched."""
        sums = self._maps["class_counters"].per_cpu_sums(2)
        return {int(i): Counter(int(sums[i, 0]), int(sums[i, 1])) for i in np.flatnonzero(sums[:, 0])}
