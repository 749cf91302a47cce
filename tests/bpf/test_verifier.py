# SPDX-License-Identifier: Apache-2.0
"""Every combination of switches loads, and none grows unseen towards the verifier's million instructions."""

import json
from collections.abc import Iterable

import pytest

from tests.bpf.verifier import RECORD, Combination, count, every, name, pairs, release

CEILING = 600_000  # of a million; other kernels follow more than the one that was recorded
GROWTH = 1.2
AGAIN = "python -m tests.bpf.verifier"


def too_many(combinations: Iterable[Combination]) -> dict[str, str]:
    """What is over the ceiling, or has grown since it was recorded on such a kernel."""
    recorded = json.loads(RECORD.read_text())
    known = recorded["instructions"] if recorded["kernel"] == release() else {}
    wrong = {}
    for each in combinations:
        found = count(each)
        before = known.get(name(each), found)
        if found > min(CEILING, before * GROWTH):
            wrong[name(each)] = f"{found}, recorded {before}"
    return wrong


def test_pairs_of_switches_load_and_have_not_grown() -> None:
    """If it is meant to be: record them anew, see AGAIN."""
    assert too_many(pairs()) == {}, f"if that is meant: {AGAIN}"


def test_the_record_is_of_these_combinations() -> None:
    """One that is not recorded cannot be seen to grow."""
    recorded = json.loads(RECORD.read_text())["instructions"]
    assert set(recorded) == {name(each) for each in pairs()}, f"{AGAIN}"
    assert max(recorded.values()) < CEILING


@pytest.mark.soak
def test_every_combination_loads() -> None:
    """Several thousand."""
    assert too_many(every()) == {}
