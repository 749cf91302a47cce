# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurowall.logic.amend import Amendment, ListEdit, amend
from neurowall.logic.classes import Registry
from neurowall.logic.compile import Compiled, compile_lists
from neurowall.model.entries import FAMILIES, EntrySet
from neurowall.model.errors import CapacityError
from neurowall.model.image import Image
from neurowall.model.policy import Capacity
from tests.unit.logic.oracle import RawList, entry_sets, raw_lists
from tests.unit.logic.test_compile import CAPACITY, named, rows

EDITED = "edited"


def fresh(lists: list[RawList], capacity: Capacity = CAPACITY) -> Compiled:
    """A full compilation."""
    return compile_lists(named(lists), Registry(capacity.classes), capacity)


def amended(compiled: Compiled, add: EntrySet, remove: EntrySet, capacity: Capacity = CAPACITY) -> Amendment:
    """One edited list."""
    return amend(compiled, [ListEdit(EDITED, add, remove)], capacity)


def meanings(image: Image) -> dict[str, tuple[str, str, frozenset[str]]]:
    """What each entry of an image means, whatever its class id is."""
    found = {}
    for text, class_id in rows(image):
        definition = image.classes[class_id]
        found[text] = (definition.verdict, definition.list, definition.members)
    return found


def same(one: Compiled, other: Compiled) -> None:
    """Assert that two compilations are the same, up to the choice of class ids."""
    assert meanings(one.image) == meanings(other.image)
    for family in FAMILIES:
        mine, theirs = one.family(family), other.family(family)
        assert mine.table.entries == theirs.table.entries
        assert np.array_equal(mine.direct, theirs.direct)
    counted = sum(np.bincount(one.family(f).table.class_id, minlength=65536) for f in FAMILIES)
    assert np.array_equal(one.usage, counted)


@given(
    raw_lists(max_lists=3),
    st.sampled_from(["block", "allow"]),
    entry_sets(),
    st.lists(st.tuples(entry_sets(3), entry_sets(3)), min_size=1, max_size=4),
    st.integers(0, 3),
)
def test_equals_a_full_compilation(
    others: list[RawList],
    verdict: str,
    texts: tuple[str, ...],
    edits: list[tuple[tuple[str, ...], tuple[str, ...]]],
    place: int,
) -> None:
    """After any edits the outcome is what compiling the final lists gives, and no other row has changed."""
    lists = [*others]
    lists.insert(place, RawList(EDITED, verdict, texts))
    held = EntrySet.from_strings(texts)
    compiled = fresh(lists)
    for add_texts, remove_texts in edits:
        add, remove = EntrySet.from_strings(add_texts), EntrySet.from_strings(remove_texts)
        held = held.minus(remove).union(add)
        change = amended(compiled, add, remove)
        lists[[raw.name for raw in lists].index(EDITED)] = RawList(EDITED, verdict, tuple(held.to_strings()))
        same(change.compiled, fresh(lists))

        before, after = dict(rows(compiled.image)), dict(rows(change.compiled.image))
        old = dict(rows(Image(change.old.v4, change.old.v6, {})))
        new = dict(rows(change.new))
        assert {text: before[text] for text in old} == old
        assert {text: i for text, i in before.items() if text not in old} | new == after
        assert {int(i) for _, i in rows(change.new)} == set(change.new.classes)
        compiled = change.compiled


def test_knows_the_capacity() -> None:
    """One entry too many is refused as a compilation would refuse it, and nothing changes."""
    capacity = Capacity(hosts4=2)
    compiled = fresh([RawList(EDITED, "block", ("203.0.113.1", "203.0.113.2"))], capacity)
    with pytest.raises(CapacityError, match="list 'edited' brings hosts4 to 3"):
        amended(compiled, EntrySet.from_strings(["203.0.113.3"]), EntrySet.empty(), capacity)
    replaced = amended(
        compiled,
        EntrySet.from_strings(["203.0.113.3"]),
        EntrySet.from_strings(["203.0.113.1"]),
        capacity,
    )
    assert len(replaced.compiled.v4.table) == 2


def test_a_wide_prefix_touches_only_what_it_covers() -> None:
    """Blocking a prefix changes the class of the entries inside it and of no other."""
    compiled = fresh(
        [
            RawList(EDITED, "block", ()),
            RawList("feed", "block", ("203.0.113.1", "203.0.113.128/25", "198.51.100.1", "203.0.0.0/16")),
        ]
    )
    change = amended(compiled, EntrySet.from_strings(["203.0.113.0/24"]), EntrySet.empty())
    assert {text for text, _ in rows(change.new)} == {"203.0.113.0/24", "203.0.113.128/25", "203.0.113.1/32"}
    assert len(change.old.v4) == 2
