# SPDX-License-Identifier: Apache-2.0
"""Bans as the API's JSON."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from neurowall.logic.results import Ban
from neurowall.logic.results import BanPage as Page
from neurowall.management.times import ending
from neurowall.model.history import BanPage, BanRow

Json = dict[str, Any]


def bans(page: Page, known: Mapping[tuple[str, str], BanRow] | None) -> Json:
    """A page of what is in force, with what is *known* of it, None if that could not be asked."""
    rows = [_ban(each, (known or {}).get((each.entry, each.list or each.limit or ""))) for each in page.bans]
    return {"bans": rows, "next": page.next, "history": "unavailable" if known is None else "ok"}


def _ban(ban: Ban, row: BanRow | None) -> Json:
    ends = ending(ban.expires)
    return {
        "entry": ban.entry,
        "kind": ban.kind,
        "list": ban.list,
        "limit": ban.limit,
        "expires": ends["expires"],
        "seconds_left": ends["remaining_seconds"],
        "since": _moment(row.since) if row else None,
        "by": row.actor if row else None,
        "reason": (row.reason or None) if row else None,
    }


def history(page: BanPage) -> Json:
    """A page of what was in force, and is perhaps."""
    return {"bans": [_past(row) for row in page.rows], "next": page.next}


def _past(row: BanRow) -> Json:
    by_limit = row.kind == "limit"
    return {
        "id": row.id,
        "node": row.node,
        "entry": row.entry,
        "kind": row.kind,
        "list": None if by_limit else row.list,
        "limit": (row.list or None) if by_limit else None,
        "since": _moment(row.since),
        "until": _moment(row.until),
        "ended": _moment(row.ended),
        "ended_by": row.ended_by,
        "by": row.actor,
        "reason": row.reason or None,
    }


def _moment(when: float | None) -> str | None:
    return None if when is None else datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
