# SPDX-License-Identifier: Apache-2.0
"""Requests about lists that are refused before anything is done."""

import math
from dataclasses import replace

from neurowall.logic.snapshot import Snapshot
from neurowall.model.duration import MAX_TTL, format_duration
from neurowall.model.errors import ListConflict, ListError, ListInvalid
from neurowall.model.fields import RESERVED, check_list_name
from neurowall.model.intent import ListRecord
from neurowall.model.listfile import ParsedList
from neurowall.model.policy import ListVerdict

_VERDICTS: dict[str, ListVerdict] = {"block": "block", "allow": "allow"}


def unchanged_record(now: Snapshot, record: ListRecord) -> bool:
    """Whether a list with this record is in force, wherever its entries are stored."""
    return any(replace(held.record, sha256="") == record for held in now.lists)


def check_new_list(name: str, verdict: str) -> ListVerdict:
    """The verdict of a list that may be made. Raises ListError, ListConflict."""
    try:
        check_list_name(name)
    except ValueError as error:
        raise ListError(str(error)) from error
    if name in RESERVED:
        raise ListConflict(f"list '{name}' is built in: choose another name")
    if verdict not in _VERDICTS:
        raise ListError(f"verdict '{verdict[:60]}': expected 'block' or 'allow'")
    return _VERDICTS[verdict]


def check_ttl(ttl: float | None) -> None:
    """Raise ListError for a time that cannot be."""
    if ttl is not None and not (math.isfinite(ttl) and 0 < ttl <= MAX_TTL):
        most = format_duration(MAX_TTL)
        raise ListError(f"nothing was changed: a TTL of {ttl:g} s: give more than 0 and at most {most}")


def refusal(name: str, parsed: ParsedList) -> ListInvalid:
    """What to raise for a text with lines that are no entries."""
    first, count = parsed.problems[0], len(parsed.problems)
    lines = "line is no entry" if count == 1 else "lines are no entries"
    advice = "correct or skip invalid lines" if len(parsed.entries) else "the list holds nothing else"
    return ListInvalid(
        f"list '{name[:60]}': {count} {lines}, the first is {first.line}: '{first.text}': {first.why}; "
        f"{advice}",
        parsed.problems,
    )
