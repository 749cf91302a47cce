# SPDX-License-Identifier: Apache-2.0
"""Events drawn for people."""

from typing import TYPE_CHECKING, Any

from neurowall.management.cli.drawing import say, table

if TYPE_CHECKING:
    from rich.console import Console

Json = dict[str, Any]


def recent(console: "Console", answer: Json) -> None:
    """A table of what happened last."""
    table(
        console,
        ("Time (UTC)", "Kind", "Reason", "Interface", "Packet", ">Bytes", "What"),
        (
            (
                _moment(each),
                each["kind"],
                each["reason"],
                each["interface"],
                packet(each),
                each["bytes"],
                what(each),
            )
            for each in answer["events"]
        ),
    )
    if not answer["events"]:
        off = " (they are off: events.per_second is 0)" if not answer["per_second"] else ""
        say(console, f"no event yet{off}")


def line(event: Json) -> str:
    """One event on one line, in columns."""
    parts = (
        _moment(event),
        f"{event['kind']:<10}",
        f"{event['reason']:<12}",
        f"{event['interface']:<8}",
        packet(event),
        f"{event['bytes']} B",
        what(event),
    )
    return "  ".join(parts).rstrip()


def lost(message: Json) -> str:
    """What stands between the lines when some are missing."""
    return f"... {message['lost']:,} events lost: this reader is too slow for them"


def packet(event: Json) -> str:
    """`tcp 203.0.113.7:4711 -> 192.0.2.10:443 [syn]`, or the EtherType of what is not IP."""
    if event["source"] is None:
        return f"ethertype {event['ethertype']}"
    ends = (
        _end(event["source"], event["source_port"]),
        _end(event["destination"], event["destination_port"]),
    )
    flags = f" [{' '.join(event['flags'])}]" if event["flags"] else ""
    return f"{event['protocol']} {' -> '.join(ends)}{flags}"


def what(event: Json) -> str:
    """Which list or limit it is about, or the numbers of the event."""
    if event["list"]:
        return f"list {event['list']}"
    if event["limit"]:
        return f"limit {event['limit']}"
    if event["kind"] == "drop":
        return ""
    return f"{event['number']} {event['extra']}"


def _moment(event: Json) -> str:
    return str(event["time"]).replace("T", " ").removesuffix("Z")[:-3]


def _end(address: str, port: int | None) -> str:
    if port is None:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
