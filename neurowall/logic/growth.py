# SPDX-License-Identifier: Apache-2.0
"""How large the kernel maps are to be when a list outgrows them."""

from neurowall.model.policy import Capacity

GROWING = ("hosts4", "prefixes4", "hosts6", "prefixes6")
FIELDS = (*GROWING, "classes")


def enlarged(capacity: Capacity, what: str, needed: int) -> Capacity | None:
    """The capacity with room for *needed* entries of one kind, and for more to come; None if there is none.

    None also if *what* is nothing that grows by itself, or if it would not become larger.
    """
    if what not in GROWING:
        return None
    held, limit = getattr(capacity, what), _upper_limit(what)
    wanted = min(max(needed * 5 // 4, 2 * held), limit)
    return capacity.model_copy(update={what: wanted}) if wanted >= needed and wanted > held else None


def larger_of(one: Capacity, other: Capacity) -> Capacity:
    """The larger of each field; `grow` is that of *one*."""
    return one.model_copy(update={name: max(getattr(one, name), getattr(other, name)) for name in FIELDS})


def shrunk(before: Capacity, after: Capacity) -> list[str]:
    """The fields that became smaller."""
    return [name for name in FIELDS if getattr(after, name) < getattr(before, name)]


def _upper_limit(what: str) -> int:
    """The bound that the policy sets for this field."""
    rules = Capacity.model_fields[what].metadata
    return int(next(rule.le for rule in rules if hasattr(rule, "le")))
