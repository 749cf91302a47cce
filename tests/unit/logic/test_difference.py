# SPDX-License-Identifier: Apache-2.0
"""Every intermediate state of a change gives every address its old or its new verdict.

The steps are applied to a model table, one entry at a time, and each verdict is looked up by linear scan.
The same check runs on wrongly ordered steps, and must find them out.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurowall.logic.compile import compile_image
from neurowall.logic.difference import Difference, difference, isolated_stale
from neurowall.model.entries import FAMILIES, EntrySet
from neurowall.model.image import ClassDef, Contents, Image, Table
from tests.unit.logic.oracle import (
    ADDRESSES,
    MOMENTS,
    RawList,
    all_lists,
    end_of,
    judge,
    longest,
    raw_lists,
    timed_lists,
)
from tests.unit.logic.test_compile import CAPACITY, decides, named, rows

Row = tuple[str, int]
State = dict[str, int]  # text of an entry to class id
Violations = list[str]


@dataclass(frozen=True)
class Change:
    """Two images, what all their classes mean, and when the ends are while one becomes the other."""

    old: Image
    new: Image
    old_lists: list[RawList]
    new_lists: list[RawList]

    @cached_property
    def moments(self) -> tuple[float, ...]:
        """When to look: verdicts change only at an end."""
        return MOMENTS if any(raw.texts for raw in self.old_lists + self.new_lists if raw.ends) else (0.0,)

    @cached_property
    def classes(self) -> dict[int, ClassDef]:
        """The classes of both."""
        return {**self.old.classes, **self.new.classes}

    def wrong(self, state: State) -> Violations:
        """The addresses to which a table in some state gives neither their old nor their new verdict."""
        found = []
        for address in ADDRESSES:
            held, (allow, block) = longest(state.items(), address), self.ends[address]
            for moment in self.moments:
                class_id = decides(self, held, allow, block, moment)
                verdict = self.classes[class_id].verdict if class_id else "none"
                if verdict not in self.allowed[address, moment]:
                    found.append(address)
        return found

    @cached_property
    def ends(self) -> dict[str, list[float]]:
        """The ends that the kernel has for each address while tables change: the later ones."""
        both = [raw for raw in self.old_lists + self.new_lists if raw.name.endswith("-timed")]
        return {
            address: [
                max((end_of(raw, address) for raw in both if raw.verdict == kind), default=0.0)
                for kind in ("allow", "block")
            ]
            for address in ADDRESSES
        }

    @cached_property
    def allowed(self) -> dict[tuple[str, float], set[str]]:
        """What a scan says of the old and of the new lists, for each address and moment."""
        return {
            (a, t): {judge(lists, a, t).verdict or "none" for lists in (self.old_lists, self.new_lists)}
            for a in ADDRESSES
            for t in self.moments
        }


def change_of(old: list[RawList], new: list[RawList]) -> Change:
    """Compile both, the new one with the classes of the old one known, as the engine does."""
    before = compile_image(named(old), {}, CAPACITY)
    after = compile_image(named(new), before.classes, CAPACITY, held=before.classes)
    return Change(before, after, old, new)


@st.composite
def changes(draw: st.DrawFn) -> Change:
    """As the engine makes them: of lists of any kind, or of one of the timed lists."""
    lists, timed = draw(raw_lists(max_lists=3)), draw(timed_lists())
    if draw(st.booleans()):
        return change_of([*lists, *timed], [*draw(raw_lists(max_lists=3)), *timed])
    other, kind = list(timed), draw(st.integers(0, 1))
    other[kind] = draw(timed_lists())[kind]
    return change_of([*lists, *timed], [*lists, *other])


def table_rows(table: Table) -> list[Row]:
    """Text and class of each row."""
    empty = {4: Table.empty(4), 6: Table.empty(6)} | {table.family: table}
    return rows(Image(empty[4], empty[6], {}))


def entry_rows(deletes: Difference) -> Iterator[list[str]]:
    """The texts of each set to delete."""
    for entries in deletes.deletes:
        yield [str(row) if "/" in str(row) else f"{row}/{row.length}" for row in entries.rows()]


def states(old: State, steps: Difference, *, deletes_first: bool = False) -> Iterator[State]:
    """Every state on the way, one entry at a time."""
    puts: list[tuple[str, int | None]] = [row for table in steps.puts for row in table_rows(table)]
    deletes: list[tuple[str, int | None]] = [(text, None) for group in entry_rows(steps) for text in group]
    state = dict(old)
    for text, class_id in [*deletes, *puts] if deletes_first else [*puts, *deletes]:
        if class_id is None:
            del state[text]
        else:
            state[text] = class_id
        yield state


def violations(change: Change, steps: Difference, *, deletes_first: bool = False) -> Violations:
    """Where an address has neither its old nor its new verdict."""
    old, new = dict(rows(change.old)), dict(rows(change.new))
    state, found = old, []
    for state in states(old, steps, deletes_first=deletes_first):
        found += change.wrong(state)
    assert state == new, "the steps do not lead to the new image"
    return found


def torn_reads(change: Change, steps: Difference) -> Violations:
    """Where a packet that reads each length before or after the changes of one round gets a wrong verdict."""
    found = []
    before = dict(rows(change.old))
    for groups in [*steps.put_rounds, *steps.delete_rounds]:
        after = dict(before)
        for group in groups:
            for text, class_id in _effects(group):
                after.pop(text, None)
                if class_id is not None:
                    after[text] = class_id
        lengths = sorted({_length(text) for group in groups for text, _ in _effects(group)})
        for chosen in product((False, True), repeat=len(lengths)):
            seen_after = {length for length, late in zip(lengths, chosen, strict=True) if late}
            view = {t: i for t, i in before.items() if _length(t) not in seen_after}
            view |= {t: i for t, i in after.items() if _length(t) in seen_after}
            found += change.wrong(view)
        before = after
    return found


def _effects(group: object) -> list[tuple[str, int | None]]:
    if isinstance(group, Table):
        return list(table_rows(group))
    deletion = Difference((), (), ((group,),))  # type: ignore[arg-type]
    return [(text, None) for texts in entry_rows(deletion) for text in texts]


def _length(text: str) -> tuple[bool, str]:
    return ":" in text, text.partition("/")[2]


def random_changes(count: int) -> Iterator[Change]:
    """Changes for the mutations, the same in every run."""
    random = Random(20_240_131)
    base = ["203.0.113.0", "203.0.113.4", "203.0.113.5", "203.0.113.8"]
    for _ in range(count):
        old, new = (
            [
                RawList(
                    name, verdict, tuple(f"{random.choice(base)}/{random.randint(low, 32)}" for _ in range(3))
                )
                for name, verdict, low in (("feed", "block", 27), ("mine", "allow", 31))
            ]
            for _ in range(2)
        )
        yield change_of(old, new)


def one_round(steps: Difference) -> Difference:
    """The same steps without any grace period between lengths."""
    return Difference(
        steps.classes_added,
        (tuple(steps.puts),) if steps.puts else (),
        (tuple(steps.deletes),) if steps.deletes else (),
    )


class TestEveryStep:
    @given(changes())
    def test_gives_the_old_or_the_new_verdict(self, change: Change) -> None:
        """After each single put and delete, every address has its old or its new verdict, at any moment."""
        assert not violations(change, difference(change.old, change.new))

    @given(changes())
    def test_also_for_a_packet_under_way(self, change: Change) -> None:
        """The same holds for a packet that sees some changes of a round and misses others."""
        assert not torn_reads(change, difference(change.old, change.new))

    @given(changes())
    def test_also_when_room_is_made_first(self, change: Change) -> None:
        """Isolated stale entries may go before everything else, in any order."""
        state = dict(rows(change.old))
        early = Difference((), (), (tuple(isolated_stale(change.old, change.new)),))
        for text in [text for group in entry_rows(early) for text in reversed(group)]:
            del state[text]
            assert not change.wrong(state)
        remaining = Image(*_tables(change.old, state), change.old.classes)
        assert not violations(replace(change, old=remaining), difference(remaining, change.new))

    @given(all_lists())
    def test_no_step_without_a_difference(self, lists: list[RawList]) -> None:
        """The same image twice is no work; the two images share their class ids."""
        change = change_of(lists, lists)
        steps = difference(change.old, change.new)
        assert not steps
        assert not steps.classes_added


def _tables(image: Image, state: State) -> tuple[Table, Table]:
    """The rows of *image* that are still in *state*."""
    kept = EntrySet.from_strings(state)
    v4, v6 = (image.family(f).take(kept.family(f).contains(image.family(f).entries)) for f in FAMILIES)
    return v4, v6


def _reversed_puts(steps: Difference) -> Difference:
    return replace(steps, put_rounds=tuple(reversed(steps.put_rounds)))


def _single(steps: Difference) -> Difference:
    """One table a round, so that orders can be turned round."""
    return replace(
        steps,
        put_rounds=tuple((table,) for table in steps.puts),
        delete_rounds=tuple((entries,) for entries in steps.deletes),
    )


MUTATIONS: dict[str, Callable[[Change], Violations]] = {
    "deletes first": lambda c: violations(c, difference(c.old, c.new), deletes_first=True),
    "puts shortest first": lambda c: violations(c, _reversed_puts(_single(difference(c.old, c.new)))),
    "deletes longest first": lambda c: violations(
        c,
        replace(
            _single(difference(c.old, c.new)),
            delete_rounds=tuple(reversed(_single(difference(c.old, c.new)).delete_rounds)),
        ),
    ),
    "no grace period": lambda c: torn_reads(c, one_round(difference(c.old, c.new))),
}


class TestTheTestCanFail:
    @pytest.mark.parametrize("mutation", MUTATIONS)
    def test_a_wrong_order_is_found_out(self, mutation: str) -> None:
        """Steps in a wrong order, or without grace periods, are caught by the checks above."""
        assert any(MUTATIONS[mutation](change) for change in random_changes(60))

    def test_the_right_order_is_not(self) -> None:
        """On the same changes the real steps pass."""
        for change in random_changes(60):
            steps = difference(change.old, change.new)
            assert not violations(change, steps)
            assert not torn_reads(change, steps)


class TestShape:
    def test_order_and_rounds(self) -> None:
        """Puts go by length descending, deletes ascending; lists without conflict need one round each."""
        old = [RawList("feed", "block", ("198.51.100.0/24", "198.51.100.1", "198.51.0.0/16"))]
        new = [RawList("feed", "block", ("203.0.113.0/24", "203.0.113.1", "203.0.0.0/16", "2001:db8::/32"))]
        change = change_of(old, new)
        steps = difference(change.old, change.new)
        assert [int(table.length[0]) for table in steps.puts] == [32, 24, 16, 32]
        assert [int(entries.length[0]) for entries in steps.deletes] == [16, 24, 32]
        assert (len(steps.put_rounds), len(steps.delete_rounds)) == (1, 1)

    def test_a_conflict_makes_a_round(self) -> None:
        """A new allow inside a new block must be visible before the block is."""
        new = [RawList("feed", "block", ("203.0.113.0/24",)), RawList("mine", "allow", ("203.0.113.1",))]
        change = change_of([], new)
        steps = difference(change.old, change.new)
        assert [[int(t.length[0]) for t in group] for group in steps.put_rounds] == [[32], [24]]

    def test_a_class_with_an_end_conflicts_with_every_other(self) -> None:
        """Both drop now, but one of them not for long; entries of the very same class are no conflict."""
        block = RawList("operator-block-timed", "block", ("203.0.113.0/24",), ends=(10.0,))
        feed = RawList("feed", "block", ("203.0.113.1",))
        steps = difference(Image.empty(), change_of([], [feed, block]).new)
        assert [[int(t.length[0]) for t in group] for group in steps.put_rounds] == [[32], [24]]
        both = block._replace(texts=("203.0.113.0/24", "203.0.113.1"), ends=(10.0, 20.0))
        assert len(difference(Image.empty(), change_of([], [both]).new).put_rounds) == 1

    def test_entries_of_unknown_classes_conflict_with_everything(self) -> None:
        """What an unknown id means in the kernel is not guessed."""
        old = [RawList("feed", "block", ("203.0.113.0/24", "203.0.113.1"))]
        change = change_of(old, [])
        contents = Contents(change.old.v4, change.old.v6)
        assert len(difference(contents, change.new, change.old.classes).delete_rounds) == 1
        assert len(difference(contents, change.new).delete_rounds) == 2

    def test_only_new_classes_are_added(self) -> None:
        """Classes that the old image has are not set again."""
        old = [RawList("feed", "block", ("203.0.113.1",))]
        new = [*old, RawList("mine", "allow", ("203.0.113.2",))]
        change = change_of(old, new)
        assert [d.list for d in difference(change.old, change.new).classes_added] == ["mine"]

    def test_room_is_made_of_isolated_entries_only(self) -> None:
        """A stale host inside a prefix, old or new, stays until its turn."""
        old = [RawList("feed", "block", ("203.0.113.1", "198.51.100.1", "192.0.2.1", "192.0.2.0/24"))]
        new = [RawList("feed", "block", ("198.51.100.0/24", "192.0.2.0/24"))]
        change = change_of(old, new)
        early = isolated_stale(change.old, change.new)
        assert [[str(row) for row in entries.rows()] for entries in early] == [["203.0.113.1"]]
