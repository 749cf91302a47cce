# SPDX-License-Identifier: Apache-2.0
import time

import pytest

from neurowall.management.times import duration, ending, in_words


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (60, "1 min"),
        (3599, "59 min 59 s"),
        (3600, "1 h"),
        (3601, "1 h"),
        (86399.7, "1 d"),
        (93784, "1 d 2 h"),
        (86460, "1 d"),
        (172_770, "2 d"),
        (7199, "2 h"),
        (3650 * 86400, "3650 d"),
    ],
)
def test_a_duration_has_two_units(seconds: float, expected: str) -> None:
    """The largest one, and the one below it, rounded."""
    assert duration(seconds) == expected


def test_what_does_not_end_has_no_moment() -> None:
    """The members are there, empty."""
    assert ending(None) == {"expires": None, "remaining_seconds": None}


def test_an_end_is_in_utc_and_counts_down() -> None:
    """Both forms say the same moment."""
    assert ending(1_800_000_000.9)["expires"] == "2027-01-15T08:00:00Z"
    begun = time.time()
    left = ending(begun + 90)["remaining_seconds"]
    assert 90 - (time.time() - begun) - 0.001 <= left <= 90


def test_what_is_over_has_nothing_left() -> None:
    """Never a negative rest, between the end and the housekeeping after it."""
    assert ending(time.time() - 5)["remaining_seconds"] == 0


def test_words_for_people() -> None:
    """How long, and until when."""
    assert in_words({"expires": "2027-01-15T08:00:00Z", "remaining_seconds": 3599.6}) == (
        "1 h, until 2027-01-15 08:00:00 UTC"
    )
