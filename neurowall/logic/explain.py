# SPDX-License-Identifier: Apache-2.0
"""Why packets from an address get their verdict."""

from collections.abc import Sequence

import numpy as np

from neurowall.logic.cover import match
from neurowall.logic.results import Cover, Explanation
from neurowall.model.address import BITS, Entry, format_entry
from neurowall.model.entries import DTYPE, Array, Entries
from neurowall.model.image import ClassDef, Image
from neurowall.model.intent import HeldList
from neurowall.model.reasons import Reason


def explain(
    address: Entry, lists: Sequence[HeldList], image: Image, held: tuple[int, int] | None, generation: int
) -> Explanation:
    """Explain *address*. *held* is what the kernel answers for it: class id and length, or None."""
    table = image.family(address.family)
    row = int(match(table.entries, one(address))[0])
    definition = image.classes[int(table.class_id[row])] if row >= 0 else None
    expected = (int(table.class_id[row]), int(table.length[row])) if row >= 0 else None
    kernel_class = image.classes.get(held[0]) if held else None
    return Explanation(
        address=str(address),
        verdict=definition.verdict if definition else None,
        reason=_reason(definition).label,
        list=definition.list if definition else None,
        entry=_shortened(address, expected[1]) if expected else None,
        class_id=definition.id if definition else None,
        covers=tuple(_covers(address, lists)),
        kernel_entry=_shortened(address, held[1]) if held else None,
        kernel_verdict=kernel_class.verdict if kernel_class else None,
        in_kernel=(held[0] if held else None) == (expected[0] if expected else None),
        generation=generation,
    )


def one(entry: Entry) -> Array:
    """The address of *entry* as an array of one element."""
    value = entry.value if entry.family == 4 else entry.packed
    return np.array([value], dtype=DTYPE[entry.family])


def _reason(definition: ClassDef | None) -> Reason:
    if definition is None:
        return Reason.DEFAULT
    return Reason.ALLOW_LIST if definition.verdict == "pass" else Reason.BLOCK_LIST


def _covers(address: Entry, lists: Sequence[HeldList]) -> list[Cover]:
    found = []
    for held in lists:
        entries: Entries = held.entries.family(address.family)
        row = int(match(entries, one(address))[0])
        if row >= 0:
            entry = _shortened(address, int(entries.length[row]))
            found.append(Cover(held.record.name, held.record.verdict, entry))
    return found


def _shortened(address: Entry, length: int) -> str:
    bits = BITS[address.family]
    return format_entry(address.family, address.value >> (bits - length) << (bits - length), length)
