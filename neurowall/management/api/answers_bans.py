# SPDX-License-Identifier: Apache-2.0
"""Bans as the API's JSON."""

from typing import Any

from neurowall.logic.results import Ban, BanPage
from neurowall.management.times import ending

Json = dict[str, Any]


def bans(page: BanPage) -> Json:
    """A page of what is in force."""
    return {"bans": [_ban(each) for each in page.bans], "next": page.next, "history": "unavailable"}


def _ban(ban: Ban) -> Json:
    ends = ending(ban.expires)
    return {
        "entry": ban.entry,
        "kind": ban.kind,
        "list": ban.list,
        "limit": ban.limit,
        "expires": ends["expires"],
        "seconds_left": ends["remaining_seconds"],
        "since": None,
        "by": None,
        "reason": None,
    }
