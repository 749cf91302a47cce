# SPDX-License-Identifier: Apache-2.0
"""The kernel half of a change: steps in order, grace periods between, read back after."""

from collections.abc import Collection, Mapping

from neurowall.logic.cover import locate, match
from neurowall.logic.dataplane import DataPlane
from neurowall.logic.difference import Difference, difference, isolated_stale
from neurowall.logic.timed import Found, TimeSteps, Timetable, time_steps
from neurowall.model.address import BITS, format_entry
from neurowall.model.entries import FAMILIES, Entries
from neurowall.model.errors import KernelError, MapFull
from neurowall.model.image import ClassDef, Contents, Image, Table

SMALL = 256  # entries that are read back one by one; more are read back with everything else


class Applier:
    """Moves the kernel from one image to another.

    spare: the kinds of entries of which the kernel takes more than its capacity, how many only trying tells.
    """

    def __init__(self, dataplane: DataPlane, spare: Collection[str]) -> None:
        self._dataplane = dataplane
        self._spare = spare

    def replace(
        self, old: Image | Contents, new: Image, old_classes: Mapping[int, ClassDef], times: TimeSteps
    ) -> None:
        """Make the kernel hold *new* instead of *old*, and read all of it back. Raises KernelError."""
        steps = difference(old, new, old_classes)
        self._make_room(old, new)
        self._run(steps, times)
        if not steps:
            return
        actual = self._dataplane.contents()
        if actual.v4 == new.v4 and actual.v6 == new.v6:
            return
        # Seen with LPM tries of kernels before 2024-12: an update lost in place. Once more, from what is
        # there.
        self._run(difference(actual, new, {**old_classes, **new.classes}), TimeSteps())
        self._read_all_back(new, ", twice")

    def amend(
        self,
        old: Contents,
        new: Image,
        whole: Image,
        old_classes: Mapping[int, ClassDef],
        times: TimeSteps,
    ) -> None:
        """As replace; *old* and *new* are only the rows that change, *whole* is all that is to be there."""
        self._run(difference(old, new, old_classes), times)
        if sum(len(part.family(f)) for part in (old, new) for f in FAMILIES) > SMALL:
            self._read_all_back(whole)
            return
        for family in FAMILIES:
            touched = old.family(family).entries.union(new.family(family).entries)
            self._read_back(touched, whole.family(family))

    def fill(self, new: Image, times: Timetable) -> None:
        """Write *new* into maps that are empty and that no program uses, and read it back."""
        self._run(difference(Image.empty(), new), time_steps(Timetable.empty(), times))
        self._read_all_back(new)

    def times(self) -> Found:
        """The expiries that the kernel holds."""
        return Found(self._dataplane.expiries(4), self._dataplane.expiries(6))

    def _run(self, steps: Difference, times: TimeSteps) -> None:
        for expiries in times.raised:
            self._dataplane.put_expiries(expiries)
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
        if times.raised and not steps:
            self._dataplane.grace()
        for expiries in times.lowered:
            self._dataplane.put_expiries(expiries)
        for entries in times.gone:
            self._dataplane.delete_expiries(entries)

    def _make_room(self, old: Image | Contents, new: Image) -> None:
        """Delete first what may go first, where old and new entries together find no room.

        Raises MapFull before anything is deleted if even that is not enough: what cannot fit must not leak
        on its way to a refusal. A start after a crash (*old* is what was found) must end with the new image
        by any way, so there it is tried.
        """
        crowded = [what for what, wanted in _together(old, new, []).items() if wanted > self._limit(what)]
        if not crowded:
            return
        stale = list(isolated_stale(old, new))
        after = _together(old, new, stale)
        hopeless = [what for what in crowded if after[what] > self._limit(what)]
        if isinstance(old, Image):
            for what in hopeless:
                if what not in self._spare:
                    raise MapFull(what, self._limit(what))
            # Deleting would not make room for certain: the spare one is tried with all old ones there.
            crowded = [what for what in crowded if what not in hopeless]
        for entries in stale:
            if _kind(entries) in crowded:
                self._dataplane.delete(entries)
        self._dataplane.grace()

    def _limit(self, what: str) -> int:
        return int(getattr(self._dataplane.capacity, what))

    def _read_all_back(self, new: Image, often: str = "") -> None:
        actual = self._dataplane.contents()
        if actual.v4 != new.v4 or actual.v6 != new.v6:
            raise KernelError(f"the kernel holds something else than what was written to it{often}")

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


def _together(old: Image | Contents, new: Image, freed: list[Entries]) -> dict[str, int]:
    """How many entries of each kind there are with those of both images, less *freed*."""
    counts: dict[str, int] = {}
    for family in FAMILIES:
        before, after = old.family(family).entries, new.family(family).entries
        fresh = after.take(~locate(before, after)[1])
        gone = [entries for entries in freed if entries.family == family]
        hosts = before.hosts + fresh.hosts - sum(entries.hosts for entries in gone)
        entries = len(before) + len(fresh) - sum(len(entries) for entries in gone)
        counts |= {f"hosts{family}": hosts, f"prefixes{family}": entries - hosts}
    return counts


def _kind(entries: Entries) -> str:
    """The capacity that entries of one length use."""
    return f"{'hosts' if entries.hosts else 'prefixes'}{entries.family}"
