# SPDX-License-Identifier: Apache-2.0
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurowall.logic.classes import ListHead, Meaning, Registry, complete, meaning_of, with_rests
from neurowall.model.errors import CapacityError
from neurowall.model.image import ClassDef

HEADS = (
    ListHead("good", "allow"),
    ListHead("bad", "block"),
    ListHead("maybe", "block", monitor=True),
    ListHead("maybe-good", "allow", monitor=True),
    ListHead("worse", "block"),
    ListHead("operator-allow-timed", "allow"),
    ListHead("operator-block-timed", "block"),
)
GOOD, BAD, MAYBE, MAYBE_GOOD, WORSE, ALLOWED, BLOCKED = (1 << i for i in range(7))


class TestMeaning:
    @pytest.mark.parametrize(
        ("mask", "chain"),
        [
            (GOOD | BAD, [("pass", "good", "")]),
            (GOOD | BAD | ALLOWED | BLOCKED, [("pass", "good", "")]),
            (BAD | MAYBE | WORSE, [("drop", "bad", "")]),
            (MAYBE | MAYBE_GOOD, [("none", "maybe", "")]),
            (MAYBE_GOOD | WORSE, [("drop", "worse", "")]),
            (ALLOWED, [("pass", "operator-allow-timed", "allow")]),
            (BLOCKED, [("drop", "operator-block-timed", "block")]),
            (BLOCKED | MAYBE, [("drop", "operator-block-timed", "block"), ("none", "maybe", "")]),
            (BLOCKED | BAD, [("drop", "bad", "")]),
            (ALLOWED | BAD, [("pass", "operator-allow-timed", "allow"), ("drop", "bad", "")]),
            (ALLOWED | BAD | BLOCKED, [("pass", "operator-allow-timed", "allow"), ("drop", "bad", "")]),
            (
                ALLOWED | BLOCKED | MAYBE_GOOD,
                [
                    ("pass", "operator-allow-timed", "allow"),
                    ("drop", "operator-block-timed", "block"),
                    ("none", "maybe-good", ""),
                ],
            ),
        ],
    )
    def test_permanent_before_timed_allow_before_block(
        self, mask: int, chain: list[tuple[str, str, str]]
    ) -> None:
        """What decides, and what decides after its end; monitor lists never do."""
        found = meaning_of(mask, HEADS).chain
        assert [(part.verdict, part.list, part.timed) for part in found] == chain

    @given(st.integers(1, 127))
    def test_each_end_takes_one_list_away(self, mask: int) -> None:
        """Members are all lists that cover; those of the rest lack the list that ended, and nothing else."""
        chain = meaning_of(mask, HEADS).chain
        assert chain[0].members == {head.name for i, head in enumerate(HEADS) if mask >> i & 1}
        for part, rest in pairwise(chain):
            assert part.members - rest.members == {part.list}
        last = chain[-1]
        assert not last.timed or last.members == {last.list}


def definitions(registry: Registry, ids: list[int]) -> list[Meaning]:
    """What the ids mean, as the registry tells it."""

    def tell(class_id: int) -> Meaning:
        known = registry.defs[class_id]
        rest = tell(known.rest) if known.rest else None
        return Meaning(known.verdict, known.list, known.members, known.timed, rest)

    return [tell(class_id) for class_id in ids]


MASKS = st.lists(st.integers(1, 127), min_size=1, max_size=5)


class TestRegistry:
    @given(st.lists(MASKS, max_size=12), st.integers(16, 24))
    def test_what_is_held_keeps_its_meaning(self, steps: list[list[int]], limit: int) -> None:
        """Through any changes with few ids: each has one meaning; none that a held class needs changes."""
        registry = Registry(limit)
        held: list[int] = []
        for masks in steps:
            meanings = [meaning_of(mask, HEADS) for mask in masks]
            before = definitions(registry, held)
            try:
                ids, registry = registry.assign(meanings)
            except CapacityError:
                continue
            assert definitions(registry, ids) == meanings
            assert definitions(registry, held) == before
            assert len(set(ids)) == len(set(meanings))
            assert all(0 < class_id < limit for class_id in registry.held)
            registry, held = registry.holding(ids), ids

    def test_a_rest_is_not_given_away(self) -> None:
        """With one id left besides, a new meaning does not get the id that a held class needs next."""
        ids, registry = Registry(4).assign([meaning_of(ALLOWED | BAD, HEADS)])
        registry = registry.holding(ids)
        assert registry.held == {1, 2}
        (other,), registry = registry.assign([meaning_of(WORSE, HEADS)])
        assert other == 3
        with pytest.raises(CapacityError):
            registry.assign([meaning_of(MAYBE, HEADS)])

    def test_rests_are_shared(self) -> None:
        """What comes after the end of a block is the class that its address had before."""
        (plain,), registry = Registry(16).assign([meaning_of(MAYBE, HEADS)])
        (timed,), registry = registry.assign([meaning_of(MAYBE | BLOCKED, HEADS)])
        assert registry.defs[timed].rest == plain

    def test_definitions_without_their_rest_are_not_complete(self) -> None:
        """A smaller limit can cut a rest off; what needs it goes too, however far away."""
        defs = {
            1: ClassDef(1, "pass", "operator-allow-timed", frozenset(["operator-allow-timed"]), "allow", 2),
            2: ClassDef(2, "drop", "operator-block-timed", frozenset(["operator-block-timed"]), "block", 3),
            4: ClassDef(4, "drop", "bad", frozenset(["bad"])),
        }
        assert set(complete(defs)) == {4}
        assert with_rests([1], defs) == {1, 2, 3}


class TestClassDef:
    @pytest.mark.parametrize(
        ("verdict", "timed", "rest"),
        [("drop", "allow", 0), ("pass", "block", 0), ("none", "block", 0), ("drop", "", 2), ("keep", "", 0)],
    )
    def test_what_makes_no_sense_cannot_be_built(self, verdict: str, timed: str, rest: int) -> None:
        """A timed allow passes, a timed block drops, and only after an end comes something."""
        with pytest.raises(ValueError, match="class 1"):
            ClassDef(1, verdict, "a", frozenset(["a"]), timed, rest)
