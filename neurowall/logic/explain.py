# SPDX-License-Identifier: Apache-2.0
"""Why packets from an address get their verdict."""

from collections.abc import Callable, Sequence

import numpy as np

from neurowall.logic.cover import match
from neurowall.logic.packetverdict import Listed
from neurowall.logic.results import Cover, Explanation
from neurowall.logic.snapshot import Snapshot
from neurowall.logic.timed import deciding
from neurowall.model.address import BITS, Entry, format_entry, parse_address
from neurowall.model.entries import Entries, EntrySet
from neurowall.model.image import ClassDef, Expiries, Image
from neurowall.model.intent import HeldList
from neurowall.model.reasons import Reason


def explain(address: Entry, now: Snapshot, held: tuple[int, int] | None, clock: float) -> Explanation:
    """Explain *address* at *clock*, Unix time in seconds.

    *held* is what the kernel answers for it: class id and length, or None.
    """
    image, wanted = now.compiled.image, EntrySet.from_entries([address]).family(address.family)
    table, ends = image.family(address.family), now.timetable.at(wanted)
    row = int(match(table.entries, wanted.address)[0])
    expected = (int(table.class_id[row]), int(table.length[row])) if row >= 0 else None
    definition = _deciding(expected, ends, image, clock)
    decides = definition is not None and definition.verdict != "none"
    covers = _covers(address, wanted, now.lists, clock)
    return Explanation(
        address=str(address),
        verdict=definition.verdict if definition and decides else None,
        reason=_reason(definition).label,
        list=definition.list if definition and decides else None,
        entry=_shortened(address, expected[1]) if expected and definition else None,
        class_id=definition.id if definition else None,
        covers=tuple(cover for cover, _ in covers),
        kernel_entry=_shortened(address, held[1]) if held else None,
        kernel_verdict=_kernel_verdict(held, ends, image, clock),
        in_kernel=(held[0] if held else None) == (expected[0] if expected else None),
        generation=now.generation,
        expires=_end(definition, ends),
        monitored_by=tuple(cover.list for cover, monitor in covers if monitor),
    )


def listed_in(lists: Sequence[HeldList], clock: float) -> Callable[[str], Listed]:
    """What lists that are not in force, or not yet, would say of an address; allow beats block."""

    def lookup(text: str) -> Listed:
        address = parse_address(text)
        wanted = EntrySet.from_entries([address]).family(address.family)
        covers = _covers(address, wanted, lists, clock)
        deciding = [cover for cover, monitor in covers if not monitor]
        first = next((cover for cover in deciding if cover.verdict == "allow"), None)
        found = first or next(iter(deciding), None)
        counting = tuple(cover.list for cover, monitor in covers if monitor)
        if found is None:
            return Listed(monitored_by=counting)
        return Listed("allow" if first else "block", found.list, found.entry, counting)

    return lookup


def _deciding(found: tuple[int, int] | None, ends: Expiries, image: Image, clock: float) -> ClassDef | None:
    """The class that decides, of one that covers the address."""
    if found is None:
        return None
    return image.classes.get(int(deciding(np.array(found[:1]), ends, image.classes, clock)[0]))


def _kernel_verdict(held: tuple[int, int] | None, ends: Expiries, image: Image, clock: float) -> str | None:
    if held is None or held[0] not in image.classes:
        return None
    decides = _deciding(held, ends, image, clock)
    return decides.verdict if decides else "none"


def _end(definition: ClassDef | None, ends: Expiries) -> float | None:
    if definition is None or not definition.timed:
        return None
    return float((ends.allow_until if definition.timed == "allow" else ends.block_until)[0])


def _reason(definition: ClassDef | None) -> Reason:
    if definition is None or definition.verdict == "none":
        return Reason.DEFAULT
    return Reason.ALLOW_LIST if definition.verdict == "pass" else Reason.BLOCK_LIST


def _covers(
    address: Entry, wanted: Entries, lists: Sequence[HeldList], clock: float
) -> list[tuple[Cover, bool]]:
    """The lists that cover the address, and whether each only counts it."""
    found = []
    for held in lists:
        in_force = held.terms.running(clock) if held.record.timed else held.entries
        entries = in_force.family(address.family)
        row = int(match(entries, wanted.address)[0])
        if row >= 0:
            entry = _shortened(address, int(entries.length[row]))
            found.append((Cover(held.record.name, held.record.verdict, entry), held.record.monitor))
    return found


def _shortened(address: Entry, length: int) -> str:
    bits = BITS[address.family]
    return format_entry(address.family, address.value >> (bits - length) << (bits - length), length)
