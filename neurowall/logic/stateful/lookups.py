# SPDX-License-Identifier: Apache-2.0
"""One level of rules as verdict maps."""

from collections import Counter
from collections.abc import Iterator, Sequence

from neurowall.logic.stateful import words
from neurowall.logic.stateful.deciding import leads_to
from neurowall.logic.stateful.levels import Box, Placed
from neurowall.logic.stateful.matching import Field, Match, header_field, shown_value, type_of, width_of
from neurowall.logic.stateful.parts import Parts
from neurowall.model.rules import Rule
from neurowall.model.ruleset import Set, text_of

Asked = tuple[Rule, Match, Placed]
Hit = tuple[Rule, Box]
_FEW = 2
"""So many rules cost less, compared by themselves, than a map."""
_ENOUGH = 4
"""Boxes of one form that are worth a hash map of their own."""


def lookups(
    parts: Parts, name: str, asked: Sequence[Asked], family: int | None, fields: Sequence[Field]
) -> Iterator[str]:
    """The rules of a chain that look a level up. Its boxes are disjoint, so their order is free.

    Boxes of single values are found by their hash, one map for each choice of fields; all others in one map
    of ranges.
    """
    whole = tuple((0, (1 << width_of(field, family)) - 1) for field in fields)
    exact, ranged = _sorted_out(asked, whole)
    for rule, match, placed in asked:
        if placed.boxes is None:
            yield words.rule(*match.expressions, leads_to(rule))
    for used, boxes in exact.items():
        yield _map(parts, name, boxes, family, [(place, fields[place]) for place in used])
    alone = _alone(asked, ranged)
    if alone is not None:
        for rule, match in alone:
            yield words.rule(*match.expressions, leads_to(rule))
        return
    used = _used([box for _, box in ranged], whole)
    yield _map(parts, name, ranged, family, [(place, fields[place]) for place in used], interval=True)


def _used(boxes: Sequence[Box], whole: Box) -> tuple[int, ...]:
    """The positions of fields that some of the boxes narrow down."""
    return tuple(place for place, full in enumerate(whole) if any(box[place] != full for box in boxes))


def _sorted_out(asked: Sequence[Asked], whole: Box) -> tuple[dict[tuple[int, ...], list[Hit]], list[Hit]]:
    """Boxes of single values by the fields that they have, where these are enough for a map; all others."""
    exact: dict[tuple[int, ...], list[Hit]] = {}
    ranged: list[Hit] = []
    for rule, _, placed in asked:
        for box in placed.boxes or ():
            used = _used((box,), whole)
            if used and all(box[place][0] == box[place][1] for place in used):
                exact.setdefault(used, []).append((rule, box))
            else:
                ranged.append((rule, box))
    for used in sorted(exact):
        if len(exact[used]) < _ENOUGH:
            ranged.extend(exact.pop(used))
    return dict(sorted(exact.items())), ranged


def _alone(asked: Sequence[Asked], ranged: Sequence[Hit]) -> list[tuple[Rule, Match]] | None:
    """The few rules behind these boxes, if there are few, nothing was cut away, and no other map has more.

    A rule without any condition is always alone: what overlaps it is in other levels.
    """
    count = Counter(rule.name for rule, _ in ranged)
    if len(count) > _FEW:
        return None
    found = [each for each in asked if each[0].name in count]
    if any(placed.cut or len(placed.boxes or ()) != count[rule.name] for rule, _, placed in found):
        return None
    return [(rule, match) for rule, match, _ in found]


def _map(
    parts: Parts,
    name: str,
    boxes: Sequence[Hit],
    family: int | None,
    fields: Sequence[tuple[int, Field]],
    *,
    interval: bool = False,
) -> str:
    """Make a verdict map, and the rule that looks into it. Its name says its kind."""
    elements = frozenset(
        text_of(
            [
                words.concatenated(shown_value(field, family, box[place]) for place, field in fields),
                leads_to(rule),
            ]
        )
        for rule, box in boxes
    )
    form = "-".join((*(field for _, field in fields), *(("ranges",) if interval else ())))
    made = Set(
        f"{name}.{form}",
        tuple(type_of(field, family) for _, field in fields),
        elements,
        ("verdict",),
        interval=interval,
    )
    key = words.concatenated(header_field(field, family) for _, field in fields)
    return words.rule(words.verdict_by(key, parts.map(made)))
