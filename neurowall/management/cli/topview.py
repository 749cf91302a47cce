# SPDX-License-Identifier: Apache-2.0
"""What `neurowall top` shows: rates between two answers of `GET /top`, and how they are drawn."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from neurowall.management.cli.drawing import count, moment, rate, say, table

if TYPE_CHECKING:
    from rich.console import Console

Json = dict[str, Any]

_FIXED_LINES = 15  # of a screen: the header, and what each table has around its rows
_TABLES = 4


class Sort(StrEnum):
    """What comes first in each table."""

    PACKETS = "packets"
    BITS = "bits"
    TOTAL = "total"
    NAME = "name"

    def next(self) -> "Sort":
        """The one that the key `s` goes on to."""
        orders = list(Sort)
        return orders[(orders.index(self) + 1) % len(orders)]


def frame(before: Json, now: Json) -> Json:
    """The rates of the time between two answers, with the totals of the later one."""
    seconds = now["seconds"] - before["seconds"]
    rows = [
        {"reason": each["reason"], "verdict": each["verdict"], **_rates(old, each, seconds)}
        for old, each in _pairs(before["packets"], now["packets"], "reason")
    ]
    return {
        "at": now["at"],
        "seconds": round(seconds, 3),
        "generation": now["generation"],
        "verdicts": _verdicts(rows),
        "packets": rows,
        "lists": [
            {name: each[name] for name in ("list", "verdict", "monitor")} | _list_rates(old, each, seconds)
            for old, each in _pairs(before["lists"], now["lists"], "list")
        ],
        "limits": [
            {"limit": each["limit"], "action": each["action"], "bans": each["bans"]}
            | {part: _rates(old.get(part, {}), each[part], seconds) for part in _LIMIT_PARTS}
            for old, each in _pairs(before["limits"], now["limits"], "limit")
        ],
        "sources": now["sources"],
        "sampled": now["sampled"],
    }


_LIMIT_PARTS = ("passed", "dropped", "would_drop")


def _pairs(before: Iterable[Json], now: Iterable[Json], key: str) -> list[tuple[Json, Json]]:
    """Each row of *now* with the one that it was; what is new began at nothing."""
    old = {row[key]: row for row in before}
    return [(old.get(row[key], {}), row) for row in now]


def _rates(old: Json, row: Json, seconds: float) -> Json:
    return {
        "packets_per_second": _per_second(old, row, "packets", seconds),
        "bits_per_second": round(8 * _per_second(old, row, "bytes", seconds), 3),
        "packets": row["packets"],
        "bytes": row["bytes"],
    }


def _list_rates(old: Json, row: Json, seconds: float) -> Json:
    matched = _per_second(old, row, "matched_packets", seconds)
    return _rates(old, row, seconds) | {
        "matched_per_second": matched,
        "matched_packets": row["matched_packets"],
    }


def _per_second(old: Json, row: Json, name: str, seconds: float) -> float:
    """What came in a second. A counter that is smaller than it was began anew, as after `neurowall down`."""
    begun = old.get(name, 0)
    more = row[name] - begun if row[name] >= begun else row[name]
    return round(more / seconds, 3) if seconds > 0 else 0.0


def _verdicts(rows: list[Json]) -> list[Json]:
    """The sums of reasons by verdict, in the order in which verdicts first come."""
    sums: dict[str, Json] = {}
    for row in rows:
        verdict = sums.setdefault(row["verdict"], {"verdict": row["verdict"]})
        for name in ("packets_per_second", "bits_per_second", "packets", "bytes"):
            verdict[name] = round(verdict.get(name, 0) + row[name], 3)
    return list(sums.values())


def draw(console: "Console", shown: Json, sort: Sort = Sort.PACKETS, height: int | None = None) -> None:
    """One frame; *height*: lines that there are."""
    most = None if height is None else max(1, (height - _FIXED_LINES) // _TABLES)
    parts = [
        f"{each['verdict']} {rate(each['packets_per_second'], 'packets/s')}, "
        f"{rate(each['bits_per_second'], 'bit/s')}"
        for each in shown["verdicts"]
    ]
    say(console, "; ".join(parts) + "\n", style="bold")
    _reasons(console, _sorted(shown["packets"], "reason", sort)[:most])
    _lists(console, _sorted(shown["lists"], "list", sort)[:most])
    _limits(console, shown["limits"][:most])
    _sources(console, shown["sources"][:most])


def _sorted(rows: Sequence[Json], name: str, sort: Sort) -> list[Json]:
    """Rows that ever counted anything, in the order that is wanted."""
    seen = [row for row in rows if row["packets"] or row.get("matched_packets")]
    if sort is Sort.NAME:
        return sorted(seen, key=lambda row: str(row[name]))
    key = {Sort.PACKETS: "packets_per_second", Sort.BITS: "bits_per_second", Sort.TOTAL: "packets"}[sort]
    return sorted(seen, key=lambda row: (-row[key], -row["packets"], str(row[name])))


def _reasons(console: "Console", rows: Sequence[Json]) -> None:
    table(
        console,
        ("Reason", "Verdict", ">Packets", ">Bits", ">Total"),
        ((each["reason"], each["verdict"], *_columns(each)) for each in rows),
    )


def _lists(console: "Console", rows: Sequence[Json]) -> None:
    table(
        console,
        ("List", "Verdict", ">Packets", ">Bits", ">Total", ">Matched"),
        (
            (
                each["list"],
                each["verdict"] + (", monitor" if each["monitor"] else ""),
                *_columns(each),
                rate(each["matched_per_second"]),
            )
            for each in rows
        ),
    )


def _limits(console: "Console", rows: Sequence[Json]) -> None:
    table(
        console,
        ("Limit", "Action", ">Passed", ">Over", ">Would drop", ">Bans"),
        (
            (
                each["limit"],
                each["action"],
                *(rate(each[part]["packets_per_second"]) for part in _LIMIT_PARTS),
                count(each["bans"]),
            )
            for each in rows
        ),
    )


def _sources(console: "Console", rows: Sequence[Json]) -> None:
    table(
        console,
        ("Dropped source", ">Events", "Reason", "List", "Last (UTC)"),
        (
            (each["address"], f"{each['events']:.3g}", each["reason"], each["list"], moment(each["last"]))
            for each in rows
        ),
    )


def _columns(row: Json) -> tuple[str, str, str]:
    return (
        rate(row["packets_per_second"]),
        rate(row["bits_per_second"], "bit/s"),
        count(row["packets"]),
    )
