# SPDX-License-Identifier: Apache-2.0
"""What requests may carry: bodies and queries, nothing unknown in them."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

from fastapi import Depends, Query
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, WithJsonSchema
from starlette.responses import Response

from neurowall.model.duration import MAX_TTL, format_duration, parse_duration
from neurowall.model.shown import one_line

MAX_ADDRESSES = 100_000
PAGE = 10_000
MAX_REASON = 200

Answered = Callable[..., Awaitable[Response]]
"""Takes a Change, what makes it, and its arguments, and answers with what that returns: see changes.py."""


class Strict(BaseModel):
    """A body or query of which every member is known."""

    model_config = ConfigDict(extra="forbid")


class Addresses(Strict):
    """The body of unblock and unallow."""

    # The first wrong one is enough: a hundred thousand errors would hold the loop up.
    addresses: list[str] = Field(min_length=1, max_length=MAX_ADDRESSES, fail_fast=True)


def _read_ttl(given: object) -> float | None:
    """Seconds from `"1h"` or a number. Raises ValueError."""
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        raise ValueError('expected a duration such as "1h", or seconds')  # noqa: TRY004 - pydantic's kind
    seconds = parse_duration(given) if isinstance(given, str) else given
    if not 0 < seconds <= MAX_TTL:  # false for NaN too
        raise ValueError(f"expected more than 0 and at most {format_duration(MAX_TTL)}")
    return float(seconds)


_TTL = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_TTL},
        {"type": "string", "maxLength": 20, "pattern": "^[0-9]{1,10}[smhd]$"},
        {"type": "null"},
    ],
    "description": "How long: seconds, or such as 90s, 15m, 12h, 7d.",
    "examples": ["1h"],
}


class TimedAddresses(Addresses):
    """The body of block and allow. ttl: how long, as "90s", "15m", "12h", "7d" or seconds; absent: no end.

    reason: what for, in the history of bans and in the audit.
    """

    ttl: Annotated[float | None, BeforeValidator(_read_ttl), WithJsonSchema(_TTL)] = None
    reason: Annotated[str, AfterValidator(one_line)] = Field(default="", max_length=MAX_REASON)


class ListChange(Strict):
    """What may be changed of a list without its entries."""

    monitor: StrictBool


class ChangeQuery(Strict):
    """dry_run: check everything, answer what would be done, and change nothing."""

    dry_run: bool = False


class PutQuery(ChangeQuery):
    """How to put a list. create: true = only if it is new, false = only if it exists, absent = either.

    monitor: its entries are counted and decide nothing.
    """

    verdict: Literal["block", "allow"] | None = None
    monitor: bool | None = None
    skip_invalid: bool = False
    create: bool | None = None


class PageQuery(Strict):
    """Which entries of a list to show."""

    limit: int = Field(default=100, ge=1, le=PAGE)
    after: str | None = None


class NoParameters(Strict):
    """No query parameter at all."""


async def no_query(_query: Annotated[NoParameters, Query()]) -> None:
    """Refuse every query parameter: a misspelt or future one must not be ignored.

    Async, though it waits for nothing: anything else would take a thread, and /liveness must not need one.
    """


PLAIN = [Depends(no_query)]

NoQuery = Annotated[NoParameters, Query()]
How = Annotated[ChangeQuery, Query()]
