# SPDX-License-Identifier: Apache-2.0
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurowall.management.api import textdiff
from neurowall.management.api.textdiff import unified

TEXTS = st.lists(st.sampled_from(["a", "b", "c", "d", ""]), max_size=30).map("\n".join)


def patched(old: str, diff: str) -> list[str]:
    """What the diff makes of the old lines, read as its format says, and strictly."""
    before, after, at = old.splitlines(), list[str](), 0
    for line in diff.splitlines()[2:]:
        if line.startswith("@@"):
            first, length = map(int, line.split()[1][1:].split(","))
            start = first - 1 if length else first
            after += before[at:start]
            at = start
        elif line[0] == "+":
            after.append(line[1:])
        else:
            assert before[at] == line[1:]
            at += 1
            after += [line[1:]] if line[0] == " " else []
    return after + before[at:]


@pytest.mark.parametrize("fine", [0, 4_000])
@given(old=TEXTS, new=TEXTS)
@settings(max_examples=150, derandomize=True)
def test_the_diff_makes_one_of_the_other(fine: int, old: str, new: str) -> None:
    """Line by line, and where it gives up looking."""
    before, textdiff.FINE = textdiff.FINE, fine
    try:
        diff = unified(old, new, "old", "new")
    finally:
        textdiff.FINE = before
    assert patched(old, diff) == new.splitlines()
    assert (diff == "") == (old.splitlines() == new.splitlines())


def test_long_texts_that_differ_everywhere_take_no_time() -> None:
    """A line in two of a hundred thousand; difflib alone would take minutes."""
    old = "\n".join(str(n % 7) for n in range(100_000))
    new = "\n".join(str(n % 5) for n in range(100_000))
    begun = time.process_time()
    assert patched(old, unified(old, new, "old", "new")) == new.splitlines()
    assert time.process_time() - begun < 5
