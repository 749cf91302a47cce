# SPDX-License-Identifier: Apache-2.0
"""The kernel half of a change: steps in order, grace periods between, read back after."""

from collections.abc import Mapping

from neurowall.logic.cover import locate, match
from neurowall.logic.dataplane import DataPlane
from neurowall.logic.difference import Difference, difference, isolated_stale
from neurowall.model.address import BITS, format_entry
from neurowall.model.entries import FAMILIES, Entries
from neurowall.model.errors import KernelError, MapFull
from neurowall.model.image import ClassDef, Contents, Image, Table
from neurowall.model.policy import Capacity

SMALL = 256  # entries that are read back one by one; more are read back with everything else


class Applier:
    """Moves the kernel from one image to another."""

    def __init__(self, dataplane: DataPlane, capacity: Capacity) -> None:
        self._dataplane = dataplane
        self._capacity = capacity

    def replace(self, old: Image | Contents, new: Image, old_classes: Mapping[int, ClassDef]) -> None:
        """Make the kernel hold *new* instead of *old*, and read all of it back. Raises KernelError."""
        steps = difference(old, new, old_classes)
        if self._needs_room(old, new):
            self._make_room(old, new)
        self._run(steps)
        if not steps:
            return
        actual = self._dataplane.contents()
        if actual.v4 == new.v4 and actual.v6 == new.v6:
            return
        # Seen with LPM tries of kernels before 2024-12: an update lost in place. Once more, from what is
        # there.
        self._run(difference(actual, new, {**old_classes, **new.classes}))
        actual = self._dataplane.contents()
        if actual.v4 != new.v4 or actual.v6 != new.v6:
            raise KernelError("the kernel holds something else than what was written to it, twice")

    def amend(self, old: Contents, new: Image, whole: Image, old_classes: Mapping[int, ClassDef]) -> None:
        """As replace; *old* and *new* are only the rows that change, *whole* is all that is to be there."""
        if sum(len(part.family(f)) for part in (old, new) for f in FAMILIES) > SMALL:
            self._run(difference(old, new, old_classes))
            actual = self._dataplane.contents()
            if actual.v4 != whole.v4 or actual.v6 != whole.v6:
                raise KernelError("the kernel holds something else than what was written to it")
            return
        self._run(difference(old, new, old_classes))
        for family in FAMILIES:
            touched = old.family(family).entries.union(new.family(family).entries)
            self._read_back(touched, whole.family(family))

    def _run(self, steps: Difference) -> None:
        if steps.classes_added:
            self._dataplane.set_classes(steps.classes_added)
        for put_round in steps.put_rounds:
            for table in put_round:
                self._dataplane.put(table)
            self._dataplane.grace()
        for delete_round in steps.delete_rounds:
            for entries in delete_round:
                self._dataplane.delete(entries)
            self._dataplane.grace()

    def _needs_room(self, old: Image | Contents, new: Image) -> bool:
        """Whether old and new entries together are more than the maps were made for."""
        for family in FAMILIES:
            before, after = old.family(family).entries, new.family(family).entries
            fresh = after.take(~locate(before, after)[1])
            hosts = before.hosts + fresh.hosts
            prefixes = len(before) + len(fresh) - hosts
            if hosts > getattr(self._capacity, f"hosts{family}"):
                return True
            if prefixes > getattr(self._capacity, f"prefixes{family}"):
                return True
        return False

    def _make_room(self, old: Image | Contents, new: Image) -> None:
        stale = list(isolated_stale(old, new))
        if isinstance(old, Image):  # a start after a crash must end with the new image, by any way
            self._check_room(old, new, stale)
        for entries in stale:
            self._dataplane.delete(entries)
        self._dataplane.grace()

    def _check_room(self, old: Image | Contents, new: Image, stale: list[Entries]) -> None:
        """Raise MapFull before anything is deleted: what cannot fit must not leak on its way to a refusal."""
        for family in FAMILIES:
            freed = [entries for entries in stale if entries.family == family]
            before, after = old.family(family).entries, new.family(family).entries
            fresh = after.take(~locate(before, after)[1])
            hosts = before.hosts + fresh.hosts - sum(entries.hosts for entries in freed)
            prefixes = len(before) + len(fresh) - sum(len(entries) for entries in freed) - hosts
            for what, wanted in ((f"hosts{family}", hosts), (f"prefixes{family}", prefixes)):
                limit = getattr(self._capacity, what)
                # The bucket table of IPv4 hosts has more slots than its capacity: only trying tells.
                if wanted > limit and what != "hosts4":
                    raise MapFull(what, limit)

    def _read_back(self, touched: Entries, whole: Table) -> None:
        """Compare what the kernel answers for each touched entry's first address with the image."""
        rows = match(whole.entries, touched.address).tolist()
        for entry, row in zip(touched.rows(), rows, strict=True):
            address = format_entry(entry.family, entry.value, BITS[entry.family])
            expected = int(whole.class_id[row]) if row >= 0 else 0
            found, _ = self._dataplane.lookup(address) or (0, 0)
            if found != expected:
                raise KernelError(
                    f"read back of {entry}: class {expected} was written, the kernel has {found}"
                )
