# SPDX-License-Identifier: Apache-2.0
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurowall.logic.compile import NamedList, compile_image
from neurowall.logic.cover import match
from neurowall.model.address import parse_entry
from neurowall.model.entries import FAMILIES, EntrySet
from neurowall.model.errors import CapacityError
from neurowall.model.image import ClassDef, Image
from neurowall.model.policy import Capacity
from tests.unit.logic.oracle import (
    ADDRESSES,
    MOMENTS,
    Answer,
    RawList,
    all_lists,
    end_of,
    judge,
    longest,
    raw_lists,
)

CAPACITY = Capacity()


def named(lists: Sequence[RawList]) -> list[NamedList]:
    """The lists as the compiler takes them."""
    return [NamedList(raw.name, raw.verdict, EntrySet.from_strings(raw.texts), raw.monitor) for raw in lists]


def rows(image: Image) -> list[tuple[str, int]]:
    """Text and class of every entry of an image."""
    return [
        (f"{entry}" if "/" in str(entry) else f"{entry}/{entry.length}", int(class_id))
        for family in FAMILIES
        for entry, class_id in zip(
            image.family(family).entries.rows(), image.family(family).class_id, strict=True
        )
    ]


def answer(image: Image, class_id: int) -> Answer:
    """What a class says, as the oracle puts it."""
    if not class_id:
        return Answer(None, None, frozenset())
    definition = image.classes[class_id]
    if definition.verdict == "none":
        return Answer(None, None, definition.members)
    return Answer(definition.verdict, definition.list, definition.members)


class HasClasses(Protocol):
    """An image, or two."""

    @property
    def classes(self) -> Mapping[int, ClassDef]:
        """What ids mean."""


def decides(image: HasClasses, class_id: int, allow_until: float, block_until: float, now: float) -> int:
    """The class that the kernel comes to, from the one that the tables have; 0 if everything has ended."""
    for _ in range(3):
        found = image.classes.get(class_id)
        until = {"allow": allow_until, "block": block_until}.get(found.timed if found else "", float("inf"))
        if found is None or now < until:
            return class_id
        class_id = found.rest
    raise AssertionError("the kernel follows three classes at most")


class TestAgainstTheOracle:
    @given(raw_lists())
    def test_longest_match_gives_every_address_its_lists(self, lists: list[RawList]) -> None:
        """The longest entry of the image has the verdict, name and members that a linear scan finds."""
        image = compile_image(named(lists), {}, CAPACITY)
        table = rows(image)
        for address in ADDRESSES:
            assert answer(image, longest(table, address)) == judge(lists, address), address

    @given(all_lists(), st.sampled_from(MOMENTS))
    def test_at_any_moment(self, lists: list[RawList], now: float) -> None:
        """With entries that end, the class that the kernel comes to has verdict and name of a linear scan.

        Its members are all that still cover, and beyond these only timed ones, whose end it need not look at.
        """
        image = compile_image(named(lists), {}, CAPACITY)
        table = rows(image)
        for address in ADDRESSES:
            allow, block = (end_of(raw, address) for raw in lists[-2:])
            found = answer(image, decides(image, longest(table, address), allow, block, now))
            truth = judge(lists, address, now)
            assert (found.verdict, found.list) == (truth.verdict, truth.list), address
            assert truth.members <= found.members
            assert found.members - truth.members <= {raw.name for raw in lists[-2:]}

    @given(raw_lists())
    def test_match_is_the_longest_match(self, lists: list[RawList]) -> None:
        """Our own vectorised lookup finds what a linear scan over the rows finds."""
        image = compile_image(named(lists), {}, CAPACITY)
        table = rows(image)
        for address in ADDRESSES:
            entry = parse_entry(address)
            entries = EntrySet.from_entries([entry]).family(entry.family)
            family_table = image.family(entry.family)
            row = int(match(family_table.entries, entries.address)[0])
            assert (int(family_table.class_id[row]) if row >= 0 else 0) == longest(table, address)

    @given(all_lists())
    def test_only_what_lists_hold_is_in_the_image(self, lists: list[RawList]) -> None:
        """No entry is invented or cut: the image has the union of the lists, and no class without a use."""
        image = compile_image(named(lists), {}, CAPACITY)
        wanted = EntrySet.from_strings([text for raw in lists for text in raw.texts])
        assert EntrySet(image.v4.entries, image.v6.entries) == wanted
        used = {int(i) for i in np.concatenate((image.v4.class_id, image.v6.class_id))}
        used |= {image.classes[i].rest for i in used} - {0}
        used |= {image.classes[i].rest for i in used} - {0}
        assert used == set(image.classes)
        assert 0 not in used


