# SPDX-License-Identifier: Apache-2.0
"""Limits and their bans as the API's JSON, and drawn for people."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from neurowall.logic.results import LimitInfo
from neurowall.management.cli.drawing import count, say, table
from neurowall.management.times import duration, ending
from neurowall.model.limits import LimitBan

if TYPE_CHECKING:
    from rich.console import Console

Json = dict[str, Any]
SHOWN_BANS = 1000


def limits(infos: Sequence[LimitInfo], bans: Sequence[LimitBan]) -> Json:
    """Every limit with what it counted, and the bans, as far as they are not too many."""
    return {
        "limits": [_limit(info) for info in infos],
        "bans": [
            {"address": ban.address, "limit": ban.limit or None, **ending(ban.until)}
            for ban in bans[:SHOWN_BANS]
        ],
        "ban_count": len(bans),
        "warnings": unguarded(infos),
    }


def _limit(info: LimitInfo) -> Json:
    limit, counted = info.limit, info.counters
    over = counted.would if limit.action == "monitor" else counted.dropped
    return {
        "name": limit.name,
        "zones": list(limit.zones),
        "interfaces": list(info.interfaces),
        "unguarded": list(info.unguarded),
        "key": limit.key,
        "prefix4": limit.lengths[0] if limit.key == "source-prefix" else None,
        "prefix6": limit.lengths[1] if limit.key == "source-prefix" else None,
        "match": limit.match,
        "ports": list(limit.ports),
        "unit": "bytes" if limit.counts_bytes else "packets",
        "rate": limit.rate,
        "burst": limit.burst_size,
        "new_only": limit.new_only,
        "action": limit.action,
        "ban_ttl": limit.ban_ttl,
        "over": asdict(over),
        "passed": asdict(counted.passed),
        "dropped": asdict(counted.dropped),
        "would_drop": asdict(counted.would),
        "bans": counted.bans,
        "bans_refused": counted.bans_refused,
    }


def unguarded(infos: Sequence[LimitInfo]) -> list[str]:
    """Where limits are declared and nothing asks them."""
    return [
        f"limit '{info.limit.name}' is not enforced on {', '.join(info.unguarded)}: no XDP program is there"
        for info in infos
        if info.unguarded
    ]


def show(console: "Console", answer: Json) -> None:
    """`neurowall limits`."""
    for warning in answer["warnings"]:
        say(console, f"warning: {warning}", style="yellow")
    table(
        console,
        ("Limit", "Zones", "Key", "Match", ">Rate", ">Burst", "Action", ">Over", ">Would drop", ">Bans"),
        [list(_row(each)) for each in answer["limits"]],
    )
    if not answer["limits"]:
        say(console, "the policy has no limits")
    for ban in answer["bans"]:
        by = f" by {ban['limit']}" if ban["limit"] else ""
        say(console, f"banned{by}: {ban['address']}, for another {duration(ban['remaining_seconds'])}")
    if (more := answer["ban_count"] - len(answer["bans"])) > 0:
        say(console, f"... and {count(more)} more")


def _row(each: Json) -> Iterator[Any]:
    unit = "B/s" if each["unit"] == "bytes" else "/s"
    key = each["key"] if each["prefix4"] is None else f"{each['key']} /{each['prefix4']} /{each['prefix6']}"
    ports = " " + ",".join(map(str, each["ports"])) if each["ports"] else ""
    yield each["name"]
    yield ", ".join(each["zones"]) or "external"
    yield key
    yield each["match"] + ports + (", new" if each["new_only"] else "")
    yield f"{count(each['rate'])} {unit}"
    yield count(each["burst"])
    yield f"ban {each['ban_ttl']}" if each["action"] == "ban" else each["action"]
    yield count(each["dropped"]["packets"])
    yield count(each["would_drop"]["packets"])
    yield count(each["bans"]) if each["action"] == "ban" else ""
