# SPDX-License-Identifier: Apache-2.0
"""Durations as an operator writes them: a whole number and a unit, such as 90s, 15m, 12h or 7d."""

import re

MAX_TTL = 10 * 365 * 86_400.0  # seconds: a ban that is asked to last longer is meant to be permanent

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(\d{1,10})([smhd])", re.ASCII)


def parse_duration(text: str) -> float:
    """The seconds that *text* says, from 0 to MAX_TTL. Raises ValueError with the way to write it."""
    found = _DURATION.fullmatch(text.strip())
    if not found:
        raise ValueError(
            f"'{text[:60]}' is no duration: write a number and a unit, such as 90s, 15m, 12h or 7d"
        )
    seconds = float(int(found[1]) * _SECONDS[found[2]])
    if seconds > MAX_TTL:
        raise ValueError(f"'{text[:60]}' is longer than {format_duration(MAX_TTL)}")
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest text that says so many whole seconds exactly; fractions are rounded."""
    whole = round(seconds)
    unit = next(unit for unit in "dhms" if not whole % _SECONDS[unit]) if whole else "s"
    return f"{whole // _SECONDS[unit]}{unit}"
