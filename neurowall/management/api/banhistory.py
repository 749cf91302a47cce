# SPDX-License-Identifier: Apache-2.0
"""What an answer to block, allow, unblock or unallow means for the history of bans."""

import time
from collections.abc import Iterator
from typing import Any

from neurowall.model.fields import OPERATOR_ALLOW, OPERATOR_BLOCK, TIMED_ALLOW, TIMED_BLOCK
from neurowall.model.history import BanChange, BanKind

_LISTS: dict[BanKind, tuple[str, str]] = {  # without an end, with one
    "block": (OPERATOR_BLOCK, TIMED_BLOCK),
    "allow": (OPERATOR_ALLOW, TIMED_ALLOW),
}


def ban_changes(kind: BanKind, reason: str, answer: dict[str, Any], actor: str) -> Iterator[BanChange]:
    """Changes for each address that became another: an entry is in one of two lists."""
    now = time.time()
    permanent, timed = _LISTS[kind]
    for each in answer["addresses"]:
        outcome, entry, left = each["outcome"], each["address"], each["remaining_seconds"]
        if outcome == "unchanged":
            continue
        held = permanent if left is None else timed
        other = timed if left is None else permanent
        # What is in the list with no end has left the other one, and what is gone has left both.
        yield BanChange(entry, kind, other, actor, now, ended=True)
        if outcome == "removed":
            yield BanChange(entry, kind, held, actor, now, ended=True)
            if kind == "block":  # an unblock ends bans by limits too
                yield BanChange(entry, "limit", "", actor, now, ended=True)
        else:
            until = None if left is None else now + left
            yield BanChange(entry, kind, held, actor, now, reason=reason, until=until)