class TestNaming:
    def test_allow_beats_block_whatever_the_lengths(self) -> None:
        """A wide allow opens a blocked host, a narrow one punches a hole into a blocked prefix."""
        lists = [
            RawList("feed", "block", ("203.0.113.5", "198.51.100.0/24")),
            RawList("mine", "allow", ("203.0.113.0/24", "198.51.100.7")),
        ]
        image = compile_image(named(lists), {}, CAPACITY)
        verdicts = {text: image.classes[class_id].verdict for text, class_id in rows(image)}
        assert verdicts == {
            "198.51.100.0/24": "drop",
            "203.0.113.0/24": "pass",
            "198.51.100.7/32": "pass",
            "203.0.113.5/32": "pass",
        }

    def test_the_first_list_in_order_names_the_hit(self) -> None:
        """Of several lists with the winning verdict the first gives its name."""
        lists = [RawList(name, "block", ("203.0.113.5",)) for name in ("b", "a")]
        image = compile_image(named(lists), {}, CAPACITY)
        assert [d.list for d in image.classes.values()] == ["b"]

    def test_two_lists_of_one_name_are_a_mistake(self) -> None:
        """Names identify lists."""
        with pytest.raises(ValueError, match="same name"):
            compile_image(named([RawList("a", "block", ()), RawList("a", "allow", ())]), {}, CAPACITY)


class TestClassIds:
    LISTS = (RawList("a", "block", ("203.0.113.5",)), RawList("b", "block", ("203.0.113.6",)))

    def test_known_ids_are_kept(self) -> None:
        """What had an id keeps it."""
        known = {7: ClassDef(7, "drop", "b", frozenset({"b"}))}
        image = compile_image(named(self.LISTS), known, CAPACITY)
        assert {d.list: i for i, d in image.classes.items()} == {"a": 1, "b": 7}

    def test_an_id_never_gets_another_meaning_while_a_fresh_one_is_left(self) -> None:
        """The same members with another verdict are another class, and retired ids wait."""
        known = {
            1: ClassDef(1, "pass", "a", frozenset({"a"})),
            2: ClassDef(2, "drop", "gone", frozenset({"gone"})),
        }
        image = compile_image(named(self.LISTS), known, CAPACITY)
        assert set(image.classes) == {3, 4}

    def test_held_ids_are_not_given_away(self) -> None:
        """Ids that the kernel holds with an unknown meaning are left alone."""
        image = compile_image(named(self.LISTS), {}, CAPACITY, held=(1, 2, 3))
        assert set(image.classes) == {4, 5}

    def test_retired_ids_are_reused_when_nothing_else_is_left(self) -> None:
        """With all ids used once, those out of use go again, but never held ones."""
        capacity = Capacity(classes=16)
        known = {i: ClassDef(i, "drop", f"old-{i}", frozenset({f"old-{i}"})) for i in range(1, 16)}
        image = compile_image(named(self.LISTS), known, capacity, held=(1, 3))
        assert set(image.classes) == {2, 4}
        with pytest.raises(CapacityError):
            compile_image(named(self.LISTS), known, capacity, held=range(1, 15))


class TestCapacity:
    @pytest.mark.parametrize(
        ("what", "texts"),
        [
            ("hosts4", ("203.0.113.1", "203.0.113.2")),
            ("prefixes4", ("203.0.113.0/24", "198.51.100.0/24")),
            ("hosts6", ("2001:db8::1", "2001:db8::2")),
            ("prefixes6", ("2001:db8::/32", "2001:db8::/48")),
        ],
    )
    def test_names_the_list_that_crosses_the_limit(self, what: str, texts: tuple[str, str]) -> None:
        """Lists are added up in order; the one that goes over the limit is named, not the last."""
        lists = [
            RawList("one", "block", texts[:1]),
            RawList("two", "block", texts),
            RawList("three", "block", ()),
        ]
        assert compile_image(named(lists), {}, Capacity.model_validate({what: 2}))
        with pytest.raises(CapacityError, match=r"list 'two' brings .* to 2, the limit is 1") as caught:
            compile_image(named(lists), {}, Capacity.model_validate({what: 1}))
        assert (caught.value.what, caught.value.limit, caught.value.wanted) == (what, 1, 2)

    def test_too_many_classes(self) -> None:
        """Every combination of lists is a class; too many are refused, naming the list that is too much."""
        lists = [
            RawList(f"l{bit}", "block", tuple(f"203.0.113.{i}" for i in range(32) if i >> bit & 1))
            for bit in range(5)
        ]
        assert len(compile_image(named(lists[:4]), {}, Capacity(classes=16)).classes) == 15
        with pytest.raises(CapacityError, match="list 'l4' brings classes to 31, the limit is 16"):
            compile_image(named(lists), {}, Capacity(classes=16))

    def test_too_many_lists(self) -> None:
        """Memberships are 64 bits."""
        lists = [RawList(f"l{i}", "block", (f"203.0.113.{i}",)) for i in range(65)]
        assert len(compile_image(named(lists[:64]), {}, CAPACITY).classes) == 64
        with pytest.raises(CapacityError, match="list 'l64'"):
            compile_image(named(lists), {}, CAPACITY)
