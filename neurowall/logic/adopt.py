# SPDX-License-Identifier: Apache-2.0
"""What the ids of classes mean in a kernel that an earlier daemon filled."""

from collections.abc import Mapping

import numpy as np

from neurowall.logic.classes import Registry, complete, with_rests
from neurowall.model.image import ClassDef, Contents


def adopted(saved: Mapping[int, ClassDef], contents: Contents, limit: int) -> Registry:
    """A registry for a kernel that holds *contents*.

    Every id that it holds keeps its meaning. One that the saved classes do not know, or that means something
    else in the kernel, has no meaning that we could use: it is left alone until its entries are gone.
    """
    tables = (contents.v4, contents.v6)
    used = {int(i) for table in tables for i in np.flatnonzero(np.bincount(table.class_id))}
    held = used.union(contents.verdicts, contents.rests or (), (contents.rests or {}).values()) - {0}
    strange = {i for i in held if i in saved and not _agrees(saved[i], contents)}
    known = complete({i: d for i, d in saved.items() if i not in strange and i < limit})
    return Registry(limit, known, with_rests(held, saved))


def _agrees(definition: ClassDef, contents: Contents) -> bool:
    """Whether a class means in the kernel what its definition says, as far as that was read."""
    i, rest = definition.id, definition.rest if definition.timed else None
    return contents.verdicts.get(i, definition.verdict) == definition.verdict and (
        contents.rests is None or i not in contents.verdicts or contents.rests.get(i) == rest
    )


def known_of(registry: Registry) -> dict[int, ClassDef]:
    """What is known of the ids that the kernel holds."""
    return {i: definition for i, definition in registry.defs.items() if i in registry.held}
