# SPDX-License-Identifier: Apache-2.0
"""A trace drawn for people."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

Json = dict[str, Any]
_TITLES = {
    "exception": "XDP exception",
    "died": "lost",
    "received": "received by the stack",
    "delivered": "read by a program",
    "sent": "sent",
    "consumed": "done with",
}


def drawing(summary: Json) -> "RenderableType":
    """The counts, a table of places, and what it does not show."""
    from rich.console import Group
    from rich.text import Text

    total = summary["packets"]
    head = f"{summary['address']}, {summary['seconds']} s: {total['died']:,} lost, "
    head += f"{total['received']:,} received, {total['delivered']:,} read, {total['sent']:,} sent"
    parts: list[RenderableType] = [Text(head), _table(summary["places"])]
    notes = list(summary["notes"])
    if summary["uncounted"]:
        notes.append(f"{summary['uncounted']:,} packets at more places than fit")
    if any(place["namespace"] == "unknown" for place in summary["places"]):
        notes.append("(?): the kernel does not say in which network namespace")
    return Group(*parts, *(Text(f"note: {note}") for note in notes))


def _table(places: list[Json]) -> "RenderableType":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if not places:
        return Text("no packet seen yet")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("What", "Where", "Interface", "Reason", "Function", "Direction"):
        table.add_column(title)
    table.add_column("Packets", justify="right")
    table.add_column("Meaning")
    for place in places:
        table.add_row(
            _TITLES[place["kind"]] + (" (?)" if place["namespace"] == "unknown" else ""),
            place["stage"],
            Text(place["device"] or ""),
            Text(place["reason"] or ""),
            Text(place["function"] or ""),
            place["direction"] or "any",
            f"{place['packets']:,}",
            Text(place["meaning"]),
        )
    return table
