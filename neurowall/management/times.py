# SPDX-License-Identifier: Apache-2.0
"""Moments and durations in answers: RFC 3339 in UTC for programs, words for people."""

import time
from datetime import UTC, datetime
from typing import Any

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def ending(expires: float | None) -> dict[str, Any]:
    """When something ends (Unix seconds) as members of an answer; both None if it does not."""
    if expires is None:
        return {"expires": None, "remaining_seconds": None}
    moment = datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"expires": moment, "remaining_seconds": round(max(expires - time.time(), 0.0), 3)}


def moment(when: float | None) -> str | None:
    """Unix seconds as RFC 3339 in UTC; None as it is."""
    return None if when is None else datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def in_words(ends: dict[str, Any]) -> str:
    """What `ending` gave: `59 min 12 s, until 2026-11-22 18:02:35 UTC`."""
    moment = ends["expires"].replace("T", " ").removesuffix("Z")
    return f"{duration(ends['remaining_seconds'])}, until {moment} UTC"


def duration(seconds: float) -> str:
    """93784 as `1 d 2 h`, 3601 as `1 h`, 0.4 as `0 s`: rounded to the unit below the largest."""
    sizes = [size for size, _ in _UNITS]
    largest = next((index for index, size in enumerate(sizes) if round(seconds) >= size), len(sizes) - 1)
    step = sizes[min(largest + 1, len(sizes) - 1)]
    rest = round(seconds / step) * step
    parts = []
    for size, unit in _UNITS:
        count, rest = divmod(rest, size)
        parts += [f"{count} {unit}"] if count else []
    return " ".join(parts) or "0 s"
