# SPDX-License-Identifier: Apache-2.0
"""What differs between two texts, line by line, in bounded time."""

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import takewhile

FINE = 4_000  # lines in which differences are looked for one by one: that takes up to the square of it
_CONTEXT = 3

Lines = Sequence[str]
Code = tuple[str, int, int, int, int]  # as those of difflib


def unified(old: str, new: str, old_name: str, new_name: str) -> str:
    """A unified diff; empty if the lines are the same.

    Where much differs in long texts it says that all of that part was replaced, which is true too.
    """
    before, after = old.splitlines(), new.splitlines()
    matcher: SequenceMatcher[str] = SequenceMatcher(None, (), ())
    matcher.opcodes = _codes(before, after)  # type: ignore[attr-defined] # what get_opcodes would find
    lines = [line for group in matcher.get_grouped_opcodes(_CONTEXT) for line in _hunk(group, before, after)]
    return "\n".join([f"--- {old_name}", f"+++ {new_name}", *lines, ""]) if lines else ""


def _codes(before: Lines, after: Lines) -> list[Code]:
    """How to make one of the other; what both begin and end with is not searched."""
    same = _common(before, after)
    tail = min(_common(before[::-1], after[::-1]), min(len(before), len(after)) - same)
    ends = len(before) - tail, len(after) - tail
    codes: list[Code] = [("equal", 0, same, 0, same)] if same else []
    middle = before[same : ends[0]], after[same : ends[1]]
    if sum(map(len, middle)) > FINE:
        codes.append(("replace", same, ends[0], same, ends[1]))
    else:
        found = SequenceMatcher(None, *middle).get_opcodes()
        codes += [(tag, a + same, b + same, c + same, d + same) for tag, a, b, c, d in found]
    return [*codes, ("equal", ends[0], len(before), ends[1], len(after))] if tail else codes


def _common(one: Lines, other: Lines) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _hunk(group: Sequence[Code], before: Lines, after: Lines) -> Iterator[str]:
    (_, a, _, c, _), (_, _, b, _, d) = group[0], group[-1]
    yield f"@@ -{_span(a, b)} +{_span(c, d)} @@"
    for tag, first, last, new_first, new_last in group:
        if tag == "equal":
            yield from (f" {line}" for line in before[first:last])
            continue
        yield from (f"-{line}" for line in before[first:last])
        yield from (f"+{line}" for line in after[new_first:new_last])


def _span(first: int, last: int) -> str:
    """Lines as hunks say them: counted from 1; an empty span names the line before it."""
    length = last - first
    return f"{first + 1 if length else first},{length}"
