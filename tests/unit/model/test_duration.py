# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurowall.model.duration import MAX_TTL, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("15m", 900),
        ("12h", 43_200),
        ("7d", 604_800),
        ("0s", 0),
        (" 1h ", 3600),
        ("3650d", MAX_TTL),
    ],
)
def test_reads_a_number_and_a_unit(text: str, seconds: float) -> None:
    """Seconds, minutes, hours and days."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "h", "1.5h", "-1h", "1 h", "1w", "1h30m", "1H", "\u0661h", "1e3s"])
def test_refuses_anything_else(text: str) -> None:
    """The message shows how to write it."""
    with pytest.raises(ValueError, match="such as 90s, 15m, 12h or 7d"):
        parse_duration(text)


def test_ten_years_at_most() -> None:
    """What is longer is meant to be for good."""
    with pytest.raises(ValueError, match="longer than 3650d"):
        parse_duration("3651d")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (59, "59s"),
        (60, "1m"),
        (90, "90s"),
        (3600, "1h"),
        (86_400, "1d"),
        (5400, "90m"),
        (0.4, "0s"),
        (59.7, "1m"),
    ],
)
def test_writes_the_largest_unit_that_divides(seconds: float, text: str) -> None:
    """Fractions of a second are rounded."""
    assert format_duration(seconds) == text


@given(st.integers(0, int(MAX_TTL)))
def test_what_is_written_is_read_back(seconds: int) -> None:
    """Nothing is lost on the way."""
    assert parse_duration(format_duration(seconds)) == seconds
