# SPDX-License-Identifier: Apache-2.0
"""Answers about lists and bans, and about changes of them."""

from typing import Literal

from pydantic import ConfigDict, Field

from neurowall.management.api.openapi.common import (
    Answer,
    Count,
    Ends,
    Generation,
    ListVerdict,
    Moment,
    Seconds,
    Verdict,
)


class Sizes(Answer):
    """How many entries of each family."""

    v4: Count = Field(alias="4")
    v6: Count = Field(alias="6")


class ListOfEntries(Answer):
    """A list without its entries. monitor: it counts and decides nothing."""

    name: str
    verdict: ListVerdict
    monitor: bool
    origin: Literal["operator", "policy", "runtime", "policy, replaced at run time"]
    entries: Sizes


class CountedList(ListOfEntries):
    """A list with what it decided, and what it matched whoever decided."""

    packets: Count
    bytes: Count
    matched_packets: Count
    matched_bytes: Count


class Lists(Answer):
    """All lists, in the order that decides which of them names a hit."""

    lists: list[CountedList]


class TimedEntry(Ends):
    """An entry that ends by itself."""

    entry: str


class ListPage(ListOfEntries):
    """Some entries of a list, IPv4 first. next: the `after` of the following page, null at the end."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "feed",
                    "verdict": "block",
                    "monitor": False,
                    "origin": "runtime",
                    "entries": {"4": 3, "6": 0},
                    "items": ["203.0.113.0/24", "198.51.100.7"],
                    "timed": [],
                    "next": "198.51.100.7",
                }
            ]
        }
    )

    items: list[str]
    timed: list[TimedEntry]
    next: str | None


class AddressChange(Ends):
    """What became of one address. verdict: what lists make of all of it now; null if none decides.

    shadowed_by, still_blocked_by, partly: lists that decide otherwise, for all of it or for parts. whole_64:
    the prefix to ban instead of a host that may take another address there.
    """

    address: str
    outcome: Literal["added", "extended", "removed", "unchanged"]
    verdict: Verdict | None
    shadowed_by: list[str]
    still_blocked_by: list[str]
    partly: list[str]
    whole_64: str | None


class SkippedLine(Answer):
    """A line of a list that was left out."""

    line: Count
    text: str
    why: str


class Change(Answer):
    """What a change did, or with dry_run would do; generation: the one in force afterwards.

    skipped, host_bits: the first hundred; notes: what people should know of it.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "generation": 18,
                    "dry_run": False,
                    "added": 1,
                    "extended": 0,
                    "removed": 0,
                    "unchanged": 0,
                    "seconds": 0.004211,
                    "addresses": [
                        {
                            "address": "203.0.113.7",
                            "outcome": "added",
                            "verdict": "drop",
                            "shadowed_by": [],
                            "still_blocked_by": [],
                            "partly": [],
                            "expires": "2026-12-01T03:00:00Z",
                            "remaining_seconds": 3600.0,
                            "whole_64": None,
                        }
                    ],
                    "skipped": [],
                    "skipped_count": 0,
                    "duplicates": 0,
                    "host_bits": [],
                    "host_bits_count": 0,
                    "notes": [],
                }
            ]
        }
    )

    generation: Generation
    dry_run: bool
    added: Count
    extended: Count
    removed: Count
    unchanged: Count
    seconds: Seconds
    addresses: list[AddressChange]
    skipped: list[SkippedLine]
    skipped_count: Count
    duplicates: Count
    host_bits: list[Count]
    host_bits_count: Count
    notes: list[str]


class Ban(Answer):
    """One entry in force. list: the built-in list, null of a limit's ban. limit: null if it is gone.

    since, by, reason: from the history; null where it does not know.
    """

    entry: str
    kind: Literal["block", "allow", "limit"]
    list_: str | None = Field(alias="list")
    limit: str | None
    expires: Moment | None
    seconds_left: Seconds | None
    since: Moment | None
    by: str | None
    reason: str | None


class Bans(Answer):
    """Some bans: operators' blocks, allows, then those of limits. next: the `after` of the following page.

    history: whether since, by and reason could be asked.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "bans": [
                        {
                            "entry": "203.0.113.7",
                            "kind": "block",
                            "list": "operator-block-timed",
                            "limit": None,
                            "expires": "2026-12-01T03:00:00Z",
                            "seconds_left": 1742.11,
                            "since": "2026-12-01T02:00:00Z",
                            "by": "token:k3j9x0a1b2c3 soc",
                            "reason": "brute force on ssh",
                        }
                    ],
                    "next": None,
                    "history": "ok",
                }
            ]
        }
    )

    bans: list[Ban]
    next: str | None
    history: Literal["ok", "unavailable"]


class PastBan(Answer):
    """One ban as the history keeps it. ended: when it was taken back; null if it ran out or still runs."""

    id: int
    node: str
    entry: str
    kind: Literal["block", "allow", "limit"]
    list_: str | None = Field(alias="list")
    limit: str | None
    since: Moment
    until: Moment | None
    ended: Moment | None
    ended_by: str | None
    by: str
    reason: str | None


class BanHistory(Answer):
    """Bans, newest first. next: the `after` of the following page, null at the end."""

    bans: list[PastBan]
    next: int | None
